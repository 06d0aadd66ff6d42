//! Who is connected and has greeted, for those who look into the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pb_core::Broker;
use tokio::time::Instant;

use crate::peer::Peer;

/// One connection.
pub(crate) struct Resident {
    pub(crate) peer: Peer,
    pub(crate) broker: Broker,
    pub(crate) since: Instant,
}

/// All of them, by their numbers.
#[derive(Default)]
pub(crate) struct Guests(Mutex<BTreeMap<u64, Arc<Resident>>>);

impl Guests {
    pub(crate) fn come(&self, peer: &Peer, broker: &Broker) {
        let resident = Resident { peer: peer.clone(), broker: broker.clone(), since: Instant::now() };
        self.lock().insert(peer.number(), Arc::new(resident));
    }

    pub(crate) fn go(&self, peer: &Peer) {
        let gone = self.lock().remove(&peer.number());
        drop(gone);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Resident>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Resident>> {
        self.lock().get(&number).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Resident>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
