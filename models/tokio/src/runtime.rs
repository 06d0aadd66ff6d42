//! There is always a runtime: the model's.

use std::future::Future;

use super::task::{JoinHandle, spawn};

/// The model.
#[derive(Clone, Debug)]
pub struct Handle(());

/// Never met.
#[derive(Debug)]
pub struct TryCurrentError(());

/// What is known of the runtime.
#[derive(Debug)]
pub struct RuntimeMetrics(());

impl RuntimeMetrics {
    /// The model has one thread.
    pub fn num_workers(&self) -> usize {
        1
    }
}

impl Handle {
    /// What is known of it.
    pub fn metrics(&self) -> RuntimeMetrics {
        RuntimeMetrics(())
    }

    /// The model.
    ///
    /// # Errors
    /// None.
    pub fn try_current() -> Result<Self, TryCurrentError> {
        Ok(Handle(()))
    }

    /// Runs a task beside the caller.
    pub fn spawn<F: Future<Output: Send + 'static> + Send + 'static>(
        &self,
        task: F,
    ) -> JoinHandle<F::Output> {
        spawn(task)
    }
}
