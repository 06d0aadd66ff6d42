//! What the three programs share: the queue, those who ask it, and those who work for it.

use pb_server::remote_interface;
use serde::{Deserialize, Serialize};

/// Hands jobs to workers.
#[remote_interface]
pub trait Queue {
    /// Has the next free worker do a job, and answers with what came out. Who drops the call takes the job back.
    async fn run(&self, job: Job, progress: ProgressRef) -> Result<u64, JobError>;
    /// Offers a worker. It gets one job at a time, for as long as its connection lasts.
    async fn join(&self, worker: WorkerRef) -> Result<(), JobError>;
}

/// Does jobs: an object of a client's, called by the queue.
#[remote_interface]
pub trait Worker {
    /// Counts the primes. Done twice it is as if done once, so another worker may get a job that was lost.
    #[remote(idempotent)]
    async fn work(&self, job: Job, progress: ProgressRef) -> Result<u64, JobError>;
}

/// Is told how far a job is: an object of whoever wants it done.
#[remote_interface]
pub trait Progress {
    /// So much is done.
    #[remote(oneway)]
    async fn reached(&self, percent: u8);
}

/// How many primes are there?
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Job {
    /// Below this number.
    pub below: u64,
}

/// Why a job has no outcome.
#[derive(Serialize, Deserialize, thiserror::Error, PartialEq, Eq, Debug)]
pub enum JobError {
    /// The worker does not take it.
    #[error("a worker counts the primes below {MOST_BELOW} at the most, not those below {below}")]
    TooLarge {
        /// What the job asked for.
        below: u64,
    },
    /// The queue does not take the worker.
    #[error("{MOST_WORKERS} workers are waiting already")]
    Full,
    /// The worker did not answer, and is not gone either.
    #[error("the worker failed: {0}")]
    Failed(String),
}

/// The largest job.
pub const MOST_BELOW: u64 = 1_000_000;
/// Workers that may wait for jobs.
pub const MOST_WORKERS: usize = 100;
