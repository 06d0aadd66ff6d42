//! Tasks are shuttle's.

use std::cell::Cell;
use std::future::Future;

pub use shuttle::future::{AbortHandle, JoinHandle, yield_now};

/// Runs a task beside the caller.
pub fn spawn<F: Future<Output: Send + 'static> + Send + 'static>(task: F) -> JoinHandle<F::Output> {
    let running = Running::new();
    shuttle::future::spawn(async move {
        let _running = running;
        task.await
    })
}

/// The same: nothing here counts what a task does in a turn.
pub fn unconstrained<F>(future: F) -> F {
    future
}

/// How many tasks have not ended. A model must not end before they have: shuttle would drop them in the middle of what they hold.
pub fn running() -> usize {
    RUNNING.get()
}

thread_local! {
    /// All of a model runs on one thread of the system's.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

struct Running(());

impl Running {
    fn new() -> Self {
        RUNNING.set(RUNNING.get() + 1);
        Running(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}
