//! Calls, pipelining, answers and cancels, on two sets of tables without a wire.

use pb_core::message::{AppCause, Cause, Failure, FailureKind, Ran};
use pb_tests::net::{A, B, Ended, Handle, Net};

fn value(body: &str) -> Ended {
    Ended::Value(Vec::new(), body.to_owned().into())
}

#[test]
fn calls_made_before_anything_is_awaited_arrive_in_order_and_a_failing_one_fails_alone() {
    let net = Net::new();
    let root = net.root(A);
    let methods = ["say", "say", "fail", "say", "say"];
    let calls: Vec<_> =
        (0..).zip(methods).map(|(n, method)| net.call(A, &root, method, &format!("{n}"), &[])).collect();
    assert!(net.side(B).arrived().is_empty());
    net.run();
    let arrived = ["root.say(0)", "root.say(1)", "root.fail(2)", "root.say(3)", "root.say(4)"];
    assert_eq!(net.side(B).arrived(), arrived);
    for (n, call) in calls.iter().enumerate() {
        if n == 2 {
            assert_eq!(call.error(), "2");
        } else {
            assert_eq!(call.value(), n.to_string());
        }
    }
    drop((calls, root));
    net.finish();
}

#[test]
fn a_call_on_a_result_that_has_not_come_runs_in_the_same_round_trip() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "open", "ada", &[]);
    let balance = net.call(A, &account.promised(), "say", "100", &[]);
    net.block(B); // Not one byte comes back.
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.open(ada)", "ada.say(100)"]);
    net.unblock(B);
    net.run();
    assert_eq!(balance.value(), "100");
    drop((account, balance));
    net.finish();
}

#[test]
fn dropping_the_first_promise_does_not_lose_the_call_on_it() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "open", "ada", &[]);
    let balance = net.call(A, &account.promised(), "say", "100", &[]);
    drop(account);
    net.run();
    assert_eq!(balance.value(), "100");
    assert!(!net.dialogue().iter().any(|line| line.contains("cancel")), "{:?}", net.dialogue());
    drop(balance);
    net.finish();
}

#[test]
fn calls_on_a_reference_that_the_method_was_given_run_before_it_has_answered() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "hold", "", &[]);
    let watcher = Handle::object("watcher");
    let kept = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&watcher));
    net.run();
    let given = net.side(B).take("hold");
    let changed = net.call(B, &given.object.kept.borrow()[0].clone(), "say", "7", &[]);
    net.run();
    assert_eq!(changed.value(), "7");
    assert!(kept.has_ended() && !account.has_ended());
    net.side(B).answer(given, value("late"));
    net.run();
    assert_eq!(account.failure().kind, FailureKind::Incompatible);
    drop((account, changed, kept, watcher));
    net.finish();
}

#[test]
fn the_pipeline_stays_usable_after_the_response_was_dropped() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "open", "ada", &[]);
    let promised = account.promised();
    net.run();
    drop(account.reference());
    drop(account);
    let balance = net.call(A, &promised, "say", "5", &[]);
    net.run();
    assert_eq!(balance.value(), "5");
    drop((promised, balance));
    net.finish();
}

#[test]
fn an_error_reaches_every_call_made_on_the_result_and_every_call_that_was_given_it() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "fail", "no such owner", &[]);
    let on_it = net.refer(A, &account.promised(), "open", "", &[]);
    let on_that = net.call(A, &on_it.promised(), "say", "", &[]);
    let with_it = net.refer(A, &net.root(A), "echo", "", &[account.promised()]);
    let on_echo = net.call(A, &with_it.promised(), "say", "", &[]);
    net.run();
    assert_eq!(account.error(), "no such owner");
    for call in [&on_it, &on_that, &on_echo] {
        let failure = call.failure();
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
        let dialogue = net.dialogue().join("\n");
        assert!(failure.cause.is_some(), "{failure:?}\n{dialogue}");
    }
    let later = net.call(A, &account.promised(), "say", "", &[]);
    net.run();
    assert_eq!(later.failure().kind, FailureKind::Broken);
    drop((account, on_it, on_that, with_it, on_echo, later));
    net.finish();
}

#[test]
fn a_broken_promise_has_the_first_failure_as_its_cause_however_long_the_chain() {
    let net = Net::new();
    let mut chain = vec![net.refer(A, &net.root(A), "fail", "first", &[])];
    for _ in 0..40 {
        let last = chain.last().expect("there is a first").promised();
        chain.push(net.refer(A, &last, "open", "", &[]));
    }
    net.run();
    for call in &chain[1..] {
        let failure = call.failure();
        let Some(pb_core::message::Cause::App(cause)) = failure.cause.as_deref() else {
            panic!("{failure:?}")
        };
        assert_eq!(cause.body, "first");
    }
    drop(chain);
    net.finish();
}

