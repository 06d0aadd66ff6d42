//! Who may make whom keep what: credit for casts, answers that are their caller's debt, and the budget of a peer
//! (`docs/protocol.md`, section 12).

use pb_core::message::{FailureKind, Message, Ran};
use pb_core::proto::{Limits, Violation};
use pb_tests::net::{A, B, Call, Ended, Handle, Net};

fn granting(limits: Limits) -> Net {
    Net::with_limits(Limits::default(), limits)
}

fn overloaded(call: &Call, ran: Ran) {
    let failure = call.failure();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Overloaded, ran), "{failure}");
}

/// How many messages of this kind stand in the dialogue.
fn times(net: &Net, what: &str) -> usize {
    net.dialogue().iter().filter(|line| line.starts_with(what)).count()
}

#[test]
fn casts_count_with_calls_until_they_have_ended_and_are_given_back() {
    let net = granting(Limits { calls: 16, ..Limits::default() });
    let root = net.root(A);
    let held: Vec<_> = (0..10).map(|_| net.call(A, &root, "hold", "", &[])).collect();
    (0..20).for_each(|_| net.cast(A, &root, "hold", "", &[]));
    net.run();
    assert_eq!(net.side(B).waiting_count(), 16, "ten calls, and six casts of twenty");
    let refused = net.call(A, &root, "say", "", &[]);
    overloaded(&refused, Ran::No);
    while net.side(B).waiting_count() > 0 {
        let started = net.side(B).take("hold");
        net.side(B).answer(started, Ended::Value(Vec::new(), "".into()));
    }
    net.run();
    assert_eq!(times(&net, "B: credit"), 1, "what ends together is given back together");
    (0..16).for_each(|_| net.cast(A, &root, "say", "again", &[]));
    net.run();
    assert_eq!(net.side(B).arrived().iter().filter(|line| line.contains("again")).count(), 16);
    drop((held, refused));
    net.finish();
}

#[test]
fn half_of_a_grant_is_given_back_though_more_casts_still_run() {
    let net = granting(Limits { calls: 16, ..Limits::default() });
    let root = net.root(A);
    net.cast(A, &root, "hold", "", &[]);
    for n in 0..200 {
        net.cast(A, &root, "say", &n.to_string(), &[]);
        net.run();
    }
    assert_eq!(net.side(B).arrived().len(), 201, "none was dropped");
    assert_eq!(times(&net, "B: credit"), 25, "one for each eight");
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(Vec::new(), "".into()));
    net.finish();
}

#[test]
fn casts_that_lead_nowhere_are_given_back_too() {
    let net = granting(Limits { calls: 16, ..Limits::default() });
    let failed = net.refer(A, &net.root(A), "fail", "no", &[]);
    let promised = failed.promised();
    for _ in 0..100 {
        net.cast(A, &promised, "say", "", &[Handle::object("given")]);
    }
    net.run();
    assert_eq!(failed.error(), "no");
    let call = net.call(A, &net.root(A), "say", "on", &[]);
    net.run();
    assert_eq!(call.value(), "on");
    drop((failed, promised, call));
    net.finish();
}

#[test]
fn bytes_of_casts_count_with_those_of_calls() {
    let net = granting(Limits { call_bytes: 65_536, ..Limits::default() });
    let root = net.root(A);
    let large = "x".repeat(40_000);
    let call = net.call(A, &root, "hold", &large, &[]);
    net.cast(A, &root, "say", &large, &[]);
    net.cast(A, &root, "say", "small", &[]);
    net.run();
    assert_eq!(net.side(B).arrived().len(), 2, "the large cast was dropped on its own side");
    let never = net.call(A, &root, "say", &"x".repeat(70_000), &[]);
    assert_eq!(never.failure().kind, FailureKind::Failed, "waiting would not help");
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(Vec::new(), "".into()));
    drop((call, never));
    net.finish();
}

#[test]
fn credit_for_more_than_was_cast_ends_the_connection() {
    use pb_core::message::Credit;
    for (casts, bytes) in [(1, 0), (0, 0), (u64::MAX, u64::MAX)] {
        let net = Net::new();
        net.inject(A, Message::Credit(Credit { casts, bytes }));
        assert!(matches!(net.violation(A), Violation::CreditTooMuch { .. }));
        net.finish();
    }
    let net = Net::new();
    net.cast(A, &net.root(A), "say", "four", &[]);
    net.inject(B, Message::Credit(Credit { casts: 1, bytes: 5 }));
    let found = net.violation(B);
    assert_eq!(found, Violation::CreditTooMuch { casts: 1, bytes: 5, sent: 1, sent_bytes: 4 });
    net.finish();
}

