//! [`Deferred`]: a result to come, of a remote call or of a program's own making. Twisted: `Deferred` (internet/defer.py).
//!
//! It knows no runtime and no clock: a Deferred is awaited under any executor, and what is not awaited is driven by whoever brings its result.
//! `docs/from-twisted-deferred.md` in the repository goes through Twisted's names one by one.

mod chain;
mod depth;
mod ext;
mod flow;
mod many;
mod resolver;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use crate::message::{Failure, FailureKind, Ran};
use chain::Chain;
pub(crate) use depth::drop_quietly;
#[cfg(feature = "net")]
pub(crate) use depth::quietly;
pub use ext::{DeferredExt, Outcome};
use flow::{Flow, Next, Work};
pub use many::{OnFailure, all_settled, first, gather};
pub use resolver::{Resolver, Settlement};

/// The result of something that is on its way: a future of `Result<T, E>`. Stubs return it for their calls, and programs make their own
/// ([`Deferred::new`]): both are this one type, with the same [callbacks](DeferredExt).
///
/// A call was sent when its method returned; awaiting it only waits. Where `T` is a stub, a `Deferred` dereferences to it, and calls on it are made
/// at once, before the result is known: those on the result of a call travel (*pipelining*), those on any other wait in their order until it is
/// there.
///
/// Dropping a `Deferred` whose result has not come cancels what it stands for, unless a promise made of it or a call on such a promise is still
/// alive, or [`detach`](Deferred::detach) was called. [`Deferred::cancel`] cancels it, too, and leaves it to be awaited.
///
/// # Cancel safety
/// The future holds no partial state: a `Deferred` polled through `&mut` and set aside goes on where it was.
///
/// # Panics
/// Polling it again after it has answered panics, as futures may.
#[must_use = "dropping a Deferred cancels the call: await it, or let it run with `.detach()`"]
pub struct Deferred<T, E = Failure> {
    pending: Arc<dyn Pending<T, E>>,
    promise: OnceLock<T>,
}

/// What a [`Deferred`] waits for. The floors above implement it; this one knows neither codecs nor connections.
pub(crate) trait Pending<T, E>: Send + Sync {
    /// The result, once. Wakes the last waker given.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, E>>;
    /// From now on dropping this does not cancel the call.
    fn detach(self: Arc<Self>);
    /// Ends soon, with `why` if with nothing else. `false` where it has ended, and only waits to be polled.
    fn cancel(self: Arc<Self>, why: Failure) -> bool;
    /// The promise of the result, where `T` is a type of which there are promises.
    fn promise(self: Arc<Self>) -> Promising<T>;
    /// Its Deferred is gone, which had made a promise: nobody asks for the result any more but who holds that.
    fn abandon(&self) {}
    /// What it waits for and the callbacks behind it, taken out; `None` where it is waited for as it is.
    fn unchain(&self) -> Option<Flow> {
        None
    }
}

/// How a promise of a result is made.
pub(crate) enum Promising<T> {
    /// By whoever implements the [`Pending`], in the form that it chose; `T`'s own code knows the form.
    Made(Box<dyn Any>),
    /// By whoever wants it, who is told the result.
    Watched(Arc<dyn Watched<T>>),
}

/// A result that can be looked at as it comes, before whoever awaits it has it.
pub(crate) trait Watched<T>: Send + Sync {
    /// Lets `watch` have a look, once, under no lock; at once where the result is there. Runs only while somebody holds this.
    fn watch(self: Arc<Self>, watch: Watch<T>);
}

/// Sees a result; of an error that is no [`Failure`] only that it came.
pub(crate) type Watch<T> = Box<dyn FnOnce(Result<&T, Failure>) + Send>;

impl<T, E> Deferred<T, E> {
    /// A Deferred that waits for `pending`.
    pub(crate) fn waiting_for(pending: Arc<dyn Pending<T, E>>) -> Self {
        Deferred { pending, promise: OnceLock::new() }
    }

    /// Lets it run to its end without anybody waiting; its result is dropped when it comes, an error too. Callbacks run all the same, on
    /// the stack of whatever brings the result; here, where it has come.
    ///
    /// ```
    /// use pb_core::{Deferred, defer::DeferredExt};
    /// let (resolver, deferred) = Deferred::<u32>::new();
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// deferred.add_callback(move |n| Ok(sender.send(n).unwrap())).detach();
    /// resolver.resolve(42);
    /// assert_eq!(receiver.try_recv(), Ok(42));
    /// ```
    pub fn detach(self) {
        Arc::clone(&self.pending).detach();
    }

    /// Cancels what `deferred` stands for, and leaves it to be awaited: it fails `Cancelled` soon, unless its canceller
    /// ([`Deferred::with_canceller`]) or an errback says otherwise, or the result has come already. Of a chain, what it waits for now is
    /// cancelled. A call fails at once, whatever the other side does, and what was called on its result fails with it; its method is stopped. Twisted:
    /// `Deferred.cancel`.
    ///
    /// ```
    /// # use pb_core::{Deferred, FailureKind};
    /// # futures::executor::block_on(async {
    /// let (resolver, deferred) = Deferred::<u32>::new();
    /// Deferred::cancel(&deferred);
    /// assert!(resolver.is_cancelled());
    /// assert_eq!(deferred.await.unwrap_err().kind, FailureKind::Cancelled);
    /// # });
    /// ```
    pub fn cancel(deferred: &Self) {
        let why = Failure::new(FailureKind::Cancelled, Ran::Maybe, "cancelled by whoever waited for it");
        Arc::clone(&deferred.pending).cancel(why);
    }

