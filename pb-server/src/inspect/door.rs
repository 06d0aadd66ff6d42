//! The door of an inspector that wants a token: whoever stands before it makes room for those who come in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pb_core::{Broker, Referenceable};
use tokio::task::AbortHandle;

use super::api::{InspectError, InspectorDoor, InspectorDoorRef, InspectorRef};
use super::token::Token;
use crate::peer::Peer;
use crate::server::Server;

/// Sets up the server of an inspector.
pub(super) fn serve(token: Option<Token>, inspector: InspectorRef) -> Server {
    let Some(token) = token else {
        return Server::new(InspectorDoorRef::new(Open { inspector }));
    };
    let (token, threshold) = (Arc::new(token), Arc::<Threshold>::default());
    let (come, go) = (Arc::clone(&threshold), Arc::clone(&threshold));
    let door = move |peer: &Peer| {
        let (token, threshold) = (Arc::clone(&token), Arc::clone(&threshold));
        InspectorDoorRef::new(Locked { token, threshold, peer: peer.number(), inspector: inspector.clone() })
    };
    Server::for_each_peer(door)
        .on_connected(move |peer, broker| come.come(peer.number(), broker))
        .on_disconnected(move |peer, _| go.leave(peer.number()))
}

/// Where nobody is asked for a token: the socket's mode keeps others out.
#[derive(Referenceable)]
#[referenceable(crate = pb_core)]
struct Open {
    inspector: InspectorRef,
}

impl InspectorDoor for Open {
    async fn enter(&self, _: String) -> Result<InspectorRef, InspectError> {
        Ok(self.inspector.clone())
    }
}

/// The door of one connection.
#[derive(Referenceable)]
#[referenceable(crate = pb_core)]
struct Locked {
    token: Arc<Token>,
    threshold: Arc<Threshold>,
    peer: u64,
    inspector: InspectorRef,
}

impl InspectorDoor for Locked {
    async fn enter(&self, token: String) -> Result<InspectorRef, InspectError> {
        if !self.token.is(&token) {
            // Whoever guesses has time.
            tokio::time::sleep(WRONG).await;
            return Err(InspectError::Token);
        }
        self.threshold.leave(self.peer);
        Ok(self.inspector.clone())
    }
}

/// Connections that have not said the token, by their numbers: the first has waited longest.
#[derive(Default)]
struct Threshold(Mutex<BTreeMap<u64, Waits>>);

struct Waits {
    broker: Broker,
    timer: AbortHandle,
}

impl Threshold {
    fn come(self: &Arc<Self>, peer: u64, broker: &Broker) {
        let this = Arc::clone(self);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            this.send_away(peer, LATE);
        });
        let waits = Waits { broker: broker.clone(), timer: timer.abort_handle() };
        let longest = {
            let mut all = self.lock();
            all.insert(peer, waits);
            all.first_key_value().filter(|_| all.len() > MOST).map(|(peer, _)| *peer)
        };
        if let Some(longest) = longest {
            self.send_away(longest, CROWDED);
        }
    }

    fn send_away(&self, peer: u64, why: &str) {
        if let Some(waits) = self.take(peer) {
            waits.broker.close_saying(why);
            waits.timer.abort();
        }
    }

    /// He has come in, or gone.
    fn leave(&self, peer: u64) {
        if let Some(waits) = self.take(peer) {
            waits.timer.abort();
        }
    }

    fn take(&self, peer: u64) -> Option<Waits> {
        self.lock().remove(&peer)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waits>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LATE: &str = "the inspector has not been told its token within 5 s";
const CROWDED: &str = "too many are connected to the inspector who have not told its token";
/// How long who says a wrong token waits for the answer.
const WRONG: Duration = Duration::from_millis(200);
/// How long the token may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who may be connected without having told it: few of the inspector's connections, so that nobody locks others out by waiting.
const MOST: usize = 16;
