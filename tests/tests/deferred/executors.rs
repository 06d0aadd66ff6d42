//! Any executor, and `futures`' combinators.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::executor::{LocalPool, ThreadPool, block_on};
use futures::future::{Either, abortable, join_all, select, try_join_all};
use futures::stream::FuturesUnordered;
use futures::task::{LocalSpawnExt, SpawnExt};
use futures::{FutureExt, StreamExt, TryFutureExt};
use pb_core::{Deferred, DeferredExt, Failure, FailureKind, Resolver};

use crate::{kind, now, poll, refused};

/// The least of an executor: it polls one future, and sleeps until it is woken. Each poll has a waker of its own, so that only
/// the last one counts.
fn run<F: Future>(future: F) -> F::Output {
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        heard: Condvar,
    }
    struct Once(Arc<Bell>);
    impl Wake for Once {
        fn wake(self: Arc<Self>) {
            *self.0.rung.lock().expect("nobody panics") = true;
            self.0.heard.notify_all();
        }
    }
    let mut future = pin!(future);
    loop {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::new(Once(Arc::clone(&bell))));
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut rung = bell.rung.lock().expect("nobody panics");
        while !*rung {
            rung = bell.heard.wait(rung).expect("nobody panics");
        }
    }
}

/// What is resolved from another thread, by way of everything that can stand between.
fn composed() -> Deferred<u32> {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (inner, other) = Deferred::<u32>::new();
    thread::spawn(move || {
        resolver.resolve(20);
        thread::yield_now();
        inner.resolve(1);
    });
    let deferred = deferred.add_callback(|n| other.add_callback(move |m| Ok(n + m))).add_errback(|_| Ok(0));
    pb_core::defer::first([deferred.add_timeout(std::future::pending())]).add_callback(|n| Ok(n * 2))
}

#[test]
fn a_deferred_is_awaited_under_an_executor_of_a_few_lines() {
    for _ in 0..100 {
        assert_eq!(run(composed()), Ok(42));
    }
}

#[test]
fn a_deferred_is_awaited_under_the_executors_of_futures() {
    assert_eq!(block_on(composed()), Ok(42));
    let mut pool = LocalPool::new();
    let seen = std::rc::Rc::new(Cell::new(None));
    let noted = std::rc::Rc::clone(&seen);
    pool.spawner().spawn_local(async move { noted.set(composed().await.ok()) }).expect("the pool is there");
    pool.run();
    assert_eq!(seen.get(), Some(42));
    let pool = ThreadPool::builder().pool_size(2).create().expect("threads start");
    let handle = pool.spawn_with_handle(composed()).expect("the pool is there");
    assert_eq!(block_on(handle), Ok(42));
}

#[test]
fn a_deferred_is_awaited_under_tokio_with_one_thread_and_with_more() {
    let one = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    assert_eq!(one.block_on(composed()), Ok(42));
    let more =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime starts");
    let task = more.spawn(composed());
    assert_eq!(more.block_on(task).expect("the task does not panic"), Ok(42));
}

#[test]
fn a_deferred_that_moves_between_tasks_wakes_the_last_one() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    // One that is polled, and one that goes by itself since it was called on: see `calls` for that.
    let (resolver, deferred) = Deferred::<u32>::new();
    let mut deferred = deferred.add_callback(Ok);
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        assert!(Pin::new(&mut deferred).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    resolver.resolve(1);
    assert_eq!([counts[0].0.load(SeqCst), counts[1].0.load(SeqCst)], [0, 1]);
    assert_eq!(now(deferred), Ok(1));
}

/// A waker that, as it wakes, asks and drops, and panics at last.
#[test]
fn a_waker_runs_under_no_lock_and_its_panic_hurts_nobody() {
    struct Nosy(Mutex<Option<Deferred<u32>>>, AtomicUsize);
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, SeqCst);
            let deferred = self.0.lock().expect("nobody panics").take().expect("woken once");
            assert_eq!(now(deferred), Ok(5));
            std::panic::resume_unwind(Box::new("wanted by the test"));
        }
    }
    let (resolver, mut deferred) = Deferred::<u32>::new();
    let nosy = Arc::new(Nosy(Mutex::new(None), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&nosy));
    assert!(Pin::new(&mut deferred).poll(&mut Context::from_waker(&waker)).is_pending());
    *nosy.0.lock().expect("nobody panics") = Some(deferred);
    resolver.resolve(5);
    assert_eq!(nosy.1.load(SeqCst), 1);
}

