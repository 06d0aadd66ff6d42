//! The accept loop: one connection's trouble, or a want of descriptors, ends nothing else.

use std::io;
use std::time::Duration;

use pb_core::Broker;
use pb_core::broker::Config;
use pb_core::reactor::{Listener, Stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Connections of one listener at the same time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Pause after an error of `accept`, doubled at each further one, up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until `stopped`; then ends all connections and waits for them.
pub(crate) async fn run(
    mut listener: Listener,
    config: impl Fn() -> Config,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    let for_all = stopped.clone();
    loop {
        let full = connections.len() >= MAX_CONNECTIONS;
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
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
async fn serve(stream: Stream, config: Config, mut stopped: watch::Receiver<bool>) {
    let peer = stream.peer().to_owned();
    let broker = match Broker::open(stream, config).await {
        Ok(broker) => Closing(broker),
        Err(failure) => return tracing::debug!(peer, %failure, "no connection"),
    };
    tokio::select! {
        reason = broker.0.closed() => tracing::debug!(peer, %reason, "connection ended"),
        () = told_to_stop(&mut stopped) => {
            broker.0.close();
            broker.0.finished().await;
        }
    }
}

/// Closes the connection when its task goes, also when the server is dropped in the middle.
struct Closing(Broker);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits until the server is told to stop, or is gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Whether the error is of one connection that went before it was accepted: the next one may be well.
fn is_ones_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
