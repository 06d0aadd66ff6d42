//! Stopping in good order: what is done before, while and after everything closes.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;

use super::hub::Stage;
use super::{Lost, Reactor};

/// When a shutdown trigger runs.
///
/// Twisted: the phases of `addSystemEventTrigger` for the event `"shutdown"` (internet/base.py).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// While everything still works: ports accept, connections go on, calls that were put off come.
    Before,
    /// Ports are closed, and connections close once what they had written has left.
    During,
    /// No connection is left, and every protocol has heard so.
    After,
}

/// Why [`Reactor::run`] has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// [`Reactor::stop`] was called.
    Asked,
    /// The process was told to end: `SIGINT` (Ctrl-C) or `SIGTERM`.
    Signalled(Signal),
    /// It was told so a second time, and did not wait any longer.
    Forced(Signal),
}

/// What a process is told to end by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// `SIGINT`, or Ctrl-C.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
}

type Trigger = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

#[derive(Default)]
pub(super) struct Triggers {
    waiting: BTreeMap<(Phase, u64), Trigger>,
    next: u64,
}

impl Triggers {
    pub(super) fn add(&mut self, phase: Phase, trigger: Trigger) -> u64 {
        let id = self.next;
        self.next += 1;
        self.waiting.insert((phase, id), trigger);
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Trigger> {
        let phases = [Phase::Before, Phase::During, Phase::After];
        phases.into_iter().find_map(|phase| self.waiting.remove(&(phase, id)))
    }

    fn first(&mut self, phase: Phase) -> Option<Trigger> {
        let key = *self.waiting.range((phase, 0)..=(phase, u64::MAX)).next()?.0;
        self.waiting.remove(&key)
    }
}

impl Reactor {
    /// Asks the reactor to stop; [`Reactor::run`] does so. It can't be taken back.
    pub fn stop(&self) {
        self.inner.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Running;
            if first {
                *stage = Stage::Asked;
            }
            first
        });
    }

    /// Waits until the reactor is asked to stop, or the process is told to end by `SIGINT` or `SIGTERM`, and stops in good order: triggers
    /// of [`Phase::Before`]; then ports close, and connections do, as [`Transport::lose_connection`](super::Transport::lose_connection)
    /// would, with the reason [`Lost::Shutdown`], and attempts to connect fail; triggers of [`Phase::During`]; after 10 s at most, what is
    /// left is aborted; triggers of [`Phase::After`]. A second signal ends the waiting at once: what is open then ends with the runtime.
    ///
    /// The signals are heard from the call on, also before the future is polled: whoever tells others that the program is there calls this first. They
    /// are the reactor's from then on, also when it has stopped: their default is gone for the life of the process. Where they
    /// cannot be had, it goes on without.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future stops the stopping: what has begun to close goes on closing.
    pub fn run(&self) -> impl Future<Output = Stopped> + Send + '_ {
        let mut signals = Signals::new();
        async move {
            let reason = tokio::select! {
                () = self.asked() => Stopped::Asked,
                signal = signals.next() => Stopped::Signalled(signal),
            };
            self.stop();
            tokio::select! {
                () = self.shut_down() => reason,
                signal = signals.next() => Stopped::Forced(signal),
            }
        }
    }

    /// The same without signals, for programs that handle them otherwise.
    ///
    /// # Cancel safety
    /// As [`Reactor::run`].
    pub async fn run_without_signals(&self) {
        self.asked().await;
        self.shut_down().await;
    }

    async fn asked(&self) {
        self.wait_for(Stage::Asked).await;
    }

    /// Waits until it has come so far.
    pub(super) async fn wait_for(&self, stage: Stage) {
        // The sender is ours: it cannot go.
        let _ = self.inner.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    async fn shut_down(&self) {
        self.run_triggers(Phase::Before).await;
        self.inner.stage.send_replace(Stage::Closing);
        for transport in self.transports() {
            transport.end(Lost::Shutdown, true);
        }
        self.run_triggers(Phase::During).await;
        if timeout(CLOSE_TIME, self.empty()).await.is_err() {
            for transport in self.transports() {
                transport.end(Lost::Shutdown, false);
            }
            // Only a protocol that does not return holds this up.
            let _ = timeout(CLOSE_TIME, self.empty()).await;
        }
        self.stop_calls();
        self.run_triggers(Phase::After).await;
    }

    async fn run_triggers(&self, phase: Phase) {
        loop {
            let Some(trigger) = self.inner.triggers.lock().first(phase) else { return };
            let run = AssertUnwindSafe(async move { trigger().await });
            if run.catch_unwind().await.is_err() {
                tracing::error!(?phase, "a shutdown trigger has panicked");
            }
        }
    }

    async fn empty(&self) {
        let _ = self.inner.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let have = |kind| {
            signal(kind).inspect_err(|error| tracing::warn!(%error, "cannot be told of a signal")).ok()
        };
        Signals { interrupt: have(SignalKind::interrupt()), terminate: have(SignalKind::terminate()) }
    }

    async fn next(&mut self) -> Signal {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            let told = match signal {
                Some(signal) => signal.recv().await,
                None => None,
            };
            if told.is_none() {
                std::future::pending().await
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => Signal::Interrupt,
            () = one(&mut self.terminate) => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Signals
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

/// How long connections have to close before they are aborted.
const CLOSE_TIME: Duration = Duration::from_secs(10);
