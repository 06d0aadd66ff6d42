//! Calls on the results of calls that a middleman passes on: they follow before the results have come (`docs/protocol.md`, section 9).

use std::time::Duration;

use pb_core::message::{FailureKind, Reply};
use pb_tests::net::{Call, Ended, Handle, Network};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn refer(network: &Network, at: usize, on: &Handle, method: &str, with: &[Handle]) -> Call {
    network.node(at).call(on, method, "", with, Reply::Reference)
}

fn say(network: &Network, on: &Handle, text: &str) -> Call {
    network.node(A).call(on, "say", text, &[], Reply::Value)
}

/// What A holds of `C`'s root, by way of B.
fn far_root(network: &Network) -> Handle {
    let shown = network.node(B).call(&network.root(B, A), "keep", "", &[network.root(B, C)], Reply::Value);
    network.run();
    drop(shown);
    let kept = network.node(A).root().kept.take();
    kept.into_iter().next().expect("B showed it to A")
}

fn finish(network: Network, far: Handle) {
    drop(far);
    network.finish();
}

#[test]
fn ten_calls_in_a_chain_through_a_middleman_take_one_round_trip_of_the_whole_way() {
    let network = Network::row(3);
    let far = far_root(&network);
    for (from, to) in [(A, B), (B, A), (B, C), (C, B)] {
        network.delay(from, to, Duration::from_millis(10));
    }
    let begun = network.now();
    let (mut on, mut calls) = (far.clone(), Vec::new());
    for _ in 0..9 {
        let opened = refer(&network, A, &on, "open", &[]);
        on = opened.promised();
        calls.push(opened);
    }
    let last = say(&network, &on, "deep");
    while !last.has_ended() {
        assert!(network.step());
    }
    assert_eq!(network.now() - begun, Duration::from_millis(40));
    assert_eq!(network.node(B).passed_on(), 10);
    drop((on, calls, last));
    finish(network, far);
}

#[test]
fn calls_on_the_result_follow_in_order_before_and_after_it_is_known() {
    let network = Network::row(3);
    let far = far_root(&network);
    network.block(B, C);
    let held = refer(&network, A, &far, "hold", &[]);
    let early: Vec<_> = (0..3).map(|n| say(&network, &held.promised(), &n.to_string())).collect();
    network.run();
    network.unblock(B, C);
    network.run();
    let late: Vec<_> = (3..6).map(|n| say(&network, &held.promised(), &n.to_string())).collect();
    network.run();
    let object = Handle::object("it");
    network.node(C).answer(network.node(C).take("hold"), Ended::Reference(object.clone()));
    let later = say(&network, &held.promised(), "6");
    network.run();
    let known = say(&network, &held.reference(), "7");
    network.run();
    let said = network.node(C).arrived();
    assert_eq!(said[1..], (0..8).map(|n| format!("it.say({n})")).collect::<Vec<_>>());
    drop((early, late, later, known, held, object));
    finish(network, far);
}

#[test]
fn what_comes_home_through_a_middleman_is_called_without_a_message_after_the_embargo() {
    let network = Network::row(3);
    let far = far_root(&network);
    let mine = Handle::object("mine");
    let echoed = refer(&network, A, &far, "echo", std::slice::from_ref(&mine));
    let early: Vec<_> = (0..3).map(|n| say(&network, &echoed.promised(), &n.to_string())).collect();
    network.run();
    let sent = network.dialogue().len();
    let late = say(&network, &echoed.promised(), "3");
    assert_eq!((network.dialogue().len(), late.value().as_str()), (sent, "3"));
    let said = network.node(A).arrived();
    assert_eq!(said[1..], (0..4).map(|n| format!("mine.say({n})")).collect::<Vec<_>>());
    drop((early, late, echoed, mine));
    finish(network, far);
}

#[test]
fn a_call_whose_time_is_over_at_the_middleman_breaks_what_was_called_on_its_result() {
    let network = Network::row(3);
    let far = far_root(&network);
    let held = network.within(A, Duration::from_millis(10), || refer(&network, A, &far, "hold", &[]));
    let on_it = say(&network, &held.promised(), "never");
    network.run();
    assert_eq!((network.node(C).waiting_count(), network.node(B).passed_on()), (1, 2));
    network.sleep(Duration::from_millis(10));
    network.run();
    assert_eq!(network.node(C).waiting_count(), 0, "the method was stopped");
    assert_eq!(held.failure().kind, FailureKind::DeadlineExceeded);
    assert_eq!(on_it.failure().kind, FailureKind::Broken);
    drop((held, on_it));
    finish(network, far);
}

#[test]
fn a_cast_on_the_result_of_a_call_that_is_passed_on_arrives_though_the_call_is_dropped() {
    let network = Network::row(3);
    let far = far_root(&network);
    let opened = refer(&network, A, &far, "open", &[]);
    network.node(A).cast(&opened.promised(), "say", "on", &[]);
    drop(opened);
    network.run();
    assert_eq!(network.node(C).arrived()[1..], [".say(on)"]);
    finish(network, far);
}

#[test]
fn a_result_that_is_named_in_an_argument_is_called_by_the_middleman_behind_its_callers_calls() {
    let network = Network::row(3);
    let far = far_root(&network);
    let held = refer(&network, A, &far, "hold", &[]);
    let first = say(&network, &held.promised(), "A's");
    let given = network.node(A).call(&network.root(A, B), "keep", "", &[held.promised()], Reply::Value);
    network.run();
    let kept = network.node(B).root().kept.take().into_iter().next().expect("A gave it");
    let second = network.node(B).call(&kept, "say", "B's", &[], Reply::Value);
    network.run();
    assert!(!first.has_ended() && !second.has_ended());
    let object = Handle::object("it");
    network.node(C).answer(network.node(C).take("hold"), Ended::Reference(object.clone()));
    network.run();
    assert_eq!(network.node(C).arrived()[1..], ["it.say(A's)", "it.say(B's)"]);
    assert_eq!((first.value(), second.value()), ("A's".to_owned(), "B's".to_owned()));
    drop((kept, first, second, given, held, object));
    finish(network, far);
}

#[test]
fn an_error_behind_the_middleman_is_the_cause_of_what_was_called_on_its_result() {
    let network = Network::row(3);
    let far = far_root(&network);
    let failing = network.node(A).call(&far, "fail", "no", &[], Reply::Reference);
    let on_it = say(&network, &failing.promised(), "never");
    network.run();
    assert_eq!(failing.error(), "no");
    let failure = on_it.failure();
    assert_eq!(failure.kind, FailureKind::Broken);
    assert!(failure.cause.is_some(), "{failure:?}");
    drop((failing, on_it));
    finish(network, far);
}

#[test]
fn a_middlemans_lost_connection_ends_what_was_passed_on_and_what_was_called_on_it_once() {
    for lost in [[A, B], [B, C]] {
        let network = Network::row(3);
        let far = far_root(&network);
        let held = refer(&network, A, &far, "hold", &[]);
        let on_it = say(&network, &held.promised(), "never");
        network.run();
        network.cut(lost[0], lost[1]);
        network.run();
        assert!(held.has_ended() && on_it.has_ended(), "{lost:?}");
        assert_eq!(network.node(C).waiting_count(), 0, "the method was stopped");
        drop((held, on_it));
        finish(network, far);
    }
}
