//! References that break, however far from their owner, and those that their owner takes back. Live brokers in a row.

use std::sync::atomic::Ordering::SeqCst;

use futures::FutureExt;
use pb_server::{AppError, FailureKind, Ran, Stub};
use pb_tests::row::{MyNode, NodeRef, Row, cause, soon};

#[tokio::test]
async fn on_broken_fires_once_with_the_owners_reason_over_zero_one_and_two_middlemen() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let object = MyNode::reference(5, &row.owner);
        let (lent, revoker) = object.remote().revocable::<NodeRef>();
        row.owner.gives(lent);
        let node = soon(row.root.give()).await.expect("a node");
        let (first, second) = (node.remote().on_broken(), node.remote().on_broken());
        let mut dropped = Box::pin(node.remote().on_broken());
        assert!(dropped.as_mut().now_or_never().is_none());
        drop(dropped);
        assert_eq!(soon(node.number()).await, Ok(5));
        revoker.revoke("the lease is over");
        revoker.revoke("another reason");
        for broken in [first, second, node.remote().on_broken()] {
            let failure = soon(broken).await;
            assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
            let reason = cause(&failure);
            assert_eq!((reason.kind, &*reason.message), (FailureKind::Refused, "the lease is over"));
            assert!(reason.cause.is_none(), "one layer however many middlemen: {reason:?}");
        }
        let failure = soon(node.number()).await.expect_err("it is broken");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
        assert_eq!(&*cause(&failure).message, "the lease is over");
        assert_eq!(soon(row.root.number()).await, Ok(0), "the connections live");
        assert_eq!(soon(object.number()).await, Ok(5), "the object lives");
        let exports = |row: &Row| row.links.iter().map(|(server, _)| server.tables().exports).sum::<usize>();
        row.settle().await;
        assert_eq!(
            exports(&row),
            1,
            "what is broken stays until its last holder releases it, and only there"
        );
        drop((node, object, revoker, row.owner.gives.lock().expect("nobody panics in it").take()));
        row.is_idle().await;
    }
}

