//! How a connection ends in good order: `goaway` and what it promises, the end of one direction, and when nothing remains.

use std::time::Duration;

use bytes::Bytes;
use pb_core::message::*;
use pb_core::proto::{Limits, TableSizes, Violation};
use pb_tests::net::{A, B, Ended, Handle, Net, Who};

const SECOND: Duration = Duration::from_secs(1);

/// The aborts that `who` has sent, by their reasons.
fn aborts(net: &Net, who: Who) -> Vec<String> {
    let prefix = format!("{who:?}: abort, ");
    net.dialogue().iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// A holds an account of B's.
fn with_account() -> (Net, Handle) {
    let net = Net::new();
    let open = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let account = open.reference();
    (net, account)
}

#[test]
fn a_call_that_had_come_runs_and_later_ones_on_the_root_do_not() {
    let net = Net::new();
    let before = net.call(A, &net.root(A), "hold", "before", &[]);
    net.run();
    net.block(A);
    let crossing = net.call(A, &net.root(A), "say", "crossing", &[]);
    net.leave(B, "restart", 30 * SECOND);
    net.run();
    assert_eq!(
        net.farewell(A).map(|farewell| (farewell.last.0, farewell.reason)),
        Some((1, "restart".into()))
    );
    let after = net.call(A, &net.root(A), "say", "after", &[]);
    let failure = after.failure();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No));
    assert!(failure.message.contains("restart"), "{failure}");
    assert!(!crossing.has_ended(), "the peer answers it");
    net.unblock(A);
    net.run();
    assert_eq!((crossing.failure().kind, crossing.failure().ran), (FailureKind::Disconnected, Ran::No));
    assert_eq!(net.side(B).arrived(), ["root.hold(before)"]);
    let held = net.side(B).take("hold");
    net.side(B).answer(held, Ended::Value(Vec::new(), Bytes::from_static(b"done")));
    net.run();
    assert_eq!(before.value(), "done");
    assert_eq!(aborts(&net, B), ["restart"], "nothing was left to wait for");
    net.finish();
}

#[test]
fn what_is_called_on_a_refused_call_fails_with_that_cause() {
    let net = Net::new();
    net.block(A);
    let open = net.refer(A, &net.root(A), "open", "ada", &[]);
    let say = net.call(A, &open.promised(), "say", "100", &[]);
    let held = net.call(B, &net.root(B), "hold", "", &[]);
    net.leave(B, "restart", 30 * SECOND);
    net.unblock(A);
    net.run();
    assert_eq!((open.failure().kind, open.failure().ran), (FailureKind::Disconnected, Ran::No));
    let failure = say.failure();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
    let cause = failure.cause.as_deref();
    assert!(
        matches!(cause, Some(Cause::Broker(cause)) if cause.kind == FailureKind::Disconnected),
        "{cause:?}"
    );
    assert!(net.side(B).arrived().is_empty());
    let started = net.side(A).take("hold");
    net.side(A).answer(started, Ended::Value(Vec::new(), Bytes::new()));
    net.run();
    assert!(net.ended(B).is_some(), "its own call was the last that was in flight");
    drop((open, say, held));
    net.finish();
}

#[test]
fn calls_on_objects_and_on_results_that_run_go_on_until_the_time_is_over() {
    let (net, account) = with_account();
    let late = net.refer(A, &net.root(A), "hold", "", &[]);
    let piped = net.call(A, &late.promised(), "say", "piped", &[]);
    net.run();
    net.leave(B, "restart", 30 * SECOND);
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("late")));
    net.run();
    assert_eq!(piped.value(), "piped");
    let further = net.call(A, &late.reference(), "say", "further", &[]);
    let hanging = net.call(A, &account, "hold", "", &[]);
    net.advance(30 * SECOND - Duration::from_millis(1));
    net.run();
    assert_eq!(further.value(), "further");
    assert!(!hanging.has_ended() && net.ended(B).is_none());
    net.advance(Duration::from_millis(1));
    assert_eq!(aborts(&net, B), ["restart"]);
    assert_eq!(net.side(B).waiting_count(), 0, "what still ran was stopped");
    net.run();
    assert_eq!((hanging.failure().kind, hanging.failure().ran), (FailureKind::Disconnected, Ran::Maybe));
    let known = net.ended(A).expect("A was told");
    assert!(known.message.contains("restart"), "{known}");
    drop((account, late, piped));
    net.finish();
}

