//! Deferreds of calls, and those of a program's own that hold stubs: one type, with the same callbacks, and calls on both before they are known.

use std::sync::Arc;

use pb_core::defer::{OnFailure, first, gather};
use pb_core::{
    AppError, CallError, Deferred, DeferredExt, Failure, FailureKind, Ran, Referenceable, remote_interface,
};
use pb_tests::live::{Chain, MyNode, NodeRef, Trouble, World, soon, until};
use tokio::sync::oneshot;

use crate::{Drops, kind, now, poll, refused, silent_panic};

/// Waits until a method has started.
async fn started(world: &World, method: &str) {
    let hangs = || world.started().iter().any(|one| one.contains(method));
    until(hangs, || format!("{method} did not start: {:?}", world.started())).await;
}

async fn stopped(world: &World, count: usize) {
    until(|| world.stopped() == count, || format!("{} methods were stopped", world.stopped())).await;
}

#[tokio::test]
async fn calls_take_callbacks_errbacks_and_what_returns_further_calls() {
    let chain = Chain::of(1).await;
    let root = chain.root.clone();
    let next = root.clone();
    let sum = root.say(1).add_callback(move |n| next.say(n + 1)).add_callback(|n| Ok(n + 1));
    assert_eq!(soon(sum).await, Ok(3));

    let text = root.fail("short".into()).add_both(|result| match result {
        Err(CallError::App(Trouble::Said { text, .. })) => Ok::<_, Failure>(text),
        other => panic!("the method fails with its own error: {other:?}"),
    });
    assert_eq!(soon(text).await.as_deref(), Ok("short"));
    let stands_in = root.clone();
    let recovered = root.fail("short".into()).add_errback(move |_| Ok(stands_in));
    assert_eq!(soon(soon(recovered).await.expect("an errback gives it").name()).await.as_deref(), Ok("root"));
    drop(root);
    chain.finish().await;
}

#[tokio::test]
async fn a_cancelled_call_fails_at_once_and_its_method_is_stopped() {
    for links in [1, 2] {
        let chain = Chain::of(links).await;
        let call = chain.root.hang(vec![]);
        started(&chain.world, "hang").await;
        Deferred::cancel(&call);
        // No answer was waited for.
        let failure = now(call).expect_err("it was cancelled");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Cancelled, Ran::Maybe));
        stopped(&chain.world, 1).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_call_on_a_local_object_is_cancelled_too() {
    let world = Arc::new(World::default());
    let node = world.node("here");
    let call = node.hang(vec![]);
    started(&world, "hang").await;
    Deferred::cancel(&call);
    assert_eq!(kind(now(call)), FailureKind::Cancelled);
    stopped(&world, 1).await;
    // Before it has started.
    let call = node.say(5);
    Deferred::cancel(&call);
    assert_eq!(kind(now(call)), FailureKind::Cancelled);
    assert_eq!(soon(node.say(6)).await, Ok(6));
    assert!(!world.started().iter().any(|one| one.contains("say(5)")), "{:?}", world.started());
}

#[tokio::test]
async fn a_cancel_after_the_answer_changes_nothing() {
    let chain = Chain::of(1).await;
    let (opened, value) = (chain.root.open("a".into()), chain.root.say(4));
    assert_eq!(soon(chain.root.say(5)).await, Ok(5));
    Deferred::cancel(&opened);
    Deferred::cancel(&value);
    assert_eq!(now(value), Ok(4));
    let node = now(opened).expect("it had come");
    assert_eq!(soon(node.name()).await.as_deref(), Ok("a"));
    drop(node);
    chain.finish().await;
}

