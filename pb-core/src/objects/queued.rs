use std::mem;

use super::Reference;
use crate::message::Failure;

/// A call that waits for a promise.
pub trait Queued: Send {
    /// Goes where the promise leads. Runs on the thread that settles it, under no lock.
    fn go(self: Box<Self>, to: Result<&Reference, &Failure>);
    /// Whether it was given up, so that it would go nowhere. Asked under the promise's lock.
    fn is_given_up(&self) -> bool;
}

/// The calls that wait for one promise, in their order. Takes no more room than twice those that do: a peer may give up as many as it likes,
/// each of which makes room for another one.
#[derive(Default)]
pub(super) struct Queue {
    calls: Vec<Box<dyn Queued>>,
    /// When those that were given up are taken out.
    clean_at: usize,
}

impl Queue {
    /// Adds a call behind the others. Returns what was given up meanwhile, to be dropped under no lock.
    #[must_use]
    pub(super) fn push(&mut self, call: Box<dyn Queued>) -> Vec<Box<dyn Queued>> {
        let mut given_up = Vec::new();
        if self.calls.len() >= self.clean_at {
            given_up.extend(self.calls.extract_if(.., |call| call.is_given_up()));
            self.clean_at = self.calls.len().max(FEW) * 2;
            self.calls.shrink_to(self.clean_at);
        }
        self.calls.push(call);
        given_up
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes out all.
    pub(super) fn take(&mut self) -> Vec<Box<dyn Queued>> {
        mem::take(self).calls
    }
}

/// Fewer calls than this are not looked through.
const FEW: usize = 8;
