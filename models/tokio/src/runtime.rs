//! There is always a runtime: the model's.

use std::future::Future;

use super::task::{JoinHandle, spawn};

/// The model.
#[derive(Clone, Debug)]
pub struct Handle(());

/// Never met.
#[derive(Debug)]
pub struct TryCurrentError(());

impl Handle {
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
