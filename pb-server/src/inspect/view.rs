//! Somebody who looks at connections as they go on, for as long as his client asks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::OwnedSemaphorePermit;

use crate::guests::{Guests, Viewer};

/// A viewer that is admitted; he is dismissed when this goes, with his client's connection at the latest.
pub(super) struct View<V: Viewer + 'static> {
    pub(super) viewer: Arc<V>,
    /// The server's, and the inspector's own where they are asked for.
    of: Vec<Arc<Guests>>,
    _place: OwnedSemaphorePermit,
}

impl<V: Viewer + 'static> View<V> {
    pub(super) fn new(viewer: Arc<V>, of: Vec<Arc<Guests>>, place: OwnedSemaphorePermit) -> View<V> {
        let view = View { viewer, of, _place: place };
        let seen = view.erased();
        view.of.iter().for_each(|guests| guests.admit(&seen));
        view
    }

    fn erased(&self) -> Arc<dyn Viewer> {
        Arc::clone(&self.viewer) as Arc<dyn Viewer>
    }

    /// Waits until `take` has something, or for a while in vain. Where the inspector's own connections are looked at, asking makes something to be told of: then
    /// it rests first, so that asking does not answer itself for ever. Who fills what it takes from does so under a connection's lock, where nobody is to be woken:
    /// so this looks again and again.
    pub(super) async fn wait<T>(&self, mut take: impl FnMut(&V) -> Option<T>) -> Option<T> {
        let until = tokio::time::Instant::now() + LONGEST;
        if self.of.len() > 1 {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let taken = take(&self.viewer);
            if taken.is_some() || tokio::time::Instant::now() >= until {
                return taken;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl<V: Viewer + 'static> Drop for View<V> {
    fn drop(&mut self) {
        let seen = self.erased();
        self.of.iter().for_each(|guests| guests.dismiss(&seen));
    }
}

/// The time of day, from a clock that never goes back.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    /// Since 1970 began.
    at: Duration,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), at }
    }

    /// Microseconds since 1970 began.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.at + self.began.elapsed())
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How long who asks waits in vain.
const LONGEST: Duration = Duration::from_secs(10);
/// How much later than it happened something is told, at the most.
const PAUSE: Duration = Duration::from_millis(20);
