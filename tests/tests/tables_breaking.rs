//! Exports that break while the peer holds them, and promises of a side's own that it has passed on: plain tables.

use std::rc::Rc;

use pb_core::message::{
    AppCause, Cause, ExportId, Failure, FailureKind, ImportId, Message, Ran, Reject, Rejection,
};
use pb_core::proto::Violation;
use pb_tests::net::{A, B, Call, Ended, Handle, Net, Object, Who};

/// A promise of A's own: the result of a call on an object of A's, which [`settle`] ends.
fn promise(net: &Net) -> (Call, Handle) {
    let call = net.refer(A, &Handle::object("local"), "hold", "", &[]);
    let promise = call.promised();
    (call, promise)
}

fn settle(net: &Net, ended: Ended) {
    let started = net.side(A).node().take("hold");
    net.side(A).node().answer(started, ended);
}

fn closed() -> Failure {
    let failure = Failure::new(FailureKind::Broken, Ran::No, "the account is closed");
    failure.caused_by(Cause::App(AppCause { body: "closed".into() }))
}

/// What B's root was given first.
fn kept(net: &Net) -> Handle {
    net.side(B).node().root().kept.borrow()[0].clone()
}

fn forget(net: &Net) {
    let kept = net.side(B).node().root().kept.take();
    drop(kept);
}

fn sent(net: &Net, start: &str) -> usize {
    net.dialogue().iter().filter(|line| line.starts_with(start)).count()
}

fn said(net: &Net, who: Who) -> Vec<String> {
    net.side(who).node().arrived().into_iter().filter(|line| line.starts_with("mine.")).collect()
}

#[test]
fn an_export_that_breaks_is_said_once_and_stays_until_it_is_released() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&promise));
    net.run();
    let held = kept(&net);
    let waits = net.call(B, &held, "say", "1", &[]);
    net.run();
    settle(&net, Ended::Failed(closed()));
    net.run();
    assert_eq!(waits.failure().kind, FailureKind::Broken);
    let dialogue = net.dialogue();
    let at = |line: &str| dialogue.iter().position(|sent| sent.starts_with(line)).expect("it was sent");
    assert!(at("A: reject 1,") < at("A: reject -1,"), "what waited fails first");
    assert_eq!(sent(&net, "A: reject -1"), 1);
    let Handle::Proxy(proxy) = &held else { panic!("an object of A's") };
    assert_eq!(proxy.broken(), [closed()], "the reason as it was, and once");
    let before = net.dialogue().len();
    let late = net.call(B, &held, "say", "2", &[]);
    assert_eq!(late.failure(), closed());
    assert_eq!(net.dialogue().len(), before, "nothing is sent to what is known to be broken");
    assert_eq!((net.sizes(A).exports, net.sizes(B).imports), (1, 1));
    forget(&net);
    drop((held, late, waits));
    net.run();
    assert_eq!(sent(&net, "B: release (-1, 1)"), 1);
    assert_eq!((net.sizes(A).exports, net.sizes(B).imports), (0, 0));
    drop((call, promise, given));
    net.finish();
}

#[test]
fn nothing_is_said_of_an_export_that_was_released() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "say", "", std::slice::from_ref(&promise));
    net.run();
    assert_eq!(net.sizes(A).exports, 0);
    settle(&net, Ended::Failed(closed()));
    net.run();
    assert_eq!(sent(&net, "A: reject -1"), 0);
    drop((call, promise, given));
    net.finish();
}

#[test]
fn a_release_that_crosses_the_break_is_no_violation_and_neither_is_a_call() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&promise));
    net.run();
    let held = kept(&net);
    net.block(A);
    settle(&net, Ended::Failed(closed()));
    let crosses = net.call(B, &held, "say", "1", &[]);
    let named = net.call(B, &net.root(B), "hold", "", std::slice::from_ref(&held));
    forget(&net);
    drop(held);
    net.run();
    // Named by its owner's peer, it arrives as a broken promise.
    let started = net.side(A).node().take("hold");
    let on_it = net.call(A, &started.handles[0], "say", "", &[]);
    assert_eq!(on_it.failure().kind, FailureKind::Broken);
    net.side(A).node().answer(started, Ended::Value(Vec::new(), Default::default()));
    net.unblock(A);
    net.run();
    assert_eq!(crosses.failure(), closed());
    drop((crosses, on_it)); // They hold what they were called on.
    net.run();
    assert_eq!((net.sizes(A).exports, net.sizes(B).imports), (0, 0));
    assert!(net.ended(A).is_none() && net.ended(B).is_none());
    drop((call, promise, given, named));
    net.finish();
}

