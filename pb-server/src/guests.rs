//! Who is connected and has greeted, for those who look into the server; and those who look at connections as they go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pb_core::broker::Onlooker;
use pb_core::{Broker, Failure};
use tokio::time::Instant;

use crate::departed::{Departed, Ends};
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
    /// Those who have gone, where somebody may ask.
    ends: Option<Ends>,
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
        Arrival { guests: self, peer, onlookers, reason: None, since: Instant::now(), greeted: false }
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

    /// It has gone. `count` counts it among those who have, so that [`Guests::all_beside`] finds it there or here.
    pub(crate) fn go(&self, peer: &Peer, reason: &Failure, count: impl FnOnce()) {
        let gone = {
            let mut inside = self.lock();
            count();
            inside.residents.remove(&peer.number())
        };
        if let Some(gone) = gone {
            self.keep_end(peer, reason, gone.since, Some(&gone.broker));
        }
    }

    /// From here on it is kept who has gone lately.
    pub(crate) fn keep_ends(&self) {
        self.lock().ends.get_or_insert_default();
    }

    /// Those who have gone lately, in the order in which they did, those who had not greeted behind the others.
    pub(crate) fn ends(&self) -> Vec<Arc<Departed>> {
        self.lock().ends.as_ref().map(Ends::all).unwrap_or_default()
    }

    /// `broker` is nobody's who has not greeted.
    fn keep_end(&self, peer: &Peer, reason: &Failure, began: Instant, broker: Option<&Broker>) {
        if self.lock().ends.is_some() {
            let departed = Departed::new(peer, reason, began, broker.map(Broker::held_at_end));
            if let Some(ends) = &mut self.lock().ends {
                ends.keep(departed);
            }
        }
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

    /// All, and what `read` reads of those who have gone.
    pub(crate) fn all_beside<T>(&self, read: impl FnOnce() -> T) -> (Vec<Arc<Resident>>, T) {
        let inside = self.lock();
        (inside.residents.values().cloned().collect(), read())
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
    pub(crate) reason: Option<Box<Failure>>,
    since: Instant,
    /// Whether its hello has come: the end is kept with the guest's, then.
    pub(crate) greeted: bool,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.as_deref().filter(|_| !self.greeted) {
            self.guests.keep_end(self.peer, reason, self.since, None);
        }
        let mut inside = self.guests.lock();
        for (viewer, seats) in &mut inside.viewers {
            seats.remove(&self.peer.number());
            viewer.left(self.peer, self.reason.as_deref());
        }
    }
}
