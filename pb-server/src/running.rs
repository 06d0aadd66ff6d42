use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pb_core::proto::LONGEST_TIME;
use pb_core::reactor::{Address, Listener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::accept;
use crate::house::House;
use crate::statistics::{Meter, Statistics};
use crate::stop::Stop;

/// A server that runs in the background. Dropping it ends the server: listeners and connections close at once. Twisted: the `Port` of a
/// `PBServerFactory` (internet/tcp.py).
#[must_use = "dropping it ends the server"]
pub struct Running {
    urls: Vec<String>,
    meter: Meter,
    stop: watch::Sender<Stop>,
    listeners: JoinSet<()>,
    inspector: Option<Box<Running>>,
}

/// How a drain has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// In good order: all connections have finished, or their time was over.
    Drained,
    /// It was told to hurry: what was still in flight has failed.
    Hurried,
}

impl Running {
    pub(crate) fn start(
        listeners: Vec<(Listener, Address)>,
        house: Arc<House>,
        meter: Meter,
        inspector: Option<Running>,
    ) -> Self {
        let (stop, stopped) = watch::channel(Stop::No);
        let mut tasks = JoinSet::new();
        let mut urls = Vec::new();
        for (listener, address) in listeners {
            let url: Arc<str> = address.to_string().into();
            urls.push(url.to_string());
            tasks.spawn(accept::run(listener, url, Arc::clone(&house), stopped.clone()));
        }
        Running { urls, meter, stop, listeners: tasks, inspector: inspector.map(Box::new) }
    }

    /// Where it listens.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The first of them.
    pub fn url(&self) -> &str {
        &self.urls[0] // A server without an address does not run.
    }

    /// Where it can be looked into, if it can ([`Server::inspect`](crate::Server::inspect)): until the last connection has ended, also while it drains.
    pub fn inspector_url(&self) -> Option<&str> {
        self.inspector.as_ref().map(|inspector| inspector.url())
    }

    /// How many are connected, and what became of the others.
    pub fn statistics(&self) -> Statistics {
        self.meter.read()
    }

    /// Reads the [`Statistics`], also while the server drains and when it has ended.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Closes the listeners and all connections at once: calls in flight fail `Disconnected`, methods that run for peers are stopped. Waits
    /// only until what was sent before has left, which a peer that does not read delays by at most 10 s.
    ///
    /// # Cancel safety
    /// Dropping the future drops the rest.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(Stop::Now);
        self.finish().await;
    }

    /// Closes the listeners, and lets each connection finish ([`Broker::leave`](pb_core::Broker::leave)): new calls on the root fail
    /// `Disconnected` and do not run, all others go on. A connection closes once its peer holds nothing of this server's and nothing is in
    /// flight, and at the latest when `time`, at most 49 days, is over. Waits until the last has closed, at most some seconds over `time` (see
    /// [`Running::shutdown`]). Who has connected and not greeted yet is turned away.
    ///
    /// # Cancel safety
    /// Dropping the future closes what is left at once, as dropping the server does.
    pub async fn drain(self, time: Duration) {
        self.drain_unless(time, std::future::pending()).await;
    }

    /// The same, unless `hurry` ends before: then everything is closed at once. What was sent has half a second to leave.
    ///
    /// # Cancel safety
    /// As [`Running::drain`].
    pub async fn drain_unless(mut self, time: Duration, hurry: impl Future<Output = ()>) -> Stopped {
        self.stop.send_replace(Stop::Drain(Instant::now() + time.min(LONGEST_TIME)));
        let mut hurry = pin!(hurry);
        tokio::select! {
            // Who hurries is heard, however much else there is to do.
            biased;
            () = &mut hurry => {}
            () = self.finish() => return Stopped::Drained,
        }
        self.stop.send_replace(Stop::Now);
        let _ = timeout(LAST_WORDS, self.finish()).await;
        Stopped::Hurried
    }

    pub(crate) async fn forever(mut self) {
        self.finish().await;
    }

    async fn finish(&mut self) {
        while self.listeners.join_next().await.is_some() {}
    }
}
/// How long what was sent may take to leave where somebody hurries.
const LAST_WORDS: Duration = Duration::from_millis(500);
