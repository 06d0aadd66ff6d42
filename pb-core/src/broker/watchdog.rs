//! Tells when a connection's reading task was held up by what it ran.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts the times.
#[derive(Default)]
pub(super) struct Watchdog(AtomicU64);

impl Watchdog {
    /// What a batch of `peer`'s frames, read at `from`, led to is done.
    pub(super) fn is_done(&self, peer: &str, from: Instant, now: Instant) {
        let took = now.saturating_duration_since(from);
        if took >= HELD_UP {
            self.0.fetch_add(1, Ordering::Relaxed);
            let seconds = took.as_secs_f64();
            tracing::debug!(peer, seconds, "a method has held up its connection: it blocks its thread");
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Nothing that waits as it should takes this long.
const HELD_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_counts_and_less_does_not() {
        let (watchdog, from) = (Watchdog::default(), Instant::now());
        watchdog.is_done("somebody", from, from);
        watchdog.is_done("somebody", from + HELD_UP, from);
        watchdog.is_done("somebody", from, from + HELD_UP - Duration::from_millis(1));
        assert_eq!(watchdog.count(), 0);
        watchdog.is_done("somebody", from, from + HELD_UP);
        watchdog.is_done("somebody", from, from + 100 * HELD_UP);
        assert_eq!(watchdog.count(), 2);
    }
}
