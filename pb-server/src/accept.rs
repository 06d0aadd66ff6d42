//! The accept loop: one connection's trouble, or a want of descriptors, ends nothing else.

use std::io;
use std::time::Duration;

use pb_core::Broker;
use pb_core::broker::Config;
use pb_core::reactor::{Listener, Stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Connections of one listener at the same time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// What connections that drain are told.
const REASON: &str = "the server is shutting down";
/// Pause after an error of `accept`, doubled at each further one, up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until `stopped`; then ends all connections and waits for them.
pub(crate) async fn run(
    mut listener: Listener,
    config: impl Fn() -> Config,
    mut stopped: watch::Receiver<Stop>,
) {
    let mut connections = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    let for_all = stopped.clone();
    loop {
        let full = connections.len() >= MAX_CONNECTIONS;
        tokio::select! {
            _ = told_to_stop(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    connections.spawn(serve(stream, config(), for_all.clone()));
                }
                Err(error) if is_ones_own(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept a connection");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends or the server does.
async fn serve(stream: Stream, config: Config, mut stopped: watch::Receiver<Stop>) {
    let peer = stream.peer().to_owned();
    let opened = tokio::select! {
        biased;
        opened = Broker::open(stream, config) => opened,
        // Who has not greeted yet may have called already, but nothing has run.
        _ = told_to_stop(&mut stopped) => return,
    };
    let broker = match opened {
        Ok(broker) => Closing(broker),
        Err(failure) => return tracing::debug!(peer, %failure, "no connection"),
    };
    tokio::select! {
        reason = broker.0.closed() => tracing::debug!(peer, %reason, "connection ended"),
        until = told_to_stop(&mut stopped) => {
            match until {
                Some(until) => broker.0.leave(until.saturating_duration_since(Instant::now()), REASON).await,
                None => broker.0.close(),
            }
            broker.0.finished().await;
        }
    }
}

/// Whether a server goes on, or how it ends.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// Connections have until then to finish.
    Drain(Instant),
    /// At once.
    Now,
}

/// Closes the connection when its task goes, also when the server is dropped in the middle.
struct Closing(Broker);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits until the server is told to stop, or is gone. Says until when connections may finish, if they may.
async fn told_to_stop(stopped: &mut watch::Receiver<Stop>) -> Option<Instant> {
    match stopped.wait_for(|stopped| !matches!(stopped, Stop::No)).await.as_deref() {
        Ok(Stop::Drain(until)) => Some(*until),
        _ => None,
    }
}

/// Whether the error is of one connection that went before it was accepted: the next one may be well.
fn is_ones_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
