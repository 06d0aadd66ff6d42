//! Order of calls through promises, and the question that keeps it when a promise comes home.

use pb_core::message::{Cap, ExportId, FailureKind, ImportId, Message, Payload, Ran, Resolve};
use pb_tests::net::{A, B, Call, Ended, Handle, Net};

fn said(net: &Net, who: pb_tests::net::Who) -> Vec<String> {
    net.side(who).arrived().into_iter().filter(|line| line.starts_with("mine.")).collect()
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("mine.say({n})")).collect()
}

/// A calls its own object, which B echoes: two calls before the resolution, two during it, two after.
fn six_calls(net: &Net, echoed: &Call, answer_late: impl Fn()) -> Vec<Call> {
    let say = |on: &Handle, n: usize| net.call(A, on, "say", &n.to_string(), &[]);
    let promise = echoed.promised();
    let mut calls = vec![say(&promise, 0), say(&promise, 1)];
    answer_late();
    while !echoed.has_ended() {
        assert!(net.deliver(A) || net.deliver(B), "the echo must come");
    }
    calls.extend([say(&promise, 2), say(&echoed.reference(), 3)]);
    net.run();
    calls.extend([say(&promise, 4), say(&echoed.reference(), 5)]);
    net.run();
    calls
}

#[test]
fn calls_that_wait_for_a_promise_run_when_it_settles_before_those_that_come_later() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "hold", "", &[]);
    let promise = account.promised();
    let mut calls: Vec<_> = (0..3).map(|n| net.call(A, &promise, "say", &n.to_string(), &[])).collect();
    net.run();
    assert!(said(&net, B).is_empty());
    calls.push(net.call(A, &promise, "say", "3", &[])); // On its way while B settles.
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("mine")));
    net.run();
    calls.push(net.call(A, &account.reference(), "say", "4", &[]));
    net.run();
    assert_eq!(said(&net, B), in_order(5));
    drop((account, promise, calls));
    net.finish();
}

#[test]
fn six_calls_on_an_echoed_reference_arrive_in_order() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let calls = six_calls(&net, &echoed, || ());
    assert_eq!(said(&net, A), in_order(6));
    for (n, call) in calls.iter().enumerate() {
        assert_eq!(call.value(), n.to_string());
    }
    assert!(echoed.reference().is(&mine));
    assert!(net.dialogue().contains(&"B: disembargo 1, number 1".to_owned()));
    drop((calls, echoed));
    net.finish();
}

#[test]
fn six_calls_on_a_reference_that_is_echoed_late_arrive_in_order() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "hold", "", std::slice::from_ref(&mine));
    let calls = six_calls(&net, &echoed, || {
        net.deliver(A);
        net.deliver(A);
        let started = net.side(B).take("hold");
        let handle = started.handles[0].clone();
        net.side(B).answer(started, Ended::Reference(handle));
    });
    assert_eq!(said(&net, A), in_order(6));
    drop((calls, echoed));
    net.finish();
}

#[test]
fn six_calls_on_a_reference_echoed_twice_arrive_in_order() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let once = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let twice = net.refer(A, &net.root(A), "echo", "", &[once.promised()]);
    let calls = six_calls(&net, &twice, || ());
    assert_eq!(said(&net, A), in_order(6));
    drop((calls, once, twice));
    net.finish();
}

#[test]
fn with_the_link_back_blocked_only_the_question_is_outstanding_and_calls_wait() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let first = net.call(A, &echoed.promised(), "say", "0", &[]);
    net.deliver(A);
    net.deliver(A);
    net.deliver(B); // The resolution; the call is still on its way back.
    assert_eq!(net.sizes(A).embargoes, 1);
    let second = net.call(A, &echoed.reference(), "say", "1", &[]);
    net.block(B);
    net.run();
    assert!(said(&net, A).is_empty() && !second.has_ended());
    net.unblock(B);
    net.run();
    assert_eq!(said(&net, A), in_order(2));
    assert_eq!(net.sizes(A).embargoes, 0);
    drop((first, second, echoed));
    net.finish();
}

