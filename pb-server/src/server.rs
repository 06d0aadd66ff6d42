use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::Lanes;
use pb_core::reactor::{Address, AddressError, ListenOptions, Listener};
use pb_core::{Broker, Limits, NameError, Names, Stub};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::capacity::{Capacity, Crowd};
use crate::guests::Guests;
use crate::hooks::{Ended, Hooks};
use crate::house::{House, Roots};
use crate::inspect::{self, Inspect, InspectAtError, Waiting};
use crate::peer::Peer;
use crate::running::{Running, Stopped};
use crate::signals::Signals;
use crate::statistics::{Counters, Meter};

/// Hands a root object to everyone who connects.
///
/// Twisted: `PBServerFactory` (spread/pb.py).
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    roots: Roots,
    names: Names,
    limits: Limits,
    capacity: Capacity,
    hooks: Hooks,
    counters: Arc<Counters>,
    listeners: Vec<(Listener, Address)>,
    guests: Arc<Guests>,
    inspector: Option<Waiting>,
}

/// Why a server does not serve. `{:?}` is the sentence too, for that is what a `main` that returns it prints.
#[derive(Error)]
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
    /// A socket that was handed in does not listen, or is of a kind that is not served.
    #[error("cannot listen on a socket that was handed in: {0}")]
    HandedIn(#[source] io::Error),
    /// No sockets were handed in.
    #[error("no socket was handed to this process: LISTEN_FDS says so, or LISTEN_PID names another one")]
    NothingHandedIn,
    /// Something cannot be published.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It was run without [`Server::listen`].
    #[error("the server listens nowhere: call listen() before run()")]
    Nowhere,
    /// It cannot be looked into there.
    #[error(transparent)]
    Inspect(#[from] InspectAtError),
    /// The system does not tell of signals.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Server {
    /// A server of `root`, the same for everybody, with default [`Limits`] and [`Capacity`] and no address yet.
    pub fn new(root: impl Stub) -> Self {
        Server::of(Roots::One(root.as_reference().clone()))
    }

    /// A server that makes each peer a root of its own, which goes with the connection.
    ///
    /// `make` is called once for each connection that is let in, when the peer has not said anything yet, in a task of the
    /// connection's own: it may take its time, but must not wait. A root that is only known later is a promise: `Deferred::from_future(…).promised()`. Where it panics its connection is refused, and the server goes on.
    pub fn for_each_peer<S: Stub>(make: impl Fn(&Peer) -> S + Send + Sync + 'static) -> Self {
        Server::of(Roots::Each(Box::new(move |peer| make(peer).as_reference().clone())))
    }

    fn of(roots: Roots) -> Self {
        Server {
            roots,
            names: Names::default(),
            limits: Limits::default(),
            capacity: Capacity::default(),
            hooks: Hooks::default(),
            counters: Arc::default(),
            listeners: Vec::new(),
            guests: Arc::default(),
            inspector: None,
        }
    }

    /// Sets what each peer may make this side keep.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many peers there may be.
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
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

    /// Lets `hook` know of each peer whose hello has come. It runs in the connection's task, which goes on when it returns: calls of the peer's may run
    /// already. A peer that is gone by then is not told of. A panic in it is logged and changes nothing. Several hooks are called in their order.
    ///
    /// The [`Broker`] is this side's end of the connection: to end it, to ask for its tables, or to call the root that the peer may have.
    pub fn on_connected(mut self, hook: impl Fn(&Peer, &Broker) + Send + Sync + 'static) -> Self {
        self.hooks.connected.push(Box::new(hook));
        self
    }

    /// Lets `hook` know of the end of each connection that the hooks of [`Server::on_connected`] were told of: once, whatever ended it, the server's
    /// own end included.
    pub fn on_disconnected(mut self, hook: impl Fn(&Peer, &Ended) + Send + Sync + 'static) -> Self {
        self.hooks.disconnected.push(Box::new(hook));
        self
    }

    /// Listens at `tcp://HOST:PORT` (port 0 takes a free one), `unix://PATH` (with mode 600: only this user may connect; its directory must be there) or `mem://NAME`, beside the
    /// addresses it has already. Connections are accepted once it runs.
    ///
    /// # Errors
    /// [`ServeError`]; the server is gone with all its listeners.
    ///
    /// # Cancel safety
    /// Dropping the future drops the server.
    pub async fn listen(self, address: &str) -> Result<Self, ServeError> {
        self.listen_with(address, &ListenOptions::default()).await
    }

    /// The same with options: the mode of a socket in the file system.
    ///
    /// # Errors
    /// As [`Server::listen`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the server.
    pub async fn listen_with(self, address: &str, options: &ListenOptions) -> Result<Self, ServeError> {
        let address: Address = address.parse()?;
        match Listener::bind_with(&address, options).await {
            Ok(listener) => self.adopt(listener),
            Err(source) => Err(ServeError::Listen { address, source }),
        }
    }

    /// Listens with a listener that is there already, beside the addresses it has: one that a parent process or a service manager handed in
    /// ([`Listener::from_tcp`], [`Listener::from_unix`]).
    ///
    /// # Errors
    /// [`ServeError::HandedIn`] where the system does not say what it listens at; the server is gone with all its listeners.
    pub fn adopt(mut self, listener: Listener) -> Result<Self, ServeError> {
        let address = listener.address().map_err(ServeError::HandedIn)?;
        self.listeners.push((listener, address));
        Ok(self)
    }

    /// Lets the server be looked into, by the tool `pb` and by whoever has the stubs of [`inspect`](crate::inspect): on a socket of its own, which is no other
    /// than of this user or this machine. Said again it replaces what was said before.
    ///
    /// # Errors
    /// [`ServeError::Inspect`] where others could reach it, or there is no token; [`ServeError::Address`], [`ServeError::Listen`]. The server is gone with all its
    /// listeners.
    ///
    /// # Cancel safety
    /// Dropping the future drops the server.
    pub async fn inspect(mut self, at: Inspect) -> Result<Self, ServeError> {
        let address: Address = at.address.parse()?;
        let token = inspect::check(&at, &address)?;
        self.inspector = None;
        match Listener::bind_with(&address, &ListenOptions::default()).await {
            Ok(listener) => self.inspector = Some(Waiting::new(listener, token, at.grants)),
            Err(source) => return Err(ServeError::Listen { address, source }),
        }
        Ok(self)
    }

    /// Lets those who have this see who is connected.
    pub(crate) fn seen_by(mut self, guests: Arc<Guests>) -> Self {
        self.guests = guests;
        self
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
        self.spawn()?.forever().await;
        Ok(())
    }

    /// Serves until the process is told to end, by SIGTERM or SIGINT (where there are no such signals, by Ctrl-C), and then drains as [`Running::drain`] does,
    /// for at most `drain`: calls in flight finish. A second signal ends it at once. Says which it was, and leaves the process' end to the program.
    ///
    /// From when this is first polled these signals do not end the process by themselves any more, not even when it has returned.
    ///
    /// # Errors
    /// [`ServeError::Nowhere`], [`ServeError::Signals`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the listeners and all connections.
    pub async fn run_until_signal(self, drain: Duration) -> Result<Stopped, ServeError> {
        let mut signals = Signals::new().map_err(ServeError::Signals)?;
        let running = self.spawn()?;
        let signal = signals.next().await;
        tracing::info!(signal, drain_ms = drain.as_millis(), "draining");
        let stopped = running
            .drain_unless(drain, async {
                signals.next().await;
            })
            .await;
        tracing::info!(?stopped, "the server has ended");
        Ok(stopped)
    }

    /// Serves in the background, in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Nowhere`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(self) -> Result<Running, ServeError> {
        let Server { roots, names, limits, capacity, hooks, counters, listeners, guests, inspector } = self;
        if listeners.is_empty() {
            return Err(ServeError::Nowhere);
        }
        let crowd = Crowd::new(capacity);
        let meter = Meter::new(Arc::clone(&counters), Arc::clone(&crowd));
        let door = Arc::new(Semaphore::new(AT_THE_DOOR));
        let lanes = Lanes::new(tokio::runtime::Handle::current().metrics().num_workers());
        let passing = Arc::new(Semaphore::new(IN_PASSING));
        let house =
            Arc::new(House { roots, names, limits, hooks, crowd, counters, door, passing, lanes, guests });
        let urls = listeners.iter().map(|(_, address)| address.to_string()).collect();
        let inspector = inspector.and_then(|waiting| waiting.start(&house, urls, &meter));
        Ok(Running::start(listeners, house, meter, inspector))
    }
}

/// Peers that are told at the same time that there is no room, and waited for until they have read it, up to a second. A flood of them must not take the descriptors that others need: more are
/// told in passing, whose sockets close in a moment.
const AT_THE_DOOR: usize = 64;
/// Those who are told in passing. As few are accepted in a millisecond, so many are there only where the threads are kept from their work: one more is closed without a word then.
const IN_PASSING: usize = 256;
