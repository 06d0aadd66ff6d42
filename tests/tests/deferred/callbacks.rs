//! Callbacks and errbacks.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use futures::executor::block_on;
use pb_core::{CallError, Deferred, DeferredExt, Failure, FailureKind, Ran, Resolver};

use crate::{Drops, kind, now, poll, refused, silent_panic};

/// Twisted's picture: a result goes down two columns, and changes between them.
#[test]
fn values_go_to_callbacks_and_failures_to_errbacks_in_the_order_in_which_they_were_added() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move || seen.lock().expect("nobody panics").push(name)
    };
    let (first, second, third, fourth, fifth, sixth) = (
        note("1 value"),
        note("2 failure"),
        note("3 value"),
        note("4 failure"),
        note("5 value"),
        note("6 both"),
    );
    let (resolver, deferred) = Deferred::<u32>::new();
    let deferred = deferred
        .add_callback(move |n| {
            first();
            Ok(n + 1)
        })
        .add_errback(move |failure| {
            second();
            Err(failure)
        })
        .add_callback(move |n| {
            third();
            if n == 2 { Err(refused()) } else { Ok(n) }
        })
        .add_errback(move |_| {
            fourth();
            Ok(10)
        })
        .add_callback(move |n| {
            fifth();
            Ok(n * 2)
        })
        .add_both(move |result: Result<u32, Failure>| {
            sixth();
            result.map(|n| n.to_string())
        });
    assert!(seen.lock().expect("nobody panics").is_empty());
    resolver.resolve(1);
    assert_eq!(now(deferred).as_deref(), Ok("20"));
    assert_eq!(
        *seen.lock().expect("nobody panics"),
        ["1 value", "3 value", "4 failure", "5 value", "6 both"]
    );
}

#[test]
fn of_two_callbacks_added_at_once_the_second_does_not_see_what_the_first_fails_with() {
    let fails = Deferred::<u32>::succeed(1).add_callbacks(|_| Err::<u32, _>(refused()), |_| Ok(2));
    assert_eq!(kind(now(fails)), FailureKind::Refused);
    let recovers = Deferred::<u32>::fail(refused()).add_callbacks(|n| Ok(n + 1), |_| Deferred::succeed(2));
    assert_eq!(now(recovers), Ok(2));
}

#[test]
fn a_callback_may_return_a_deferred_and_what_comes_behind_waits_for_it() {
    let (outer, deferred) = Deferred::<u32>::new();
    let (inner, waited_for) = Deferred::<u32>::new();
    let mut deferred = deferred.add_callback(|_| waited_for).add_callback(|n| Ok(n + 1));
    outer.resolve(0);
    assert!(poll(&mut deferred).is_pending());
    inner.resolve(41);
    assert_eq!(now(deferred), Ok(42));
}

#[test]
fn a_callback_may_be_asynchronous_by_way_of_a_future() {
    let (resolver, inner) = Deferred::<u32>::new();
    let deferred = Deferred::<u32>::succeed(1)
        .add_callback(|n| Deferred::from_future(async move { Ok(inner.await? + n) }));
    let waiting = thread::spawn(|| block_on(deferred));
    resolver.resolve(41);
    assert_eq!(waiting.join().expect("awaiting does not panic"), Ok(42));
}

#[test]
fn the_errors_type_may_change_where_both_are_taken() {
    let deferred: Deferred<u32, CallError<String>> = Deferred::<u32>::fail(refused())
        .add_both(|result| result.map_err(CallError::from))
        .add_errback(|error| Err(CallError::App(error.to_string())));
    assert_eq!(now(deferred), Err(CallError::App("not you".to_owned())));
}

#[test]
fn a_panic_in_a_callback_is_a_failure_without_its_text_and_errbacks_see_it() {
    let seen = Deferred::<u32>::succeed(1).add_callback(|_| -> Result<u32, Failure> { silent_panic() });
    let failure = now(seen).expect_err("it panicked");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Internal, Ran::Yes));
    assert!(!failure.message.contains("wanted"), "{failure}");

    let recovered = Deferred::<u32>::succeed(1)
        .add_callback(|_| -> Result<u32, Failure> { silent_panic() })
        .add_errback(|failure| if failure.kind == FailureKind::Internal { Ok(7) } else { Err(failure) });
    assert_eq!(now(recovered), Ok(7));

    let future = Deferred::<u32>::from_future(async { silent_panic() });
    assert_eq!(kind(now(future)), FailureKind::Internal);
}

