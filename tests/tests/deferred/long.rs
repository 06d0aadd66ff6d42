//! Chains of any length: they neither nest on the stack nor cost more than their length. Each runs on a stack that a thousandth of it would
//! fill.

use std::sync::{Arc, Mutex};
use std::thread;

use futures::executor::block_on;
use pb_core::{Deferred, DeferredExt, Failure, Resolver};

use crate::{Drops, now, poll};

const LENGTH: u32 = 100_000;
const STACK_BYTES: usize = 192 << 10;

fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("a thread starts");
    thread.join().expect("the chain neither overflows the stack nor fails");
}

fn added(deferred: Deferred<u32>) -> Deferred<u32> {
    (0..LENGTH).fold(deferred, |deferred, _| deferred.add_callback(|n| Ok(n + 1)))
}

#[test]
fn a_hundred_thousand_callbacks_run_and_are_dropped_on_a_small_stack() {
    on_a_small_stack(|| {
        let (resolver, deferred) = Deferred::new();
        let mut chain = added(deferred);
        assert!(poll(&mut chain).is_pending());
        resolver.resolve(0);
        assert_eq!(now(chain), Ok(LENGTH));

        let (resolver, deferred) = Deferred::new();
        drop(added(deferred));
        assert!(resolver.is_cancelled());
    });
}

#[test]
fn a_hundred_thousand_callbacks_of_what_was_detached_run_on_a_small_stack() {
    on_a_small_stack(|| {
        let (resolver, deferred) = Deferred::new();
        let (told, sum) = Deferred::new();
        let passed_on = added(deferred).add_both(|result| {
            told.settle(result);
            Ok::<_, Failure>(())
        });
        passed_on.detach();
        resolver.resolve(0);
        assert_eq!(now(sum), Ok(LENGTH));
    });
}

/// Twisted's loop: each callback returns the Deferred of the next round.
#[test]
fn a_hundred_thousand_rounds_of_a_loop_of_callbacks_run_on_a_small_stack() {
    fn round(left: u32) -> Deferred<u32> {
        match left {
            0 => Deferred::succeed(0),
            left => Deferred::succeed(left - 1).add_callback(round),
        }
    }
    on_a_small_stack(|| assert_eq!(now(round(LENGTH)), Ok(0)));
}

/// Each waits for the one made before it, by way of a callback that holds it.
fn nested(deferred: Deferred<u32>) -> Deferred<u32> {
    (0..LENGTH).fold(deferred, |inner, _| {
        Deferred::<u32>::succeed(0).add_callback(|_| inner).add_callback(|n| Ok(n + 1))
    })
}

#[test]
fn a_hundred_thousand_deferreds_within_each_other_run_and_are_dropped_on_a_small_stack() {
    on_a_small_stack(|| {
        let (resolver, deferred) = Deferred::new();
        let mut chain = nested(deferred);
        assert!(poll(&mut chain).is_pending());
        resolver.resolve(0);
        assert_eq!(now(chain), Ok(LENGTH));

        for polled in [false, true] {
            let (resolver, deferred) = Deferred::new();
            let mut chain = nested(deferred);
            if polled {
                assert!(poll(&mut chain).is_pending());
            }
            drop(chain);
            assert!(resolver.is_cancelled());
        }
    });
}

/// Each follows the next one; they are resolved from the one end, awaited or dropped from the other.
fn following() -> (Resolver<u32>, Deferred<u32>) {
    let (mut resolver, first) = Deferred::new();
    for _ in 0..LENGTH {
        let (next, deferred) = Deferred::new();
        resolver.follow(deferred);
        resolver = next;
    }
    (resolver, first)
}

#[test]
fn a_hundred_thousand_deferreds_that_follow_each_other_settle_and_are_dropped_on_a_small_stack() {
    on_a_small_stack(|| {
        let (last, first) = following();
        last.resolve(3);
        assert_eq!(now(first), Ok(3));

        let (last, mut first) = following();
        assert!(poll(&mut first).is_pending());
        last.resolve(3);
        assert_eq!(now(first), Ok(3));

        let (last, first) = following();
        drop(first);
        assert!(last.is_cancelled());
    });
}

#[test]
fn a_hundred_thousand_detached_deferreds_that_resolve_each_other_do_so_on_a_small_stack() {
    on_a_small_stack(|| {
        let (told, sum) = Deferred::<u32>::new();
        let first = (0..LENGTH).fold(told, |next, _| {
            let (resolver, deferred) = Deferred::<u32>::new();
            let passed_on = deferred.add_callback(|n| {
                next.resolve(n + 1);
                Ok(())
            });
            passed_on.detach();
            resolver
        });
        first.resolve(0);
        assert_eq!(block_on(sum), Ok(LENGTH));
    });
}

#[test]
fn a_hundred_thousand_cancellers_that_drop_each_others_deferreds_do_so_on_a_small_stack() {
    on_a_small_stack(|| {
        let drops = Drops::default();
        let resolvers = Arc::new(Mutex::new(Vec::new()));
        let last = drops.one();
        let (_resolver, innermost) = Deferred::<u32>::with_canceller(move || {
            drop(last);
            None
        });
        let outermost = (0..LENGTH).fold(innermost, |inner, _| {
            let (resolver, deferred) = Deferred::<u32>::with_canceller(move || {
                drop(inner);
                None
            });
            resolvers.lock().expect("nobody panics").push(resolver);
            deferred
        });
        drop(outermost);
        assert_eq!(drops.count(), 1);
        let resolvers = resolvers.lock().expect("nobody panics");
        assert!(resolvers.iter().all(Resolver::is_cancelled));
    });
}
