use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::hub::{Alive, Stage};
use super::{Address, AddressError, ClientFactory, ConnectFailed, Lost, Reactor, Stream, Transport};

/// One address to connect to, again and again if its factory wants. Clones are handles to the same one; dropping them changes nothing.
///
/// Twisted: `Connector` (internet/base.py, internet/tcp.py).
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    reactor: Reactor,
    address: Address,
    state: Mutex<State>,
    give_up: Notify,
    /// Begins an attempt. It knows the factory, whose type is nobody's business here.
    begin: Box<dyn Fn(Connector) + Send + Sync>,
}

enum State {
    Idle,
    Connecting,
    /// It was told to give up, and has not yet.
    GivingUp,
    Connected(Transport),
}

impl Connector {
    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Connects again, in a task of the current tokio runtime. Nothing happens while it connects or is connected. This is for
    /// [`ClientFactory::connection_failed`] and [`ClientFactory::connection_lost`], or later: whoever tries again at once, for ever, keeps
    /// a machine busy.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(&self) {
        {
            let mut state = self.inner.state.lock();
            if !matches!(*state, State::Idle) {
                return;
            }
            *state = State::Connecting;
        }
        (self.inner.begin)(self.clone());
    }

    /// Gives up an attempt, or closes the connection as [`Transport::lose_connection`] does. The factory hears of it as of any other end.
    pub fn disconnect(&self) {
        let transport = {
            let mut state = self.inner.state.lock();
            match &*state {
                State::Connected(transport) => transport.clone(),
                State::Connecting => {
                    *state = State::GivingUp;
                    return self.inner.give_up.notify_one();
                }
                State::Idle | State::GivingUp => return,
            }
        };
        transport.lose_connection();
    }

    /// The connection, where there is one now.
    pub fn transport(&self) -> Option<Transport> {
        match &*self.inner.state.lock() {
            State::Connected(transport) => Some(transport.clone()),
            _ => None,
        }
    }

    fn set(&self, state: State) {
        // The transport that was there is dropped out here.
        let before = std::mem::replace(&mut *self.inner.state.lock(), state);
        drop(before);
    }

    async fn given_up(&self) {
        // A word that came too late for the attempt before is none for this one.
        while !matches!(&*self.inner.state.lock(), State::GivingUp) {
            self.inner.give_up.notified().await;
        }
    }
}

impl Reactor {
    /// Connects to `address`, in a task of the current tokio runtime, and runs a protocol of `factory`'s there. Whether it can, the factory
    /// hears.
    ///
    /// # Errors
    /// The text is no address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect<F: ClientFactory>(&self, address: &str, factory: F) -> Result<Connector, AddressError> {
        let factory = Arc::new(factory);
        let begin = move |connector: Connector| {
            let alive = Alive::new(&connector.inner.reactor);
            tokio::spawn(attempt(connector, Arc::clone(&factory), alive));
        };
        let inner = Inner {
            reactor: self.clone(),
            address: address.parse()?,
            state: Mutex::new(State::Idle),
            give_up: Notify::new(),
            begin: Box::new(begin),
        };
        let connector = Connector { inner: Arc::new(inner) };
        connector.connect();
        Ok(connector)
    }
}

/// One attempt, and the connection that comes of it.
async fn attempt<F: ClientFactory>(connector: Connector, factory: Arc<F>, alive: Alive) {
    let begun = catch_unwind(AssertUnwindSafe(|| {
        factory.started_connecting(&connector);
        factory.connect_timeout()
    }));
    match reach(&connector, begun.unwrap_or(CONNECT_TIME)).await {
        Err(failed) => {
            connector.set(State::Idle);
            factory.connection_failed(&connector, &failed);
        }
        Ok(stream) => {
            let lost = live(&connector, stream, &*factory).await;
            connector.set(State::Idle);
            factory.connection_lost(&connector, &lost);
        }
    }
    drop(alive);
}

async fn reach(connector: &Connector, time: Duration) -> Result<Stream, ConnectFailed> {
    let unreachable = |error: io::Error| ConnectFailed::Unreachable(Arc::new(error));
    tokio::select! {
        biased;
        () = connector.inner.reactor.wait_for(Stage::Closing) => Err(ConnectFailed::Shutdown),
        () = connector.given_up() => Err(ConnectFailed::GaveUp),
        connected = timeout(time, Stream::connect(&connector.inner.address)) => match connected {
            Err(_) => Err(ConnectFailed::TimedOut(time)),
            Ok(connected) => connected.map_err(unreachable),
        },
    }
}

async fn live<F: ClientFactory>(connector: &Connector, stream: Stream, factory: &F) -> Lost {
    let (transport, driving) = match connector.inner.reactor.begin(stream, factory) {
        Ok(begun) => begun,
        Err(lost) => return lost,
    };
    let give_up = {
        let mut state = connector.inner.state.lock();
        matches!(std::mem::replace(&mut *state, State::Connected(transport.clone())), State::GivingUp)
    };
    if give_up {
        transport.lose_connection();
    }
    driving.await
}

/// How long an attempt may take whose factory panicked instead of saying so.
const CONNECT_TIME: Duration = Duration::from_secs(30);
