//! Deadlines on sets of tables without a wire, in virtual time.

use std::time::Duration;

use pb_core::message::{
    Call, CallOptions, Cause, Failure, FailureKind, ImportId, Message, MethodName, MethodText, Payload, Ran,
    Reject, Rejection, Reply,
};
use pb_core::proto::Limits;
use pb_tests::net::{A, B, Ended, Handle, Net, Network};

fn value(body: &str) -> Ended {
    Ended::Value(Vec::new(), body.to_owned().into())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn kind(failure: &Failure) -> (FailureKind, Ran) {
    (failure.kind, failure.ran)
}

const LATE: (FailureKind, Ran) = (FailureKind::DeadlineExceeded, Ran::Maybe);
const NEVER_RAN: (FailureKind, Ran) = (FailureKind::DeadlineExceeded, Ran::No);

/// A call of the test's own, whose answer nobody at `A` waits for.
fn forged(result: i64, deadline_ms: u64, method: &str) -> Message {
    let text = MethodText { name: method.into(), fewest: 0, prints: Box::default() };
    let options = CallOptions { deadline_ms: Some(deadline_ms), ..CallOptions::default() };
    Message::Call(Call {
        target: ImportId::ROOT,
        result: ImportId(result),
        reply: Reply::Value,
        method: MethodName::Once(text.into()),
        options: Some(Box::new(options)),
        payload: Payload::default(),
    })
}

/// Lets `B` hear all that is on its way, and nobody else.
fn hear(net: &Net) {
    while net.deliver(A) {}
}

/// The failure that `B` answers call `result` with, taken off the wire.
fn rejection(net: &Net, result: i64) -> Option<Failure> {
    match net.side(B).next_message()? {
        Message::Reject(Reject { export, rejection: Rejection::Broker(failure) }) => {
            assert_eq!(export.0, result);
            Some(failure)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn when_the_time_is_over_the_caller_is_told_whatever_the_peer_does() {
    let net = Net::new();
    let call = net.within(A, ms(500), || net.call(A, &net.root(A), "wait", "", &[]));
    net.run();
    net.block(B);
    net.advance(ms(499));
    assert!(!call.has_ended());
    net.advance(ms(1));
    assert_eq!(kind(&call.failure()), LATE);
    assert!(net.dialogue()[0].contains("within 500 ms"), "{:?}", net.dialogue());
    assert_eq!(net.dialogue().iter().filter(|line| *line == "A: cancel 1").count(), 1);
    drop(call);
    net.finish();
}

#[test]
fn the_callee_stops_a_method_whose_time_is_over_by_its_own_clock() {
    let net = Net::new();
    net.inject(A, forged(1, 500, "wait"));
    hear(&net);
    net.advance(ms(499));
    assert_eq!((net.side(B).waiting_count(), rejection(&net, 1)), (1, None));
    net.advance(ms(1));
    assert_eq!(net.side(B).waiting_count(), 0, "the method was stopped");
    assert_eq!(rejection(&net, 1).as_ref().map(kind), Some(LATE));
    assert_eq!(net.sizes(B).answers, 0);
    net.finish();
}

#[test]
fn a_call_whose_time_was_over_when_it_came_is_answered_and_not_run() {
    let net = Net::new();
    net.inject(A, forged(1, 0, "say"));
    hear(&net);
    assert!(net.side(B).arrived().is_empty());
    assert_eq!(rejection(&net, 1).as_ref().map(kind), Some(NEVER_RAN));
    net.finish();
}

#[test]
fn a_deadline_beyond_all_clocks_counts_as_fifty_days() {
    let net = Net::new();
    net.inject(A, forged(1, u64::MAX, "wait"));
    net.inject(A, forged(2, (1 << 32) + 1, "wait"));
    hear(&net);
    assert_eq!(net.side(B).waiting_count(), 2);
    net.block(A); // The pings of all those days.
    net.cut(B);
    assert_eq!(net.side(B).waiting_count(), 0);
    net.finish();
}

#[test]
fn a_call_whose_time_is_over_before_it_is_sent_is_not_sent() {
    let net = Net::new();
    let (call, reference) = net.within(A, Duration::ZERO, || {
        net.cast(A, &net.root(A), "note", "", &[]);
        (net.call(A, &net.root(A), "say", "", &[]), net.refer(A, &net.root(A), "open", "", &[]))
    });
    assert_eq!(kind(&call.failure()), NEVER_RAN);
    assert_eq!(kind(&reference.failure()), NEVER_RAN);
    assert!(net.dialogue().is_empty(), "{:?}", net.dialogue());
    net.finish();
}

#[test]
fn an_answer_in_time_leaves_no_timer() {
    let net = Net::new();
    let calls: Vec<_> =
        (0..100).map(|n| net.within(A, ms(500 + n), || net.call(A, &net.root(A), "say", "x", &[]))).collect();
    net.run();
    assert!(calls.iter().all(|call| call.value() == "x"));
    let before = net.dialogue().len();
    net.advance(ms(1000));
    assert_eq!(net.dialogue().len(), before, "nothing was due");
    net.finish();
}

#[test]
fn a_call_that_waits_for_a_promise_is_answered_in_its_time_and_never_starts() {
    let net = Net::new();
    let bank = net.refer(A, &net.root(A), "wait", "", &[]);
    let first = net.call(A, &bank.promised(), "say", "1", &[]);
    let timed =
        net.within(A, ms(500), || net.call(A, &bank.promised(), "say", "2", &[Handle::object("gift")]));
    let last = net.call(A, &bank.promised(), "say", "3", &[]);
    net.run();
    net.block(A); // So that B finds out by itself.
    net.advance(ms(500));
    assert!(net.dialogue().iter().any(|line| line.starts_with("B: reject 3") && line.contains("ran No")));
    assert_eq!(kind(&timed.failure()), LATE, "here nobody knows");
    net.unblock(A);
    net.side(B).answer(net.side(B).take("wait"), Ended::Reference(Handle::object("bank")));
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.wait()", "bank.say(1)", "bank.say(3)"]);
    assert_eq!((first.value().as_str(), last.value().as_str()), ("1", "3"));
    drop((bank, first, timed, last));
    net.finish();
}

#[test]
fn a_call_that_is_held_back_too_long_is_answered_and_not_started() {
    let net = Net::new();
    net.side(B).hold_starts();
    net.inject(A, forged(1, 500, "say"));
    net.inject(A, forged(2, 2000, "say"));
    hear(&net);
    net.advance(ms(500));
    assert_eq!(rejection(&net, 1), None, "it takes its grant until then");
    net.side(B).start_again();
    assert_eq!(rejection(&net, 1).as_ref().map(kind), Some(NEVER_RAN));
    assert_eq!(net.side(B).arrived(), ["root.say()"]);
    assert!(matches!(net.side(B).next_message(), Some(Message::Resolve(_))));
    net.finish();
}

#[test]
fn a_method_that_runs_to_its_end_is_not_stopped_and_its_caller_does_not_wait() {
    let net = Net::with_limits(Limits::default(), Limits { calls: 16, ..Limits::default() });
    let root = net.root(A);
    let calls: Vec<_> =
        (0..16).map(|_| net.within(A, ms(500), || net.call(A, &root, "finish", "", &[]))).collect();
    net.run();
    net.advance(ms(500));
    net.run();
    assert!(calls.iter().all(|call| kind(&call.failure()) == LATE));
    assert_eq!(net.side(B).waiting_count(), 16, "they go on");
    let more = net.call(A, &root, "say", "", &[]);
    assert_eq!(more.failure().kind, FailureKind::Overloaded, "and count until they have ended");
    for _ in 0..16 {
        let given = Ended::Value(vec![Handle::object("gift")], Default::default());
        net.side(B).answer(net.side(B).take("finish"), given);
    }
    net.run();
    let more = net.call(A, &root, "say", "now", &[]);
    net.run();
    assert_eq!(more.value(), "now");
    drop(calls);
    net.finish(); // What the late answers brought was given back.
}

#[test]
fn calls_on_the_promise_of_a_late_call_fail_with_that_as_their_cause() {
    let net = Net::new();
    let bank = net.within(A, ms(500), || net.refer(A, &net.root(A), "wait", "", &[]));
    let promise = bank.promised();
    let before = net.call(A, &promise, "say", "before", &[]);
    net.run();
    net.block(B);
    net.advance(ms(500));
    let sent = net.dialogue().len();
    let after = net.call(A, &promise, "say", "after", &[]);
    let passed = net.call(A, &net.root(A), "echo", "", std::slice::from_ref(&promise));
    for call in [&after, &passed] {
        let failure = call.failure();
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
    }
    let cause = after.failure().cause;
    assert!(matches!(cause.as_deref(), Some(Cause::Broker(cause)) if kind(cause) == LATE), "{cause:?}");
    assert_eq!(net.dialogue().len(), sent, "the last word on it was said");
    net.unblock(B);
    net.run();
    assert_eq!(before.failure().kind, FailureKind::Broken);
    let still = net.call(A, &promise, "say", "still", &[]);
    assert_eq!(still.failure(), after.failure(), "whatever the answer was");
    drop((bank, promise, before, after, passed, still));
    net.finish();
}

#[test]
fn an_answer_that_crosses_the_end_of_its_time_is_dropped_with_all_that_it_brought() {
    let net = Net::new();
    let root = net.root(A);
    let (bank, text) = net.within(A, ms(500), || {
        (net.refer(A, &root, "open", "bank", &[]), net.call(A, &root, "echo", "", &[Handle::object("a")]))
    });
    let piped = net.call(A, &bank.promised(), "say", "", &[]);
    net.block(B);
    net.run(); // The answers are on their way …
    net.advance(ms(500)); // … when the time is over.
    assert_eq!((kind(&bank.failure()), kind(&text.failure())), (LATE, LATE));
    net.unblock(B);
    net.run();
    assert_eq!(piped.value(), "", "it had no deadline, and had arrived");
    drop((bank, text, piped));
    net.finish();
}

#[test]
fn a_late_promise_that_comes_home_needs_no_embargo() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let home = net.within(A, ms(500), || net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine)));
    let piped = net.call(A, &home.promised(), "say", "round", &[]);
    net.block(B);
    net.run();
    net.advance(ms(500));
    net.unblock(B);
    net.run();
    assert!(!net.dialogue().iter().any(|line| line.contains("disembargo")), "{:?}", net.dialogue());
    assert_eq!(piped.value(), "round");
    drop((home, piped, mine));
    net.finish();
}

#[test]
fn dropping_a_late_call_says_no_second_last_word() {
    let net = Net::new();
    let call = net.within(A, ms(500), || net.refer(A, &net.root(A), "wait", "", &[]));
    net.run();
    net.advance(ms(500));
    net.block(B);
    drop(call);
    net.unblock(B);
    net.run();
    assert_eq!(net.dialogue().iter().filter(|line| line.contains("cancel")).count(), 1);
    net.finish();
}

#[test]
fn a_call_cancelled_before_its_time_is_over_is_cancelled() {
    let net = Net::new();
    let call = net.within(A, ms(500), || net.call(A, &net.root(A), "finish", "", &[]));
    net.run();
    drop(call);
    net.run();
    net.advance(ms(500));
    assert_eq!(net.side(B).waiting_count(), 1);
    net.side(B).answer(net.side(B).take("finish"), value("done"));
    net.finish();
}

#[test]
fn a_detached_call_is_stopped_in_its_time() {
    let net = Net::new();
    net.within(A, ms(500), || net.call(A, &net.root(A), "wait", "", &[])).detach();
    net.run();
    net.advance(ms(500));
    assert_eq!(net.side(B).waiting_count(), 0);
    net.run();
    assert!(!net.dialogue().iter().any(|line| line.contains("cancel")), "{:?}", net.dialogue());
    net.finish();
}

#[test]
fn a_cast_that_waits_beyond_its_time_never_starts_and_one_that_need_not_does() {
    let net = Net::new();
    let bank = net.refer(A, &net.root(A), "wait", "", &[]);
    net.within(A, ms(500), || net.cast(A, &bank.promised(), "say", "late", &[Handle::object("a")]));
    net.within(A, ms(5000), || net.cast(A, &bank.promised(), "say", "in time", &[]));
    net.run();
    net.advance(ms(501));
    net.side(B).answer(net.side(B).take("wait"), Ended::Reference(Handle::object("bank")));
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.wait()", "bank.say(in time)"]);
    drop(bank);
    net.finish();
}

#[test]
fn a_late_call_with_a_cast_on_its_promise_still_runs() {
    let net = Net::new();
    let bank = net.within(A, ms(500), || net.refer(A, &net.root(A), "finish", "", &[]));
    net.cast(A, &bank.promised(), "say", "arrives", &[]);
    net.run();
    net.advance(ms(500));
    assert_eq!(kind(&bank.failure()), LATE);
    assert!(!net.dialogue().iter().any(|line| line.contains("cancel")), "{:?}", net.dialogue());
    net.side(B).answer(net.side(B).take("finish"), Ended::Reference(Handle::object("bank")));
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.finish()", "bank.say(arrives)"]);
    drop(bank);
    net.finish();
}

#[test]
fn calls_whose_time_is_over_end_in_the_order_of_their_deadlines() {
    let net = Net::new();
    let root = net.root(A);
    let order = [300, 100, 200];
    let calls = order.map(|time| net.within(A, ms(time), || net.call(A, &root, "wait", "", &[])));
    net.run();
    for passed in 1..=3 {
        net.advance(ms(100));
        let ended = calls.iter().zip(order).map(|(call, time)| (time, call.has_ended()));
        ended.for_each(|(time, ended)| assert_eq!(ended, time <= passed * 100, "{time} after {passed}00"));
    }
    drop((calls, root));
    net.finish();
}

#[test]
fn the_end_of_the_connection_ends_calls_with_deadlines_once() {
    let net = Net::new();
    let call = net.within(A, ms(500), || net.call(A, &net.root(A), "wait", "", &[]));
    net.run();
    net.cut(A);
    net.cut(B);
    assert_eq!(call.failure().kind, FailureKind::Disconnected);
    net.advance(ms(1000));
    assert_eq!(call.failure().kind, FailureKind::Disconnected);
    drop(call);
    net.finish();
}

/// `A` holds an object of `C`'s by way of `B`.
fn behind_a_middleman() -> (Network, Handle) {
    let net = Network::row(3);
    let far = net.node(1).call(&net.root(1, 2), "open", "far", &[], Reply::Reference);
    net.run();
    let keep = net.node(0).call(&net.root(0, 1), "lend", "", &[], Reply::Reference);
    net.run();
    net.node(1).answer(net.node(1).take("lend"), Ended::Reference(far.reference()));
    net.run();
    (net, keep.reference())
}

#[test]
fn a_middleman_passes_on_what_is_left() {
    let net = Network::row(3);
    let bank = net.node(0).call(&net.root(0, 1), "lend", "", &[], Reply::Reference);
    let timed = net.within(0, ms(500), || net.node(0).call(&bank.promised(), "say", "hi", &[], Reply::Value));
    net.run();
    net.advance(ms(200));
    net.node(1).answer(net.node(1).take("lend"), Ended::Reference(net.root(1, 2)));
    net.run();
    let lines = net.dialogue();
    assert!(lines.iter().any(|line| line.starts_with("A") && line.contains("within 500 ms")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("B") && line.contains("within 300 ms")), "{lines:?}");
    assert_eq!(timed.value(), "hi");
    drop((bank, timed));
    net.finish();
}

#[test]
fn a_deadline_stops_a_method_two_hops_away() {
    let (net, far) = behind_a_middleman();
    let call = net.within(0, ms(500), || net.node(0).call(&far, "wait", "", &[], Reply::Value));
    net.run();
    assert_eq!(net.node(2).waiting_count(), 1);
    net.advance(ms(500));
    assert_eq!(kind(&call.failure()), LATE);
    assert_eq!(net.node(2).waiting_count(), 0);
    drop((call, far));
    net.finish();
}

#[test]
fn a_caller_behind_a_middleman_is_told_though_the_far_end_is_gone() {
    let (net, far) = behind_a_middleman();
    let call = net.within(0, ms(500), || net.node(0).call(&far, "wait", "", &[], Reply::Value));
    net.run();
    net.block(2, 1);
    net.block(0, 1); // The middleman hears no cancel: it finds out by itself.
    net.advance(ms(500));
    assert_eq!(kind(&call.failure()), LATE);
    let lines = net.dialogue();
    let answered = |line: &&String| line.starts_with("B") && line.contains("reject");
    assert!(lines.iter().find(answered).is_some_and(|line| line.contains("DeadlineExceeded")), "{lines:?}");
    net.unblock(0, 1);
    net.unblock(2, 1);
    drop((call, far));
    net.finish();
}

#[test]
fn cancels_and_deadlines_that_cross_on_two_hops_leave_nothing() {
    for cancel_at in [499, 500, 501] {
        for blocked in [[0, 1], [1, 0], [1, 2], [2, 1]] {
            let (net, far) = behind_a_middleman();
            let call = net.within(0, ms(500), || net.node(0).call(&far, "wait", "", &[], Reply::Reference));
            let piped = net.node(0).call(&call.promised(), "say", "", &[], Reply::Value);
            net.run();
            net.block(blocked[0], blocked[1]);
            net.run_for(ms(cancel_at));
            drop((call, piped));
            net.run_for(ms(10));
            net.unblock(blocked[0], blocked[1]);
            net.run();
            assert_eq!(net.node(2).waiting_count(), 0);
            drop(far);
            net.finish();
        }
    }
}
