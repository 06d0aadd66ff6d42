//! Deferreds of a program's own: resolve against cancel against drop against poll. One outcome, told to both sides, and whoever waits is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pb_core::defer::{OnFailure, Settlement, gather};
use pb_core::message::{Failure, FailureKind, Ran};
use pb_core::objects::{Promise, Reference};
use pb_core::{Deferred, DeferredExt, Resolver, Stub, remote_interface};
use pb_models::{every_schedule, schedules};
use shuttle::future::{block_on, spawn};
use shuttle::thread;

#[remote_interface]
trait Thing {
    async fn say(&self) -> u8;
}

/// A number that is counted while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Counted(Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn resolve(resolver: Resolver<u8>) -> thread::JoinHandle<Settlement<u8>> {
    thread::spawn(move || resolver.resolve(1))
}

/// Counts its runs, and fires nothing.
fn canceller(runs: &Arc<AtomicUsize>) -> impl FnOnce() -> Option<Result<u8, Failure>> + Send + 'static {
    let runs = Arc::clone(runs);
    move || {
        runs.fetch_add(1, SeqCst);
        None
    }
}

#[test]
fn a_resolver_wakes_whoever_polls() {
    every_schedule(|| {
        let (resolver, deferred) = Deferred::<u8>::new();
        let resolving = resolve(resolver);
        // Not to be woken would be a deadlock.
        assert_eq!(block_on(deferred), Ok(1));
        assert_eq!(resolving.join().expect("resolving does not panic"), Settlement::Settled);
    });
}

#[test]
fn a_forgotten_resolver_wakes_whoever_polls() {
    every_schedule(|| {
        let (resolver, deferred) = Deferred::<u8>::new();
        let forgetting = thread::spawn(move || drop(resolver));
        assert_eq!(block_on(deferred).expect_err("nobody resolved it").kind, FailureKind::Internal);
        forgetting.join().expect("dropping does not panic");
    });
}

#[test]
fn a_deferred_that_moves_between_tasks_wakes_the_last_one() {
    every_schedule(|| {
        let (resolver, mut deferred) = Deferred::<u8>::new();
        let resolving = resolve(resolver);
        let result = match block_on(async { futures::poll!(&mut deferred) }) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => block_on(spawn(deferred)).expect("the task runs to its end"),
        };
        assert_eq!(result, Ok(1));
        resolving.join().expect("resolving does not panic");
    });
}

/// Exactly one of the two has the value: nobody loses it, nobody has it twice; and the canceller ran where it came too late.
#[test]
fn a_value_that_crosses_a_drop_is_given_back_or_dropped() {
    every_schedule(|| {
        let (alive, runs) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&runs);
        let (resolver, deferred) = Deferred::<Counted>::with_canceller(move || {
            counting.fetch_add(1, SeqCst);
            None
        });
        let value = Counted::new(&alive);
        let resolving = thread::spawn(move || matches!(resolver.resolve(value), Settlement::Late(_)));
        drop(deferred);
        let late = resolving.join().expect("resolving does not panic");
        assert_eq!(runs.load(SeqCst), usize::from(late));
        assert_eq!(alive.load(SeqCst), 0);
    });
}

#[test]
fn a_cancel_that_crosses_the_result_is_one_or_the_other_and_both_sides_know_which() {
    every_schedule(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let (resolver, deferred) = Deferred::with_canceller(canceller(&runs));
        let deferred = Arc::new(deferred);
        let other = Arc::clone(&deferred);
        let cancelling = thread::spawn(move || Deferred::cancel(&other));
        let resolving = resolve(resolver);
        let settled = resolving.join().expect("resolving does not panic") == Settlement::Settled;
        cancelling.join().expect("cancelling does not panic");
        let result = block_on(Arc::into_inner(deferred).expect("the others are done"));
        match result {
            Ok(1) => assert!(settled),
            Err(failure) => {
                assert!(!settled);
                assert_eq!((failure.kind, runs.load(SeqCst)), (FailureKind::Cancelled, 1));
            }
            Ok(other) => panic!("nobody gave {other}"),
        }
    });
}

#[test]
fn a_worker_that_waits_for_a_cancel_hears_it() {
    every_schedule(|| {
        let (mut resolver, deferred) = Deferred::<u8>::new();
        let worker = thread::spawn(move || {
            block_on(resolver.cancelled());
            resolver.resolve(1)
        });
        drop(deferred);
        assert_eq!(worker.join().expect("the worker does not panic"), Settlement::Late(1));
    });
}

#[test]
fn a_callback_of_what_is_detached_as_it_is_resolved_runs_once() {
    every_schedule(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&runs);
        let (resolver, deferred) = Deferred::<u8>::new();
        let resolving = resolve(resolver);
        let chain = deferred.add_callback(move |n| Ok(counting.fetch_add(usize::from(n), SeqCst)));
        chain.detach();
        resolving.join().expect("resolving does not panic");
        assert_eq!(runs.load(SeqCst), 1);
    });
}

