//! Cancelling, and cancellers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use futures::executor::block_on;
use pb_core::defer::Settlement;
use pb_core::{Deferred, DeferredExt, Failure, FailureKind};

use crate::{Drops, kind, now, poll, refused, silent_panic};

/// A canceller that counts its runs, and does nothing else.
fn counting(count: &Arc<AtomicUsize>) -> impl FnOnce() -> Option<Result<u32, Failure>> + Send + 'static {
    let count = Arc::clone(count);
    move || {
        count.fetch_add(1, SeqCst);
        None
    }
}

#[test]
fn a_canceller_runs_once_and_the_deferred_fails_cancelled() {
    let count = Arc::default();
    let (resolver, deferred) = Deferred::with_canceller(counting(&count));
    Deferred::cancel(&deferred);
    Deferred::cancel(&deferred);
    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(kind(now(deferred)), FailureKind::Cancelled);
    assert_eq!(resolver.resolve(1), Settlement::Late(1));
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn dropping_a_deferred_runs_its_canceller_once() {
    let count = Arc::default();
    let (resolver, mut deferred) = Deferred::with_canceller(counting(&count));
    assert!(poll(&mut deferred).is_pending());
    drop(deferred);
    assert_eq!(count.load(SeqCst), 1);
    drop(resolver);
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn a_canceller_of_what_has_settled_is_dropped_and_not_run() {
    let drops = Drops::default();
    let held = drops.one();
    let (resolver, deferred) = Deferred::<u32>::with_canceller(move || {
        let _held = held;
        panic!("it must not run")
    });
    resolver.resolve(1);
    assert_eq!(drops.count(), 1);
    Deferred::cancel(&deferred);
    assert_eq!(now(deferred), Ok(1));
}

#[test]
fn a_canceller_that_fires_is_heard_by_whoever_waits() {
    let (_resolver, deferred) = Deferred::with_canceller(|| Some(Ok(7)));
    Deferred::<u32>::cancel(&deferred);
    assert_eq!(now(deferred), Ok(7));

    let (_resolver, deferred) = Deferred::<u32>::with_canceller(|| Some(Err(refused())));
    Deferred::cancel(&deferred);
    assert_eq!(kind(now(deferred)), FailureKind::Refused);
}

/// The operation itself, told to stop, says what it has so far: before its canceller returns.
#[test]
fn a_canceller_may_have_the_resolver_fire() {
    let parked = Arc::new(std::sync::Mutex::new(None));
    let taken = Arc::clone(&parked);
    let (resolver, deferred) = Deferred::<u32>::with_canceller(move || {
        let resolver: pb_core::Resolver<u32> = taken.lock().expect("nobody panics").take()?;
        assert!(resolver.is_cancelled());
        assert_eq!(resolver.resolve(5), Settlement::Settled);
        Some(Ok(6))
    });
    *parked.lock().expect("nobody panics") = Some(resolver);
    Deferred::cancel(&deferred);
    assert_eq!(now(deferred), Ok(5), "what came first");
}

#[test]
fn a_canceller_that_drops_the_resolver_leaves_it_cancelled() {
    let parked = Arc::new(std::sync::Mutex::new(None));
    let taken = Arc::clone(&parked);
    let (resolver, deferred) = Deferred::<u32>::with_canceller(move || {
        drop(taken.lock().expect("nobody panics").take());
        None
    });
    *parked.lock().expect("nobody panics") = Some(resolver);
    Deferred::cancel(&deferred);
    assert_eq!(kind(now(deferred)), FailureKind::Cancelled);
}

#[test]
fn a_canceller_that_panics_counts_as_one_that_does_not_fire() {
    let (_resolver, deferred) = Deferred::<u32>::with_canceller(|| silent_panic());
    Deferred::cancel(&deferred);
    assert_eq!(kind(now(deferred)), FailureKind::Cancelled);

    let (resolver, deferred) = Deferred::<u32>::with_canceller(|| silent_panic());
    drop(deferred);
    assert!(resolver.is_cancelled());
}

#[test]
fn what_a_canceller_gives_is_dropped_where_nobody_waits() {
    let drops = Drops::default();
    let value = drops.one();
    let (_resolver, deferred) = Deferred::<_>::with_canceller(move || Some(Ok(value)));
    drop(deferred);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_cancel_wakes_whoever_waits() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let shared = Arc::new(deferred.add_callback(Ok));
    // Whoever has the Deferred in pieces may cancel it while another thread looks at it.
    let other = Arc::clone(&shared);
    thread::spawn(move || Deferred::cancel(&other)).join().expect("cancelling does not panic");
    assert!(resolver.is_cancelled());
    assert_eq!(kind(block_on(Arc::into_inner(shared).expect("the thread is gone"))), FailureKind::Cancelled);
}

#[test]
fn cancelling_a_chain_cancels_what_it_waits_for_now() {
    let count = Arc::default();
    let (first, deferred) = Deferred::<u32>::new();
    let (second, inner) = Deferred::with_canceller(counting(&count));
    let mut chain = deferred.add_callback(move |_| inner).add_callback(|n| Ok(n + 1));
    first.resolve(0);
    assert!(poll(&mut chain).is_pending());
    Deferred::cancel(&chain);
    assert_eq!(count.load(SeqCst), 1);
    assert!(second.is_cancelled());
    assert_eq!(kind(now(chain)), FailureKind::Cancelled);
}

/// The first result is there, and its callback only has to be run: in Twisted it would have been.
#[test]
fn cancelling_a_chain_between_two_results_cancels_the_second() {
    for cancels in [1, 2] {
        let (first, deferred) = Deferred::<u32>::new();
        let (second, inner) = Deferred::<u32>::new();
        let chain = deferred.add_callback(move |_| inner).add_callback(|n| Ok(n + 1));
        first.resolve(0);
        for _ in 0..cancels {
            Deferred::cancel(&chain);
        }
        assert_eq!(kind(now(chain)), FailureKind::Cancelled);
        assert!(second.is_cancelled());
    }
}

#[test]
fn a_cancel_does_not_reach_what_callbacks_added_later_wait_for() {
    let (first, deferred) = Deferred::<u32>::new();
    let (second, inner) = Deferred::<u32>::new();
    first.resolve(0);
    let chain = deferred.add_callback(|n| Ok(n + 1));
    Deferred::cancel(&chain);
    let mut chain = chain.add_callback(move |_| inner);
    assert!(poll(&mut chain).is_pending());
    second.resolve(2);
    assert_eq!(now(chain), Ok(2));

    // The same where the cancelled one is what a callback returns.
    let (third, inner) = Deferred::<u32>::new();
    let cancelled = Deferred::<u32>::succeed(1).add_callback(|n| Ok(n + 1));
    Deferred::cancel(&cancelled);
    let outer = Deferred::<u32>::succeed(0).add_callback(move |_| cancelled);
    let mut outer = outer.add_callback(move |_| inner);
    assert!(poll(&mut outer).is_pending());
    third.resolve(3);
    assert_eq!(now(outer), Ok(3));

    let (fourth, inner) = Deferred::<u32>::new();
    let cancelled = Deferred::<u32>::succeed(1).add_callback(move |_| inner);
    Deferred::cancel(&cancelled);
    let outer = Deferred::<u32>::succeed(0).add_callback(move |_| cancelled).add_callback(|n| Ok(n + 1));
    assert_eq!(kind(now(outer)), FailureKind::Cancelled);
    assert!(fourth.is_cancelled());
}

#[test]
fn errbacks_see_a_cancel_and_may_recover() {
    let (_resolver, deferred) = Deferred::<u32>::new();
    let chain = deferred
        .add_errback(|failure| if failure.kind == FailureKind::Cancelled { Ok(3) } else { Err(failure) });
    Deferred::cancel(&chain);
    assert_eq!(now(chain), Ok(3));
}

#[test]
fn a_cancel_reaches_through_a_deferred_that_was_called_back_into_a_future() {
    let drops = Drops::default();
    let held = drops.one();
    let (resolver, inner) = Deferred::<u32>::new();
    let mut future = Deferred::<u32>::from_future(async move {
        let _held = held;
        inner.await
    });
    assert!(poll(&mut future).is_pending());
    Deferred::cancel(&future);
    assert_eq!(drops.count(), 1, "the future is dropped at once");
    assert!(resolver.is_cancelled());
    assert_eq!(kind(now(future)), FailureKind::Cancelled);
}

#[test]
fn a_future_that_never_ran_is_cancelled_too() {
    let drops = Drops::default();
    let held = drops.one();
    let future = Deferred::<u32>::from_future(async move {
        let _held = held;
        panic!("it must not run")
    });
    Deferred::cancel(&future);
    assert_eq!(drops.count(), 1);
    assert_eq!(kind(now(future)), FailureKind::Cancelled);
}

#[test]
fn a_callback_may_cancel_what_it_is_about_to_return() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (_inner, other) = Deferred::<u32>::new();
    let chain = deferred.add_callback(move |_| {
        Deferred::cancel(&other);
        other
    });
    resolver.resolve(1);
    assert_eq!(kind(now(chain)), FailureKind::Cancelled);
}
