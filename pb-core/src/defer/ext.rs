//! Callbacks: what is made of a result when it comes. Twisted: `addCallback` and its like (internet/defer.py).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::chain::Chain;
use super::flow::{Flow, Next, Step, Work};
use super::{Deferred, past_deadline};
use crate::message::Failure;

/// What a callback may return: a result (`Ok(…)`, `Err(…)`), or a Deferred, whose result is waited for. Twisted: a value, an exception, or a
/// Deferred.
pub trait Outcome: sealed::Outcome {
    /// What it is when all goes well.
    type Value: Send + 'static;
    /// What it fails with.
    type Error: From<Failure> + Send + 'static;
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Outcome for Result<T, E> {
    type Value = T;
    type Error = E;
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Outcome for Deferred<T, E> {
    type Value = T;
    type Error = E;
}

pub(super) mod sealed {
    use super::{Deferred, Step};

    pub trait Outcome {
        fn step(self) -> Step;
    }

    impl<T: Send + 'static, E: Send + 'static> Outcome for Result<T, E> {
        fn step(self) -> Step {
            Step::result(self)
        }
    }

    impl<T: Send + 'static, E: From<super::Failure> + Send + 'static> Outcome for Deferred<T, E> {
        fn step(self) -> Step {
            Step::goes(self.into_flow())
        }
    }

    pub trait Sealed {}
    impl<T, E> Sealed for Deferred<T, E> {}
}

/// Callbacks on a [`Deferred`], of a remote call or any other. The names are Twisted's, so that they meet neither those of `futures`' `FutureExt`
/// and `TryFutureExt`, which work on a Deferred as on any future, nor methods of a stub that a Deferred dereferences to.
///
/// Each takes the Deferred and gives the one that comes behind the callback. **A callback runs where that is awaited**, in the awaiting task, or,
/// once it is [detached](Deferred::detach), or called on before it is known, on the stack of whatever brings the result: a Resolver's, a
/// connection's reading task. What is not awaited, detached nor called on does nothing; dropping it cancels what it waits for, and the callback is
/// dropped, not run.
///
/// A callback that panics fails its Deferred: `Internal`, without the panic's text. A chain of callbacks may be of any length: it neither nests,
/// nor costs more than its length.
///
/// ```
/// use pb_core::{Deferred, Failure, FailureKind, Ran};
/// use pb_core::defer::DeferredExt;
/// # futures::executor::block_on(async {
/// let (resolver, deferred) = Deferred::<String>::new();
/// let length = deferred
///     .add_callback(|text| text.parse::<u32>().map_err(|_| Failure::new(FailureKind::Failed, Ran::No, "no number")))
///     .add_callback(|number| Deferred::succeed(number + 1))
///     .add_errback(|_failure| Ok(0));
/// resolver.resolve("forty-one".to_owned());
/// assert_eq!(length.await, Ok(0));
/// # });
/// ```
pub trait DeferredExt<T, E>: sealed::Sealed + Sized {
    /// Makes something else of the value; a failure passes by. Twisted: `addCallback`.
    ///
    /// ```
    /// # use pb_core::{Deferred, defer::DeferredExt};
    /// # futures::executor::block_on(async {
    /// assert_eq!(Deferred::<u32>::succeed(20).add_callback(|n| Ok(n + 1)).await, Ok(21));
    /// # });
    /// ```
    fn add_callback<R, F>(self, callback: F) -> Deferred<R::Value, E>
    where
        R: Outcome<Error = E>,
        F: FnOnce(T) -> R + Send + 'static;

    /// Makes something of a failure, a value or another one; a value passes by. Twisted: `addErrback`. To change the type of the error take
    /// [`add_both`](DeferredExt::add_both).
    ///
    /// ```
    /// # use pb_core::{Deferred, Failure, FailureKind, Ran, defer::DeferredExt};
    /// # futures::executor::block_on(async {
    /// let failed = Deferred::<u32>::fail(Failure::new(FailureKind::Refused, Ran::No, "not you"));
    /// assert_eq!(failed.add_errback(|failure| Ok(failure.message.len() as u32)).await, Ok(7));
    /// # });
    /// ```
    fn add_errback<R, F>(self, errback: F) -> Deferred<T, E>
    where
        R: Outcome<Value = T, Error = E>,
        F: FnOnce(E) -> R + Send + 'static;

    /// Makes something of the value, or of the failure; the second does not see what the first fails with. Twisted: `addCallbacks`.
    ///
    /// ```
    /// # use pb_core::{Deferred, Failure, FailureKind, Ran, defer::DeferredExt};
    /// # futures::executor::block_on(async {
    /// let refuse = |_| Err(Failure::new(FailureKind::Refused, Ran::No, "not that"));
    /// let text = Deferred::<u32>::succeed(1).add_callbacks(refuse, |_| Ok("not seen"));
    /// assert!(text.await.is_err());
    /// # });
    /// ```
    fn add_callbacks<R, S, F, G>(self, callback: F, errback: G) -> Deferred<R::Value, E>
    where
        R: Outcome<Error = E>,
        S: Outcome<Value = R::Value, Error = E>,
        F: FnOnce(T) -> R + Send + 'static,
        G: FnOnce(E) -> S + Send + 'static;

    /// Makes something of the result, whichever it is; the error may become another type. Twisted: `addBoth`.
    ///
    /// ```
    /// # use pb_core::{CallError, Deferred, defer::DeferredExt};
    /// # futures::executor::block_on(async {
    /// let deferred = Deferred::<u32>::succeed(1);
    /// let other: Deferred<u32, CallError<String>> = deferred.add_both(|result| result.map_err(CallError::Broker));
    /// assert_eq!(other.await, Ok(1));
    /// # });
    /// ```
    fn add_both<R, F>(self, both: F) -> Deferred<R::Value, R::Error>
    where
        R: Outcome,
        F: FnOnce(Result<T, E>) -> R + Send + 'static;

    /// [Cancels](Deferred::cancel) it with `DeadlineExceeded` when `timer` ends first; then it ends as it does when it is cancelled: a call at once,
    /// one with a canceller as that says. Twisted: `addTimeout`.
    ///
    /// The timer is any future, since this knows no clock: `tokio::time::sleep(time)` under tokio. It runs from when the Deferred is awaited,
    /// detached or called on. A remote call's own deadline, which the callee hears of, is a stub's `within`.
    ///
    /// ```
    /// # use pb_core::{Deferred, FailureKind, defer::DeferredExt};
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    /// # runtime.block_on(async {
    /// let (_resolver, deferred) = Deferred::<u32>::new();
    /// let late = deferred.add_timeout(tokio::time::sleep(std::time::Duration::from_millis(1)));
    /// assert_eq!(late.await.unwrap_err().kind, FailureKind::DeadlineExceeded);
    /// # });
    /// ```
    fn add_timeout(self, timer: impl Future<Output = ()> + Send + 'static) -> Deferred<T, E>;
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> DeferredExt<T, E> for Deferred<T, E> {
    fn add_callback<R, F>(self, callback: F) -> Deferred<R::Value, E>
    where
        R: Outcome<Error = E>,
        F: FnOnce(T) -> R + Send + 'static,
    {
        self.behind(|result| match result {
            Ok(value) => callback(value).step(),
            Err(error) => Step::result::<R::Value, E>(Err(error)),
        })
    }

    fn add_errback<R, F>(self, errback: F) -> Deferred<T, E>
    where
        R: Outcome<Value = T, Error = E>,
        F: FnOnce(E) -> R + Send + 'static,
    {
        self.behind(|result| match result {
            Ok(value) => Step::result::<T, E>(Ok(value)),
            Err(error) => errback(error).step(),
        })
    }

    fn add_callbacks<R, S, F, G>(self, callback: F, errback: G) -> Deferred<R::Value, E>
    where
        R: Outcome<Error = E>,
        S: Outcome<Value = R::Value, Error = E>,
        F: FnOnce(T) -> R + Send + 'static,
        G: FnOnce(E) -> S + Send + 'static,
    {
        self.behind(|result| match result {
            Ok(value) => callback(value).step(),
            Err(error) => errback(error).step(),
        })
    }

    fn add_both<R, F>(self, both: F) -> Deferred<R::Value, R::Error>
    where
        R: Outcome,
        F: FnOnce(Result<T, E>) -> R + Send + 'static,
    {
        self.behind(|result| both(result).step())
    }

    fn add_timeout(self, timer: impl Future<Output = ()> + Send + 'static) -> Deferred<T, E> {
        Deferred::doing(Timed { deferred: self, timer: Some(Box::pin(timer)) })
    }
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Deferred<T, E> {
    /// The Deferred behind a callback that leaves a `Result<U, F>`.
    fn behind<U, F>(self, callback: impl FnOnce(Result<T, E>) -> Step + Send + 'static) -> Deferred<U, F>
    where
        U: Send + 'static,
        F: From<Failure> + Send + 'static,
    {
        let mut flow = self.into_flow();
        flow.push::<T, E, U, F>(callback);
        Deferred::waiting_for(Chain::<U, F>::of(flow))
    }

    /// What it waits for and its callbacks; or itself, as something to wait for.
    pub(super) fn into_flow(self) -> Flow {
        match self.pending.unchain() {
            Some(flow) => flow,
            None => Flow::of(self),
        }
    }
}

struct Timed<T, E> {
    deferred: Deferred<T, E>,
    /// `None` once it has ended.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<T: Send + 'static, E: Send + 'static> Work<T, E> for Timed<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        loop {
            if let Poll::Ready(next) = Work::poll(&mut self.deferred, cx) {
                return Poll::Ready(next);
            }
            match self.timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    self.timer = None;
                    Work::cancel(&mut self.deferred, past_deadline());
                }
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    }

    fn cancel(&mut self, why: Failure) -> bool {
        Work::cancel(&mut self.deferred, why)
    }
}
