//! A Deferred and its Resolver.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;
use pb_core::defer::Settlement;
use pb_core::{CallError, Deferred, DeferredExt, Failure, FailureKind, Ran, Resolver};

use crate::{Dropped, Drops, kind, now, poll, refused, silent_panic};

#[test]
fn a_resolver_gives_its_deferred_the_value_or_the_error_before_and_after_it_is_awaited() {
    let (resolver, mut deferred) = Deferred::<u32>::new();
    assert!(poll(&mut deferred).is_pending());
    assert_eq!(resolver.resolve(1), Settlement::Settled);
    assert_eq!(now(deferred), Ok(1));

    let (resolver, deferred) = Deferred::<u32>::new();
    assert_eq!(resolver.reject(refused()), Settlement::Settled);
    assert_eq!(now(deferred), Err(refused()));

    for result in [Ok(1), Err(refused())] {
        let (resolver, deferred) = Deferred::<u32>::new();
        let waiting = thread::spawn(|| block_on(deferred));
        assert_eq!(resolver.settle(result.clone()), Settlement::Settled);
        assert_eq!(waiting.join().expect("awaiting does not panic"), result);
    }
}

#[test]
fn what_has_a_result_from_the_beginning_gives_it() {
    assert_eq!(now(Deferred::<u32>::succeed(1)), Ok(1));
    assert_eq!(now(Deferred::<u32>::fail(refused())), Err(refused()));
    assert_eq!(now(Deferred::<u32>::from_future(async { Ok(1) })), Ok(1));
}

#[test]
fn a_dropped_resolver_is_a_failure_and_wakes_whoever_waits() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let waiting = thread::spawn(|| block_on(deferred));
    drop(resolver);
    let failure = waiting.join().expect("awaiting does not panic").expect_err("nobody resolved it");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Internal, Ran::Maybe));
    assert!(failure.message.contains("dropped the Resolver"), "{failure}");
}

#[test]
fn a_resolver_that_goes_with_a_panicking_thread_is_a_failure() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let worker = thread::spawn(move || {
        let _resolver = resolver;
        silent_panic()
    });
    assert!(worker.join().is_err());
    assert_eq!(kind(now(deferred)), FailureKind::Internal);
}

#[test]
fn what_comes_after_the_deferred_was_dropped_or_cancelled_is_given_back() {
    let (resolver, deferred) = Deferred::<u32>::new();
    drop(deferred);
    assert!(resolver.is_cancelled());
    assert_eq!(resolver.resolve(1), Settlement::Late(1));

    let (resolver, deferred) = Deferred::<u32>::new();
    drop(deferred);
    assert_eq!(resolver.reject(refused()), Settlement::Late(refused()));

    let (resolver, deferred) = Deferred::<u32>::new();
    Deferred::cancel(&deferred);
    assert!(resolver.is_cancelled());
    assert_eq!(resolver.settle(Ok(1)), Settlement::Late(Ok(1)));
    assert_eq!(kind(now(deferred)), FailureKind::Cancelled);

    let (resolver, deferred) = Deferred::<u32>::new();
    drop(deferred);
    let Settlement::Late(other) = resolver.follow(Deferred::succeed(7)) else { panic!("nobody wants it") };
    assert_eq!(now(other), Ok(7));
}

#[test]
fn a_resolver_waits_until_nobody_wants_its_result() {
    for cancel in [false, true] {
        let (mut resolver, deferred) = Deferred::<u32>::new();
        assert!(!resolver.is_cancelled());
        let worker = thread::spawn(move || {
            block_on(resolver.cancelled());
            // A second look learns the same.
            block_on(resolver.cancelled());
            resolver.is_cancelled()
        });
        if cancel {
            Deferred::cancel(&deferred);
            assert_eq!(kind(now(deferred)), FailureKind::Cancelled);
        } else {
            drop(deferred);
        }
        assert!(worker.join().expect("the worker does not panic"));
    }
}

#[test]
fn a_detached_deferred_is_not_cancelled_and_its_result_is_dropped() {
    let drops = Drops::default();
    let (resolver, deferred) = Deferred::<Dropped>::new();
    deferred.detach();
    assert!(!resolver.is_cancelled());
    assert!(matches!(resolver.resolve(drops.one()), Settlement::Settled));
    assert_eq!(drops.count(), 1);

    let (resolver, deferred) = Deferred::<_>::new();
    assert!(matches!(resolver.resolve(drops.one()), Settlement::Settled));
    deferred.detach();
    assert_eq!(drops.count(), 2, "it had come already");
}