#[test]
fn an_answer_over_its_callers_limit_says_so_and_has_run() {
    let net = Net::new();
    let call = net.call(A, &net.root(A), "say", &"x".repeat(65_536), &[]);
    let long = net.call(A, &net.root(A), "say", &"x".repeat(65_537), &[Handle::object("lost")]);
    let error = net.call(A, &net.root(A), "fail", &"x".repeat(65_537), &[]);
    net.run();
    assert_eq!(call.value().len(), 65_536);
    for call in [&long, &error] {
        overloaded(call, Ran::Yes);
        let failure = call.failure();
        assert_eq!(failure.details, [("answer-too-big".into(), "65537".into())]);
    }
    drop((call, long, error));
    net.finish();
}

#[test]
fn an_answer_over_the_limit_that_comes_all_the_same_ends_the_connection() {
    use pb_core::message::{ExportId, Payload, Resolve};
    let net = Net::new();
    let call = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    let payload = Payload { caps: Vec::new(), body: vec![0; 65_537].into() };
    net.inject(B, Message::Resolve(Resolve { export: ExportId(1), payload }));
    let found = net.violation(B);
    assert_eq!(found, Violation::AnswerTooBig { id: 1, bytes: 65_537, limit: 65_536 });
    drop(call);
    net.finish();
}

#[test]
fn calls_whose_answers_this_side_has_no_room_for_are_not_sent() {
    let small = Limits { answer_bytes: 4 * 65_536, ..Limits::default() };
    let net = Net::with_limits(small, Limits::default());
    let root = net.root(A);
    let held: Vec<_> = (0..4).map(|_| net.call(A, &root, "hold", "", &[])).collect();
    overloaded(&net.call(A, &root, "say", "", &[]), Ran::No);
    net.cast(A, &root, "say", "a cast has no answer", &[]);
    net.run();
    assert_eq!(net.side(B).arrived().len(), 5);
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(Vec::new(), "".into()));
    net.run();
    let next = net.call(A, &root, "say", "room", &[]);
    net.run();
    assert_eq!(next.value(), "room");
    drop((held, next));
    net.finish();
}

#[test]
fn objects_that_a_peer_passes_are_bounded_by_its_budget_and_refused_without_harm() {
    let net = granting(Limits { budget: 64 << 10, ..Limits::default() });
    let root = net.root(A);
    let kept: Vec<_> =
        (0..400).map(|_| net.call(A, &root, "keep", "", &[Handle::object("passed")])).collect();
    net.run();
    let (took, refused): (Vec<_>, Vec<_>) =
        kept.iter().partition(|call| matches!(call.ended(), Some(Ended::Value(..))));
    refused.iter().for_each(|call| overloaded(call, Ran::No));
    // 512 bytes each, beside the connection itself.
    assert!(
        (80..=96).contains(&took.len()),
        "{} objects in 64 KiB, of which the connection takes 16",
        took.len()
    );
    assert_eq!(net.sizes(B).imports, took.len(), "those of the refused calls are given back");
    // What cannot be kept does not end the connection, and room comes back with what is dropped.
    net.side(B).root().kept.take();
    net.run();
    let call = net.call(A, &root, "keep", "", &[Handle::object("passed")]);
    net.run();
    assert!(matches!(call.ended(), Some(Ended::Value(..))));
    drop((kept, call));
    net.finish();
}

#[test]
fn objects_that_a_peer_is_answered_are_bounded_by_its_budget() {
    let net = granting(Limits { budget: 64 << 10, ..Limits::default() });
    let root = net.root(A);
    let mut held = Vec::new();
    for _ in 0..400 {
        let call = net.refer(A, &root, "open", "one", &[]);
        net.run();
        held.push(call);
    }
    let got = held.iter().filter(|call| matches!(call.ended(), Some(Ended::Reference(_)))).count();
    assert!((60..=96).contains(&got), "{got} objects in 64 KiB, of which the connection takes 16");
    assert_eq!(net.sizes(B).exports, got);
    held.clear();
    net.run();
    let call = net.refer(A, &root, "open", "one", &[]);
    net.run();
    assert!(matches!(call.ended(), Some(Ended::Reference(_))));
    drop(call);
    net.finish();
}

#[test]
fn what_a_side_passes_on_its_own_account_is_not_charged_to_the_peer() {
    let net = Net::with_limits(Limits::default(), Limits { budget: 64 << 10, ..Limits::default() });
    let passed: Vec<_> = (0..1000).map(|_| Handle::object("passed")).collect();
    let call = net.call(B, &net.root(B), "keep", "", &passed);
    net.run();
    assert!(matches!(call.ended(), Some(Ended::Value(..))));
    let called = net.call(A, &net.root(A), "say", "served as ever", &[]);
    net.run();
    assert_eq!(called.value(), "served as ever");
    drop((call, called, passed));
    net.finish();
}

