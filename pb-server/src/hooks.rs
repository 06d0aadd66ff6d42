//! What a server tells its program of its connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use pb_core::{Broker, Failure, FailureKind, Ran};
use tokio::time::Instant;

use crate::guests::Arrival;
use crate::house::House;
use crate::peer::Peer;

/// How a connection has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// Why: the peer closed, was lost, broke the protocol, or this side closed.
    pub reason: Failure,
    /// How long it lasted from when the peer's hello had come.
    pub lasted: Duration,
    /// What went over it, both ways, up to then.
    pub counters: pb_core::Counters,
}

type Connected = Box<dyn Fn(&Peer, &Broker) + Send + Sync>;
type Disconnected = Box<dyn Fn(&Peer, &Ended) + Send + Sync>;

/// What is to be called.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) connected: Vec<Connected>,
    pub(crate) disconnected: Vec<Disconnected>,
}

impl Hooks {
    /// A peer has greeted.
    pub(crate) fn greet(&self, peer: &Peer, broker: &Broker) {
        for hook in &self.connected {
            quietly(peer, || hook(peer, broker));
        }
    }

    fn part(&self, peer: &Peer, ended: &Ended) {
        for hook in &self.disconnected {
            quietly(peer, || hook(peer, ended));
        }
    }
}

/// A panic of a hook's ends the hook, and nothing else.
fn quietly(peer: &Peer, hook: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(hook)).is_err() {
        tracing::error!(peer = peer.address(), "a hook of the server's panicked");
    }
}

/// Somebody who has greeted, until he is gone: then the hooks are told, once, also where the server is dropped in the middle.
pub(crate) struct Guest<'a> {
    house: &'a House,
    peer: &'a Peer,
    broker: &'a Broker,
    since: Instant,
    /// Why he went, where that is known: else the server was dropped.
    pub(crate) reason: Option<Box<Failure>>,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(house: &'a House, peer: &'a Peer, arrival: &Arrival<'_>, broker: &'a Broker) -> Self {
        house.guests.come(arrival, broker);
        // From here on: whoever is told of the beginning is told of the end.
        let guest = Guest { house, peer, broker, since: Instant::now(), reason: None };
        house.hooks.greet(peer, broker);
        guest
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let reason = match self.reason.take() {
            Some(reason) => *reason,
            None => Failure::new(FailureKind::Disconnected, Ran::Maybe, "the server was dropped"),
        };
        let House { hooks, counters, guests, .. } = self.house;
        let ended = Ended { reason, lasted: self.since.elapsed(), counters: self.broker.counters() };
        guests.go(self.peer, &ended.reason, || counters.end(&ended.counters));
        hooks.part(self.peer, &ended);
    }
}