#[test]
fn a_resolution_that_is_a_promise_that_never_settles_holds_its_calls_until_the_end() {
    let net = Net::new();
    // B's own call on A, whose result A is given back as the resolution.
    let pending = net.refer(B, &net.root(B), "hold", "", &[]);
    let echoed = net.refer(A, &net.root(A), "wait", "", &[]);
    let before = net.call(A, &echoed.promised(), "say", "0", &[]);
    net.run();
    let started = net.side(B).take("wait");
    net.side(B).answer(started, Ended::Reference(pending.promised()));
    net.run();
    let after = net.call(A, &echoed.reference(), "say", "1", &[]);
    net.run();
    assert!(!before.has_ended() && !after.has_ended());
    assert_eq!(net.sizes(A).embargoes, 0, "the echo does not wait for the promise");
    let started = net.side(A).take("hold");
    net.side(A).answer(started, Ended::Reference(Handle::object("mine")));
    net.run();
    assert_eq!(said(&net, A), in_order(2));
    drop((pending, echoed, before, after));
    net.finish();
}

#[test]
fn a_promise_that_breaks_fails_what_waits_and_the_connection_lives() {
    let net = Net::new();
    let account = net.refer(A, &net.root(A), "hold", "", &[]);
    let calls: Vec<_> = (0..5).map(|_| net.call(A, &account.promised(), "say", "", &[])).collect();
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::App(Vec::new(), "closed".into()));
    net.run();
    for call in &calls {
        assert_eq!((call.failure().kind, call.failure().ran), (FailureKind::Broken, Ran::No));
    }
    let alive = net.call(A, &net.root(A), "say", "alive", &[]);
    net.run();
    assert_eq!(alive.value(), "alive");
    drop((account, calls, alive));
    net.finish();
}

#[test]
fn a_promise_that_resolves_to_a_promise_and_then_to_an_object_keeps_the_order() {
    let net = Net::new();
    let object = net.refer(A, &net.root(A), "hold", "object", &[]);
    let promise = net.refer(A, &net.root(A), "echo", "", &[object.promised()]);
    let mut calls = vec![net.call(A, &promise.promised(), "say", "0", &[])];
    net.run();
    assert!(promise.has_ended() && said(&net, B).is_empty());
    calls.push(net.call(A, &promise.reference(), "say", "1", &[]));
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("mine")));
    calls.push(net.call(A, &promise.reference(), "say", "2", &[]));
    net.run();
    calls.push(net.call(A, &promise.reference(), "say", "3", &[]));
    net.run();
    assert_eq!(said(&net, B), in_order(4));
    drop((object, promise, calls));
    net.finish();
}

#[test]
fn an_echo_that_is_never_sent_holds_its_calls_until_the_connection_ends() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let piped = net.call(A, &echoed.promised(), "say", "0", &[]);
    net.deliver(A);
    net.deliver(A);
    net.deliver(B);
    let held = net.call(A, &echoed.reference(), "say", "1", &[]);
    net.cut(A);
    net.cut(B);
    assert_eq!(held.failure().kind, FailureKind::Disconnected);
    assert_eq!(piped.failure().kind, FailureKind::Disconnected);
    assert!(said(&net, A).is_empty(), "a held call must not overtake the one that was lost");
    drop((echoed, piped, held));
    net.finish();
}

#[test]
fn a_promise_that_nobody_called_needs_no_question_when_it_comes_home() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    net.run();
    assert!(echoed.reference().is(&mine));
    assert!(!net.dialogue().iter().any(|line| line.contains("disembargo")));
    drop(echoed);
    net.finish();
}

#[test]
fn a_promise_given_up_while_the_echo_is_out_leaves_nothing() {
    let net = Net::new();
    let mine = Handle::object("mine");
    let echoed = net.refer(A, &net.root(A), "echo", "", std::slice::from_ref(&mine));
    let piped = net.call(A, &echoed.promised(), "say", "0", &[]);
    net.deliver(A);
    net.deliver(A);
    net.deliver(B);
    drop(echoed);
    drop(piped);
    net.finish();
}