#[test]
fn a_detached_deferred_whose_resolver_is_dropped_leaves_nothing() {
    let drops = Drops::default();
    let (resolver, deferred) = Deferred::<u32>::new();
    let held = drops.one();
    deferred.add_both(move |result| result.map(|_| drop(held))).detach();
    drop(resolver);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_deferred_that_follows_another_has_its_result() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (inner, other) = Deferred::new();
    assert!(matches!(resolver.follow(other), Settlement::Settled));
    let waiting = thread::spawn(|| block_on(deferred));
    assert_eq!(inner.resolve(3), Settlement::Settled);
    assert_eq!(waiting.join().expect("awaiting does not panic"), Ok(3));

    // It was polled before, and hears of it.
    let (resolver, deferred) = Deferred::<u32>::new();
    let waiting = thread::spawn(|| block_on(deferred));
    resolver.follow(Deferred::succeed(4));
    assert_eq!(waiting.join().expect("awaiting does not panic"), Ok(4));
}

#[test]
fn dropping_or_cancelling_what_follows_cancels_what_is_followed() {
    for polled in [false, true] {
        for dropped in [false, true] {
            let (resolver, mut deferred) = Deferred::<u32>::new();
            let (inner, other) = Deferred::new();
            resolver.follow(other);
            if polled {
                assert!(poll(&mut deferred).is_pending());
            }
            if dropped {
                drop(deferred);
            } else {
                Deferred::cancel(&deferred);
                assert_eq!(kind(now(deferred)), FailureKind::Cancelled);
            }
            assert!(inner.is_cancelled());
        }
    }
}

#[test]
fn a_deferred_polled_after_its_answer_panics_and_says_so() {
    let mut deferred = Deferred::<u32>::succeed(1);
    assert!(poll(&mut deferred).is_ready());
    let panic = catch_unwind(AssertUnwindSafe(|| poll(&mut deferred))).expect_err("it has answered");
    let text = panic.downcast_ref::<&str>().expect("it says why");
    assert!(text.contains("polled after it had answered"), "{text}");
}

/// An error of the program's own, of which a failure is one case.
#[derive(Debug, PartialEq)]
enum Trouble {
    Short(u32),
    Broker(FailureKind),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Broker(failure.kind)
    }
}

#[test]
fn errors_may_be_of_any_type_that_a_failure_can_be_made_into() {
    let (resolver, deferred) = Deferred::<u32, Trouble>::new();
    resolver.reject(Trouble::Short(3));
    assert_eq!(now(deferred), Err(Trouble::Short(3)));

    let (resolver, deferred) = Deferred::<u32, Trouble>::new();
    drop(resolver);
    assert_eq!(now(deferred), Err(Trouble::Broker(FailureKind::Internal)));

    let (_resolver, deferred) = Deferred::<u32, CallError<Trouble>>::new();
    Deferred::cancel(&deferred);
    assert_eq!(
        now(deferred).expect_err("cancelled").failure().map(|failure| failure.kind),
        Some(FailureKind::Cancelled)
    );
}

/// An error that cannot be made.
#[derive(Debug)]
struct Unmakable;

impl From<Failure> for Unmakable {
    fn from(_: Failure) -> Self {
        silent_panic()
    }
}

#[test]
fn an_error_that_panics_as_it_is_made_is_the_awaiters_trouble_and_nobody_elses() {
    let (resolver, deferred) = Deferred::<u32, Unmakable>::new();
    drop(resolver);
    assert!(thread::spawn(|| block_on(deferred)).join().is_err());
}

#[test]
fn a_value_that_panics_as_it_is_dropped_hurts_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            silent_panic()
        }
    }
    let (resolver, deferred) = Deferred::<Bomb>::new();
    deferred.detach();
    assert!(matches!(resolver.resolve(Bomb), Settlement::Settled));

    let (resolver, deferred) = Deferred::<Bomb>::new();
    resolver.resolve(Bomb);
    drop(deferred);
}

#[test]
fn a_deferred_and_its_resolver_may_go_to_any_thread() {
    fn goes<T: Send + Unpin + 'static>(_: &T) {}
    let (resolver, deferred) = Deferred::<mpsc::Sender<()>>::new();
    goes(&resolver);
    goes(&deferred);
    goes(&deferred.add_callback(Ok));
    fn is_shared<T: Sync>(_: &T) {}
    let (resolver, deferred): (Resolver<u32>, Deferred<u32>) = Deferred::new();
    is_shared(&resolver);
    is_shared(&deferred);
}
