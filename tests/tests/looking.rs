//! What a connection tells who looks into it: objects, calls in flight, methods; and what can be done from there.

use std::collections::BTreeSet;

use pb_core::broker::{InFlight, NotStopped};
use pb_core::message::ExportId;
use pb_core::objects::Reference;
use pb_core::{Broker, CallError, Failure, FailureKind, Ran};
use pb_tests::live::{Chain, NodeRef, soon, until};

/// All that the peer holds, in pieces of so many.
fn held(broker: &Broker, most: usize) -> Vec<(i64, u64, u64, u64)> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let (piece, next) = broker.held(from, most);
        all.extend(piece.iter().map(|held| (held.id.0, held.mentions, held.calls, held.failed)));
        from = next;
        if from.is_none() {
            return all;
        }
    }
}

/// The peer's calls that have no answer, in pieces that look at so many.
fn flying(broker: &Broker, most: usize) -> Vec<InFlight<Reference>> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let (piece, next) = broker.in_flight(from, most);
        assert!(piece.len() <= most, "{} in one piece", piece.len());
        all.extend(piece);
        from = next;
        if from.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn objects_tell_who_holds_them_how_often_they_were_called_and_what_failed() {
    let chain = Chain::of(1).await;
    let opened = soon(chain.root.open("ada".into())).await.expect("it opens");
    for n in 0..3 {
        assert_eq!(soon(opened.say(n)).await, Ok(n));
    }
    assert!(matches!(soon(opened.fail("no".into())).await, Err(CallError::App(_))));
    // A call on what is not there yet counts on what it becomes.
    let (late, said) = (chain.root.open("bob".into()), chain.root.open("cleo".into()).say(7));
    let late = soon(late).await.expect("it opens");
    assert_eq!(soon(said).await, Ok(7));
    // What went with the last answers is released a moment later.
    until(|| chain.server().tables().exports == 2, || format!("{:?}", chain.server().tables())).await;
    let found = held(chain.server(), 100);
    assert_eq!(found, [(0, 0, 3, 0), (-2, 1, 0, 0), (-1, 1, 4, 1)]);

    let (all, _) = chain.server().held(None, 100);
    let given_by = all[1].by.as_ref().map(|text| text.name.to_string());
    assert_eq!(given_by.as_deref(), Some("Node/open"));
    assert!(all[1].idle.is_none() && all[2].idle.is_some());
    drop(all);
    let methods = chain.server().method_uses();
    let of =
        |name: &str| methods.iter().find(|used| used.method.as_ref().is_some_and(|text| *text.name == *name));
    let (say, fail) = (of("Node/say").expect("called"), of("Node/fail").expect("called"));
    assert_eq!((say.calls, say.errors, say.failures), (4, 0, 0));
    assert_eq!((fail.calls, fail.errors, fail.failures), (1, 1, 0));
    assert!(say.quantile(50).is_some_and(|half| half <= say.longest));
    drop((opened, late));
    chain.finish().await;
}

