//! The accept loop: one connection's trouble, or a want of descriptors, ends nothing else.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pb_core::reactor::{Listener, Stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::house::House;
use crate::session;
use crate::stop::{Stop, told_to_stop};

/// Pause after an error of `accept`, doubled at each further one, up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Connections that are accepted without a rest, and the rest: some thousand of them a second.
const IN_A_ROW: usize = 4;
const BREATH: Duration = Duration::from_millis(1);

/// Where connections come from.
pub(crate) trait Accept {
    fn accept(&mut self) -> impl Future<Output = io::Result<Stream>> + Send;
}

impl Accept for Listener {
    fn accept(&mut self) -> impl Future<Output = io::Result<Stream>> + Send {
        Listener::accept(self)
    }
}

/// Accepts until `stopped`; then ends all connections and waits for them.
pub(crate) async fn run(
    mut listener: impl Accept,
    url: Arc<str>,
    house: Arc<House>,
    mut stopped: watch::Receiver<Stop>,
) {
    let mut connections = JoinSet::new();
    let mut pauses = Pauses::default();
    let mut pace = Pace::default();
    let for_all = stopped.clone();
    loop {
        let resting = pauses.until.is_some_and(|until| until > Instant::now());
        tokio::select! {
            // Who is told to stop accepts nobody more, however many wait.
            biased;
            _ = told_to_stop(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            () = pauses.over(), if resting => {}
            accepted = listener.accept(), if !resting => match accepted {
                Ok(stream) => {
                    pauses = Pauses { last: None, until: pace.rest(Instant::now()) };
                    session::begin(stream, &url, &house, &for_all, &mut connections);
                    // Whoever has come is looked at before the next: those who hang up at once don't pile up.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    house.counters.accept_errors.count();
                    if !is_ones_own(&error) {
                        pauses.lengthen(&error);
                    }
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// How many were accepted in a row. Whoever connects and hangs up at once is there, with all that a connection takes, until the runtime has asked
/// the system for news and looked at him; so a short rest is due after some, which asks.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    count: usize,
}

impl Pace {
    /// One more was accepted at `now`. When the next may be, where that is not at once.
    fn rest(&mut self, now: Instant) -> Option<Instant> {
        let over = self.since.is_none_or(|since| now >= since + BREATH);
        if over {
            *self = Pace { since: Some(now), count: 0 };
        }
        self.count += 1;
        (self.count >= IN_A_ROW).then(|| {
            *self = Pace::default();
            now + BREATH
        })
    }
}

/// When the system can be asked again that could give no connection.
#[derive(Default)]
struct Pauses {
    last: Option<Duration>,
    until: Option<Instant>,
}

impl Pauses {
    fn lengthen(&mut self, error: &io::Error) {
        let pause = self.last.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        // A want that lasts is said once a second, at the most.
        tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept a connection");
        self.last = Some(pause);
        self.until = Some(Instant::now() + pause);
    }

    async fn over(&self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }
}

/// Whether the error is of one connection that went before it was accepted: the next one may be well.
fn is_ones_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
#[path = "accept/tests.rs"]
mod tests;
