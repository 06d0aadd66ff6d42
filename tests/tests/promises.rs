//! Promises that are passed on, resolved to each other, and called before, while and after they settle: live brokers in a row.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use pb_core::broker::Config;
use pb_core::reactor::Stream;
use pb_server::{Broker, Deferred, Failure, FailureKind, Ran, Stub};
use pb_tests::row::{MyNode, NodeRef, Place, Row, cause, soon};

async fn all_done(calls: Vec<Deferred<()>>) {
    for call in calls {
        assert_eq!(soon(call).await, Ok(()));
    }
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

/// Waits for something that the brokers do by themselves.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come");
}

fn take_back(place: &Place) {
    let taken = place.gives.lock().expect("nobody panics in it").take();
    drop(taken);
}

#[tokio::test]
async fn calls_on_a_tail_call_go_to_the_final_callee_in_order_and_the_middleman_is_called_once() {
    let (far, near) = (Row::new(0).await, Row::new(0).await);
    near.owner.gives(far.root.held().promised());
    let result = near.root.give();
    let promise = result.promised();
    let mut calls: Vec<_> = (0..3).map(|n| promise.log(n)).collect();
    let node = soon(result).await.expect("it is resolved, to what is not known yet");
    calls.extend([promise.log(3), node.log(4)]);
    assert_eq!(soon(near.root.number()).await, Ok(0));
    assert!(far.owner.logged().is_empty());
    far.owner.open();
    calls.extend([node.log(5), promise.log(6)]);
    all_done(calls).await;
    all_done(vec![promise.log(7), node.log(8)]).await;
    assert_eq!(far.owner.logged(), numbers(9));
    assert_eq!((near.owner.given.load(SeqCst), near.owner.logged().len()), (1, 0));
    drop((promise, node));
    take_back(&near.owner);
    near.is_idle().await;
    far.is_idle().await;
}

#[tokio::test]
async fn cancelling_a_tail_call_cancels_the_callee() {
    for answered in [false, true] {
        let (far, near) = (Row::new(0).await, Row::new(0).await);
        let tail = far.root.hang();
        until(|| far.owner.hanging.load(SeqCst) == 1).await;
        near.owner.gives(tail.promised());
        drop(tail);
        let result = near.root.give();
        let on_it = result.number();
        if answered {
            assert_eq!(soon(near.root.number()).await, Ok(0));
        }
        drop((result, on_it));
        until(|| near.owner.given.load(SeqCst) == usize::from(answered) || !answered).await;
        take_back(&near.owner);
        until(|| far.owner.stopped.load(SeqCst) == 1).await;
        near.is_idle().await;
        far.is_idle().await;
    }
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let hangs = row.root.hang();
        until(|| row.owner.hanging.load(SeqCst) == 1).await;
        drop(hangs);
        until(|| row.owner.stopped.load(SeqCst) == 1).await;
        row.is_idle().await;
    }
}

/// Before, during and after the resolution, each call by another way.
async fn six_calls(row: &Row, echoed: Deferred<NodeRef>) {
    let promise = echoed.promised();
    let mut calls = vec![promise.log(0), promise.log(1)];
    row.owner.open();
    calls.push(promise.log(2));
    let node = soon(echoed).await.expect("echoed");
    calls.extend([node.log(3), promise.log(4)]);
    assert_eq!(soon(row.root.number()).await, Ok(0));
    calls.push(node.log(5));
    all_done(calls).await;
    assert_eq!(row.ours.logged(), numbers(6));
}

#[tokio::test]
async fn six_calls_on_an_echoed_reference_arrive_in_order_over_zero_one_and_two_middlemen() {
    for middlemen in 0..3 {
        for late in [false, true] {
            let row = Row::new(middlemen).await;
            let mine = row.mine();
            let echoed = if late { row.root.echo_late(mine.clone()) } else { row.root.echo(mine.clone()) };
            six_calls(&row, echoed).await;
            drop(mine);
            row.is_idle().await;
        }
    }
}

