use std::io;

use pb_core::broker::Config;
use pb_core::objects::Reference;
use pb_core::reactor::{Address, AddressError, Listener};
use pb_core::{Limits, Stub};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept;

/// Hands one root object to everyone who connects.
///
/// Twisted: `PBServerFactory` (spread/pb.py).
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    root: Reference,
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
    /// It was run without [`Server::listen`].
    #[error("the server listens nowhere: call listen() before run()")]
    Nowhere,
}

/// A server that runs in the background. Dropping it ends the server.
#[must_use = "dropping it ends the server"]
pub struct Running {
    urls: Vec<String>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

impl Server {
    /// A server of `root`, with default [`Limits`] and no address yet.
    pub fn new(root: impl Stub) -> Self {
        Server { root: root.as_reference().clone(), limits: Limits::default(), listeners: Vec::new() }
    }

    /// Sets what each peer may make this side keep.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
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
        let (stop, stopped) = watch::channel(false);
        let mut listeners = JoinSet::new();
        for (listener, _) in self.listeners {
            let (root, limits) = (self.root.clone(), self.limits);
            let config = move || Config { root: Some(root.clone()), limits, stays: true };
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

    /// Closes the listeners and all connections, and waits until the last has ended.
    ///
    /// # Cancel safety
    /// Dropping the future drops the rest.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
    }
}
