//! Timeouts: the timer is whatever future is given, for Deferreds know no clock.

use std::time::Duration;

use pb_core::{Deferred, DeferredExt, Failure, FailureKind, Ran, Resolver};

use crate::{Drops, kind, now, poll, silent_panic};

/// A timer that ends when the test says so.
fn timer() -> (Resolver<()>, impl Future<Output = ()> + Send + 'static) {
    let (ring, rung) = Deferred::<()>::new();
    (ring, async move { rung.await.expect("the timer is rung") })
}

#[test]
fn what_comes_in_time_is_not_touched_and_lets_its_timer_go() {
    let (ring, timer) = timer();
    let (resolver, deferred) = Deferred::<u32>::new();
    let mut deferred = deferred.add_timeout(timer);
    assert!(poll(&mut deferred).is_pending());
    resolver.resolve(1);
    assert!(poll(&mut deferred).is_ready());
    assert!(ring.is_cancelled());
}

#[test]
fn what_comes_too_late_fails_and_is_cancelled() {
    let (ring, timer) = timer();
    let (resolver, deferred) = Deferred::<u32>::new();
    let mut deferred = deferred.add_timeout(timer);
    assert!(poll(&mut deferred).is_pending());
    ring.resolve(());
    let failure = now(deferred).expect_err("the time is over");
    assert_eq!((failure.kind, failure.ran), (FailureKind::DeadlineExceeded, Ran::Maybe));
    assert!(resolver.is_cancelled());
}

#[test]
fn where_both_are_there_the_value_counts() {
    let deferred = Deferred::<u32>::succeed(1).add_timeout(std::future::ready(()));
    assert_eq!(now(deferred), Ok(1));
}

#[test]
fn a_canceller_that_fires_at_the_end_of_the_time_is_heard() {
    let (_resolver, deferred) = Deferred::<u32>::with_canceller(|| Some(Ok(7)));
    assert_eq!(now(deferred.add_timeout(std::future::ready(()))), Ok(7));
}

#[test]
fn errbacks_on_either_side_see_that_the_time_was_over() {
    let late = |failure: Failure| match failure.kind {
        FailureKind::DeadlineExceeded => Ok(0),
        _ => Err(failure),
    };
    let (_resolver, deferred) = Deferred::<u32>::new();
    assert_eq!(now(deferred.add_errback(late).add_timeout(std::future::ready(()))), Ok(0));
    let (_resolver, deferred) = Deferred::<u32>::new();
    assert_eq!(now(deferred.add_timeout(std::future::ready(())).add_errback(late)), Ok(0));
}

#[test]
fn dropping_what_has_a_timer_drops_both() {
    let drops = Drops::default();
    let held = drops.one();
    let (resolver, deferred) = Deferred::<u32>::new();
    let deferred = deferred.add_timeout(async move {
        let _held = held;
        std::future::pending().await
    });
    drop(deferred);
    assert_eq!(drops.count(), 1);
    assert!(resolver.is_cancelled());
}

#[test]
fn cancelling_what_has_a_timer_is_not_told_as_the_end_of_its_time() {
    let (_ring, timer) = timer();
    let (_resolver, deferred) = Deferred::<u32>::new();
    let deferred = deferred.add_timeout(timer);
    Deferred::cancel(&deferred);
    assert_eq!(kind(now(deferred)), FailureKind::Cancelled);
}

#[test]
fn a_timer_that_panics_is_a_failure_and_cancels() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let deferred = deferred.add_timeout(async { silent_panic() });
    assert_eq!(kind(now(deferred)), FailureKind::Internal);
    assert!(resolver.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn tokios_clock_is_a_timer_awaited_or_detached() {
    let hour = Duration::from_secs(3600);
    let (_resolver, deferred) = Deferred::<u32>::new();
    let late = deferred.add_timeout(tokio::time::sleep(hour)).await;
    assert_eq!(kind(late), FailureKind::DeadlineExceeded);

    let (_resolver, deferred) = Deferred::<u32>::new();
    let (told, outcome) = Deferred::<u32>::new();
    deferred
        .add_timeout(tokio::time::sleep(hour))
        .add_both(|result| {
            told.settle(result);
            Ok::<_, Failure>(())
        })
        .detach();
    assert_eq!(kind(outcome.await), FailureKind::DeadlineExceeded);
}