#[test]
fn answers_that_a_peer_does_not_read_are_replaced_over_its_budget() {
    let net = granting(Limits { budget: 256 << 10, ..Limits::default() });
    let root = net.root(A);
    let calls: Vec<_> = (0..10).map(|_| net.call(A, &root, "hold", "", &[])).collect();
    net.run();
    net.block(B);
    while net.side(B).waiting_count() > 0 {
        let started = net.side(B).take("hold");
        net.side(B).answer(started, Ended::Value(Vec::new(), vec![0; 60_000].into()));
    }
    net.unblock(B);
    net.run();
    let (read, replaced): (Vec<_>, Vec<_>) =
        calls.iter().partition(|call| matches!(call.ended(), Some(Ended::Value(..))));
    assert_eq!((read.len(), replaced.len()), (4, 6), "four times 60,000 are within 256 KiB");
    replaced.iter().for_each(|call| overloaded(call, Ran::Yes));
    drop(calls);
    net.finish();
}

#[test]
fn a_peer_that_makes_this_side_answer_without_methods_and_does_not_read_is_disconnected() {
    use pb_core::message::Ping;
    let net = granting(Limits { budget: 64 << 10, frame_bytes: 4096, ..Limits::default() });
    net.block(B);
    let mut pings = 0..100_000;
    let violation = pings.find_map(|_| {
        net.inject(A, Message::Ping(Ping { nonce: u64::MAX }));
        net.try_deliver(A).err()
    });
    let violation = violation.expect("it does not go on for ever");
    let limit = (64 << 10) + (4 << 10) + 1024 * 448;
    assert_eq!(violation, Violation::Limit { what: "bytes kept for a peer", limit });
    net.finish();
}

#[test]
fn both_sides_at_their_grant_call_each_other_back_and_go_on() {
    let limits = Limits { calls: 16, ..Limits::default() };
    let net = Net::with_limits(limits, limits);
    let to_b: Vec<_> = (0..16).map(|_| net.call(A, &net.root(A), "hold", "", &[])).collect();
    let to_a: Vec<_> = (0..16).map(|_| net.call(B, &net.root(B), "hold", "", &[])).collect();
    net.run();
    overloaded(&net.call(A, &net.root(A), "say", "", &[]), Ran::No);
    overloaded(&net.call(B, &net.root(B), "say", "", &[]), Ran::No);
    // Each method that waits calls its caller back as soon as one of its own has ended: nobody waits for anybody's reading.
    for n in 0..16 {
        for (at, caller) in [(B, A), (A, B)] {
            let started = net.side(at).take("hold");
            net.side(at).answer(started, Ended::Value(Vec::new(), "done".into()));
            net.run();
            let back = net.call(caller, &net.root(caller), "say", &n.to_string(), &[]);
            net.run();
            assert_eq!(back.value(), n.to_string());
        }
    }
    assert!(to_a.iter().chain(&to_b).all(|call| call.value() == "done"));
    drop((to_a, to_b));
    net.finish();
}

#[test]
fn a_login_has_the_least_of_everything() {
    let limits = Limits::before_login();
    assert_eq!((limits.budget, limits.frame_bytes, limits.calls), (64 << 10, 4096, 16));
    let net = granting(limits);
    let call = net.call(A, &net.root(A), "say", "it serves", &[]);
    net.run();
    assert_eq!(call.value(), "it serves");
    drop(call);
    net.finish();
}

#[test]
fn metadata_of_calls_that_wait_is_charged() {
    use pb_core::message::{Call, CallOptions, ImportId, MethodName, MethodText, Payload, Reply};
    let net = granting(Limits { budget: 64 << 10, ..Limits::default() });
    let held = net.refer(A, &net.root(A), "hold", "", &[]);
    net.run();
    let value = vec![b'x'; 256];
    let metadata: Vec<_> = (0..16).map(|n| (format!("key{n}").into(), value.clone().into())).collect();
    let text = std::sync::Arc::new(MethodText { name: "say".into(), fewest: 0, prints: Box::default() });
    for n in 2..=40 {
        let options = CallOptions { metadata: metadata.clone(), ..CallOptions::default() };
        net.inject(
            A,
            Message::Call(Call {
                target: ImportId(1),
                result: ImportId(n),
                reply: Reply::Value,
                method: MethodName::Once(text.clone()),
                options: options.boxed(),
                payload: Payload { caps: Vec::new(), body: "".into() },
            }),
        );
        assert!(net.try_deliver(A).is_ok());
    }
    let waiting = net.sizes(B).answers - 1;
    assert!(
        (7..12).contains(&waiting),
        "{waiting} calls with 4 KiB each wait within 64 KiB, of which the connection takes 16"
    );
    net.cut(A);
    net.cut(B);
    drop(held);
    net.finish();
}