#[test]
fn a_failed_promise_that_nobody_uses_makes_no_noise() {
    let net = Net::new();
    let failed = net.refer(A, &net.root(A), "fail", "", &[]);
    net.run();
    drop(failed);
    net.run();
    let dialogue = net.dialogue();
    assert_eq!(dialogue.len(), 3, "{dialogue:?}"); // Call, reject, release.
    net.finish();
}

#[test]
fn a_ten_deep_chain_is_one_round_trip() {
    let net = Net::new();
    let mut chain = vec![net.refer(A, &net.root(A), "open", "0", &[])];
    for n in 1..10 {
        let last = chain.last().expect("there is a first").promised();
        chain.push(net.refer(A, &last, "open", &n.to_string(), &[]));
    }
    net.block(B);
    net.run();
    assert_eq!(net.side(B).arrived().len(), 10);
    assert_eq!(net.side(B).arrived()[9], "8.open(9)");
    net.unblock(B);
    net.run();
    assert!(chain.iter().all(|call| call.has_ended()));
    drop(chain);
    net.finish();
}

#[test]
fn a_cancelled_call_stops_and_is_answered_cancelled() {
    let net = Net::new();
    let call = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    assert_eq!(net.side(B).waiting_count(), 1);
    drop(call);
    net.run();
    assert_eq!(net.side(B).waiting_count(), 0);
    let last = net.dialogue().pop().expect("there is a last message");
    assert!(last.starts_with("B: reject 1, origin 1, Cancelled"), "{last}");
    net.finish();
}

#[test]
fn a_call_cancelled_before_it_starts_never_runs() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "hold", "", &[]);
    let balance = net.call(A, &account.promised(), "say", "1", &[]);
    let other = net.call(A, &account.promised(), "say", "2", &[]);
    net.run();
    drop(balance);
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("ada")));
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.hold()", "ada.say(2)"]);
    assert_eq!(other.value(), "2");
    drop((account, other));
    net.finish();
}

#[test]
fn cancelling_a_call_that_never_returns_releases_its_arguments() {
    let net = Net::new();
    let object = Handle::object("argument");
    let call = net.call(A, &net.root(A), "hold", "", std::slice::from_ref(&object));
    net.run();
    assert_eq!(net.sizes(A).exports, 1);
    drop(call);
    net.run();
    assert_eq!(net.sizes(A).exports, 0);
    net.finish();
}

#[test]
fn cancels_that_cross_their_answers_change_nothing() {
    let net = Net::new();
    let (opened, said) =
        (net.refer(A, &net.root(A), "open", "dora", &[]), net.call(A, &net.root(A), "say", "300", &[]));
    net.deliver(A);
    net.deliver(A);
    drop((opened, said));
    net.run();
    let dialogue = net.dialogue();
    let expected = [
        "A: call 0 → 1, reference, \"open\", (dora)",
        "A: call 0 → 2, value, \"say\", (300)",
        "B: resolve 1 [mine -1]",
        "B: resolve 2 (300)",
        "A: cancel 1",
        "A: cancel 2",
        "A: release (-1, 1)",
    ];
    assert_eq!(dialogue, expected);
    net.finish();
}

#[test]
fn a_detached_call_runs_to_its_end_without_an_answer() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "hold", "", &[]);
    opened.detach();
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("ada")));
    net.run();
    assert!(!net.dialogue().iter().any(|line| line.contains("cancel")), "{:?}", net.dialogue());
    net.finish();
}

#[test]
fn a_call_dropped_with_a_cast_on_its_result_still_runs() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.cast(A, &account.promised(), "say", "noted", &[]);
    drop(account);
    net.run();
    assert_eq!(net.side(B).arrived(), ["root.open(ada)", "ada.say(noted)"]);
    net.finish();
}

#[test]
fn calls_over_the_grant_fail_here_and_none_is_sent() {
    let limits = pb_core::proto::Limits { calls: 16, ..Default::default() };
    let net = Net::with_limits(limits, limits);
    let calls: Vec<_> = (0..17).map(|_| net.call(A, &net.root(A), "hold", "", &[])).collect();
    assert_eq!(calls[16].failure().kind, FailureKind::Overloaded);
    assert_eq!(calls[16].failure().ran, Ran::No);
    net.run();
    assert_eq!(net.side(B).waiting_count(), 16);
    while net.side(B).waiting_count() > 0 {
        let started = net.side(B).take("hold");
        net.side(B).answer(started, value("done"));
    }
    net.run();
    let more = net.call(A, &net.root(A), "say", "again", &[]);
    net.run();
    assert_eq!(more.value(), "again");
    drop((calls, more));
    net.finish();
}