#[test]
fn goaway_says_the_time_that_is_left() {
    let net = Net::new();
    let held = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    net.leave(B, "restart", 30 * SECOND);
    net.advance(SECOND);
    net.run();
    let until = net.farewell(A).expect("B leaves").until;
    assert_eq!(until - net.now(), 30 * SECOND, "as of when it was read");
    // Less time may be left later, more may not.
    net.leave(B, "restart", 60 * SECOND);
    net.leave(B, "restart", 5 * SECOND);
    net.run();
    assert_eq!(net.farewell(A).expect("B leaves").until - net.now(), 5 * SECOND);
    assert_eq!(net.dialogue().iter().filter(|line| line.contains("goaway")).count(), 2);
    net.advance(5 * SECOND);
    net.run();
    assert!(held.has_ended());
    net.finish();
}

#[test]
fn a_connection_lost_while_the_peer_leaves_fails_later_root_calls_as_not_run() {
    let net = Net::new();
    let before = net.refer(A, &net.root(A), "hold", "", &[]);
    let on_it = net.call(A, &before.promised(), "say", "", &[]);
    net.run();
    net.block(A);
    let after = net.refer(A, &net.root(A), "open", "", &[]);
    let on_that = net.refer(A, &after.promised(), "open", "", &[]);
    let deep = net.call(A, &on_that.promised(), "say", "", &[]);
    net.leave(B, "restart", SECOND);
    net.advance(SECOND);
    net.run();
    for (call, ran) in [(&before, Ran::Maybe), (&on_it, Ran::Maybe), (&after, Ran::No), (&on_that, Ran::No)] {
        assert_eq!((call.failure().kind, call.failure().ran), (FailureKind::Disconnected, ran));
    }
    assert_eq!(deep.failure().ran, Ran::No);
    net.finish();
}

#[test]
fn casts_on_the_root_are_dropped_and_on_objects_run() {
    let (net, account) = with_account();
    net.block(A);
    net.cast(A, &net.root(A), "note", "crossing", &[Handle::object("given")]);
    net.cast(A, &account, "note", "2", &[]);
    net.leave(B, "restart", SECOND);
    net.unblock(A);
    net.run();
    net.cast(A, &net.root(A), "note", "after", &[]);
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.open(ada)", "ada.note(2)"]);
    assert_eq!(net.sizes(B).imports, 0, "the reference in it was given back");
    assert!(!net.dialogue().iter().any(|line| line.contains("(after)")), "it was not even sent");
    net.side(B).take("note");
    drop(account);
    net.run();
    assert!(net.ended(A).is_some());
    net.finish();
}

#[test]
fn a_leaving_side_closes_once_the_peer_holds_nothing_and_nothing_is_in_flight() {
    let (net, account) = with_account();
    let asked = net.call(B, &net.root(B), "hold", "", &[]);
    net.run();
    net.leave(B, "restart", 30 * SECOND);
    net.run();
    let own = net.side(A).take("hold");
    net.side(A).answer(own, Ended::Value(vec![Handle::object("A's")], Bytes::new()));
    net.run();
    let theirs = asked.handles();
    assert!(net.ended(B).is_none(), "A holds an account");
    drop(account);
    net.run();
    assert!(net.ended(B).is_some(), "what B holds of A's does not keep it");
    drop((theirs, asked));
    net.finish();
}

#[test]
fn an_idle_connection_closes_as_soon_as_one_side_leaves() {
    let net = Net::new();
    net.leave(A, "done", 30 * SECOND);
    net.run();
    assert_eq!(net.dialogue(), ["A: goaway 0", "A: abort, done"]);
    net.finish();
}

