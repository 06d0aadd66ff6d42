//! Jobs for workers in other processes: a queue that calls objects of its clients'.

mod api;
mod queue;
mod worker;

pub use api::{
    Job, JobError, MOST_BELOW, MOST_WORKERS, Progress, ProgressRef, Queue, QueueRef, Worker, WorkerRef,
};
pub use queue::Exchange;
pub use worker::Primes;
