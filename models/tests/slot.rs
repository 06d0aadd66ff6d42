//! The answer slot: fill against poll against drop. One outcome, and whoever waits is woken.

use std::sync::{Arc, Mutex};

use pb_core::message::{Failure, FailureKind, Ran};
use pb_core::objects::{Promise, Reference};
use pb_core::{Stub, remote_interface};
use pb_models::{every_schedule, schedules};
use shuttle::future::{block_on, spawn};
use shuttle::thread;

#[remote_interface]
trait Thing {
    async fn say(&self) -> u8;
    async fn open(&self) -> ThingRef;
}

/// A reference that is about to break, and what breaks it: that fills the slots of the calls on it.
fn breaking() -> (ThingRef, Arc<Promise>) {
    let promise = Promise::new(None);
    (ThingRef::from_reference(Reference::promised(Arc::clone(&promise))), promise)
}

fn failure() -> Failure {
    Failure::new(FailureKind::Failed, Ran::No, "broken by the model")
}

#[test]
fn a_filled_slot_wakes_whoever_polls() {
    every_schedule(|| {
        let (thing, promise) = breaking();
        let call = thing.say();
        let filler = thread::spawn(move || promise.settle(Err(failure())));
        // Not to be woken would be a deadlock.
        let failed = block_on(call).expect_err("the reference broke");
        assert_eq!(failed.kind, FailureKind::Broken);
        filler.join().expect("filling does not panic");
    });
}

/// The slot is polled by one task, then by another one: the last waker given is woken.
#[test]
fn a_call_that_moves_between_tasks_wakes_the_last_one() {
    every_schedule(|| {
        let (thing, promise) = breaking();
        let mut call = thing.say();
        let filler = thread::spawn(move || promise.settle(Err(failure())));
        let first = block_on(async { futures::poll!(&mut call) });
        let failed = match first {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => block_on(spawn(call)).expect("the task runs to its end"),
        };
        assert_eq!(failed.expect_err("the reference broke").kind, FailureKind::Broken);
        filler.join().expect("filling does not panic");
    });
}

#[test]
fn a_promise_made_as_the_answer_comes_is_settled_all_the_same() {
    schedules(|| {
        let (thing, promise) = breaking();
        let opened = thing.open();
        let filler = thread::spawn(move || promise.settle(Err(failure())));
        let again = opened.promised().say();
        assert_eq!(block_on(again).expect_err("the reference broke").kind, FailureKind::Broken);
        assert!(block_on(opened).is_err());
        filler.join().expect("filling does not panic");
    });
}

/// Dropped, detached or answered: what the call held is let go in any case.
#[test]
fn a_call_dropped_as_its_answer_comes_leaves_nothing() {
    for detach in [false, true] {
        every_schedule(move || {
            let (thing, promise) = breaking();
            let held = Arc::downgrade(&promise);
            let call = Arc::new(Mutex::new(Some(thing.say())));
            drop(thing);
            let dropper = thread::spawn(move || {
                let call = call.lock().expect("nobody panics").take();
                if detach { call.into_iter().for_each(|call| call.detach()) } else { drop(call) }
            });
            promise.settle(Err(failure()));
            dropper.join().expect("dropping does not panic");
            drop(promise);
            assert!(held.upgrade().is_none(), "the promise is held by what is gone");
        });
    }
}