#[test]
fn a_panic_in_a_detached_callback_does_not_reach_whoever_resolves() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (told, outcome) = Deferred::<u32>::new();
    deferred
        .add_callback(|_| -> Result<u32, Failure> { silent_panic() })
        .add_both(|result| {
            told.settle(result);
            Ok::<_, Failure>(())
        })
        .detach();
    resolver.resolve(1);
    assert_eq!(kind(now(outcome)), FailureKind::Internal);
}

#[test]
fn callbacks_of_what_is_dropped_are_dropped_and_not_run() {
    let drops = Drops::default();
    let (resolver, deferred) = Deferred::<u32>::new();
    let held = drops.one();
    let deferred = deferred.add_callback(move |n| {
        drop(held);
        assert_eq!(n, 0, "it must not run");
        Ok(n)
    });
    assert_eq!(drops.count(), 0);
    drop(deferred);
    assert_eq!(drops.count(), 1);
    assert!(resolver.is_cancelled());
}

/// The thread that a callback runs on.
fn runs_on(deferred: Deferred<u32>) -> (Deferred<u32>, Arc<Mutex<Option<ThreadId>>>) {
    let thread = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&thread);
    let deferred = deferred.add_callback(move |n| {
        *noted.lock().expect("nobody panics") = Some(thread::current().id());
        Ok(n)
    });
    (deferred, thread)
}

fn resolve_elsewhere(resolver: Resolver<u32>) -> ThreadId {
    let other = thread::spawn(move || {
        resolver.resolve(1);
        thread::current().id()
    });
    other.join().expect("resolving does not panic")
}

#[test]
fn a_callback_runs_where_it_is_awaited() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (deferred, thread) = runs_on(deferred);
    resolve_elsewhere(resolver);
    assert_eq!(*thread.lock().expect("nobody panics"), None);
    assert_eq!(block_on(deferred), Ok(1));
    assert_eq!(*thread.lock().expect("nobody panics"), Some(thread::current().id()));
}

#[test]
fn a_callback_of_what_was_detached_runs_where_it_is_resolved_or_at_once_where_it_was() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (deferred, thread) = runs_on(deferred);
    deferred.detach();
    let other = resolve_elsewhere(resolver);
    assert_eq!(*thread.lock().expect("nobody panics"), Some(other));

    let (resolver, deferred) = Deferred::<u32>::new();
    resolve_elsewhere(resolver);
    let (deferred, thread) = runs_on(deferred);
    deferred.detach();
    assert_eq!(*thread.lock().expect("nobody panics"), Some(thread::current().id()));
}

/// Under a lock of ours each of these would wait for itself.
#[test]
fn callbacks_cancellers_and_drops_run_under_no_lock() {
    // A callback of a detached Deferred settles, asks, cancels and drops others, and ends what wakes it.
    let (resolver, deferred) = Deferred::<u32>::new();
    let (other, also) = Deferred::<u32>::new();
    let (third, watched) = Deferred::<u32>::with_canceller(move || {
        other.resolve(5);
        None
    });
    deferred
        .add_callback(move |n| {
            Deferred::cancel(&watched);
            drop(watched);
            assert!(third.is_cancelled());
            drop(third);
            Ok(n)
        })
        .detach();
    resolver.resolve(1);
    assert_eq!(now(also), Ok(5));

    // The drop of a value resolves another one.
    struct Last(Option<Resolver<u32>>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.take().expect("dropped once").resolve(9);
        }
    }
    let (outer, held) = Deferred::<Last>::new();
    let (inner, told) = Deferred::<u32>::new();
    held.detach();
    outer.resolve(Last(Some(inner)));
    assert_eq!(now(told), Ok(9));
}

#[test]
fn what_a_callback_has_used_is_gone_before_the_next_one_runs() {
    let drops = Drops::default();
    let (value, seen) = (drops.one(), drops.clone());
    let deferred = Deferred::<_>::succeed(value)
        .add_callback(|value| {
            drop(value);
            Ok(())
        })
        .add_callback(move |()| Ok(seen.count()));
    assert_eq!(now(deferred), Ok(1));
}