#[tokio::test]
async fn six_calls_arrive_in_order_where_the_echo_is_a_promise_and_not_at_all_where_it_never_settles() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let local = row.mine();
        let pending = local.held(); // The client's own, and nothing settles it yet.
        let echoed = row.root.echo_late(pending.promised());
        let promise = echoed.promised();
        let mut calls = vec![promise.log(0), promise.log(1)];
        row.owner.open();
        calls.push(promise.log(2));
        let node = soon(echoed).await.expect("echoed");
        calls.extend([node.log(3), promise.log(4), node.log(5)]);
        for _ in 0..3 {
            assert_eq!(soon(row.root.number()).await, Ok(0));
        }
        assert!(row.ours.logged().is_empty());
        if middlemen == 0 {
            // It settles after all.
            row.ours.open();
            all_done(calls).await;
            assert_eq!(row.ours.logged(), numbers(6));
        } else {
            drop(calls);
        }
        drop((promise, node, pending, local));
        row.is_idle().await;
    }
}

#[tokio::test]
async fn a_promise_that_resolves_to_a_promise_and_then_to_an_object_keeps_the_order_through_middlemen() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let first = row.root.held();
        let second = row.root.echo(first.promised());
        let third = row.root.echo(second.promised());
        let promise = third.promised();
        let mut calls = vec![promise.log(0), promise.log(1)];
        let node = soon(third).await.expect("a promise");
        calls.extend([node.log(2), promise.log(3)]);
        assert_eq!(soon(row.root.number()).await, Ok(0));
        assert!(row.owner.logged().is_empty());
        row.owner.open();
        calls.extend([promise.log(4), node.log(5)]);
        all_done(calls).await;
        assert_eq!(row.owner.logged(), numbers(6));
        drop((first, second, promise, node));
        row.is_idle().await;
    }
}

#[tokio::test]
async fn a_promise_that_breaks_far_away_fails_what_waits_and_the_connections_live() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let failing = row.root.fails_late();
        let calls: Vec<_> = (0..5).map(|n| failing.log(n)).collect();
        let given = row.root.echo(failing.promised());
        let on_given = given.number();
        assert_eq!(soon(row.root.number()).await, Ok(0));
        row.owner.open();
        for call in calls {
            let failure = soon(call).await.expect_err("it failed");
            assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
            assert_eq!(pb_server::AppError::app::<String>(&failure).as_deref(), Some("it failed"));
        }
        assert_eq!(soon(on_given).await.expect_err("it failed").kind, FailureKind::Broken);
        assert_eq!(soon(row.root.number()).await, Ok(0));
        assert!(row.owner.logged().is_empty());
        drop((failing, given));
        row.is_idle().await;
    }
}

fn is_circular(failure: &Failure) -> bool {
    let said = |failure: &Failure| &*failure.message == "the reference was resolved to itself";
    failure.kind == FailureKind::Broken && (said(failure) || failure.cause.is_some() && said(cause(failure)))
}

#[tokio::test]
async fn promises_of_one_process_that_resolve_to_themselves_or_each_other_are_broken() {
    // p to itself; p to q and q to p; p, q, r in a ring.
    for count in 1..4 {
        let places: Vec<_> = (0..count).map(|_| Arc::<Place>::default()).collect();
        let nodes: Vec<_> = places.iter().map(|place| MyNode::reference(1, place)).collect();
        let promises: Vec<_> = nodes.iter().map(|node| node.give_late()).collect();
        let waiting: Vec<_> = promises.iter().map(|promise| promise.number()).collect();
        for (at, place) in places.iter().enumerate() {
            place.gives(promises[(at + 1) % count].promised());
        }
        places.iter().for_each(|place| place.open());
        for (promise, waits) in promises.iter().zip(waiting) {
            assert!(is_circular(&soon(waits).await.expect_err("it leads nowhere")));
            assert!(is_circular(&soon(promise.number()).await.expect_err("it leads nowhere")));
            assert!(is_circular(&soon(promise.remote().on_broken()).await));
        }
        places.iter().for_each(|place| take_back(place));
        drop((promises, nodes));
        until(|| places.iter().all(|place| place.alive.load(SeqCst) == 0)).await;
    }
}