#[tokio::test]
async fn what_is_called_on_a_cancelled_call_fails_with_that_as_its_cause() {
    for held in [false, true] {
        let chain = Chain::of(1).await;
        let opened = chain.root.open_late("late".into());
        let early = opened.say(1);
        started(&chain.world, "open_late").await;
        let promised = held.then(|| opened.promised());
        Deferred::cancel(&opened);
        let after = promised.as_ref().map(|promised| promised.say(2)).unwrap_or_else(|| opened.say(2));
        let failure = soon(after).await.expect_err("what it was called on was cancelled");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
        assert!(failure.to_string().ends_with("broken: the call was cancelled by its caller"), "{failure}");
        assert_eq!(soon(early).await.expect_err("the same").kind, FailureKind::Broken);
        assert_eq!(kind(soon(opened).await.map(drop)), FailureKind::Cancelled);
        drop(promised);
        stopped(&chain.world, 1).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_call_in_a_chain_is_cancelled_with_it_or_dropped_with_it() {
    let chain = Chain::of(1).await;
    let again = chain.root.clone();
    let mut hanging = chain.root.say(1).add_callback(move |_| again.hang(vec![])).add_callback(|n| Ok(n + 1));
    let polled = async { started(&chain.world, "hang").await };
    tokio::select! { biased; _ = &mut hanging => panic!("it hangs"), () = polled => {} }
    Deferred::cancel(&hanging);
    assert_eq!(kind(now(hanging)), FailureKind::Cancelled);
    stopped(&chain.world, 1).await;

    let dropped = chain.root.hang(vec![]).add_callback(|n| Ok(n + 1));
    until(
        || chain.world.started().iter().filter(|one| one.contains("hang")).count() == 2,
        || "it starts".into(),
    )
    .await;
    drop(dropped);
    stopped(&chain.world, 2).await;
    chain.finish().await;
}

#[tokio::test]
async fn a_timeout_on_a_call_stops_its_method() {
    let chain = Chain::of(1).await;
    let (ring, rung) = oneshot::channel::<()>();
    let mut call = chain.root.hang(vec![]).add_timeout(async move {
        let _ = rung.await;
    });
    assert!(poll(&mut call).is_pending());
    started(&chain.world, "hang").await;
    ring.send(()).expect("the timer waits");
    assert_eq!(kind(soon(call).await), FailureKind::DeadlineExceeded);
    stopped(&chain.world, 1).await;
    chain.finish().await;
}

#[tokio::test]
async fn a_detached_call_runs_its_callbacks_where_the_answer_comes_and_their_panic_leaves_the_connection() {
    let chain = Chain::of(1).await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..3 {
        let told = told.clone();
        let called_back = chain.root.say(n).add_callback(move |n| {
            told.send(n).expect("the test listens");
            if n == 1 { silent_panic() } else { Ok::<_, Failure>(()) }
        });
        called_back.detach();
    }
    for n in 0..3 {
        assert_eq!(soon(heard.recv()).await, Some(n));
    }
    assert_eq!(soon(chain.root.say(4)).await, Ok(4));
    chain.finish().await;
}

#[tokio::test]
async fn a_detached_chain_ends_with_its_connection() {
    let chain = Chain::of(1).await;
    let (told, heard) = Deferred::<u64>::new();
    let drops = Drops::default();
    let held = drops.one();
    let chained = chain.root.hang(vec![]).add_both(move |result| {
        drop(held);
        told.settle(result);
        Ok::<_, Failure>(())
    });
    chained.detach();
    started(&chain.world, "hang").await;
    chain.client().close();
    assert_eq!(kind(soon(heard).await), FailureKind::Disconnected);
    assert_eq!(drops.count(), 1);
    chain.finish_cut().await;
}

#[tokio::test]
async fn calls_are_gathered_and_the_first_failure_stops_the_others() {
    let chain = Chain::of(1).await;
    let root = &chain.root;
    let all = gather((0..20).map(|n| root.say(n)), OnFailure::CancelRest);
    assert_eq!(soon(all).await, Ok((0..20).collect()));

    let hanging = [root.hang(vec![]), root.hang(vec![])];
    let failing = Deferred::fail(refused());
    assert_eq!(
        soon(gather(hanging.into_iter().chain([failing]), OnFailure::CancelRest)).await,
        Err(refused())
    );
    stopped_or_never_started(&chain.world).await;
    chain.finish().await;
}

/// A call that was cancelled before it was read never starts.
async fn stopped_or_never_started(world: &World) {
    let started = || world.started().iter().filter(|one| one.contains("hang")).count();
    until(|| started() == world.stopped(), || format!("{} hang", started() - world.stopped())).await;
}

#[tokio::test]
async fn calls_on_a_deferred_of_ones_own_wait_in_their_order_until_it_is_known() {
    let chain = Chain::of(1).await;
    let (resolver, node) = Deferred::<NodeRef>::new();
    let calls: Vec<_> = (0..5).map(|n| node.say(n)).collect();
    let opened = node.open("child".into());
    let name = opened.name();
    let promised = node.promised();
    assert_eq!(soon(chain.root.say(9)).await, Ok(9));
    assert!(!chain.world.started().iter().any(|one| one.contains("say(0)")), "nobody knows on what");
    resolver.resolve(chain.root.clone());
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(soon(call).await, Ok(n as u64));
    }
    assert_eq!(soon(name).await.as_deref(), Ok("child"));
    assert_eq!(soon(promised.say(6)).await, Ok(6));
    assert_eq!(soon(soon(node).await.expect("it was resolved").say(7)).await, Ok(7));
    let order: Vec<_> = chain.world.started().into_iter().filter(|one| one.contains("say")).collect();
    let say = |n: u64| format!("root.say({n})");
    assert_eq!(order, [9, 0, 1, 2, 3, 4, 6, 7].map(say));
    drop((opened, promised));
    chain.finish().await;
}

#[tokio::test]
async fn calls_on_what_was_settled_before_it_was_called_go_straight() {
    let chain = Chain::of(1).await;
    let (resolver, node) = Deferred::<NodeRef>::new();
    resolver.resolve(chain.root.clone());
    assert_eq!(soon(node.say(1)).await, Ok(1));
    assert_eq!(soon(Deferred::<NodeRef>::succeed(chain.root.clone()).say(2)).await, Ok(2));
    assert!(soon(node).await.is_ok());
    let broken = soon(Deferred::<NodeRef>::fail(refused()).say(3)).await.expect_err("it has failed");
    assert_eq!(broken.kind, FailureKind::Broken);
    chain.finish().await;
}

#[tokio::test]
async fn what_is_called_on_a_deferred_that_fails_fails_with_its_failure_as_cause() {
    let (resolver, node) = Deferred::<NodeRef>::new();
    let (before, opened) = (node.say(1), node.open("a".into()));
    let behind = opened.say(2);
    resolver.reject(refused());
    for call in [before, behind, node.say(3)] {
        let failure = soon(call).await.expect_err("there is nobody to call");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
        let cause = std::error::Error::source(&failure).expect("it has a cause").to_string();
        assert_eq!(cause, "not you");
    }
    assert_eq!(kind(soon(node).await.map(drop)), FailureKind::Refused);

    let (resolver, node) = Deferred::<NodeRef, CallError<Trouble>>::new();
    let call = node.say(1);
    drop(resolver);
    let failure = soon(call).await.expect_err("nobody resolved it");
    assert_eq!(failure.kind, FailureKind::Broken);
    assert_eq!(failure.app::<Trouble>(), None);
}

#[tokio::test]
async fn a_deferred_of_ones_own_is_cancelled_when_nobody_names_it_any_more() {
    let (resolver, node) = Deferred::<NodeRef>::new();
    let promised = node.promised();
    drop(node);
    assert!(!resolver.is_cancelled(), "its promise is held");
    let call = promised.say(1);
    drop(promised);
    assert!(!resolver.is_cancelled(), "somebody waits for a call on it");
    drop(call);
    assert!(resolver.is_cancelled());

    let (resolver, node) = Deferred::<NodeRef>::new();
    drop(node.say(1));
    assert!(!resolver.is_cancelled());
    Deferred::cancel(&node);
    assert!(resolver.is_cancelled());
    let failure = soon(node.say(2)).await.expect_err("it was cancelled");
    assert_eq!(failure.kind, FailureKind::Broken);
}

/// The promise of a chain drives it: nobody awaits it.
#[tokio::test]
async fn calls_on_a_chain_that_nobody_awaits_go_when_its_callbacks_have_run() {
    let chain = Chain::of(1).await;
    let root = chain.root.clone();
    let (resolver, number) = Deferred::<u64>::new();
    let node = number.add_callback(move |n| root.open(format!("node {n}")));
    let name = node.name();
    resolver.resolve(3);
    assert_eq!(soon(name).await.as_deref(), Ok("node 3"));
    assert_eq!(soon(soon(node).await.expect("it was opened").name()).await.as_deref(), Ok("node 3"));
    chain.finish().await;
}

/// It is polled by one task, called on, polled by another: the last one is woken.
#[tokio::test]
async fn a_deferred_that_was_called_on_still_wakes_whoever_awaits_it() {
    let (resolver, mut node) = Deferred::<NodeRef>::new();
    assert!(poll(&mut node).is_pending());
    let world = Arc::new(World::default());
    let call = node.say(1);
    let waiting = tokio::spawn(node);
    tokio::task::yield_now().await;
    resolver.resolve(NodeRef::new(MyNode::new("late", &world)));
    let node = soon(waiting).await.expect("no panic").expect("it was resolved");
    assert_eq!(soon(node.say(2)).await, Ok(2));
    assert_eq!(soon(call).await, Ok(1));
}

#[tokio::test]
async fn the_first_of_two_servers_is_called_before_it_is_known_which_it_is() {
    let (slow, fast) = (Chain::of(1).await, Chain::of(1).await);
    let opened = first([slow.root.open_late("slow".into()), fast.root.open("fast".into())]);
    assert_eq!(soon(opened.name()).await.as_deref(), Ok("fast"));
    assert_eq!(soon(soon(opened).await.expect("one was opened").name()).await.as_deref(), Ok("fast"));
    until(|| slow.world.stopped() == slow.world.started().len(), || "the slow one is stopped".into()).await;
    slow.finish().await;
    fast.finish().await;
}

#[tokio::test]
async fn a_promise_of_ones_own_is_an_argument_and_arrives_as_what_it_becomes() {
    let chain = Chain::of(1).await;
    let (resolver, node) = Deferred::<NodeRef>::new();
    let told = chain.root.tell(node.promised(), 5);
    assert_eq!(soon(chain.root.say(1)).await, Ok(1));
    let mine = chain.world.node("mine");
    resolver.resolve(mine.clone());
    assert_eq!(soon(told).await, Ok(5));
    drop((node, mine));
    chain.finish().await;
}

#[tokio::test]
async fn a_deferred_that_is_resolved_with_its_own_promise_is_broken() {
    let (resolver, node) = Deferred::<NodeRef>::new();
    let call = node.say(1);
    resolver.resolve(node.promised());
    let failure = soon(call).await.expect_err("it leads to itself");
    assert_eq!(failure.kind, FailureKind::Broken);
    let causes = std::iter::successors(Some(&failure as &dyn std::error::Error), |cause| cause.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("itself")), "{texts:?}");
}

