//! The server's side: who is free gets the next job.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pb_server::{CallError, Failure, FailureKind, Referenceable};
use tokio::sync::Semaphore;

use super::{Job, JobError, MOST_WORKERS, ProgressRef, Queue, WorkerRef};

/// The queue. Jobs wait in their calls, in the order in which they came; workers wait here.
#[derive(Referenceable)]
pub struct Exchange {
    free: Mutex<VecDeque<WorkerRef>>,
    /// As many permits as there are free workers.
    count: Semaphore,
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange { free: Mutex::default(), count: Semaphore::new(0) }
    }
}

impl Queue for Exchange {
    async fn run(&self, job: Job, progress: ProgressRef) -> Result<u64, JobError> {
        loop {
            let mut borrowed = self.borrow().await;
            match borrowed.worker().work(job.clone(), progress.clone()).await {
                Ok(count) => return Ok(count),
                Err(CallError::App(error)) => return Err(error),
                // The job is idempotent: the next worker does it, whether or not this one has.
                Err(CallError::Broker(failure)) if is_gone(&failure) => borrowed.forget(),
                Err(CallError::Broker(failure)) => return Err(JobError::Failed(failure.to_string())),
            }
        }
    }

    async fn join(&self, worker: WorkerRef) -> Result<(), JobError> {
        if self.free().len() >= MOST_WORKERS {
            return Err(JobError::Full);
        }
        self.give_back(worker);
        Ok(())
    }
}

impl Exchange {
    async fn borrow(&self) -> Borrowed<'_> {
        self.count.acquire().await.expect("nobody closes it").forget();
        Borrowed { exchange: self, worker: self.free().pop_front() }
    }

    fn give_back(&self, worker: WorkerRef) {
        self.free().push_back(worker);
        self.count.add_permits(1);
    }

    fn free(&self) -> MutexGuard<'_, VecDeque<WorkerRef>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that has a job. It goes back when this is dropped: also where the one who asked has gone, and `run` is stopped
/// in the middle.
struct Borrowed<'a> {
    exchange: &'a Exchange,
    worker: Option<WorkerRef>,
}

impl Borrowed<'_> {
    fn worker(&self) -> &WorkerRef {
        self.worker.as_ref().expect("there are as many permits as workers")
    }

    fn forget(&mut self) {
        self.worker = None;
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.exchange.give_back(worker);
        }
    }
}

/// Whether a worker will answer no other call either.
fn is_gone(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Disconnected | FailureKind::Broken)
}
