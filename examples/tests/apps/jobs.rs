use std::sync::Arc;
use std::sync::Mutex;

use pb_examples::jobs::{
    Exchange, Job, JobError, MOST_BELOW, MOST_WORKERS, Primes, Progress, ProgressRef, QueueRef, Worker,
    WorkerRef,
};
use pb_server::{CallError, Referenceable, pair};
use tokio::sync::{Notify, mpsc};

use crate::soon;

/// Remembers how far a job was.
#[derive(Default, Referenceable)]
struct Heard(Mutex<Vec<u8>>);

impl Progress for Heard {
    async fn reached(&self, percent: u8) {
        self.0.lock().unwrap().push(percent);
    }
}

fn deaf() -> ProgressRef {
    ProgressRef::new(Heard::default())
}

/// Never ends, says when it starts, and when it is stopped.
#[derive(Referenceable)]
struct Endless {
    started: Notify,
    stopped: mpsc::UnboundedSender<()>,
}

impl Endless {
    fn new() -> (Arc<Endless>, mpsc::UnboundedReceiver<()>) {
        let (stopped, stops) = mpsc::unbounded_channel();
        (Arc::new(Endless { started: Notify::new(), stopped }), stops)
    }
}

struct Stopped<'a>(&'a Endless);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _ = self.0.stopped.send(());
    }
}

impl Worker for Endless {
    async fn work(&self, job: Job, _: ProgressRef) -> Result<u64, JobError> {
        if job.below == 0 {
            return Ok(0);
        }
        let _stopped = Stopped(self);
        self.started.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_job_is_done_by_another_clients_object_and_who_asked_hears_how_far_it_is() {
    let queue = QueueRef::new(Exchange::default());
    let (_serving, worker) = pair(queue.clone()).await;
    let (_serving, asker) = pair(queue).await;
    soon(worker.root::<QueueRef>().join(WorkerRef::new(Primes))).await.unwrap();
    let heard = Arc::new(Heard::default());
    let job = asker.root::<QueueRef>().run(Job { below: 10_000 }, ProgressRef::new(Arc::clone(&heard)));
    assert_eq!(soon(job).await, Ok(1229));
    // They came before the answer, each by way of the queue's process.
    assert_eq!(*heard.0.lock().unwrap(), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
}

#[tokio::test]
async fn a_job_whose_worker_is_lost_in_the_middle_is_done_by_the_next() {
    let queue = QueueRef::new(Exchange::default());
    let (_serving, mortal) = pair(queue.clone()).await;
    let (_serving, worker) = pair(queue.clone()).await;
    let (endless, _stops) = Endless::new();
    soon(mortal.root::<QueueRef>().join(WorkerRef::new(Arc::clone(&endless)))).await.unwrap();
    let job = queue.run(Job { below: 100 }, deaf());
    soon(endless.started.notified()).await;
    mortal.close();
    soon(worker.root::<QueueRef>().join(WorkerRef::new(Primes))).await.unwrap();
    assert_eq!(soon(job).await, Ok(25));
}

#[tokio::test]
async fn a_worker_that_left_while_it_was_idle_gets_no_job() {
    let queue = QueueRef::new(Exchange::default());
    let (_serving, mortal) = pair(queue.clone()).await;
    soon(mortal.root::<QueueRef>().join(WorkerRef::new(Primes))).await.unwrap();
    mortal.close();
    soon(queue.join(WorkerRef::new(Primes))).await.unwrap();
    assert_eq!(soon(queue.run(Job { below: 100 }, deaf())).await, Ok(25));
}

#[tokio::test]
async fn a_job_that_is_taken_back_is_stopped_and_its_worker_gets_the_next_one() {
    let queue = QueueRef::new(Exchange::default());
    let (_serving, worker) = pair(queue.clone()).await;
    let (_serving, asker) = pair(queue.clone()).await;
    let (endless, mut stops) = Endless::new();
    soon(worker.root::<QueueRef>().join(WorkerRef::new(Arc::clone(&endless)))).await.unwrap();
    let job = asker.root::<QueueRef>().run(Job { below: 1 }, deaf());
    soon(endless.started.notified()).await;
    drop(job);
    soon(stops.recv()).await.expect("it is stopped");
    assert_eq!(soon(queue.run(Job { below: 0 }, deaf())).await, Ok(0));
}

#[tokio::test]
async fn a_workers_own_error_reaches_who_asked_as_it_is() {
    let (_serving, client) = pair(QueueRef::new(Exchange::default())).await;
    let queue: QueueRef = client.root();
    soon(queue.join(WorkerRef::new(Primes))).await.unwrap();
    for below in [MOST_BELOW + 1, u64::MAX] {
        let failed = soon(queue.run(Job { below }, deaf())).await;
        assert_eq!(failed, Err(CallError::App(JobError::TooLarge { below })));
    }
    assert_eq!(soon(queue.run(Job { below: 0 }, deaf())).await, Ok(0), "the worker is there");
}

#[tokio::test]
async fn workers_over_the_bound_are_refused() {
    let queue = QueueRef::new(Exchange::default());
    for _ in 0..MOST_WORKERS {
        soon(queue.join(WorkerRef::new(Primes))).await.unwrap();
    }
    assert_eq!(soon(queue.join(WorkerRef::new(Primes))).await, Err(CallError::App(JobError::Full)));
    assert_eq!(soon(queue.run(Job { below: 3 }, deaf())).await, Ok(1));
}
