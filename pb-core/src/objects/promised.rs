//! References out of Deferreds: what a Deferred of a stub dereferences to.

use std::sync::Arc;

use super::{Access, Promise, Reference, Source, Stub};
use crate::defer::{Deferred, Promising, Watched};
use crate::message::{Cause, Failure};

impl<R: Stub, E> Deferred<R, E> {
    /// The promised reference itself, to pass as an argument or to keep: it can be called before it is known.
    ///
    /// As long as it lives, dropping the Deferred does not cancel the call.
    pub fn promised(&self) -> R {
        self.promise().clone()
    }

    fn promise(&self) -> &R {
        self.promise_with(|promising| match promising {
            Promising::Made(access) => match access.downcast::<Access>() {
                Ok(access) => R::from_access(*access),
                Err(_) => unreachable!("promises of stubs are references"),
            },
            Promising::Watched(watched) => R::from_reference(watch(watched)),
        })
    }
}

impl<R: Stub, E> std::ops::Deref for Deferred<R, E> {
    type Target = R;

    fn deref(&self) -> &R {
        self.promise()
    }
}

/// A promise of a Deferred that is no call: calls on it wait here, in their order, until the result has come.
fn watch<R: Stub>(watched: Arc<dyn Watched<R>>) -> Reference {
    let promise = Promise::new(Some(Arc::new(Awaited { watched: Arc::clone(&watched) })));
    // Held weakly, for it holds what is watched: a Deferred that nobody wants any more is cancelled.
    let weakly = Arc::downgrade(&promise);
    watched.watch(Box::new(move |result| {
        if let Some(promise) = weakly.upgrade() {
            promise.settle(match result {
                Ok(stub) => Ok(stub.as_reference().clone()),
                Err(failure) => Err(Failure::broken_by(Cause::Broker(failure))),
            });
        }
    }));
    Reference::promised(promise)
}

/// Keeps a Deferred going whose promise somebody has.
struct Awaited<R> {
    #[allow(dead_code, reason = "it is held, not looked at")]
    watched: Arc<dyn Watched<R>>,
}

impl<R> Source for Awaited<R> {
    fn waits_for(&self) -> Option<Arc<Promise>> {
        None
    }
}
