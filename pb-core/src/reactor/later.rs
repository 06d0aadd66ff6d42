//! Calls at a later time, one after another in the order of their times.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

type Job = Box<dyn FnOnce() + Send>;

/// A call that [`Reactor::call_later`](super::Reactor::call_later) has put off. Dropping this changes nothing.
///
/// Twisted: `DelayedCall` (internet/base.py).
#[derive(Clone)]
pub struct DelayedCall {
    calls: Arc<Calls>,
    id: u64,
}

/// All calls of a reactor that have not come yet. What was put off to the same time runs in the order in which it was.
#[derive(Default)]
pub(super) struct Calls {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    jobs: BTreeMap<(Instant, u64), Job>,
    times: HashMap<u64, Instant>,
    next: u64,
    /// A task runs them.
    served: bool,
    /// The reactor has stopped: nothing is called any more.
    stopped: bool,
}

impl DelayedCall {
    /// Takes it back. Says whether it had not been called, nor taken back, before.
    pub fn cancel(&self) -> bool {
        let job = self.calls.waiting.lock().remove(self.id);
        // The user's closure is dropped out here.
        job.is_some()
    }

    /// Calls it in `delay` from now instead. Says whether it had not been called, nor taken back, before: else nothing happens.
    pub fn reset(&self, delay: Duration) -> bool {
        self.put_off(|_| after(Instant::now(), delay))
    }

    /// Calls it `delay` later than it would be. Says what [`DelayedCall::reset`] says.
    pub fn delay(&self, delay: Duration) -> bool {
        self.put_off(|time| after(time, delay))
    }

    /// Whether it is still to be called.
    pub fn is_active(&self) -> bool {
        self.calls.waiting.lock().times.contains_key(&self.id)
    }

    fn put_off(&self, until: impl FnOnce(Instant) -> Instant) -> bool {
        let mut waiting = self.calls.waiting.lock();
        let Some(time) = waiting.times.get(&self.id).copied() else { return false };
        let Some(job) = waiting.remove(self.id) else { return false };
        waiting.insert(self.id, until(time), job);
        self.calls.changed.notify_one();
        true
    }
}

impl Waiting {
    fn insert(&mut self, id: u64, time: Instant, job: Job) {
        self.times.insert(id, time);
        self.jobs.insert((time, id), job);
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        let time = self.times.remove(&id)?;
        self.jobs.remove(&(time, id))
    }
}

impl Calls {
    pub(super) fn call_later(self: &Arc<Self>, delay: Duration, job: Job) -> DelayedCall {
        let time = after(Instant::now(), delay);
        let mut refused = None;
        let (id, serve) = {
            let mut waiting = self.waiting.lock();
            let id = waiting.next;
            waiting.next += 1;
            if waiting.stopped {
                refused = Some(job);
                (id, false)
            } else {
                waiting.insert(id, time, job);
                (id, !std::mem::replace(&mut waiting.served, true))
            }
        };
        drop(refused);
        if serve {
            tokio::spawn(serve_calls(Arc::clone(self)));
        }
        self.changed.notify_one();
        DelayedCall { calls: Arc::clone(self), id }
    }

    /// Takes all of them back, and whatever is still put off.
    pub(super) fn stop(&self) {
        let jobs = {
            let mut waiting = self.waiting.lock();
            waiting.stopped = true;
            waiting.times.clear();
            std::mem::take(&mut waiting.jobs)
        };
        drop(jobs);
        self.changed.notify_one();
    }

    /// What is due, or when something will be; nothing where nothing waits, and whoever asked is no longer the one who serves.
    fn next(&self) -> Option<Result<Job, Instant>> {
        let mut waiting = self.waiting.lock();
        let Some((time, id)) = waiting.jobs.keys().next().copied() else {
            waiting.served = false;
            return None;
        };
        if time > Instant::now() {
            return Some(Err(time));
        }
        waiting.remove(id).map(Ok)
    }
}

/// Lets the next call find another task when this one goes with its runtime.
struct Serving {
    calls: Arc<Calls>,
    /// Under the lock that found nothing it was said so already: another may serve by now.
    done: bool,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.done {
            self.calls.waiting.lock().served = false;
        }
    }
}

async fn serve_calls(calls: Arc<Calls>) {
    let mut serving = Serving { calls, done: false };
    while let Some(next) = serving.calls.next() {
        match next {
            Ok(job) => {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a call that was put off has panicked");
                }
                tokio::task::yield_now().await;
            }
            Err(time) => tokio::select! {
                () = sleep_until(time) => {}
                () = serving.calls.changed.notified() => {}
            },
        }
    }
    serving.done = true;
}

/// `delay` from `time`, or as far away as can be said.
fn after(time: Instant, delay: Duration) -> Instant {
    time.checked_add(delay).unwrap_or_else(|| time + FAR)
}

/// A century, in which no call comes.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