/// A task whose last holder is the waker itself: with it goes a second Deferred of the same Resolver's making.
#[test]
fn the_drop_of_a_waker_runs_under_no_lock() {
    struct Task(#[allow(dead_code, reason = "it is dropped")] Option<Deferred<u32>>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let (resolver, mut deferred) = Deferred::<u32>::new();
    let (other, held) = Deferred::<u32>::with_canceller(move || {
        assert!(!resolver.is_cancelled());
        resolver.resolve(3);
        None
    });
    let waker = Waker::from(Arc::new(Task(Some(held))));
    assert!(Pin::new(&mut deferred).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    // The new waker takes the place of the old one, with which the task goes, and with that what it held.
    assert!(poll(&mut deferred).is_pending() || other.is_cancelled());
    assert!(other.is_cancelled());
    assert_eq!(now(deferred), Ok(3));
}

fn three() -> (Vec<Resolver<u32>>, Vec<Deferred<u32>>) {
    (0..3).map(|_| Deferred::new()).unzip()
}

#[test]
fn the_combinators_of_futures_take_deferreds() {
    let (resolvers, deferreds) = three();
    let all = join_all(deferreds);
    for (n, resolver) in resolvers.into_iter().enumerate() {
        resolver.resolve(n as u32);
    }
    assert_eq!(block_on(all), [Ok(0), Ok(1), Ok(2)]);

    let (mut resolvers, deferreds) = three();
    resolvers.remove(1).reject(refused());
    assert_eq!(block_on(try_join_all(deferreds)), Err(refused()));
    assert!(resolvers.iter().all(Resolver::is_cancelled));

    let (fast, deferred) = Deferred::<u32>::new();
    let (slow, other) = Deferred::<u32>::new();
    fast.resolve(1);
    let Either::Left((won, rest)) = block_on(select(deferred, other)) else { panic!("the first is there") };
    assert_eq!(won, Ok(1));
    assert!(!slow.is_cancelled());
    drop(rest);
    assert!(slow.is_cancelled());

    let (resolvers, deferreds) = three();
    let running: FuturesUnordered<_> = deferreds.into_iter().collect();
    for (n, resolver) in resolvers.into_iter().enumerate().rev() {
        resolver.resolve(n as u32);
    }
    let mut values = block_on(running.collect::<Vec<_>>());
    values.sort_by_key(|value| value.clone().ok());
    assert_eq!(values, [Ok(0), Ok(1), Ok(2)]);

    let (resolver, deferred) = Deferred::<u32>::new();
    let shared = deferred.shared();
    let again = shared.clone();
    resolver.resolve(4);
    assert_eq!((block_on(shared), block_on(again)), (Ok(4), Ok(4)));

    let chained = Deferred::<u32>::succeed(1).and_then(|n| Deferred::<u32>::succeed(n + 1)).map_ok(|n| n * 2);
    assert_eq!(block_on(chained), Ok(4));
    assert_eq!(Deferred::<u32>::succeed(1).map(|result| result.is_ok()).now_or_never(), Some(true));
    assert!(Deferred::<u32>::new().1.now_or_never().is_none());

    let (resolver, deferred) = Deferred::<u32>::new();
    let (work, handle) = abortable(deferred);
    handle.abort();
    assert!(block_on(work).is_err());
    assert!(resolver.is_cancelled());
}

#[test]
fn the_names_of_callbacks_meet_none_of_futures() {
    // Both traits are in scope, and each name is found in one of them.
    let deferred = Deferred::<u32>::succeed(1)
        .add_callback(|n| Ok(n + 1))
        .add_errback(Err)
        .add_callbacks(|n| Ok(n + 1), Err::<u32, Failure>)
        .add_both(|result: Result<u32, Failure>| result)
        .add_timeout(std::future::pending());
    assert_eq!(block_on(deferred.map_ok(|n| n + 1)), Ok(4));
}

#[tokio::test]
async fn tokios_select_and_timeout_take_deferreds() {
    let (resolver, mut deferred) = Deferred::<u32>::new();
    tokio::select! {
        _ = &mut deferred => panic!("nobody resolved it"),
        () = std::future::ready(()) => {}
    }
    // Set aside, and taken up where it was.
    resolver.resolve(1);
    assert_eq!(deferred.await, Ok(1));

    let (resolver, deferred) = Deferred::<u32>::new();
    assert!(tokio::time::timeout(std::time::Duration::ZERO, deferred).await.is_err());
    assert!(resolver.is_cancelled());
    drop(resolver);
    assert_eq!(kind(Deferred::<u32>::fail(refused()).await), FailureKind::Refused);
}
