//! What references need of a runtime: somewhere to run a method that waits, and the time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

pub(crate) use crate::defer::drop_quietly;

/// A method that has started.
pub type BoxTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Stops a running method where it waits. May be called late, and from anywhere.
pub type Stop = Box<dyn FnOnce() + Send>;

/// A runtime, as references see it.
#[derive(Clone, Copy)]
pub struct Executor {
    /// Runs a task beside the caller; gives it back where no runtime is at hand.
    pub spawn: fn(BoxTask) -> Result<Stop, BoxTask>,
    /// The time.
    pub now: fn() -> Instant,
    /// Ends then.
    pub sleep_until: fn(Instant) -> BoxTask,
}

static EXECUTOR: OnceLock<Executor> = OnceLock::new();

/// Sets the process's executor. Only the first one counts.
pub fn install(executor: Executor) {
    let _ = EXECUTOR.set(executor);
}

pub(super) fn spawn(task: BoxTask) -> Result<Stop, BoxTask> {
    match EXECUTOR.get() {
        Some(executor) => (executor.spawn)(task),
        None => Err(task),
    }
}

/// The time; `None` before there is anything that could be called.
pub(super) fn now() -> Option<Instant> {
    EXECUTOR.get().map(|executor| (executor.now)())
}

/// Something that happens at a time, unless this is dropped before.
pub(super) struct Timer(Option<Stop>);

impl Timer {
    /// Does `work` then, beside everything else. Without a runtime it is never done.
    pub(super) fn start(at: Instant, work: impl FnOnce() + Send + 'static) -> Self {
        let Some(executor) = EXECUTOR.get() else { return Timer(None) };
        let sleep = (executor.sleep_until)(at);
        let task = Box::pin(async move {
            sleep.await;
            work();
        });
        Timer((executor.spawn)(task).ok())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

/// Polls a task once, here; spawns it if it waits. Returns what stops it then.
///
/// A panic ends the task and nothing else: dropping it answers its caller.
/// Where it cannot be spawned it is dropped, which answers too.
pub fn first_poll(task: BoxTask) -> Option<Stop> {
    first_poll_or(task, spawn)
}

/// The same, spawned by `spawn`.
pub fn first_poll_or(
    mut task: BoxTask,
    spawn: impl FnOnce(BoxTask) -> Result<Stop, BoxTask>,
) -> Option<Stop> {
    // One net for the poll and for the drop of a task that is done: nets are not free.
    let polled = catch_unwind(AssertUnwindSafe(move || {
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Some(task),
            Poll::Ready(()) => None,
        }
    }));
    let waiting = polled.ok().flatten()?;
    match spawn(Box::pin(Guarded(Some(waiting)))) {
        Ok(stop) => Some(stop),
        Err(task) => {
            drop_quietly(task);
            None
        }
    }
}

/// A task that a panic ends without reaching the runtime.
struct Guarded(Option<BoxTask>);

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = self.0.as_mut() else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) | Err(_) => {
                drop_quietly(self.0.take());
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop_quietly(self.0.take());
    }
}
