use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Who has connected to a server, as far as the connection tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    number: u64,
    address: Arc<str>,
    listener: Arc<str>,
}

impl Peer {
    pub(crate) fn new(number: u64, address: &str, listener: &Arc<str>) -> Self {
        Peer { number, address: address.into(), listener: Arc::clone(listener) }
    }

    /// Which of the server's connections this is: 1 for the first, and never the same twice.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where it comes from: `tcp://HOST:PORT`. Of `unix://` and `mem://`, whose peers have no address of their own, the listener's.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address that it connected to: one of [`Server::urls`](crate::Server::urls).
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The IP address that it comes from; nothing where it comes by `unix://` or `mem://`.
    pub fn ip(&self) -> Option<IpAddr> {
        let address: SocketAddr = self.address.strip_prefix("tcp://")?.parse().ok()?;
        Some(address.ip().to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} from {}", self.number, self.address)
    }
}