#[test]
fn what_is_mentioned_again_after_it_broke_is_a_new_export() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&promise));
    net.run();
    settle(&net, Ended::Failed(closed()));
    let again = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&promise));
    net.run();
    assert_eq!((sent(&net, "A: reject -1"), sent(&net, "A: reject -2")), (1, 1));
    assert_eq!(net.sizes(A).exports, 2);
    forget(&net);
    drop((call, promise, given, again));
    net.finish();
}

#[test]
fn a_promise_of_ones_own_is_one_id_however_often_it_is_sent_and_another_once_it_has_settled() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let other = net.refer(A, &Handle::object("local"), "wait", "", &[]);
    let handles = [promise.clone(), promise.clone(), other.promised()];
    let given = net.call(A, &net.root(A), "keep", "", &handles);
    net.run();
    assert!(net.dialogue()[0].contains("[mine -1, mine -1, mine -2]"), "{:?}", net.dialogue());
    let mine = Handle::object("mine");
    settle(&net, Ended::Reference(mine.clone()));
    let again = net.call(A, &net.root(A), "keep", "", &[promise.clone(), mine.clone()]);
    net.run();
    assert!(net.dialogue().iter().any(|line| line.contains("[mine -3, mine -3]")), "{:?}", net.dialogue());
    forget(&net);
    net.run();
    let started = net.side(A).node().take("wait");
    net.side(A).node().answer(started, Ended::Reference(mine));
    drop((call, promise, other, handles, given, again));
    net.finish();
}

#[test]
fn a_late_resolution_of_a_released_promise_frees_what_it_resolves_to() {
    let net = Net::new();
    // A promise of A's own, passed on and released.
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "say", "", &[promise]);
    net.run();
    let object = Object::new("mine");
    let weak = Rc::downgrade(&object);
    drop(call);
    settle(&net, Ended::Reference(Handle::Object(object)));
    assert!(weak.upgrade().is_none());
    // The result of a call, given up while its answer is on its way.
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.deliver(A);
    drop(opened);
    net.run();
    assert_eq!((net.sizes(B).exports, net.sizes(A).imports), (0, 0));
    drop(given);
    net.finish();
}

#[test]
fn calls_on_a_promise_that_was_passed_on_keep_their_order_as_it_settles_by_way_of_another() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&promise));
    net.run();
    let held = kept(&net);
    let say = |n: usize| net.call(B, &held, "say", &n.to_string(), &[]);
    let mut calls = vec![say(0), say(1)];
    net.run();
    calls.push(say(2));
    let second = net.refer(A, &Handle::object("local"), "wait", "", &[]);
    settle(&net, Ended::Reference(second.promised()));
    calls.push(say(3));
    net.run();
    assert!(said(&net, A).is_empty());
    let started = net.side(A).node().take("wait");
    net.side(A).node().answer(started, Ended::Reference(Handle::object("mine")));
    calls.push(say(4));
    net.run();
    calls.push(say(5));
    net.run();
    assert_eq!(said(&net, A), (0..6).map(|n| format!("mine.say({n})")).collect::<Vec<_>>());
    forget(&net);
    drop((held, calls, second, call, promise, given));
    net.finish();
}

