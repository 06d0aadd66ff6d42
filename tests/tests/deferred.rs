//! Deferreds: those that a program makes, with no network at all, and those of calls. Each module is one side of them.

#[path = "deferred/callbacks.rs"]
mod callbacks;
#[path = "deferred/calls.rs"]
mod calls;
#[path = "deferred/cancel.rs"]
mod cancel;
#[path = "deferred/executors.rs"]
mod executors;
#[path = "deferred/guide.rs"]
mod guide;
#[path = "deferred/long.rs"]
mod long;
#[path = "deferred/many.rs"]
mod many;
#[path = "deferred/settle.rs"]
mod settle;
#[path = "deferred/timeouts.rs"]
mod timeouts;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use pb_core::{Deferred, Failure, FailureKind, Ran};

/// Polls once, with a waker that nobody hears.
fn poll<T, E>(deferred: &mut Deferred<T, E>) -> Poll<Result<T, E>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

/// The result of one that has settled.
fn now<T, E>(mut deferred: Deferred<T, E>) -> Result<T, E> {
    match poll(&mut deferred) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it has not settled"),
    }
}

fn refused() -> Failure {
    Failure::new(FailureKind::Refused, Ran::No, "not you")
}

fn kind<T: std::fmt::Debug>(result: Result<T, Failure>) -> FailureKind {
    result.expect_err("it fails").kind
}

/// Counts drops.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn one(&self) -> Dropped {
        Dropped(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A panic that its test wants, without a line in the output.
fn silent_panic() -> ! {
    std::panic::resume_unwind(Box::new("wanted by the test"))
}
