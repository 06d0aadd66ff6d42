//! Claims about promises and the order of calls, on real brokers: a client with its server, and with middlemen between.
//! `tests/claims.md` says which claim is proved where.

use std::sync::Arc;

use pb_server::{FailureKind, Ran};
use pb_tests::live::{Chain, MyNode, NodeRef, soon, until};
use tokio::sync::Mutex;

/// A client with its server, with one middleman, and with two.
const LINKS: std::ops::RangeInclusive<usize> = 1..=3;

fn of<'a>(started: &'a [String], object: &str) -> Vec<&'a str> {
    let lines = started.iter().filter_map(|line| line.strip_prefix(object)?.strip_prefix('.'));
    lines.filter(|line| line.starts_with("say")).collect()
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("say({n})")).collect()
}

/// Lets everything else take `count` turns.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_promise_start_when_it_resolves_before_those_that_come_later() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let late = chain.root.open_late("late".into());
        let mut calls: Vec<_> = (0..3).map(|n| late.say(n)).collect();
        until(|| !chain.world.started().is_empty(), || "nothing has started".into()).await;
        assert_eq!(of(&chain.world.started(), "late"), [""; 0]);
        chain.world.open_gate();
        calls.push(late.say(3));
        let known = soon(late).await.expect("opened");
        calls.push(known.say(4));
        for (n, call) in (0..).zip(calls) {
            assert_eq!(soon(call).await, Ok(n));
        }
        assert_eq!(of(&chain.world.started(), "late"), in_order(5));
        drop(known);
        chain.finish().await;
    }
}

/// Calls on an object of our own that comes back to us: before, while and after it does, at all sorts of moments.
#[tokio::test]
async fn calls_on_an_echoed_reference_start_in_order_whenever_they_are_made_over_any_number_of_hops() {
    for links in LINKS {
        for pause in 0..30 {
            let chain = Chain::of(links).await;
            let ours = chain.world.node("ours");
            let echoed = chain.root.hold(ours.clone());
            let mut calls = vec![echoed.say(0), echoed.say(1)];
            until(|| !chain.world.started().is_empty(), || "nothing has started".into()).await;
            chain.world.open_gate();
            turns(pause).await;
            calls.push(echoed.say(2));
            turns(pause / 3).await;
            calls.push(echoed.say(3));
            let home = soon(echoed).await.expect("it came home");
            calls.push(home.say(4));
            turns(pause).await;
            calls.push(home.say(5));
            for (n, call) in (0..).zip(calls) {
                assert_eq!(soon(call).await, Ok(n), "{links} {pause}");
            }
            assert_eq!(of(&chain.world.started(), "ours"), in_order(6), "{links} {pause}");
            assert!(home.remote().same(&ours) && home.remote().local::<MyNode>().is_some());
            drop((ours, home));
            chain.finish().await;
        }
    }
}

#[tokio::test]
async fn calls_on_what_resolves_to_a_promise_that_never_settles_wait_until_the_end() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ours = chain.world.node("ours");
        let echoed = chain.root.echo(ours.open_late("never".into()).promised());
        let before = echoed.say(0);
        let known = soon(echoed).await.expect("the method has returned");
        let after = known.say(1);
        assert_eq!(soon(chain.root.say(2)).await, Ok(2), "others are not held up");
        let mut both = Box::pin(futures::future::join(before, after));
        assert!(futures::poll!(&mut both).is_pending());
        chain.ends.iter().for_each(pb_server::Broker::close);
        // What waits here, for our own promise, waits on; what had to pass the connection has failed.
        chain.world.open_gate();
        let (before, after) = soon(both).await;
        assert_eq!(before.expect_err("it was on its way").kind, FailureKind::Disconnected);
        assert!(matches!(after.map_err(|failure| failure.kind), Ok(1) | Err(FailureKind::Disconnected)));
        drop((ours, known));
        chain.finish_cut().await;
    }
}

#[tokio::test]
async fn a_promise_that_breaks_fails_all_that_waits_and_the_connection_lives() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        // The root echoes a promise of ours, which breaks: what it is made from never settles.
        let ours = chain.world.node("ours");
        let wrong: wrong::OtherRef = ours.remote().cast();
        let echoed = chain.root.echo(wrong.give().promised());
        let waiting = [echoed.say(0), echoed.say(1), echoed.say(2)];
        for call in waiting {
            let failure = soon(call).await.expect_err("the promise broke");
            assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No), "{links}: {failure:?}");
        }
        assert_eq!(soon(chain.root.say(3)).await, Ok(3));
        drop((ours, wrong, echoed));
        chain.finish().await;
    }
}

mod wrong {
    //! An interface that no object here offers.
    use pb_tests::live::NodeRef;

    #[pb_server::remote_interface]
    pub trait Other {
        async fn give(&self) -> NodeRef;
    }
}

#[tokio::test]
async fn a_promise_of_a_promise_of_an_object_keeps_the_order() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let late = chain.root.open_late("late".into());
        let once = chain.root.echo(late.promised());
        let twice = chain.root.echo(once.promised());
        let mut calls = vec![twice.say(0), twice.say(1)];
        let known = soon(twice).await;
        chain.world.open_gate();
        let known = known.expect("the methods have returned");
        calls.push(known.say(2));
        turns(5).await;
        calls.push(known.say(3));
        for (n, call) in (0..).zip(calls) {
            assert_eq!(soon(call).await, Ok(n));
        }
        assert_eq!(of(&chain.world.started(), "late"), in_order(4));
        drop((late, once, known));
        chain.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_of_many_tasks_on_one_stub_start_in_the_order_in_which_they_were_made() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        // Who has the number makes its call; awaiting comes afterwards, and in no order.
        let next = Arc::new(Mutex::new(0));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (root, next): (NodeRef, _) = (chain.root.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let mut number = next.lock().await;
                        let (n, call) = (*number, root.say(*number));
                        *number += 1;
                        drop(number);
                        assert_eq!(soon(call).await, Ok(n));
                    }
                })
            })
            .collect();
        for caller in callers {
            soon(caller).await.expect("no caller fails");
        }
        assert_eq!(of(&chain.world.started(), "root"), in_order(400));
        chain.finish().await;
    }
}
