//! [`Deferred`]: a result to come. Twisted: `Deferred` (internet/defer.py).

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use crate::message::Failure;

/// The result of a call that is on its way: a future of `Result<T, E>`.
///
/// The call was sent when the method returned; awaiting it only waits. Where `T` is a stub, a `Deferred` dereferences to it, and calls on it
/// travel at once, before the result is known (*pipelining*).
///
/// Dropping a `Deferred` whose answer has not come cancels the call, unless a promise made of it or a call on such a promise is still
/// alive, or [`detach`](Deferred::detach) was called.
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
pub trait Pending<T, E>: Send + Sync {
    /// The result, once. Wakes the last waker given.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, E>>;
    /// From now on dropping this does not cancel the call.
    fn detach(self: Arc<Self>);
    /// The promise of the result, in the form that the implementing floor made it; `T`'s own code knows the form.
    fn promise(self: Arc<Self>) -> Box<dyn Any>;
    /// Its Deferred is gone, which had made a promise: nobody asks for the result any more but who holds that.
    fn abandon(&self) {}
}

impl<T, E> Deferred<T, E> {
    /// A Deferred that waits for `pending`.
    pub(crate) fn waiting_for(pending: Arc<dyn Pending<T, E>>) -> Self {
        Deferred { pending, promise: OnceLock::new() }
    }

    /// Lets the call run to its end without anybody waiting; its result is dropped when it comes.
    pub fn detach(self) {
        Arc::clone(&self.pending).detach();
    }

    /// The promised result, made by `make` from what [`Pending::promise`] gives, at most once.
    pub(crate) fn promise_with(&self, make: impl FnOnce(Box<dyn Any>) -> T) -> &T {
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