#[tokio::test]
async fn deferreds_that_are_resolved_with_each_others_promises_are_broken() {
    let ((first, one), (second, other), (third, last)) =
        (Deferred::<NodeRef>::new(), Deferred::<NodeRef>::new(), Deferred::<NodeRef>::new());
    let calls = [one.say(1), other.say(2), last.say(3)];
    first.resolve(other.promised());
    second.resolve(last.promised());
    third.resolve(one.promised());
    for call in calls {
        assert_eq!(soon(call).await.expect_err("it leads in a circle").kind, FailureKind::Broken);
    }
    assert_eq!(soon(one.say(4)).await.expect_err("the same").kind, FailureKind::Broken);
}

/// Names that `Deferred` uses for what it does not take by method syntax.
#[remote_interface]
trait Named {
    async fn cancel(&self) -> u64;
    async fn succeed(&self) -> u64;
    async fn fail(&self) -> u64;
    async fn settle(&self) -> u64;
}

#[derive(Referenceable)]
struct MyNamed;

impl Named for MyNamed {
    async fn cancel(&self) -> u64 {
        2
    }
    async fn succeed(&self) -> u64 {
        3
    }
    async fn fail(&self) -> u64 {
        4
    }
    async fn settle(&self) -> u64 {
        5
    }
}

#[tokio::test]
async fn methods_of_an_interface_may_have_the_names_of_a_deferreds_functions() {
    let named = Deferred::<NamedRef>::succeed(NamedRef::new(MyNamed));
    let calls = [named.cancel(), named.succeed(), named.fail(), named.settle()];
    assert_eq!(soon(gather(calls, OnFailure::CancelRest)).await, Ok(vec![2, 3, 4, 5]));
}