#[tokio::test]
async fn a_connection_that_ends_breaks_what_was_passed_on_over_one_and_two_middlemen() {
    for middlemen in 1..3 {
        let row = Row::new(middlemen).await;
        let node = row.node().await;
        let (broken, root_broken) = (node.remote().on_broken(), row.root.remote().on_broken());
        row.links[0].0.close();
        for broken in [broken, root_broken] {
            let failure = soon(broken).await;
            assert_eq!(failure.kind, FailureKind::Broken);
            let reason = cause(&failure);
            assert_eq!(reason.kind, FailureKind::Disconnected, "{reason:?}");
            assert!(reason.cause.is_none() && reason.message.contains("closing"), "{reason:?}");
        }
        for call in [node.number(), row.root.number()] {
            let failure = soon(call).await.expect_err("it is broken");
            assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
            assert_eq!(cause(&failure).kind, FailureKind::Disconnected);
        }
        let passed = soon(row.root.echo(node.clone())).await.err().map(|failure| failure.kind);
        assert_eq!(passed, Some(FailureKind::Broken));
        let near = &row.links[middlemen].1;
        assert!(near.closed().now_or_never().is_none(), "the client's own connection lives");
        drop(node);
        while near.tables() != Default::default() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_promise_that_fails_breaks_what_was_passed_on_for_it() {
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        // A promise of the owner's own, not settled when it is passed on.
        let local = MyNode::reference(1, &row.owner);
        let failing = local.fails_late();
        row.owner.gives(failing.promised());
        let node = soon(row.root.give()).await.expect("a promise");
        let (queued, broken) = (node.number(), node.remote().on_broken());
        assert_eq!(soon(row.root.number()).await, Ok(0));
        row.owner.open();
        let failure = soon(queued).await.expect_err("it failed");
        assert_eq!(failure.app::<String>().as_deref(), Some("it failed"), "{failure:?}");
        let failure = soon(broken).await;
        assert_eq!(failure.kind, FailureKind::Broken);
        assert_eq!(failure.app::<String>().as_deref(), Some("it failed"), "{failure:?}");
        drop((node, failing, local, row.owner.gives.lock().expect("nobody panics in it").take()));
        row.is_idle().await;
    }
}

/// A promise that is passed on breaks with what it has become.
#[tokio::test]
async fn a_promise_that_was_passed_on_breaks_with_what_it_settled_to() {
    let row = Row::new(1).await;
    let object = MyNode::reference(5, &row.owner);
    let (lent, revoker) = object.remote().revocable::<NodeRef>();
    let local = MyNode::reference(1, &row.owner);
    let echoed = local.echo_late(lent);
    row.owner.gives(echoed.promised());
    let node = soon(row.root.give()).await.expect("a promise");
    let broken = node.remote().on_broken();
    let first = node.number();
    row.owner.open();
    assert_eq!(soon(first).await, Ok(5));
    revoker.revoke("the lease is over");
    assert_eq!(&*cause(&soon(broken).await).message, "the lease is over");
    drop((node, echoed, local, object, revoker, row.owner.gives.lock().expect("nobody panics in it").take()));
    row.is_idle().await;
}

#[tokio::test]
async fn what_stands_for_another_breaks_with_it() {
    let row = Row::new(1).await;
    let (other, others) = MyNode::reference(2, &row.owner).remote().revocable::<NodeRef>();
    let (lent, revoker) = MyNode::reference(5, &row.owner).remote().revocable::<NodeRef>();
    let revoking = tokio::spawn(revoker.revoke_with(other.remote()));
    row.owner.gives(lent);
    let node = soon(row.root.give()).await.expect("a reference");
    assert_eq!(soon(node.number()).await, Ok(5));
    others.revoke("the other is gone");
    assert_eq!(&*cause(&soon(node.remote().on_broken()).await).message, "the other is gone");
    soon(revoking).await.expect("done");
    drop((node, other, row.owner.gives.lock().expect("nobody panics in it").take()));
    row.is_idle().await;
}

#[tokio::test]
async fn who_waits_to_revoke_lets_go_of_both_when_nobody_holds_what_was_lent() {
    let row = Row::new(0).await;
    let node = row.node().await;
    let (lent, revoker) = MyNode::reference(5, &row.owner).remote().revocable::<NodeRef>();
    let revoking = tokio::spawn(revoker.revoke_with(node.remote()));
    soon(row.root.keep(lent)).await.expect("kept");
    drop(node);
    tokio::task::yield_now().await;
    assert!(!revoking.is_finished(), "it is held");
    soon(row.root.forget()).await.expect("forgotten");
    soon(revoking).await.expect("done");
    row.is_idle().await;
}

#[tokio::test]
async fn a_revoker_holds_nothing() {
    let row = Row::new(0).await;
    let node = row.node().await;
    let (lent, revoker) = node.remote().revocable::<NodeRef>();
    drop((node, lent));
    row.is_idle().await;
    revoker.revoke("there is nothing any more");
    row.is_idle().await;
}

#[tokio::test]
async fn what_is_revoked_before_it_is_passed_on_arrives_broken() {
    let row = Row::new(1).await;
    let object = MyNode::reference(5, &row.owner);
    let (lent, revoker) = object.remote().revocable::<NodeRef>();
    revoker.revoke("too late");
    row.owner.gives(lent);
    let node = soon(row.root.give()).await.expect("a reference");
    assert_eq!(&*cause(&soon(node.remote().on_broken()).await).message, "too late");
    drop((node, object, revoker, row.owner.gives.lock().expect("nobody panics in it").take()));
    row.is_idle().await;
}

#[tokio::test]
async fn a_reply_with_a_reference_of_a_third_connection_that_died_meanwhile_is_broken() {
    // The middleman's own object answers with the owner's node.
    let far = Row::new(0).await;
    let node = far.node().await;
    let middle = Row::new(0).await;
    middle.owner.gives(node.clone());
    let late = middle.root.give_late();
    let piped = late.number();
    far.links[0].0.close();
    soon(node.remote().on_broken()).await;
    middle.owner.open();
    let node = soon(late).await.expect("a reference, though it is broken");
    assert_eq!(soon(piped).await.expect_err("it is broken").ran, Ran::No);
    let failure = soon(node.remote().on_broken()).await;
    assert_eq!((failure.kind, cause(&failure).kind), (FailureKind::Broken, FailureKind::Disconnected));
    let failure = soon(node.number()).await.expect_err("it is broken");
    assert_eq!((failure.kind, cause(&failure).kind), (FailureKind::Broken, FailureKind::Disconnected));
    assert_eq!(soon(middle.root.number()).await, Ok(0));
    drop((node, middle.owner.gives.lock().expect("nobody panics in it").take()));
    middle.is_idle().await;
}

/// The middleman's watch holds the owner's node: if one stayed, so would that.
#[tokio::test]
async fn nothing_watches_an_export_that_was_released() {
    let row = Row::new(2).await;
    for _ in 0..50 {
        let nodes: Vec<_> = futures::future::join_all((0..20).map(|_| row.root.next())).await;
        let echoes = futures::future::join_all(
            nodes.iter().map(|node| row.root.echo(node.as_ref().expect("a node").clone())),
        );
        drop((soon(echoes).await, nodes));
    }
    row.is_idle().await;
    // Of the owner's own, nothing but the watch would hold the object once the revoker is gone.
    let (lent, revoker) = MyNode::reference(5, &row.owner).remote().revocable::<NodeRef>();
    row.owner.gives(lent);
    drop((soon(row.root.give()).await.expect("a node"), row.owner.gives.lock().expect("no panic").take()));
    drop(revoker);
    row.is_idle().await;
}

#[tokio::test]
async fn a_reference_that_is_lent_again_is_another_one() {
    let row = Row::new(1).await;
    let object = MyNode::reference(5, &row.owner);
    let (one, first) = object.remote().revocable::<NodeRef>();
    let (other, second) = object.remote().revocable::<NodeRef>();
    let mut got = Vec::new();
    for lent in [&one, &one, &other] {
        row.owner.gives(lent.clone());
        got.push(soon(row.root.give()).await.expect("a node"));
    }
    assert!(got[0].remote().same(&got[1]) && !got[0].remote().same(&got[2]));
    first.revoke("the first");
    soon(got[0].remote().on_broken()).await;
    assert_eq!(soon(got[2].number()).await, Ok(5));
    second.revoke("the second");
    assert_eq!(&*cause(&soon(got[2].remote().on_broken()).await).message, "the second");
    // What comes home is what was lent, and its owner does not see through it either.
    assert!(!one.remote().same(&object) && one.remote().local::<MyNode>().is_none());
    drop((got, one, other, object, first, second));
    drop(row.owner.gives.lock().expect("no panic").take());
    row.is_idle().await;
}

#[tokio::test]
async fn a_lent_reference_keeps_the_order_of_calls_and_its_revoker_may_be_dropped() {
    let row = Row::new(0).await;
    let object = MyNode::reference(5, &row.owner);
    let (lent, revoker) = object.remote().revocable::<NodeRef>();
    drop(revoker);
    row.owner.gives(lent.clone());
    let promise = row.root.give();
    let calls: Vec<_> = (0..10).map(|n| promise.log(n)).collect();
    for call in calls {
        assert_eq!(soon(call).await, Ok(()));
    }
    assert_eq!(row.owner.logged(), (0..10).collect::<Vec<_>>());
    assert!(lent.remote().on_broken().now_or_never().is_none());
    drop((promise, lent, object, row.owner.gives.lock().expect("no panic").take()));
    row.is_idle().await;
}

#[tokio::test]
async fn what_is_lent_of_a_peers_object_breaks_with_it_and_when_it_is_revoked() {
    let row = Row::new(0).await;
    let node = row.node().await;
    let (lent, revoker) = node.remote().revocable::<NodeRef>();
    // Passed to the very side that owns the object: it comes back through us, and does not come home.
    soon(row.root.keep(lent.clone())).await.expect("kept");
    let kept = soon(row.root.kept()).await.expect("it comes back");
    assert!(kept.remote().same(&lent) && !kept.remote().same(&node));
    assert_eq!(soon(kept.number()).await, Ok(1));
    revoker.revoke("enough");
    let failure = soon(lent.number()).await.expect_err("it is broken");
    assert_eq!(&*cause(&failure).message, "enough");
    let (again, _revoker) = node.remote().revocable::<NodeRef>();
    let broken = again.remote().on_broken();
    row.links[0].0.close();
    assert_eq!(soon(broken).await.kind, FailureKind::Disconnected);
}

#[tokio::test]
async fn a_promise_resolved_to_what_is_lent_of_itself_is_broken() {
    let place = std::sync::Arc::default();
    let object = MyNode::reference(1, &place);
    let promise = object.give_late();
    let (lent, _revoker) = promise.remote().revocable::<NodeRef>();
    place.gives(lent.clone());
    place.open();
    let failure = soon(lent.number()).await.expect_err("it leads nowhere");
    assert_eq!(
        (failure.kind, &*cause(&failure).message),
        (FailureKind::Broken, "the reference was resolved to itself")
    );
    assert_eq!(soon(lent.remote().on_broken()).await.kind, FailureKind::Broken);
    place.gives.lock().expect("no panic").take();
    assert_eq!(place.alive.load(SeqCst), 1);
    assert!(lent.as_reference().key() != object.as_reference().key());
}

#[tokio::test]
async fn the_message_of_what_is_broken_says_the_reason_itself_and_nobody_needs_to_wait_for_it() {
    const PREFIX: &str = "the reference that was called is broken: ";
    for middlemen in 0..3 {
        let row = Row::new(middlemen).await;
        let object = MyNode::reference(5, &row.owner);
        assert!(object.remote().broken().is_none(), "an object of one's own lasts");
        let (lent, revoker) = object.remote().revocable::<NodeRef>();
        row.owner.gives(lent);
        let node = soon(row.root.give()).await.expect("a node");
        assert!(node.remote().broken().is_none());
        revoker.revoke("the lease is over");
        let failure = soon(node.remote().on_broken()).await;
        assert_eq!(&*failure.message, format!("{PREFIX}the lease is over"));
        assert_eq!(node.remote().broken().as_ref(), Some(&failure));
        assert_eq!(soon(node.number()).await, Err(failure));

        let failed = row.root.fails_late();
        let waits = failed.number();
        row.owner.open();
        let failure = soon(waits).await.expect_err("it has nothing to be called on");
        let said = "the method that was to give it failed with an error of its own";
        assert_eq!(&*failure.message, format!("{PREFIX}{said}"));
        assert_eq!(failure.app::<String>().as_deref(), Some("it failed"), "the error itself is for programs");
        drop((failed, node, object, row.owner.gives.lock().expect("no panic").take()));
        row.is_idle().await;
    }
}

#[tokio::test]
async fn a_long_reason_is_cut_in_the_message_of_what_it_breaks_and_a_missing_one_is_named_by_its_kind() {
    let place = std::sync::Arc::default();
    for (reason, said) in
        [("ä".repeat(400), "ä".repeat(80)), (String::new(), "Refused; the other side said no more".into())]
    {
        let (lent, revoker) = MyNode::reference(1, &place).remote().revocable::<NodeRef>();
        revoker.revoke(&reason);
        let failure = soon(lent.number()).await.expect_err("it is broken");
        assert_eq!(&*failure.message, format!("the reference that was called is broken: {said}"));
    }
}
