//! Settle against queue: what waits for a promise goes in its order, and nothing is lost.

use std::sync::{Arc, Mutex};

use pb_core::message::{Failure, FailureKind, Ran};
use pb_core::objects::{Promise, Queued, Reference};
use pb_models::every_schedule;
use shuttle::thread;

type Log = Arc<Mutex<Vec<(u8, u8)>>>;

/// A call that notes where it went.
struct Noted(Log, u8, u8);

impl Queued for Noted {
    fn is_given_up(&self) -> bool {
        false
    }

    fn go(self: Box<Self>, _: Result<&Reference, &Failure>) {
        self.0.lock().expect("nobody panics").push((self.1, self.2));
    }
}

fn failure() -> Failure {
    Failure::new(FailureKind::Failed, Ran::No, "settled by the model")
}

/// Calls of one caller, one behind the other, wherever the promise is by then.
fn call(promise: &Promise, log: &Log, caller: u8, calls: u8) {
    for number in 1..=calls {
        if let Err((call, to)) = promise.queue(Box::new(Noted(Arc::clone(log), caller, number))) {
            call.go(to.as_ref());
        }
    }
}

/// What came is as many calls of each caller as it made, in their order.
fn assert_whole(log: &Log, callers: &[u8]) {
    let log = log.lock().expect("nobody panics");
    for (caller, calls) in (0..).zip(callers) {
        let numbers: Vec<_> = log.iter().filter(|(of, _)| *of == caller).map(|(_, number)| *number).collect();
        assert_eq!(numbers, (1..=*calls).collect::<Vec<_>>(), "calls of {caller} in {log:?}");
    }
}

#[test]
fn calls_of_each_caller_go_once_and_in_order() {
    let count = every_schedule(|| {
        let (promise, log) = (Promise::new(None), Log::default());
        let callers: Vec<_> = [(0, 2), (1, 1)]
            .map(|(caller, calls)| {
                let (promise, log) = (Arc::clone(&promise), Arc::clone(&log));
                thread::spawn(move || call(&promise, &log, caller, calls))
            })
            .into();
        promise.settle(Err(failure()));
        callers.into_iter().for_each(|caller| caller.join().expect("a caller does not panic"));
        assert_whole(&log, &[2, 1]);
        assert!(promise.settled().is_some());
    });
    assert!(count > 100, "{count} schedules");
}

#[test]
fn of_two_settlements_the_first_counts_for_everybody() {
    let count = every_schedule(|| {
        let (promise, log) = (Promise::new(None), Log::default());
        let settler = {
            let promise = Arc::clone(&promise);
            thread::spawn(move || promise.settle(Err(failure())))
        };
        let caller = {
            let (promise, log) = (Arc::clone(&promise), Arc::clone(&log));
            thread::spawn(move || call(&promise, &log, 0, 2))
        };
        promise.settle(Err(failure()));
        settler.join().expect("settling does not panic");
        caller.join().expect("a caller does not panic");
        assert_whole(&log, &[2]);
    });
    assert!(count > 100, "{count} schedules");
}

/// Each caller lets go behind its call, in whatever order: who was last fails what waits.
#[test]
fn the_last_holder_fails_what_waits() {
    let count = every_schedule(|| {
        let (promise, log) = (Promise::new(None), Log::default());
        let callers: Vec<_> = [(0, 1), (1, 1)]
            .map(|(caller, calls)| {
                let (promise, log) = (Arc::clone(&promise), Arc::clone(&log));
                thread::spawn(move || call(&promise, &log, caller, calls))
            })
            .into();
        drop(promise);
        callers.into_iter().for_each(|caller| caller.join().expect("a caller does not panic"));
        assert_whole(&log, &[1, 1]);
    });
    assert!(count > 10, "{count} schedules");
}