#[test]
fn a_call_that_cannot_be_sent_counts_none_of_its_references() {
    let net = Net::new();
    let object = Handle::object("argument");
    let large = "x".repeat(1 << 20);
    let call = net.call(A, &net.root(A), "say", &large, std::slice::from_ref(&object));
    assert_eq!(call.failure().kind, FailureKind::Failed);
    assert_eq!(net.sizes(A), Default::default());
    let call = net.call(A, &net.root(A), "say", "small", std::slice::from_ref(&object));
    net.run();
    assert_eq!(call.value(), "small");
    drop(call);
    net.finish();
}

#[test]
fn an_answer_that_does_not_fit_becomes_a_failure_that_says_it_ran() {
    let net = Net::new();
    let call = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    let started = net.side(B).take("hold");
    let handles = vec![Handle::object("lost")];
    net.side(B).answer(started, Ended::Value(handles, vec![0; 1 << 20].into()));
    net.run();
    let failure = call.failure();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::Yes));
    drop(call);
    net.finish();
}

#[test]
fn calls_after_the_end_fail_disconnected_twice() {
    let net = Net::new();
    let root = net.root(A);
    let open = net.call(A, &root, "hold", "", &[]);
    net.run();
    net.cut(A);
    net.cut(B);
    assert_eq!(open.failure().kind, FailureKind::Disconnected);
    for _ in 0..2 {
        let late = net.call(A, &root, "say", "", &[]);
        assert_eq!((late.failure().kind, late.failure().ran), (FailureKind::Disconnected, Ran::No));
    }
    drop((root, open));
    net.finish();
}

#[test]
fn calls_on_one_reference_arrive_in_the_order_they_were_made_whatever_their_form() {
    let net = Net::new();
    let root = net.root(A);
    let mut calls = Vec::new();
    for n in 0..30 {
        match n % 3 {
            0 => net.cast(A, &root, "say", &n.to_string(), &[]),
            1 => calls.push(net.call(A, &root, "say", &n.to_string(), &[])),
            _ => calls.push(net.refer(A, &root, "hold", &n.to_string(), &[])),
        }
    }
    net.run();
    let arrived = net.side(B).arrived();
    for (n, line) in arrived.iter().enumerate() {
        assert!(line.ends_with(&format!("({n})")), "{arrived:?}");
    }
    drop((calls, root));
    net.finish();
}

#[test]
fn a_failure_too_long_for_the_callers_frames_loses_its_causes_and_arrives() {
    let small = pb_core::proto::Limits { frame_bytes: 4096, ..Default::default() };
    let net = Net::with_limits(small, Default::default());
    let cause = || Failure {
        details: vec![("k".repeat(1000).into(), "v".repeat(5000).into()); 16],
        ..Failure::new(FailureKind::Failed, Ran::Yes, "m".repeat(5000))
    };
    let app = Cause::App(AppCause { body: vec![0; 1 << 20].into() });
    for failure in [cause(), cause().caused_by(Cause::Broker(cause())), cause().caused_by(app)] {
        let call = net.refer(A, &net.root(A), "hold", "", &[]);
        let on_it = net.call(A, &call.promised(), "say", "", &[]);
        net.run();
        let started = net.side(B).take("hold");
        net.side(B).answer(started, Ended::Failed(failure));
        net.run();
        assert_eq!(call.failure().kind, FailureKind::Failed);
        assert_eq!(on_it.failure().kind, FailureKind::Broken);
    }
    assert!(net.side(B).longest_frame() <= 4096, "{}", net.side(B).longest_frame());
    net.finish();
}

#[test]
fn a_large_error_is_not_answered_to_every_call_that_waited() {
    let net = Net::new();
    let failed = net.refer(A, &net.root(A), "hold", "", &[]);
    let waiting: Vec<_> = (0..1000).map(|_| net.call(A, &failed.promised(), "say", "", &[])).collect();
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::App(Vec::new(), vec![b'x'; 60_000].into()));
    net.run();
    assert_eq!(failed.error().len(), 60_000);
    for call in &waiting {
        let failure = call.failure();
        assert_eq!(failure.kind, FailureKind::Broken);
        assert!(matches!(failure.cause.as_deref(), Some(Cause::Broker(_))), "{failure:?}");
    }
    drop((failed, waiting));
    net.finish();
}