    /// The promised result, made by `make` from what [`Pending::promise`] gives, at most once.
    pub(crate) fn promise_with(&self, make: impl FnOnce(Promising<T>) -> T) -> &T {
        self.promise.get_or_init(|| make(Arc::clone(&self.pending).promise()))
    }
}

impl<T, E> Drop for Deferred<T, E> {
    fn drop(&mut self) {
        if self.promise.get().is_some() {
            self.pending.abandon();
        }
    }
}

/// Deferreds of one's own. Errors of any type that a [`Failure`] can be made into: that is how a cancel, a forgotten
/// [`Resolver`] and a panic are told.
impl<T: Send + 'static, E: From<Failure> + Send + 'static> Deferred<T, E> {
    /// A Deferred, and what settles it. Twisted: `Deferred()`.
    ///
    /// ```
    /// # use pb_core::Deferred;
    /// # futures::executor::block_on(async {
    /// let (resolver, deferred) = Deferred::<u32>::new();
    /// resolver.resolve(42);
    /// assert_eq!(deferred.await, Ok(42));
    /// # });
    /// ```
    #[allow(clippy::new_ret_no_self, reason = "a Deferred without its Resolver is of no use")]
    pub fn new() -> (Resolver<T, E>, Self) {
        let (resolver, handle) = resolver::pair(None);
        (resolver, Deferred::doing(handle))
    }

    /// The same with a canceller, which stops what is being done for the Deferred: it runs once when that is cancelled or dropped before it is
    /// settled, on the stack of whoever does so, under no lock of ours. What it returns is the result; with `None` the Deferred fails as it
    /// was cancelled, unless the Resolver was used meanwhile. A panic in it counts as `None`. Twisted: `Deferred(canceller)`.
    ///
    /// ```
    /// # use pb_core::Deferred;
    /// # futures::executor::block_on(async {
    /// let (resolver, deferred) = Deferred::<&str>::with_canceller(|| Some(Ok("as far as it got")));
    /// Deferred::cancel(&deferred);
    /// assert_eq!(deferred.await, Ok("as far as it got"));
    /// # drop(resolver);
    /// # });
    /// ```
    pub fn with_canceller(
        canceller: impl FnOnce() -> Option<Result<T, E>> + Send + 'static,
    ) -> (Resolver<T, E>, Self) {
        let (resolver, handle) = resolver::pair(Some(Box::new(canceller)));
        (resolver, Deferred::doing(handle))
    }

    /// One that has its value. Twisted: `succeed`.
    pub fn succeed(value: T) -> Self {
        Deferred::doing(There(Some(Ok(value))))
    }

    /// One that has failed. Twisted: `fail`.
    pub fn fail(error: E) -> Self {
        Deferred::doing(There(Some(Err(error))))
    }

    /// The result of a future, so that it can be detached, called on before it is known, cancelled, and returned by a callback. Twisted:
    /// `Deferred.fromCoroutine`, `ensureDeferred`.
    ///
    /// The future is polled first when the Deferred is awaited, detached or called on. Detached, it is polled on the stack of whatever wakes it:
    /// what computes for long belongs into a task of a runtime. When it is cancelled it is dropped.
    ///
    /// ```
    /// # use pb_core::{Deferred, Failure};
    /// # futures::executor::block_on(async {
    /// let (resolver, deferred) = Deferred::<u32>::new();
    /// let twice = Deferred::from_future(async { Ok::<_, Failure>(deferred.await? * 2) });
    /// resolver.resolve(21);
    /// assert_eq!(twice.await, Ok(42));
    /// # });
    /// ```
    pub fn from_future(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Self {
        Deferred::doing(Running { future: Some(Box::pin(future)), cancelled: None, waker: None })
    }

    fn doing(work: impl Work<T, E> + 'static) -> Self {
        Deferred::waiting_for(Chain::of(Flow::of(work)))
    }
}

/// A result that is there.
struct There<T, E>(Option<Result<T, E>>);

impl<T: Send, E: Send> Work<T, E> for There<T, E> {
    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        match self.0.take() {
            Some(result) => Poll::Ready(Next::Result(result)),
            None => Poll::Pending,
        }
    }

    fn cancel(&mut self, _why: Failure) -> bool {
        false
    }
}

struct Running<F> {
    /// `None` once it was cancelled.
    future: Option<Pin<Box<F>>>,
    cancelled: Option<Failure>,
    /// Of whoever is to look again when it is cancelled.
    waker: Option<Waker>,
}

impl<T, E, F> Work<T, E> for Running<F>
where
    E: From<Failure>,
    F: Future<Output = Result<T, E>> + Send,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        if let Some(why) = self.cancelled.take() {
            return Poll::Ready(Next::Result(Err(E::from(why))));
        }
        let polled = self.future.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(cx));
        if polled.is_pending() && !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        polled.map(Next::Result)
    }

    fn cancel(&mut self, why: Failure) -> bool {
        let Some(future) = self.future.take() else { return false };
        self.cancelled = Some(why);
        drop_quietly(future);
        depth::wake_quietly(self.waker.take());
        true
    }
}

fn past_deadline() -> Failure {
    Failure::new(FailureKind::DeadlineExceeded, Ran::Maybe, "the time for it is over")
}

// Nothing in it is pinned: the future lives behind the Arc.
impl<T, E> Unpin for Deferred<T, E> {}

impl<T, E> Future for Deferred<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(cx)
    }
}

impl<T, E> fmt::Debug for Deferred<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deferred")
    }
}
