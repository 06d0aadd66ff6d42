use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::capacity::Crowd;

/// What a server has had to do, at one moment. All but the first two go up only, from when the server was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Statistics {
    /// Connections that are open, those that have not greeted included.
    pub open: usize,
    /// Those of them whose hello has not come yet.
    pub greeting: usize,
    /// Connections that were accepted: those below, and those that are open.
    pub accepted: u64,
    /// Connections that were refused for want of room ([`Capacity`](crate::Capacity)).
    pub refused: u64,
    /// Connections that ended before a hello came, or at once behind it: strangers, scans, those that said nothing, those that made room for others.
    pub failed: u64,
    /// Connections that ended later: those that [`Server::on_disconnected`](crate::Server::on_disconnected) tells of.
    pub ended: u64,
    /// Calls that came over those, one-way calls included.
    pub ended_calls: u64,
    /// Those of them that were answered with the method's own error or with a failure of the broker.
    pub ended_failed: u64,
    /// Errors of the system's where it was to give the next connection: most of them for want of descriptors.
    pub accept_errors: u64,
}

/// Reads a server's [`Statistics`], also after it has ended. Clones read the same.
#[derive(Clone)]
pub struct Meter {
    counters: Arc<Counters>,
    crowd: Arc<Crowd>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) failed: Counter,
    pub(crate) ended: Counter,
    pub(crate) ended_calls: Counter,
    pub(crate) ended_failed: Counter,
    pub(crate) accept_errors: Counter,
}

/// Goes up only.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts, and says which one it was, from 1.
    pub(crate) fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// A connection has ended that had greeted, over which that has gone.
    pub(crate) fn end(&self, gone: &pb_core::Counters) {
        self.ended_calls.add(calls(gone));
        self.ended_failed.add(failed(gone));
        self.ended.count();
    }
}

/// Calls that have come over a connection, one-way calls included.
pub(crate) fn calls(over: &pb_core::Counters) -> u64 {
    over.received.calls.saturating_add(over.received.casts)
}

/// Those of them that were answered with an error or a failure.
pub(crate) fn failed(over: &pb_core::Counters) -> u64 {
    over.sent.errors.saturating_add(over.sent.failures.total())
}

impl Meter {
    pub(crate) fn new(counters: Arc<Counters>, crowd: Arc<Crowd>) -> Self {
        Meter { counters, crowd }
    }

    /// What stands there now. The numbers are read one after the other: while connections come and go they may differ by those.
    pub fn read(&self) -> Statistics {
        let (open, greeting) = self.crowd.count();
        let Counters { accepted, refused, failed, ended, ended_calls, ended_failed, accept_errors } =
            &*self.counters;
        Statistics {
            open,
            greeting,
            accepted: accepted.read(),
            refused: refused.read(),
            failed: failed.read(),
            ended: ended.read(),
            ended_calls: ended_calls.read(),
            ended_failed: ended_failed.read(),
            accept_errors: accept_errors.read(),
        }
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read().fmt(f)
    }
}