#[test]
fn a_local_shortcut_waits_for_the_embargo() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let piped = net.call(A, &echoed.promised(), "say", "0", &[]);
    net.deliver(A);
    net.deliver(A);
    net.deliver(B); // The resolution. The call is on its way back, the question on its way there.
    let home = echoed.reference();
    assert!(!home.is(&mine), "it is not unwrapped before the echo");
    let cast = net.call(A, &home, "say", "1", &[]);
    net.cast(A, &home, "say", "2", &[]);
    assert!(said(&net, A).is_empty());
    net.run();
    assert!(home.is(&mine));
    assert_eq!(said(&net, A), ["mine.say(0)", "mine.say(1)", "mine.say(2)"]);
    drop((echoed, piped, cast, home));
    net.finish();
}

/// Neither side has read the other's resolution when it sends its own.
#[test]
fn promises_resolved_to_each_other_from_both_sides_at_once_are_broken() {
    for piped in [false, true] {
        let net = Net::new();
        let (one, other) =
            (net.refer(A, &net.root(A), "hold", "", &[]), net.refer(B, &net.root(B), "hold", "", &[]));
        let on_one = piped.then(|| net.call(A, &one.promised(), "say", "", &[]));
        let on_other = piped.then(|| net.call(B, &other.promised(), "say", "", &[]));
        net.run();
        for (who, call) in [(A, &one), (B, &other)] {
            let started = net.side(who).node().take("hold");
            net.side(who).node().answer(started, Ended::Reference(call.promised()));
        }
        net.run();
        for (who, call) in [(A, &one), (B, &other)] {
            assert_eq!(&*call.failure().message, "the reference was resolved to itself");
            let late = net.call(who, &call.promised(), "say", "", &[]);
            net.run();
            assert_eq!(late.failure().kind, FailureKind::Broken);
        }
        for call in [&on_one, &on_other].into_iter().flatten() {
            assert!(
                matches!(call.failure().kind, FailureKind::Broken | FailureKind::Failed),
                "{:?}\n{}",
                call.failure(),
                net.dialogue().join("\n")
            );
        }
        drop((one, other, on_one, on_other));
        net.finish();
    }
}

#[test]
fn a_root_that_its_owner_breaks_fails_its_calls_and_the_connection_lives() {
    let net = Net::new();
    let failure = || Failure::new(FailureKind::Disconnected, Ran::Maybe, "what it led to is gone");
    let rejection = Rejection::Broker(failure());
    net.inject(B, Message::Reject(Reject { export: ExportId::ROOT, rejection }));
    let crosses = net.call(A, &net.root(A), "say", "1", &[]);
    net.run();
    assert_eq!(crosses.value(), "1");
    let before = net.dialogue().len();
    let late = net.call(A, &net.root(A), "say", "2", &[]);
    assert_eq!(late.failure().cause.as_deref(), Some(&Cause::Broker(failure())));
    assert_eq!(net.dialogue().len(), before);
    let back = net.call(B, &net.root(B), "say", "3", &[]);
    net.run();
    assert_eq!(back.value(), "3");
    drop((crosses, late, back));
    net.finish();
}

#[test]
fn only_what_was_given_can_break() {
    let net = Net::new();
    net.inject(
        B,
        Message::Reject(Reject {
            export: ExportId(-1),
            rejection: Rejection::Broker(Failure::new(FailureKind::Refused, Ran::No, "")),
        }),
    );
    assert_eq!(net.violation(B), Violation::NeverGiven { id: -1 });
    net.cut(B);
    net.finish();
}

/// The traces of `docs/protocol.md`, section 15, that begin anew: same ids, same order.
#[test]
fn the_trace_of_a_break_that_crosses_calls_is_what_is_sent() {
    let net = Net::new();
    let (call, promise) = promise(&net);
    let given = net.call(A, &net.root(A), "keep", "#0", std::slice::from_ref(&promise));
    net.run();
    let held = kept(&net);
    let first = net.call(B, &held, "say", "200", &[]);
    net.deliver(B);
    settle(&net, Ended::Failed(closed()));
    let second = net.call(B, &held, "say", "5", &[]);
    net.run();
    assert_eq!((first.failure(), second.failure()), (closed(), closed()));
    forget(&net);
    drop((held, first, second));
    net.run();
    assert_eq!(
        net.dialogue(),
        [
            "A: call 0 → 1, value, \"keep\" [mine -1] (#0)",
            "B: resolve 1 ()",
            "B: call -1 → 1, value, \"say\", (200)",
            "A: reject 1, origin 1, Broken, ran No, cause 2: (closed)",
            "A: reject -1, origin 1, Broken, ran No, cause 2: (closed)",
            "B: call -1 → 2, value, 1, (5)",
            "A: reject 2, origin 1, Broken, ran No, cause 2: (closed)",
            "B: release (-1, 1)",
        ]
    );
    drop((call, promise, given));
    net.finish();
}

