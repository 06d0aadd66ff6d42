//! A connection, as somebody sees it who looks into the process: for `pb-server`, which decides who may.

use super::Broker;
use crate::message::{Cause, ExportId, Failure, FailureKind, Ran};
use crate::objects::Reference;
use crate::proto::Key;
use crate::proto::Outbox as _;
pub use crate::proto::{Held, InFlight, MethodUse, NotStopped};

/// What a peer has not read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Backlog {
    /// Bytes of answers and the like that were made for it and have not left.
    pub unread_bytes: u64,
    /// Whether that is so much that none of its calls is started.
    pub halted: bool,
    /// One-way calls of its that have not ended.
    pub casts: u64,
}

impl Broker {
    /// Some of what the peer holds of this process, its root included: at most `most` objects and the root, in one turn of the connection's lock; and from where
    /// to go on, for the next piece. `from` is `None` for the first. What is held from the first piece to the last is in one of them, and what comes
    /// meanwhile in none.
    ///
    /// What this returns holds the objects: they are dropped with it, and so is the last of one that the peer released meanwhile.
    pub fn held(&self, from: Option<ExportId>, most: usize) -> (Vec<Held<Reference>>, Option<ExportId>) {
        let now = tokio::time::Instant::now().into_std();
        let mut state = self.link.line().lock();
        state.connection.look_at(now);
        state.connection.held(from, most)
    }

    /// What the peer holds by this key: its root, an object, or both, which then have an id each. Nothing is looked through for it.
    pub fn held_as(&self, key: Key) -> Vec<Held<Reference>> {
        let now = tokio::time::Instant::now().into_std();
        let mut state = self.link.line().lock();
        state.connection.look_at(now);
        let root = state.connection.held_root();
        let object = state.connection.held_as(key);
        // What is not asked for is dropped under no lock.
        drop(state);
        let is_root = |root: &Held<Reference>| root.handle.as_ref().is_ok_and(|root| root.key() == key);
        root.filter(is_root).into_iter().chain(object).collect()
    }

    /// The object that the peer holds by this id, which may be broken; nothing of the root.
    pub fn held_at(&self, id: ExportId) -> Option<Held<Reference>> {
        let now = tokio::time::Instant::now().into_std();
        let mut state = self.link.line().lock();
        state.connection.look_at(now);
        state.connection.held_at(id)
    }

    /// Some of the peer's calls that are not answered, in no order: what a look at no more than `most` results finds, in one turn of the connection's lock; and from where to go
    /// on, for the next piece. `from` is `None` for the first. A call that is in flight from the first piece to the last is in one of them; it may be in two where
    /// `most` is less than 1,024 and many others come meanwhile.
    ///
    /// What this returns holds the objects that are called.
    pub fn in_flight(&self, from: Option<u64>, most: usize) -> (Vec<InFlight<Reference>>, Option<u64>) {
        let now = tokio::time::Instant::now().into_std();
        let mut state = self.link.line().lock();
        state.connection.look_at(now);
        state.connection.in_flight(from, most)
    }

    /// The peer's calls that were answered, by method.
    pub fn method_uses(&self) -> Vec<MethodUse> {
        self.link.line().lock().connection.method_uses()
    }

    /// What the peer has not read.
    pub fn backlog(&self) -> Backlog {
        self.link.line().backlog()
    }

    /// How many objects of this process the peer held when the connection ended, as all of them are let go then; 0 before.
    pub fn held_at_end(&self) -> u64 {
        self.link.line().lock().connection.held_at_end()
    }

    /// Answers a call of the peer's with `failure`, and stops its method where that waits.
    ///
    /// # Errors
    /// [`NotStopped`]; nothing has happened.
    pub fn stop_call(&self, id: ExportId, failure: Failure) -> Result<(), NotStopped> {
        let stop = self.link.line().with(|connection, out| connection.stop(id, failure, out))?;
        if let Some(stop) = stop {
            stop();
        }
        // What follows is the reading task's to do, in its order.
        self.link.line().read.ring();
        Ok(())
    }

    /// Breaks an object that the peer holds, as if it was revoked: calls of this peer's on it fail, and it is told why. The object itself, and
    /// who else holds it, are not touched. Where the peer does not hold it, nothing happens.
    pub fn break_held(&self, id: ExportId, reason: &str) {
        let refused = Failure::new(FailureKind::Refused, Ran::No, reason);
        let failure = Failure::broken_by(Cause::Broker(refused));
        self.link.line().with(|connection, out| connection.break_export(id, &failure, out));
    }

    /// The same number for the same connection while it lives: that of what is reached over it ([`Carrier::address`](crate::objects::Carrier::address)).
    pub fn address(&self) -> usize {
        std::sync::Arc::as_ptr(self.link.line()) as usize
    }
}

impl super::line::Line {
    fn backlog(&self) -> Backlog {
        let state = self.lock();
        Backlog {
            unread_bytes: state.out().unread(),
            halted: state.connection.is_unread(state.out()),
            casts: state.connection.casts(),
        }
    }
}