#[test]
fn both_sides_may_leave_at_once() {
    let (net, account) = with_account();
    net.call(A, &account, "keep", "", &[Handle::object("A's")]).detach();
    net.run();
    net.block(A);
    net.block(B);
    net.leave(A, "one", 20 * SECOND);
    net.leave(B, "other", 30 * SECOND);
    net.unblock(A);
    net.unblock(B);
    net.run();
    for (who, other) in [(A, "other"), (B, "one")] {
        assert_eq!(&*net.farewell(who).expect("it was told").reason, other);
        assert_eq!(net.call(who, &net.root(who), "say", "", &[]).failure().ran, Ran::No);
    }
    let further = net.call(A, &account, "say", "further", &[]);
    net.run();
    assert_eq!(further.value(), "further");
    net.advance(19 * SECOND);
    assert!(net.ended(A).is_none());
    net.advance(SECOND);
    net.run();
    assert_eq!((aborts(&net, A), aborts(&net, B)), (vec!["one".to_owned()], vec![]));
    drop(account);
    net.finish();
}

#[test]
fn a_peer_without_the_feature_is_not_told_and_finishes_alike() {
    let net = Net::strangers(Limits::default(), Limits::default());
    net.side(A).next_message();
    net.deliver(B);
    let mut grants = Grants::MINIMUM;
    grants.calls = 100;
    net.inject(A, Message::Hello(Hello { versions: (1, 1), features: 0, grants }));
    net.run();
    let held = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    net.leave(B, "restart", 9 * SECOND);
    let later = net.call(A, &net.root(A), "say", "", &[]);
    net.run();
    assert!(!net.dialogue().iter().any(|line| line.contains("goaway")));
    assert_eq!((later.failure().kind, later.failure().ran), (FailureKind::Disconnected, Ran::No));
    net.advance(9 * SECOND);
    net.run();
    assert_eq!((held.failure().kind, held.failure().ran), (FailureKind::Disconnected, Ran::Maybe));
    assert_eq!(aborts(&net, B), ["restart"]);
    net.finish();
}

#[test]
fn who_leaves_before_the_peers_hello_says_so_behind_it() {
    let net = Net::strangers(Limits::default(), Limits::default());
    let first = net.refer(B, &net.root(B), "hold", "", &[]);
    net.leave(B, "restart", 30 * SECOND);
    assert!(!net.dialogue().iter().any(|line| line.contains("goaway")));
    net.run();
    assert_eq!(net.farewell(A).map(|farewell| farewell.last.0), Some(0));
    assert_eq!(net.call(A, &net.root(A), "say", "", &[]).failure().ran, Ran::No);
    drop(first);
    net.run();
    net.finish();
}

#[test]
fn after_the_end_nobody_leaves() {
    let net = Net::new();
    net.cut(A);
    net.leave(A, "late", SECOND);
    net.advance(2 * SECOND);
    assert!(net.dialogue().is_empty());
    net.cut(B);
    net.finish();
}

#[test]
fn a_reason_and_a_time_without_bounds_are_cut() {
    let net = Net::new();
    let held = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    net.leave(B, &"ü".repeat(600), Duration::MAX);
    net.run();
    let farewell = net.farewell(A).expect("B leaves");
    assert_eq!(&*farewell.reason, "ü".repeat(512));
    assert_eq!(farewell.until - net.now(), Duration::from_millis(1 << 32));
    net.leave(B, "", Duration::ZERO);
    net.advance(Duration::ZERO);
    net.run();
    drop(held);
    net.finish();
}

#[track_caller]
fn broken_goaway(messages: &[(i64, u64)]) -> Violation {
    let net = Net::new();
    // A's own goaways: B has made two calls.
    let calls = [net.call(B, &net.root(B), "hold", "", &[]), net.call(B, &net.root(B), "hold", "", &[])];
    net.run();
    for &(last, drain_ms) in messages {
        net.inject(A, Message::Goaway(Goaway { last: ExportId(last), drain_ms, reason: "x".into() }));
    }
    let violation = net.violation(A);
    assert_eq!(net.sizes(B), TableSizes::default());
    net.cut(A);
    drop(calls);
    net.finish();
    violation
}