#[tokio::test]
async fn whatever_is_held_throughout_is_listed_though_others_come_and_go() {
    let chain = Chain::of(1).await;
    let mut kept = Vec::new();
    let mut others = Vec::new();
    for n in 0..400 {
        let opened = soon(chain.root.open(n.to_string())).await.expect("it opens");
        if n % 2 == 0 { kept.push(opened) } else { others.push(opened) }
    }
    let stays: BTreeSet<i64> = (1..=400).filter(|n| n % 2 == 1).map(|n| -n).collect();
    let (mut seen, mut from) = (BTreeSet::new(), None);
    loop {
        let (piece, next) = chain.server().held(from, 16);
        assert!(piece.len() <= 17, "{} in one piece", piece.len());
        seen.extend(piece.iter().map(|held| held.id.0));
        drop(piece);
        // Between two pieces, some go and others come.
        others.drain(..others.len().min(9)).for_each(drop);
        others.push(soon(chain.root.open("new".into())).await.expect("it opens"));
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(stays.difference(&seen).count(), 0, "{seen:?}");
    drop((kept, others));
    chain.finish().await;
}

#[tokio::test]
async fn calls_in_flight_tell_their_method_target_age_and_what_they_wait_for() {
    let chain = Chain::of(1).await;
    let hangs = chain.root.hang(Vec::new());
    let late = chain.root.open_late("ada".into());
    let queued = late.say(1);
    let all = || flying(chain.server(), 1024);
    until(
        || all().iter().filter(|call| call.can_stop).count() == 2 && all().len() == 3,
        || format!("{} calls", all().len()),
    )
    .await;
    let mut found = all();
    found.sort_by_key(|call| call.id);
    let names: Vec<_> =
        found.iter().map(|call| call.method.as_ref().map(|text| text.name.to_string())).collect();
    assert_eq!(names.iter().flatten().collect::<Vec<_>>(), ["Node/hang", "Node/open_late", "Node/say"]);
    assert_eq!(found[0].target, ExportId::ROOT);
    assert!(found[0].on.is_some() && found[1].gives_reference);
    assert_eq!(found[2].waits_for, Some(found[1].id));
    assert!(found.iter().all(|call| !call.given_up));
    drop(found);
    chain.world.open_gate();
    assert_eq!(soon(queued).await, Ok(1));
    drop((hangs, late));
    chain.finish().await;
}

#[tokio::test]
async fn calls_in_flight_are_listed_in_pieces_that_look_at_so_many() {
    // As many as are granted, which is more than have a place in the tables' ring where results stay.
    let chain = Chain::of(1).await;
    let mut kept = Vec::new();
    for n in 0..300 {
        let opened = chain.root.open(n.to_string());
        kept.push(opened.promised());
        soon(opened).await.expect("it opens");
    }
    let hang: Vec<_> = (0..1000).map(|_| chain.root.hang(Vec::new())).collect();
    let server = chain.server();
    let all = || flying(server, 1024).iter().filter(|call| call.can_stop).count();
    until(|| all() == 1000, || format!("{} calls", all())).await;
    let wanted: BTreeSet<_> = flying(server, 1024).iter().map(|call| call.id).collect();
    assert_eq!(wanted.len(), 1000);
    for most in [1, 64] {
        let found = flying(server, most);
        assert_eq!(found.len(), 1000, "each is in one piece");
        assert!(found.iter().all(|call| wanted.contains(&call.id)));
    }
    drop((hang, kept));
    chain.finish().await;
}

#[tokio::test]
async fn a_call_that_is_stopped_is_answered_once_and_leaves_nothing_behind() {
    let chain = Chain::of(1).await;
    let hangs = chain.root.hang(Vec::new());
    let late = chain.root.open_late("ada".into());
    let queued = late.say(1);
    let server = chain.server();
    let ready =
        || flying(server, 1024).iter().filter(|call| call.can_stop || call.waits_for.is_some()).count() == 3;
    until(ready, || "three calls".to_owned()).await;
    let why = || Failure::new(FailureKind::Cancelled, Ran::Maybe, "an operator has stopped the call");
    let mut ids: Vec<_> = flying(server, 1024).iter().map(|call| call.id).collect();
    ids.sort();
    assert_eq!(server.stop_call(ids[0], why()), Ok(()));
    assert_eq!(server.stop_call(ids[0], why()), Err(NotStopped::Ended));
    assert_eq!(server.stop_call(ExportId(99), why()), Err(NotStopped::Ended));
    let stopped = soon(hangs).await.expect_err("it was stopped");
    assert_eq!(
        (stopped.kind, &*stopped.message),
        (FailureKind::Cancelled, "an operator has stopped the call")
    );
    // Of two calls in a row the one that waits is stopped alone; the first goes on.
    assert_eq!(server.stop_call(ids[2], why()), Ok(()));
    assert_eq!(soon(queued).await.expect_err("it was stopped").kind, FailureKind::Cancelled);
    chain.world.open_gate();
    let opened: NodeRef = soon(late).await.expect("it opens");
    assert_eq!(soon(opened.say(3)).await, Ok(3));
    drop(opened);
    chain.finish().await;
}

#[tokio::test]
async fn a_stopped_call_that_was_to_give_a_reference_fails_what_was_called_on_it() {
    let chain = Chain::of(1).await;
    let late = chain.root.open_late("ada".into());
    let queued = late.say(1);
    let server = chain.server();
    until(
        || flying(server, 1024).len() == 2 && flying(server, 1024).iter().any(|call| call.can_stop),
        || "two calls".to_owned(),
    )
    .await;
    let first = flying(server, 1024).iter().map(|call| call.id).min().expect("two calls");
    let why = Failure::new(FailureKind::Cancelled, Ran::Maybe, "an operator has stopped the call");
    assert_eq!(server.stop_call(first, why), Ok(()));
    assert_eq!(soon(queued).await.expect_err("its target failed").kind, FailureKind::Broken);
    assert_eq!(soon(late).await.expect_err("it was stopped").kind, FailureKind::Cancelled);
    chain.finish().await;
}

#[tokio::test]
async fn what_is_taken_away_breaks_for_its_holder_and_is_listed_as_broken() {
    let chain = Chain::of(1).await;
    let opened = soon(chain.root.open("ada".into())).await.expect("it opens");
    let broken = opened.remote().on_broken();
    chain.server().break_held(ExportId(-1), "it is not yours any more");
    let reason = soon(broken).await;
    assert_eq!(reason.kind, FailureKind::Broken);
    assert!(reason.to_string().contains("it is not yours any more"), "{reason}");
    let (all, _) = chain.server().held(None, 10);
    assert!(all[1].handle.is_err() && all[1].mentions == 1);
    drop(all);
    assert_eq!(soon(opened.say(1)).await.expect_err("it is broken").kind, FailureKind::Broken);
    drop(opened);
    chain.finish().await;
}