/// Two threads wake one chain that nobody polls, each of them maybe while the other polls it.
#[test]
fn two_that_come_at_once_are_gathered_once() {
    schedules(|| {
        let ((first, one), (second, other)) = (Deferred::<u8>::new(), Deferred::<u8>::new());
        let (told, sum) = Deferred::<u8>::new();
        let all = gather([one, other], OnFailure::CancelRest).add_callback(move |values| {
            told.resolve(values.iter().sum());
            Ok(())
        });
        all.detach();
        let resolving = [resolve(first), resolve(second)];
        assert_eq!(block_on(sum), Ok(2));
        for one in resolving {
            assert_eq!(one.join().expect("resolving does not panic"), Settlement::Settled);
        }
    });
}

/// What is made of the first result is waited for in turn, and both come while the chain drives itself.
#[test]
fn a_chain_that_waits_for_a_second_one_hears_of_it() {
    schedules(|| {
        let ((first, one), (second, other)) = (Deferred::<u8>::new(), Deferred::<u8>::new());
        let (told, sum) = Deferred::<u8>::new();
        let chain = one.add_callback(|_| other).add_callback(move |n| {
            told.resolve(n);
            Ok(())
        });
        let resolving = [resolve(first), resolve(second)];
        chain.detach();
        assert_eq!(block_on(sum), Ok(1));
        for one in resolving {
            one.join().expect("resolving does not panic");
        }
    });
}

/// The cancel meets what the chain waits for at the moment, or the chain's end; nothing hangs, and each Resolver knows.
#[test]
fn a_chain_cancelled_as_it_goes_on_ends_once() {
    schedules(|| {
        let ((first, one), (second, other)) = (Deferred::<u8>::new(), Deferred::<u8>::new());
        let chain = Arc::new(Deferred::<u8>::from_future(one).add_callback(|_| other));
        let cancelled = Arc::clone(&chain);
        let cancelling = thread::spawn(move || Deferred::cancel(&cancelled));
        let resolving = resolve(first);
        cancelling.join().expect("cancelling does not panic");
        resolving.join().expect("resolving does not panic");
        let result = block_on(Arc::into_inner(chain).expect("the others are done"));
        assert_eq!(result.expect_err("it was cancelled").kind, FailureKind::Cancelled);
        assert!(second.is_cancelled());
    });
}

/// A chain that drives itself, for a call was made on its promise, is cancelled as its first result comes.
#[test]
fn a_chain_that_was_called_on_is_cancelled_or_goes_on_and_tells_the_call() {
    schedules(|| {
        let promise = Promise::new(None);
        promise.settle(Err(Failure::new(FailureKind::Failed, Ran::No, "broken by the model")));
        let thing = ThingRef::from_reference(Reference::promised(promise));
        let (resolver, number) = Deferred::<u8>::new();
        let (never, waited) = Deferred::<ThingRef>::new();
        let chain = Arc::new(number.add_callback(move |_| waited));
        let call = chain.say();
        let cancelled = Arc::clone(&chain);
        let cancelling = thread::spawn(move || Deferred::cancel(&cancelled));
        let resolving = resolve(resolver);
        assert_eq!(block_on(call).expect_err("cancelled").kind, FailureKind::Broken);
        cancelling.join().expect("cancelling does not panic");
        resolving.join().expect("resolving does not panic");
        assert!(matches!(never.resolve(thing), Settlement::Late(_)));
        let result = block_on(Arc::into_inner(chain).expect("the others are done"));
        assert_eq!(result.map(drop).expect_err("cancelled").kind, FailureKind::Cancelled);
    });
}

#[test]
fn a_promise_made_as_the_result_comes_is_settled_all_the_same() {
    schedules(|| {
        let (resolver, thing) = Deferred::<ThingRef>::new();
        let failure = Failure::new(FailureKind::Failed, Ran::No, "broken by the model");
        let failing = thread::spawn(move || drop(resolver.reject(failure)));
        let call = thing.say();
        assert_eq!(block_on(call).expect_err("it failed").kind, FailureKind::Broken);
        assert_eq!(block_on(thing).map(drop).expect_err("it failed").kind, FailureKind::Failed);
        failing.join().expect("resolving does not panic");
    });
}

#[test]
fn what_follows_another_as_it_is_dropped_cancels_that_too() {
    every_schedule(|| {
        let (resolver, deferred) = Deferred::<u8>::new();
        let (inner, other) = Deferred::<u8>::new();
        let following = thread::spawn(move || drop(resolver.follow(other)));
        drop(deferred);
        following.join().expect("following does not panic");
        assert!(inner.is_cancelled());
    });
}

#[test]
fn what_ends_in_time_and_what_ends_too_late_wakes_whoever_waits() {
    schedules(|| {
        let (resolver, deferred) = Deferred::<u8>::new();
        let (ring, rung) = Deferred::<u8>::new();
        let deferred = deferred.add_timeout(async move { drop(rung.await) });
        let resolving = [resolve(resolver), resolve(ring)];
        let result = block_on(deferred);
        let [settled, _] = resolving.map(|one| one.join().expect("resolving does not panic"));
        match result {
            Ok(n) => assert_eq!((n, settled), (1, Settlement::Settled)),
            Err(failure) => {
                assert_eq!((failure.kind, settled), (FailureKind::DeadlineExceeded, Settlement::Late(1)));
            }
        }
    });
}