#[test]
fn results_that_resolve_to_themselves_or_each_other_are_broken() {
    let net = Net::new();
    let take = |name: &str| net.refer(A, &net.root(A), name, "", &[]);
    let (own, one, other) = (take("own"), take("one"), take("other"));
    let given = net.call(A, &net.root(A), "keep", "", &[own.promised(), one.promised(), other.promised()]);
    net.run();
    let root = net.side(B).take("own");
    let kept = root.object.kept.borrow().clone();
    net.side(B).answer(root, Ended::Reference(kept[0].clone()));
    let (first, second) = (net.side(B).take("one"), net.side(B).take("other"));
    net.side(B).answer(first, Ended::Reference(kept[2].clone()));
    net.side(B).answer(second, Ended::Reference(kept[1].clone()));
    drop(kept);
    net.run();
    for promise in [&own, &one, &other] {
        let call = net.call(A, &promise.reference(), "say", "", &[]);
        net.run();
        assert_eq!(call.failure().kind, FailureKind::Broken);
    }
    drop((own, one, other, given));
    net.finish();
}

/// The traces of `docs/protocol.md`, section 15, with the methods of these tests: same ids, same order.
#[test]
fn the_traces_of_the_protocol_page_are_what_is_sent() {
    let net = Net::new();
    let root = net.root(A);
    let open = net.refer(A, &root, "open", "ada", &[]);
    let deposit = net.call(A, &open.promised(), "say", "100", &[]);
    net.run();
    drop((open, deposit));
    net.run();
    let watcher = Handle::object("watcher");
    let watch = net.call(A, &root, "keep", "", std::slice::from_ref(&watcher));
    net.run();
    let changed = net.call(B, &kept(&net), "say", "200", &[]);
    net.run();
    let bob = net.refer(A, &root, "open", "bob", &[]);
    net.run();
    let close = net.call(A, &root, "say", "#0", &[bob.reference()]);
    net.run();
    drop((bob, close));
    net.run();
    let back = net.refer(A, &root, "kept", "", &[]);
    net.run();
    drop((watch, changed, back));
    let carol = net.refer(A, &root, "fail", "no owner", &[]);
    let on_carol = net.call(A, &carol.promised(), "say", "100", &[]);
    net.deliver(A);
    net.deliver(A);
    let late = net.call(A, &carol.promised(), "say", "5", &[]);
    net.run();
    drop((carol, on_carol, late));
    let watcher_again = net.refer(A, &root, "kept", "", &[]);
    let piped = net.call(A, &watcher_again.promised(), "say", "1", &[]);
    net.run();
    let expected = [
        "A: call 0 → 1, reference, \"open\", (ada)",
        "A: call 1 → 2, value, \"say\", (100)",
        "B: resolve 1 [mine -1]",
        "B: resolve 2 (100)",
        "A: release (1, 1)",
        "A: release (-1, 1)",
        "A: call 0 → 3, value, \"keep\" [mine -1] ()",
        "B: resolve 3 ()",
        "B: call -1 → 1, value, \"say\", (200)",
        "A: resolve 1 (200)",
        "A: call 0 → 4, reference, 1, (bob)",
        "B: resolve 4 [mine -2]",
        "A: release (4, 1)",
        "A: call 0 → 5, value, 2 [yours -2] (#0)",
        "B: resolve 5 (#0)",
        "A: release (-2, 1)",
        "A: call 0 → 6, reference, \"kept\", ()",
        "B: resolve 6 [yours -1]",
        "A: release (6, 1)",
        "A: call 0 → 7, reference, \"fail\", (no owner)",
        "A: call 7 → 8, value, 2, (100)",
        "B: reject 7, origin 0, (no owner)",
        "B: reject 8, origin 1, Broken, ran No, cause 2: (no owner)",
        "A: call 7 → 9, value, 2, (5)",
        "B: reject 9, origin 1, Broken, ran No, cause 2: (no owner)",
        "A: release (7, 1)",
        "A: call 0 → 10, reference, 4, ()",
        "A: call 10 → 11, value, 2, (1)",
        "B: resolve 10 [yours -1]",
        "B: call -1 → 2, value, 1, (1)",
        "A: disembargo 0, target 10, number 1",
        "B: disembargo 1, number 1",
        "A: resolve 2 (1)",
        "B: resolve 11 (1)",
        "A: release (10, 1)",
    ];
    let dialogue = net.dialogue();
    for (n, (line, expected)) in dialogue.iter().zip(expected).enumerate() {
        assert_eq!(line, expected, "message {n} of\n{}", net.dialogue().join("\n"));
    }
    assert_eq!(dialogue.len(), expected.len());
    drop((root, watcher_again, piped));
    net.finish();
}