#[test]
fn goaway_names_a_call_that_was_made_and_always_the_same() {
    assert_eq!(broken_goaway(&[(3, 1)]), Violation::NeverGiven { id: 3 });
    assert_eq!(broken_goaway(&[(1 << 60, 1)]), Violation::NeverGiven { id: 1 << 60 });
    assert_eq!(broken_goaway(&[(2, 9), (1, 1)]), Violation::GoawayChanged { last: 1, before: 2 });
    assert_eq!(broken_goaway(&[(0, 9), (2, 1)]), Violation::GoawayChanged { last: 2, before: 0 });
}

#[test]
fn what_came_before_the_end_of_one_direction_is_answered_in_the_other() {
    let (net, account) = with_account();
    let first = net.refer(A, &net.root(A), "hold", "1", &[]);
    let piped = net.call(A, &first.promised(), "say", "piped", &[]);
    let second = net.call(A, &account, "hold", "2", &[Handle::object("A's own")]);
    net.run();
    let own = net.call(B, &net.root(B), "hold", "", &[]);
    let unanswered = net.refer(B, &own_root(&net), "hold", "", &[]);
    net.hear_no_more(B, 10 * SECOND);
    for call in [&own, &unanswered] {
        assert_eq!((call.failure().kind, call.failure().ran), (FailureKind::Disconnected, Ran::Maybe));
    }
    assert_eq!(net.call(B, &net.root(B), "say", "", &[]).failure().ran, Ran::No, "nobody could answer");
    let held = net.side(B).take("hold");
    net.side(B).answer(held, Ended::Reference(Handle::object("late")));
    assert!(net.ended(B).is_none());
    let held = net.side(B).take("hold");
    let given = held.handles.clone();
    net.side(B).answer(held, Ended::Value(given, Bytes::from_static(b"done")));
    assert!(net.ended(B).is_some(), "nothing is left to answer");
    assert_eq!(aborts(&net, B), [""; 0], "the end of the stream says enough");
    net.block(A);
    net.run();
    assert_eq!((piped.value(), second.value()), ("piped".to_owned(), "done".to_owned()));
    assert_eq!(second.handles().len(), 1, "its own object came home");
    assert!(first.has_ended());
    drop((first, piped, second, account, own, unanswered));
    net.cut(A);
    net.finish();
}

fn own_root(net: &Net) -> Handle {
    net.root(B)
}

#[test]
fn answers_after_the_end_of_one_direction_have_a_time() {
    let (net, account) = with_account();
    let held = net.call(A, &account, "hold", "", &[]);
    net.run();
    net.hear_no_more(B, 10 * SECOND);
    net.advance(10 * SECOND - Duration::from_millis(1));
    assert!(net.ended(B).is_none());
    net.advance(Duration::from_millis(1));
    assert_eq!(net.sizes(B), TableSizes::default());
    assert_eq!(aborts(&net, B), ["not all calls were answered in time after the end of your stream"]);
    net.run();
    assert!(held.has_ended());
    drop((held, account));
    net.finish();
}

#[test]
fn who_leaves_does_not_wait_longer_for_a_peer_that_sends_nothing_more() {
    let (net, account) = with_account();
    let held = net.call(A, &account, "hold", "", &[]);
    net.run();
    net.leave(B, "restart", 3 * SECOND);
    net.hear_no_more(B, 10 * SECOND);
    net.advance(3 * SECOND);
    assert!(net.ended(B).is_some());
    net.run();
    drop((held, account));
    net.finish();
}

#[test]
fn with_nothing_to_answer_the_end_of_one_direction_is_the_end() {
    let (net, account) = with_account();
    net.hear_no_more(B, 10 * SECOND);
    assert!(net.ended(B).is_some());
    net.cut(A);
    drop(account);
    net.finish();
}

/// Asserts how idle both sides are.
#[track_caller]
fn idle(net: &Net, a: bool, b: bool) {
    assert_eq!((net.is_idle(A), net.is_idle(B)), (a, b), "{}", net.dialogue().join("\n"));
}

