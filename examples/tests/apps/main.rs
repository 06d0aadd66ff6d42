//! The programs `jobs`, `counter` and `proxy`: what they are made of, over connections in memory, and the programs themselves.

mod counter;
mod jobs;
#[path = "../talk/program.rs"]
#[allow(dead_code, reason = "these have no talkers")]
mod program;
mod programs;
mod proxy;

use std::future::Future;
use std::time::Duration;

/// Ends tests that hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it does not hang")
}
