//! Who is connected and has greeted, for those who look into the server; and those who look at connections as they go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pb_core::broker::Onlooker;
use pb_core::{Broker, Failure};
use tokio::time::Instant;

use crate::peer::Peer;

/// One connection.
pub(crate) struct Resident {
    pub(crate) peer: Peer,
    pub(crate) broker: Broker,
    pub(crate) since: Instant,
}

/// Somebody who looks at connections, those that come later too. What he is told, he is told under a lock: he must neither wait nor run anybody's code.
pub(crate) trait Viewer: Send + Sync {
    /// What looks at this connection for him; nothing where he does not care for it.
    fn seat(self: Arc<Self>, peer: &Peer) -> Option<Onlooker>;
    /// A connection was accepted.
    fn arrived(&self, peer: &Peer);
    /// It has ended.
    fn left(&self, peer: &Peer, reason: Option<&Failure>);
}

/// All connections by their numbers, and who looks at them.
#[derive(Default)]
pub(crate) struct Guests(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    residents: BTreeMap<u64, Arc<Resident>>,
    /// Each with what looks at which connection for him.
    viewers: Vec<(Arc<dyn Viewer>, BTreeMap<u64, Onlooker>)>,
}

impl Guests {
    /// A connection begins; what is in its [`Arrival`] looks at it from the first frame.
    pub(crate) fn arrive<'a>(&'a self, peer: &'a Peer) -> Arrival<'a> {
        let mut inside = self.lock();
        for (viewer, seats) in &mut inside.viewers {
            viewer.arrived(peer);
            if let Some(seat) = Arc::clone(viewer).seat(peer) {
                seats.insert(peer.number(), seat);
            }
        }
        let onlookers = inside.seats(peer.number());
        drop(inside);
        Arrival { guests: self, peer, onlookers, reason: None }
    }

    /// It has greeted. Those who came or went since it arrived are seen to.
    pub(crate) fn come(&self, arrival: &Arrival<'_>, broker: &Broker) {
        let peer = arrival.peer;
        let resident = Resident { peer: peer.clone(), broker: broker.clone(), since: Instant::now() };
        let mut inside = self.lock();
        let now = inside.seats(peer.number());
        let is_among = |one: &Onlooker, all: &[Onlooker]| all.iter().any(|other| is_same(one, other));
        arrival.onlookers.iter().filter(|one| !is_among(one, &now)).for_each(|gone| broker.look_away(gone));
        for (viewer, seats) in &mut inside.viewers {
            if !seats.contains_key(&peer.number())
                && let Some(seat) = Arc::clone(viewer).seat(peer)
            {
                broker.look_on(seat.clone());
                seats.insert(peer.number(), seat);
            }
        }
        inside.residents.insert(peer.number(), Arc::new(resident));
    }

    pub(crate) fn go(&self, peer: &Peer) {
        let gone = self.lock().residents.remove(&peer.number());
        drop(gone);
    }

    /// Somebody begins to look at the connections that are there and that come.
    pub(crate) fn admit(&self, viewer: &Arc<dyn Viewer>) {
        let mut inside = self.lock();
        let mut seats = BTreeMap::new();
        for resident in inside.residents.values() {
            if let Some(seat) = Arc::clone(viewer).seat(&resident.peer) {
                resident.broker.look_on(seat.clone());
                seats.insert(resident.peer.number(), seat);
            }
        }
        inside.viewers.push((Arc::clone(viewer), seats));
    }

    /// He has seen enough.
    pub(crate) fn dismiss(&self, viewer: &Arc<dyn Viewer>) {
        let mut inside = self.lock();
        let Some(at) = inside.viewers.iter().position(|(one, _)| Arc::ptr_eq(one, viewer)) else { return };
        let (_, seats) = inside.viewers.swap_remove(at);
        for (number, seat) in &seats {
            if let Some(resident) = inside.residents.get(number) {
                resident.broker.look_away(seat);
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Resident>> {
        self.lock().residents.values().cloned().collect()
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Resident>> {
        self.lock().residents.get(&number).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Those that look at a connection.
    fn seats(&self, number: u64) -> Vec<Onlooker> {
        self.viewers.iter().filter_map(|(_, seats)| seats.get(&number).cloned()).collect()
    }
}

fn is_same(one: &Onlooker, other: &Onlooker) -> bool {
    match (one, other) {
        (Onlooker::Witness(one), Onlooker::Witness(other)) => Arc::ptr_eq(one, other),
        (Onlooker::Recorder(one), Onlooker::Recorder(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// A connection from when it was accepted: those who look are told of its end, once.
pub(crate) struct Arrival<'a> {
    guests: &'a Guests,
    peer: &'a Peer,
    /// Who looks at it from its first frame on.
    pub(crate) onlookers: Vec<Onlooker>,
    /// Why it has ended, where that is known.
    pub(crate) reason: Option<Failure>,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut inside = self.guests.lock();
        for (viewer, seats) in &mut inside.viewers {
            seats.remove(&self.peer.number());
            viewer.left(self.peer, self.reason.as_ref());
        }
    }
}
