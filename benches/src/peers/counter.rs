//! The objects that every peer which has any serves and passes.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that others are added to. How many are alive is counted.
pub struct Counter(i64);

impl Counter {
    /// One that begins at `first`.
    pub fn new(first: i64) -> Counter {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Counter(first)
    }

    /// Its number plus this one, wrapping.
    pub fn add(&self, number: i64) -> i64 {
        self.0.wrapping_add(number)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters alive in this process.
pub fn live() -> u64 {
    LIVE.load(Ordering::Relaxed)
}

static LIVE: AtomicU64 = AtomicU64::new(0);