#[tokio::test]
async fn a_promise_that_is_resolved_to_itself_through_middlemen_is_broken_and_leaves_nothing() {
    for middlemen in 0..3 {
        for piped in [false, true] {
            let row = Row::new(middlemen).await;
            // The owner is given the promise of the call that it answers with it.
            let own = row.root.kept_late();
            soon(row.root.keep(own.promised())).await.expect("kept");
            let before = piped.then(|| own.number());
            row.owner.open();
            if let Some(before) = before {
                let failure = soon(before).await.expect_err("it leads nowhere");
                assert!(is_circular(&failure), "{middlemen} {failure:?}");
            }
            let promise = own.promised();
            assert!(is_circular(&soon(promise.remote().on_broken()).await));
            assert!(is_circular(&soon(promise.number()).await.expect_err("it leads nowhere")));
            soon(row.root.forget()).await.expect("forgotten");
            drop((own, promise));
            row.is_idle().await;
        }
    }
}

/// Nobody sees it: each side holds the other's promise, and has settled its own to that.
#[tokio::test]
async fn calls_into_a_circle_through_two_processes_fail_after_so_many_hops() {
    let row = Row::new(0).await;
    let own = row.root.give_late();
    soon(row.root.keep(own.promised())).await.expect("kept");
    // The client's reference to the owner's promise is what that promise is resolved to.
    row.owner.gives(soon(row.root.kept()).await.expect("a promise"));
    let waits = own.number();
    row.owner.open();
    for call in [waits, own.number()] {
        let failure = soon(call).await.expect_err("it leads nowhere");
        assert!(failure.message.contains("16 middlemen"), "{failure:?}");
    }
    assert_eq!(soon(row.root.number()).await, Ok(0));
    take_back(&row.owner);
    row.links[0].1.close();
    drop(own);
    soon(row.links[0].0.closed()).await;
    until(|| row.links[0].0.tables() == Default::default()).await;
}