#[test]
fn a_connection_is_idle_exactly_when_nothing_remains_on_either_side() {
    for (who, other) in [(A, B), (B, A)] {
        let net = Net::new();
        let both = |one: bool, two: bool| if who == A { idle(&net, one, two) } else { idle(&net, two, one) };
        let root = net.root(who);
        both(true, true);
        // A call, until its answer is read.
        let call = net.call(who, &root, "hold", "", &[]);
        both(false, true);
        net.run();
        both(false, false);
        let started = net.side(other).take("hold");
        net.side(other).answer(started, Ended::Value(Vec::new(), Bytes::new()));
        both(false, true);
        net.run();
        both(true, true);
        drop(call);
        // A result, until its last word is read; and the object, until it is released.
        let open = net.refer(who, &root, "open", "ada", &[]);
        net.block(who);
        net.deliver(who);
        net.run();
        both(false, false);
        let account = open.reference();
        drop(open);
        net.side(who).flush();
        both(false, false);
        net.unblock(who);
        net.run();
        both(false, false);
        net.block(who);
        drop(account);
        both(false, false); // The last word is known here, and not sent.
        net.side(who).flush();
        both(true, false);
        net.unblock(who);
        net.run();
        both(true, true);
        net.finish();
    }
}

#[test]
fn a_cast_is_not_idle_until_it_has_ended_and_was_given_back() {
    let net = Net::new();
    net.cast(A, &net.root(A), "hold", "", &[]);
    assert!(!net.is_idle(A));
    net.run();
    idle(&net, false, false);
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(Vec::new(), Bytes::new()));
    net.run();
    idle(&net, true, true);
    net.finish();
}

#[test]
fn a_result_that_came_home_is_not_idle_until_its_echo_has_come() {
    let net = Net::new();
    let mine = net.refer(A, &net.root(A), "echo", "", &[Handle::object("mine")]);
    let piped = net.call(A, &mine.promised(), "say", "1", &[]);
    net.block(B);
    while net.deliver(A) {}
    while net.deliver(B) && net.sizes(A).embargoes == 0 {}
    drop((mine, piped));
    assert_eq!(net.sizes(A).embargoes, 1);
    assert!(!net.is_idle(A));
    net.unblock(B);
    net.run();
    idle(&net, true, true);
    net.finish();
}

#[test]
fn a_rejected_result_and_a_cancelled_call_are_not_idle_until_their_last_words() {
    let net = Net::new();
    let failed = net.refer(A, &net.root(A), "fail", "", &[]);
    net.run();
    // A's last word on it is sent with the answer's reading; A may still name it.
    idle(&net, false, true);
    drop(failed);
    idle(&net, true, true);
    let held = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    drop(held);
    assert!(!net.is_idle(A), "the answer is still to come");
    net.run();
    idle(&net, true, true);
    net.finish();
}

/// `docs/protocol.md`, section 15, "One side leaves", with the ids of a connection that was used for nothing before.
#[test]
fn the_trace_of_the_protocol_page_is_what_is_sent() {
    let (net, account) = with_account();
    net.run();
    let before = net.dialogue().len();
    let audit = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    net.block(A);
    let open = net.refer(A, &net.root(A), "open", "eve", &[]);
    let deposit = net.call(A, &open.promised(), "say", "5", &[]);
    net.leave(B, "restart", 30 * SECOND);
    net.run();
    net.unblock(A);
    net.run();
    let further = net.call(A, &account, "say", "7", &[]);
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(Vec::new(), Bytes::from_static(b"42")));
    net.run();
    drop((account, audit, open, deposit, further));
    net.run();
    let expected = [
        "A: call 0 → 2, value, \"hold\", ()",
        "A: call 0 → 3, reference, 1, (eve)",
        "A: call 3 → 4, value, \"say\", (5)",
        "B: goaway 2",
        "B: reject 3, origin 1, Disconnected, ran No",
        "B: reject 4, origin 1, Broken, ran No, cause 1: Disconnected, ran No",
        "A: release (3, 1)",
        "A: call -1 → 5, value, 3, (7)",
        "B: resolve 5 (7)",
        "B: resolve 2 (42)",
        "A: release (-1, 1)",
        "B: abort, restart",
    ];
    assert_eq!(net.dialogue()[before..], expected);
    net.finish();
}
