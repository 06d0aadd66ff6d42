use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::driver::drive;
use super::later::Calls;
use super::shutdown::{Phase, Triggers};
use super::{DelayedCall, Factory, Lost, Stream, Transport};

/// Listens, connects, calls later, and stops in good order: the thin face of the event loop, which is tokio. Clones are handles to the same
/// one. There may be several in a process; each stops what was begun through it.
///
/// ```
/// use pb_core::reactor::{Protocol, Reactor, Transport, for_protocol};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let reactor = Reactor::new();
/// let port = reactor.listen("tcp://127.0.0.1:0", for_protocol(|| Echo)).await?;
/// println!("listening on {}", port.address());
/// # reactor.stop();
/// reactor.run().await; // Until Ctrl-C, SIGTERM or reactor.stop().
/// # Ok::<(), pb_core::reactor::ListenError>(())
/// # }).unwrap();
/// ```
///
/// Twisted: `reactor` (internet/base.py): `listenTCP`, `connectTCP`, `callLater`, `addSystemEventTrigger`, `run`, `stop`.
#[derive(Clone)]
pub struct Reactor {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// How far it has come with stopping.
    pub(super) stage: watch::Sender<Stage>,
    connections: Mutex<Connections>,
    /// Connections, ports and attempts that are still there.
    pub(super) alive: watch::Sender<usize>,
    calls: Arc<Calls>,
    pub(super) triggers: Mutex<Triggers>,
}

/// How far a reactor has come with stopping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(super) enum Stage {
    Running,
    /// Somebody asked it to stop.
    Asked,
    /// Nothing new begins, and what is open closes.
    Closing,
}

#[derive(Default)]
struct Connections {
    open: HashMap<u64, Transport>,
    next: u64,
}

impl Default for Reactor {
    fn default() -> Self {
        Reactor::new()
    }
}

impl Reactor {
    /// A reactor with nothing in it.
    pub fn new() -> Self {
        let inner = Inner {
            stage: watch::Sender::new(Stage::Running),
            connections: Mutex::default(),
            alive: watch::Sender::new(0),
            calls: Arc::default(),
            triggers: Mutex::default(),
        };
        Reactor { inner: Arc::new(inner) }
    }

    /// Calls `job` once, in `delay` from now, unless it is taken back. Calls come one after another in the order of their times, in a task
    /// of their own: one that takes long holds up the later ones, and nothing else. A panic in one ends it only. What has not come when the
    /// reactor has stopped never does.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    pub fn call_later(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> DelayedCall {
        self.inner.calls.call_later(delay, Box::new(job))
    }

    /// Adds something to be done when the reactor stops; see [`Phase`] for when. In each phase the triggers run one after another, in the
    /// order in which they were added, each waiting for the one before. A panic in one ends it only.
    pub fn add_shutdown_trigger<T, F>(&self, phase: Phase, trigger: T) -> TriggerId
    where
        T: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let job = Box::new(move || Box::pin(trigger()) as _);
        TriggerId(self.inner.triggers.lock().add(phase, job))
    }

    /// Takes a trigger back. Says whether it was still to come.
    pub fn remove_shutdown_trigger(&self, id: TriggerId) -> bool {
        let trigger = self.inner.triggers.lock().remove(id.0);
        // The user's closure is dropped out here.
        trigger.is_some()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.inner.connections.lock().open.len()
    }

    /// Runs a protocol of `factory`'s on a stream, in a task of the current tokio runtime. Nothing where the factory refuses, or panics; the
    /// stream is closed then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn adopt(&self, stream: Stream, factory: &impl Factory) -> Option<Transport> {
        let (transport, driving) = self.begin(stream, factory).ok()?;
        tokio::spawn(driving);
        Some(transport)
    }

    /// Makes the protocol of a connection, and what runs it.
    pub(super) fn begin<F: Factory>(
        &self,
        stream: Stream,
        factory: &F,
    ) -> Result<(Transport, impl Future<Output = Lost> + Send + use<F>), Lost> {
        let built =
            catch_unwind(AssertUnwindSafe(|| (factory.build_protocol(stream.peer()), factory.settings())));
        let (protocol, settings) = match built {
            Ok((Some(protocol), settings)) => (protocol, settings),
            Ok((None, _)) => return Err(Lost::Refused),
            Err(_) => return Err(Lost::Panicked),
        };
        let transport = Transport::new(stream.peer(), settings, stream.direct());
        let open = self.register(&transport);
        // Made here, so that it hears of the end even if its task never runs.
        let driving = drive(stream, protocol, transport.clone());
        Ok((transport, async move {
            let lost = driving.await;
            drop(open);
            lost
        }))
    }

    fn register(&self, transport: &Transport) -> Open {
        let alive = Alive::new(self);
        let id = {
            let mut connections = self.inner.connections.lock();
            let id = connections.next;
            connections.next += 1;
            connections.open.insert(id, transport.clone());
            id
        };
        // Either this sees that all are closed, or whoever closes them has found it in the table.
        if *self.inner.stage.borrow() == Stage::Closing {
            transport.end(Lost::Shutdown, true);
        }
        Open { id, alive }
    }

    /// Every connection that is open now, of ports, connectors and [`Reactor::adopt`], in no order.
    pub fn transports(&self) -> Vec<Transport> {
        self.inner.connections.lock().open.values().cloned().collect()
    }

    pub(super) fn stop_calls(&self) {
        self.inner.calls.stop();
    }
}

/// A trigger that [`Reactor::add_shutdown_trigger`] has added.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TriggerId(u64);

/// One thing that a reactor waits for when it stops.
pub(super) struct Alive(Reactor);

impl Alive {
    pub(super) fn new(reactor: &Reactor) -> Self {
        reactor.inner.alive.send_modify(|alive| *alive += 1);
        Alive(reactor.clone())
    }

    pub(super) fn reactor(&self) -> &Reactor {
        &self.0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.inner.alive.send_modify(|alive| *alive -= 1);
    }
}

/// A connection's place among the open ones.
struct Open {
    id: u64,
    alive: Alive,
}

impl Drop for Open {
    fn drop(&mut self) {
        let transport = self.alive.reactor().inner.connections.lock().open.remove(&self.id);
        drop(transport);
    }
}
