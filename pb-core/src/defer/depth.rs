//! How deep what one thing sets off may nest: a callback that resolves the next Deferred, a canceller that drops another one, a closure that
//! holds what it never got to use.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Calls within calls, at the most. Chains may be of any length; a stack is not.
const MAX_DEPTH: usize = 16;

type Job = Box<dyn FnOnce()>;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What was met too deep, for whoever entered first.
    static LATER: RefCell<VecDeque<Job>> = const { RefCell::new(VecDeque::new()) };
}

/// Does `job` now; or, where that would be too deep, on the same thread before the first of those calls returns. A panic in it ends it alone.
pub(super) fn run(job: impl FnOnce() + 'static) {
    // As a thread ends nothing is kept for later any more.
    let Ok(depth) = DEPTH.try_with(Cell::get) else { return quietly(job) };
    if depth >= MAX_DEPTH {
        let mut job = Some(job);
        let kept = LATER.try_with(|later| {
            later.borrow_mut().extend(job.take().map(|job| Box::new(job) as Job));
        });
        if kept.is_ok() {
            return;
        }
        return job.into_iter().for_each(quietly);
    }
    step(1);
    quietly(job);
    if depth == 0 {
        while let Some(job) = next() {
            quietly(job);
        }
    }
    step(-1);
}

fn step(by: isize) {
    let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_add_signed(by)));
}

fn next() -> Option<Job> {
    LATER.try_with(|later| later.borrow_mut().pop_front()).ok().flatten()
}

/// Does what may run anybody's code, and survives its panic.
pub fn quietly(job: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        drop_quietly(panic);
    }
}

/// Drops what may run a user's `Drop`, and survives its panic.
pub fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// Wakes a task, whose executor may be anybody's.
pub(super) fn wake_quietly(waker: Option<Waker>) {
    if let Some(waker) = waker {
        quietly(|| waker.wake());
    }
}
