//! A counter that many share, and one that stands in front of it and logs what is called.

mod api;
mod logging;
mod shared;

pub use api::{Counter, CounterError, CounterRef, MOST_WATCHERS, Watcher, WatcherRef};
pub use logging::Logging;
pub use shared::Shared;