#[tokio::test]
async fn concurrent_calls_on_one_stub_arrive_in_the_order_they_were_made_over_zero_one_and_two_middlemen() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let node = row.node().await;
        let next = Arc::new(std::sync::Mutex::new(0u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (node, next) = (node.clone(), Arc::clone(&next));
                let runtime = tokio::runtime::Handle::current();
                std::thread::spawn(move || {
                    let _inside = runtime.enter();
                    (0..200)
                        .map(|_| {
                            let mut next = next.lock().expect("nobody panics in it");
                            let call = node.log(*next);
                            *next += 1;
                            call
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            all_done(thread.join().expect("it made its calls")).await;
        }
        assert_eq!(row.owner.logged(), numbers(800));
        drop(node);
        row.is_idle().await;
    }
}

/// Each call on the last one's answer, none of which has come.
#[tokio::test]
async fn a_chain_of_a_hundred_thousand_calls_on_answers_that_have_not_come_is_resolved_without_recursion() {
    let limits = pb_server::Limits {
        calls: 200_000,
        call_bytes: 64 << 20,
        exports: 200_000,
        imports: 200_000,
        budget: 256 << 20,
        answer_bytes: u64::MAX,
        ..Default::default()
    };
    for (fails, deep) in [false, true].into_iter().zip(DEEP) {
        let place = Arc::<Place>::default();
        let (ours, theirs) = Stream::pair();
        let root = MyNode::reference(0, &place).as_reference().clone();
        let (server, client) = tokio::join!(
            Broker::open(ours, Config { root: Some(root), limits, stays: true, ..Config::default() }),
            Broker::open(theirs, Config { root: None, limits, stays: false, ..Config::default() }),
        );
        let (_server, client) = (server.expect("opened"), client.expect("opened"));
        let root: NodeRef = client.root();
        let (held, failing) = (root.held(), root.fails_late());
        let mut node = if fails { failing.promised() } else { held.promised() };
        for _ in 0..deep {
            node = node.next().promised();
        }
        let number = node.number();
        assert_eq!(soon(root.number()).await, Ok(0));
        place.open();
        match soon(number).await {
            Ok(number) => assert_eq!(number, 100 + deep),
            Err(failure) => {
                assert!(fails, "{failure:?}");
                assert_eq!(pb_server::AppError::app::<String>(&failure).as_deref(), Some("it failed"));
            }
        }
        drop((node, held, failing));
        until(|| client.tables() == Default::default()).await;
    }
}

/// Calls of the chain that succeeds, and of the one that fails.
const DEEP: [u64; 2] = [100_000, 20_000];

#[tokio::test]
async fn calls_on_the_result_of_a_call_that_is_passed_on_reach_its_owner_before_it_is_known() {
    for middlemen in 1..4 {
        let row = Row::new(middlemen).await;
        let held = row.root.held();
        let promise = held.promised();
        let mut calls: Vec<_> = (0..5).map(|n| promise.log(n)).collect();
        until(|| row.links[0].0.tables().answers == 6).await;
        assert!(row.owner.logged().is_empty());
        row.owner.open();
        let node = soon(held).await.expect("it is made");
        calls.extend([node.log(5), promise.log(6), node.log(7)]);
        all_done(calls).await;
        assert_eq!(row.owner.logged(), numbers(8));
        drop((node, promise));
        row.is_idle().await;
    }
}

#[tokio::test]
async fn what_was_called_on_a_call_that_is_passed_on_and_dropped_leaves_nothing_anywhere() {
    for middlemen in 1..3 {
        for opened in [false, true] {
            let row = Row::new(middlemen).await;
            let held = row.root.held();
            let (logged, next) = (held.promised().log(0), held.promised().next());
            let deeper = next.promised().number();
            until(|| row.links[0].0.tables().answers == 4).await;
            if opened {
                row.owner.open();
            }
            drop((held, logged, next, deeper));
            row.is_idle().await;
        }
    }
}

#[tokio::test]
async fn a_promise_that_was_taken_before_its_call_was_sent_is_called_as_soon_as_it_is() {
    let row = Row::new(0).await;
    let late = row.mine().echo_late(row.root.clone());
    let held = late.promised().held();
    let promise = held.promised();
    let number = promise.number();
    assert_eq!(soon(row.root.number()).await, Ok(0));
    row.ours.open();
    until(|| row.links[0].0.tables().answers == 2).await;
    row.owner.open();
    assert_eq!(soon(number).await, Ok(100));
    assert!(soon(held).await.expect("it is made").remote().same(&promise));
    drop((late, promise));
    row.is_idle().await;
}

/// All on objects of this process: what fails first fails the others one behind the other.
#[tokio::test]
async fn a_long_chain_of_calls_that_wait_here_settles_and_fails_without_recursion() {
    for fails in [false, true] {
        let place = Arc::<Place>::default();
        let root = MyNode::reference(0, &place);
        let (held, failing) = (root.held(), root.fails_late());
        let mut node = if fails { failing.promised() } else { held.promised() };
        for _ in 0..DEEP[usize::from(fails)] {
            node = node.next().promised();
        }
        let number = node.number();
        place.open();
        match soon(number).await {
            Ok(number) => assert_eq!((number, fails), (100 + DEEP[0], false)),
            Err(failure) => assert!(fails && failure.kind == FailureKind::Broken, "{failure:?}"),
        }
        drop((node, held, failing, root));
        until(|| place.alive.load(SeqCst) == 0).await;
    }
}
