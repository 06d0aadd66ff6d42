//! There is always a runtime: the model's.

use std::future::Future;

use super::task::{JoinHandle, spawn};

/// The model.
#[derive(Clone, Debug)]
pub struct Handle(());

/// Never met.
#[derive(Debug)]
pub struct TryCurrentError(());

/// What kind of runtime there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeFlavor {
    /// The model is one.
    CurrentThread,
    /// Never met.
    MultiThread,
}

impl Handle {
    /// The model has one thread.
    pub fn runtime_flavor(&self) -> RuntimeFlavor {
        RuntimeFlavor::CurrentThread
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