#[test]
fn the_trace_of_two_promises_resolved_to_each_others_side_at_once_is_what_is_sent() {
    let net = Net::new();
    let mine = |who: Who| net.refer(who, &net.root(who), "echo", "#0", &[Handle::object("mine")]);
    let (one, other) = (mine(A), mine(B));
    let on_one = net.call(A, &one.promised(), "say", "1", &[]);
    let on_other = net.call(B, &other.promised(), "say", "2", &[]);
    // In step: each side reads as much as the other.
    while [A, B].map(|who| net.deliver(who)).contains(&true) {}
    assert_eq!((on_one.value(), on_other.value()), ("1".to_owned(), "2".to_owned()));
    for who in [A, B] {
        let dialogue = net.dialogue();
        let (from, other) = (format!("{who:?}: "), who.peer());
        // Last words that are due together stand in one message.
        let own: Vec<_> = dialogue.iter().filter_map(|line| line.strip_prefix(&from)).collect();
        let own = own.join("\n").replace("release (1, 1), (-1, 1)", "release (1, 1)\nrelease (-1, 1)");
        let body = if who == A { ["1", "2"] } else { ["2", "1"] };
        assert_eq!(
            own,
            [
                "call 0 → 1, reference, \"echo\" [mine -1] (#0)".to_owned(),
                format!("call 1 → 2, value, \"say\", ({})", body[0]),
                "resolve 1 [yours -1]".to_owned(),
                format!("call -1 → 3, value, 2, ({})", body[1]),
                "disembargo 0, target 1, number 1".to_owned(),
                format!("resolve 3 ({})", body[0]),
                "disembargo 1, number 1".to_owned(),
                format!("resolve 2 ({})", body[1]),
                "release (1, 1)".to_owned(),
                "release (-1, 1)".to_owned(),
            ]
            .join("\n"),
            "{other:?} is alike\n{}",
            dialogue.join("\n")
        );
    }
    drop((one, other, on_one, on_other));
    net.finish();
}

#[test]
fn the_trace_of_a_release_that_overtakes_a_body_not_yet_decoded_is_what_is_sent() {
    let net = Net::new();
    let account = Object::new("ada");
    net.side(B).node().root().kept.borrow_mut().push(Handle::Object(Rc::clone(&account)));
    let (first, second) =
        (net.call(A, &net.root(A), "kept", "", &[]), net.call(A, &net.root(A), "kept", "", &[]));
    net.deliver(A);
    net.deliver(A);
    net.deliver(B);
    drop(first); // Opened, looked at, dropped; the second answer is not read yet.
    net.side(A).flush();
    net.run();
    assert_eq!(net.sizes(B).exports, 1, "the handle in the answer that waits holds it");
    let opened = second.handles(); // Now its body is looked at.
    assert!(matches!(&opened[0], Handle::Proxy(proxy) if proxy.id() == ImportId(-1)));
    let balance = net.call(A, &opened[0], "say", "100", &[]);
    net.run();
    assert_eq!(balance.value(), "100");
    drop((second, opened, balance));
    net.run();
    assert_eq!(
        net.dialogue(),
        [
            "A: call 0 → 1, value, \"kept\", ()",
            "A: call 0 → 2, value, 1, ()",
            "B: resolve 1 [mine -1]",
            "B: resolve 2 [mine -1]",
            "A: release (-1, 1)",
            "A: call -1 → 3, value, \"say\", (100)",
            "B: resolve 3 (100)",
            "A: release (-1, 1)",
        ]
    );
    forget(&net);
    net.finish();
}
