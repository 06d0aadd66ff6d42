//! What counters, their clients and the proxy between them share.

use pb_server::{CallError, remote_interface};
use serde::{Deserialize, Serialize};

/// A number that many may change.
#[remote_interface]
pub trait Counter {
    /// Adds to it, and says what it is then.
    async fn add(&self, n: i64) -> Result<i64, CounterError>;
    /// What it is.
    async fn value(&self) -> Result<i64, CounterError>;
    /// Tells `watcher` what it is, now and after changes, for as long as the watcher is there.
    async fn watch(&self, watcher: WatcherRef) -> Result<(), CounterError>;
}

/// Somebody who wants to know what a counter is.
#[remote_interface]
pub trait Watcher {
    /// It is this now. Who is slow to answer misses what was meanwhile, and never the last.
    async fn changed(&self, value: i64);
}

/// Why a counter does not do what it is asked.
#[derive(Serialize, Deserialize, thiserror::Error, PartialEq, Eq, Debug)]
pub enum CounterError {
    /// There is no such number.
    #[error("{value} and {n} are more than a counter holds")]
    TooLarge {
        /// What the counter is.
        value: i64,
        /// What was to be added.
        n: i64,
    },
    /// There is no room.
    #[error("{MOST_WATCHERS} watch already")]
    Crowded,
    /// The counter is behind a proxy, which does not reach it.
    #[error("the counter is away: {0}")]
    Away(String),
}

/// For those whose methods call counters, as the proxy's do: `?` passes a counter's own error on, and makes one of what
/// went wrong on the way.
impl From<CallError<CounterError>> for CounterError {
    fn from(error: CallError<CounterError>) -> Self {
        match error {
            CallError::App(error) => error,
            CallError::Broker(failure) => CounterError::Away(failure.to_string()),
        }
    }
}

/// Who may watch at the same time.
pub const MOST_WATCHERS: usize = 100;