/// The reference that B's root was given.
fn kept(net: &Net) -> Handle {
    net.side(B).root().kept.borrow()[0].clone()
}

/// Only a peer that cheats can do this: A's result comes to A's own call as that call's result.
#[test]
fn a_call_that_the_peer_resolves_to_its_own_promise_is_broken() {
    for piped in [false, true] {
        let net = Net::new();
        let pending = net.refer(B, &net.root(B), "hold", "", &[]);
        let own = net.refer(A, &net.root(A), "wait", "", &[]);
        let before = piped.then(|| net.call(A, &own.promised(), "say", "", &[]));
        let promise = own.promised();
        net.run();
        let started = net.side(A).take("hold");
        net.side(A).answer(started, Ended::Reference(promise.clone())); // A's tail call: resolve 1 [yours 1].
        let caps = vec![Cap::Yours(ImportId(1))];
        let resolve = Resolve { export: ExportId(1), payload: Payload { caps, body: Default::default() } };
        net.inject(B, Message::Resolve(resolve));
        net.deliver(B);
        assert_eq!(own.failure().kind, FailureKind::Broken);
        let call = net.call(A, &promise, "say", "", &[]);
        assert_eq!(call.failure().kind, FailureKind::Broken);
        let given = net.call(A, &net.root(A), "say", "", std::slice::from_ref(&promise));
        assert_eq!(given.failure().kind, FailureKind::Broken);
        net.cut(A);
        net.cut(B);
        while net.side(B).waiting_count() > 0 {
            net.side(B).take_at(0);
        }
        drop((pending, own, before, promise, call, given));
        net.finish();
    }
}

/// Some calls come by way of a promise that came home, and those behind them by the result's own id: there were two queues, and the second went
/// first. Found by seed 799991 of the random programs.
#[test]
fn what_comes_by_a_results_id_starts_behind_what_waits_in_the_promise_that_names_it() {
    let net = Net::new();
    let hold = |who| net.refer(who, &net.root(who), "hold", "", &[]);
    let (x, y, z) = (hold(A), hold(B), hold(B));
    let piped = net.call(A, &x.promised(), "say", "piped", &[]);
    net.run();
    let answer = |who, ended| {
        let started = net.side(who).take("hold");
        net.side(who).answer(started, ended);
    };
    // B's y is A's x, and that is B's z, which A has not answered.
    answer(B, Ended::Reference(z.promised()));
    let say = |n: usize| net.call(B, &y.promised(), "say", &n.to_string(), &[]);
    let first = say(0);
    answer(A, Ended::Reference(x.promised()));
    net.run();
    let second = say(1);
    net.run();
    assert!(said(&net, A).is_empty());
    answer(A, Ended::Reference(Handle::object("mine")));
    net.run();
    let third = say(2);
    net.run();
    let numbers: Vec<_> = said(&net, A).into_iter().filter(|line| line != "mine.say(piped)").collect();
    assert_eq!(numbers, in_order(3));
    drop((x, y, z, piped, first, second, third));
    net.finish();
}
