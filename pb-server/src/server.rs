use std::io;
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::objects::Reference;
use pb_core::reactor::{Address, AddressError, Listener};
use pb_core::{Limits, NameError, Names, Stub};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::accept::{self, Stop};

/// Hands one root object to everyone who connects.
///
/// Twisted: `PBServerFactory` (spread/pb.py).
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    root: Reference,
    names: Names,
    limits: Limits,
    listeners: Vec<(Listener, Address)>,
}

/// Why a server does not serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system does not let it listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// Something cannot be published.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It was run without [`Server::listen`].
    #[error("the server listens nowhere: call listen() before run()")]
    Nowhere,
}

/// A server that runs in the background. Dropping it ends the server.
#[must_use = "dropping it ends the server"]
pub struct Running {
    urls: Vec<String>,
    stop: watch::Sender<Stop>,
    listeners: JoinSet<()>,
}

impl Server {
    /// A server of `root`, with default [`Limits`] and no address yet.
    pub fn new(root: impl Stub) -> Self {
        Server {
            root: root.as_reference().clone(),
            names: Names::default(),
            limits: Limits::default(),
            listeners: Vec::new(),
        }
    }

    /// Sets what each peer may make this side keep.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives `object` to every peer that asks for `name` ([`Broker::named`](pb_core::Broker::named)), beside the root.
    ///
    /// # Errors
    /// [`ServeError::Name`]: a name has 1 to 256 bytes, no control characters, and is published once.
    pub fn publish(self, name: &str, object: &impl Stub) -> Result<Self, ServeError> {
        self.names.publish(name, object)?;
        Ok(self)
    }

    /// What is published, to publish and withdraw while the server runs.
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// Listens at `tcp://HOST:PORT` (port 0 takes a free one) or `mem://NAME`, beside the addresses it has already. Connections are
    /// accepted once it runs.
    ///
    /// # Errors
    /// [`ServeError`]; the server is gone with all its listeners.
    ///
    /// # Cancel safety
    /// Dropping the future drops the server.
    pub async fn listen(mut self, address: &str) -> Result<Self, ServeError> {
        let address: Address = address.parse()?;
        match Listener::bind(&address).await.and_then(|listener| Ok((listener.address()?, listener))) {
            Ok((bound, listener)) => self.listeners.push((listener, bound)),
            Err(source) => return Err(ServeError::Listen { address, source }),
        }
        Ok(self)
    }

    /// Where it listens, with the ports that it took.
    pub fn urls(&self) -> Vec<String> {
        self.listeners.iter().map(|(_, address)| address.to_string()).collect()
    }

    /// Serves until the future is dropped; connections end with it.
    ///
    /// # Errors
    /// [`ServeError::Nowhere`]. What fails for one connection ends that connection only.
    ///
    /// # Cancel safety
    /// Dropping the future closes the listeners and all connections.
    pub async fn run(self) -> Result<(), ServeError> {
        let mut running = self.spawn()?;
        while running.listeners.join_next().await.is_some() {}
        Ok(())
    }

    /// Serves in the background, in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Nowhere`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(self) -> Result<Running, ServeError> {
        if self.listeners.is_empty() {
            return Err(ServeError::Nowhere);
        }
        let urls = self.urls();
        let (stop, stopped) = watch::channel(Stop::No);
        let mut listeners = JoinSet::new();
        for (listener, _) in self.listeners {
            let (root, names, limits) = (self.root.clone(), self.names.clone(), self.limits);
            let config = move || Config {
                root: Some(root.clone()),
                names: names.clone(),
                limits,
                stays: true,
                ..Config::default()
            };
            listeners.spawn(accept::run(listener, config, stopped.clone()));
        }
        Ok(Running { urls, stop, listeners })
    }
}

impl Running {
    /// Where it listens.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The first of them.
    pub fn url(&self) -> &str {
        &self.urls[0] // A server without an address does not run.
    }

    /// Closes the listeners and all connections at once: calls in flight fail `Disconnected`, methods that run for peers are stopped. Waits
    /// only until what was sent before has left, which a peer that does not read delays by at most 10 s.
    ///
    /// # Cancel safety
    /// Dropping the future drops the rest.
    pub async fn shutdown(self) {
        self.end(Stop::Now).await;
    }

    /// Closes the listeners, and lets each connection finish ([`Broker::leave`](pb_core::Broker::leave)): new calls on the root fail
    /// `Disconnected` and do not run, all others go on. A connection closes once its peer holds nothing of this server's and nothing is in
    /// flight, and at the latest when `time` is over. Waits until the last has closed, at most some seconds over `time` (see
    /// [`Running::shutdown`]). Who has connected and not greeted yet is turned away.
    ///
    /// # Cancel safety
    /// Dropping the future closes what is left at once, as dropping the server does.
    pub async fn drain(self, time: Duration) {
        self.end(Stop::Drain(Instant::now() + time.min(LONGEST))).await;
    }

    async fn end(mut self, stop: Stop) {
        self.stop.send_replace(stop);
        while self.listeners.join_next().await.is_some() {}
    }
}

/// Longest time for a drain that is told apart: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
