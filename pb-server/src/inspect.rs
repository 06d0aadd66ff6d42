//! Looking into a running server: [`Server::inspect`](crate::Server::inspect) publishes it, the tool `pb` uses it, and any program can, by the stubs here.
//!
//! It is off unless a server is told where; it listens on a socket of its own, apart from the server's; and it shows what the tables know, and those fields of objects
//! that are marked `#[inspect]`.

mod api;
mod door;
mod events;
mod frames;
mod grants;
mod ids;
mod query;
pub mod recording;
mod rows;
mod server;
mod snapshot;
mod token;
mod types;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use pb_core::Limits;
use pb_core::reactor::{Address, Listener};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use api::*;
pub(crate) use grants::Grants;
pub use grants::Inspect;
use server::Looking;
use token::Token;
pub use token::TokenError;
pub use types::short_type;

use crate::capacity::Capacity;
use crate::guests::Guests;
use crate::house::House;
use crate::running::Running;
use crate::server::Server;
use crate::statistics::Meter;

/// Why a server cannot be looked into there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectAtError {
    /// It could be reached from elsewhere.
    #[error(
        "an inspector is not served at {address}: give it unix://PATH, or tcp://127.0.0.1:PORT with a token's file"
    )]
    NotPrivate {
        /// The address.
        address: String,
    },
    /// Everybody on this machine could connect.
    #[error(
        "an inspector at {address} wants a token, for whoever is on this machine can connect there: name a file for it with `Inspect::token_file`"
    )]
    NoToken {
        /// The address.
        address: String,
    },
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// An inspector that listens, and does not serve yet.
pub(crate) struct Waiting {
    listener: Listener,
    token: Option<Token>,
    grants: Grants,
}

impl Waiting {
    pub(crate) fn new(listener: Listener, token: Option<Token>, grants: Grants) -> Waiting {
        Waiting { listener, token, grants }
    }

    /// Serves it: a server of its own.
    pub(crate) fn start(self, house: &House, listens: Vec<String>, meter: &Meter) -> Option<Running> {
        let own: Arc<Guests> = Arc::default();
        house.guests.keep_ends();
        let looking = Looking {
            guests: Arc::clone(&house.guests),
            own: Arc::clone(&own),
            names: house.names.clone(),
            root: house.roots.one().cloned(),
            meter: meter.clone(),
            grants: self.grants,
            listens,
            since: Instant::now(),
            ids: Arc::default(),
            lists: Semaphore::new(1),
            readers: Arc::new(Semaphore::new(READERS)),
            viewers: Arc::new(Semaphore::new(MOST_VIEWERS)),
        };
        let limits = if self.token.is_some() { Limits::before_login() } else { Limits::default() };
        // What is called through it may answer as much as anybody is answered.
        let Limits { budget, frame_bytes, .. } = Limits::default();
        // Who looks in does not compete with those who are looked at.
        let limits = Limits { budget, frame_bytes, busy_wait: std::time::Duration::ZERO, ..limits };
        let capacity =
            Capacity { connections: MOST_CONNECTIONS, greeting: MOST_CONNECTIONS, ..Capacity::default() };
        let door = door::serve(self.token, InspectorRef::new(looking));
        let server = door.limits(limits).capacity(capacity).seen_by(own);
        // Its listener was bound before, so nothing should be wrong with it; the server itself goes on without.
        let started = server.adopt(self.listener).and_then(Server::spawn);
        started.inspect_err(|error| tracing::error!(%error, "the inspector does not listen")).ok()
    }
}

/// Looks at the address and the token before anything is bound.
///
/// # Errors
/// It could be reached by others.
pub(crate) fn check(at: &Inspect, address: &Address) -> Result<Option<Token>, InspectAtError> {
    let local = match address {
        Address::Unix(_) | Address::Mem(_) => true,
        Address::Tcp(to) => {
            let host = to.rsplit_once(':').map_or(to.as_str(), |(host, _)| host).trim_matches(['[', ']']);
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    };
    if !local {
        return Err(InspectAtError::NotPrivate { address: at.address.clone() });
    }
    match (&at.token, address) {
        (Some(path), _) => Ok(Some(Token::read(path)?)),
        (None, Address::Tcp(_)) => Err(InspectAtError::NoToken { address: at.address.clone() }),
        (None, _) => Ok(None),
    }
}

/// Connections of an inspector at the same time.
const MOST_CONNECTIONS: usize = 64;
/// Those that watch or record at the same time: each keeps some megabytes at the most.
const MOST_VIEWERS: usize = 16;
/// Objects whose fields are read at the same time.
const READERS: usize = 4;
