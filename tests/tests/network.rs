//! Several programs on virtual links: what links do, what passes through middlemen, and what is cancelled while it waits.

use std::time::Duration;

use pb_core::message::{FailureKind, Ran, Reply};
use pb_core::proto::TableSizes;
use pb_tests::net::{Call, Ended, Handle, Network};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn refer(network: &Network, at: usize, on: &Handle, method: &str, with: &[Handle]) -> Call {
    network.node(at).call(on, method, "", with, Reply::Reference)
}

fn say(network: &Network, at: usize, on: &Handle, text: &str) -> Call {
    network.node(at).call(on, "say", text, &[], Reply::Value)
}

/// A holds an object of C's, by way of B.
fn through_the_middle(network: &Network) -> Handle {
    let opened = refer(network, B, &network.root(B, C), "open", &[]);
    let shown = network.node(B).call(&network.root(B, A), "keep", "", &[opened.promised()], Reply::Value);
    network.run();
    drop((opened, shown));
    let kept = network.node(A).root().kept.take();
    network.run();
    kept.into_iter().next().expect("B showed it to A")
}

#[test]
fn a_middleman_passes_calls_on_in_their_order_and_answers_back() {
    let network = Network::row(3);
    let far = through_the_middle(&network);
    let calls: Vec<_> = (0..4).map(|n| say(&network, A, &far, &n.to_string())).collect();
    network.run();
    let said: Vec<_> = calls.iter().map(Call::value).collect();
    assert_eq!(said, ["0", "1", "2", "3"]);
    assert_eq!(network.node(C).arrived()[1..], [".say(0)", ".say(1)", ".say(2)", ".say(3)"]);
    assert_eq!(network.node(B).passed_on(), 4);
    drop((far, calls));
    network.finish();
}

#[test]
fn a_cancel_passes_through_the_middleman() {
    let network = Network::row(3);
    let far = through_the_middle(&network);
    let call = refer(&network, A, &far, "hold", &[]);
    network.run();
    assert_eq!(network.node(C).waiting_count(), 1);
    drop(call);
    network.run();
    assert_eq!(network.node(C).waiting_count(), 0, "the method was stopped");
    drop(far);
    network.finish();
}

#[test]
fn a_link_that_takes_time_delivers_then_and_in_order() {
    let network = Network::row(2);
    network.delay(A, B, Duration::from_millis(10));
    network.delay(B, A, Duration::from_millis(30));
    let begun = network.now();
    let call = say(&network, A, &network.root(A, B), "1");
    network.run_for(Duration::from_millis(9));
    assert!(network.node(B).arrived().is_empty());
    network.run_for(Duration::from_millis(1));
    assert_eq!(network.node(B).arrived(), ["root.say(1)"]);
    network.run();
    assert_eq!((call.value().as_str(), network.now() - begun), ("1", Duration::from_millis(40)));
    drop(call);
    network.finish();
}

#[test]
fn ten_pipelined_calls_take_one_round_trip() {
    let network = Network::row(2);
    network.delay(A, B, Duration::from_millis(10));
    network.delay(B, A, Duration::from_millis(10));
    let begun = network.now();
    let mut on = network.root(A, B);
    let mut calls = Vec::new();
    for _ in 0..9 {
        let opened = refer(&network, A, &on, "open", &[]);
        on = opened.promised();
        calls.push(opened);
    }
    let last = say(&network, A, &on, "deep");
    while !last.has_ended() {
        assert!(network.step());
    }
    assert_eq!(network.now() - begun, Duration::from_millis(20));
    drop((on, calls, last));
    network.finish();
}

#[test]
fn a_blocked_way_holds_its_messages_back_and_the_other_way_goes_on() {
    let network = Network::row(2);
    network.block(B, A);
    let call = say(&network, A, &network.root(A, B), "1");
    network.run();
    assert!(network.node(B).arrived() == ["root.say(1)"] && !call.has_ended());
    network.unblock(B, A);
    network.run();
    assert_eq!(call.value(), "1");
    drop(call);
    network.finish();
}

#[test]
fn what_a_cut_loses_fails_at_both_ends() {
    let network = Network::mesh(3);
    let (call, other) =
        (say(&network, A, &network.root(A, B), "1"), say(&network, A, &network.root(A, C), "2"));
    network.cut(A, B);
    assert_eq!((call.failure().kind, call.failure().ran), (FailureKind::Disconnected, Ran::Maybe));
    network.run();
    assert_eq!(other.value(), "2");
    assert!(network.node(B).arrived().is_empty());
    drop((call, other));
    network.finish();
}

#[test]
fn a_way_cut_silently_is_noticed_when_somebody_says_so() {
    let network = Network::row(2);
    network.lose(B, A);
    let call = say(&network, A, &network.root(A, B), "1");
    network.run();
    assert_eq!(network.node(B).arrived(), ["root.say(1)"]);
    assert!(!call.has_ended());
    network.tell(A, B);
    assert_eq!(call.failure().kind, FailureKind::Disconnected);
    network.tell(B, A);
    drop(call);
    network.finish();
}

#[test]
fn a_new_connection_takes_the_place_of_one_that_was_cut() {
    let mut network = Network::row(2);
    network.cut(A, B);
    network.connect(A, B);
    network.run();
    let call = say(&network, A, &network.root(A, B), "again");
    network.run();
    assert_eq!(call.value(), "again");
    drop(call);
    network.finish();
}

#[test]
fn a_run_is_printed_with_times_and_parties() {
    let network = Network::row(3);
    network.delay(A, B, Duration::from_millis(5));
    let call = say(&network, A, &network.root(A, B), "hello");
    network.run();
    network.cut(B, C);
    let expected = [
        "    0.000  A → B  call 0 → 1, value, \"say\", (hello)",
        "    0.005  B → A  resolve 1 (hello)",
        "    0.005  -- B → C is cut silently",
        "    0.005  -- C → B is cut silently",
        "    0.005  -- B learns that its connection with C has ended",
        "    0.005  -- C learns that its connection with B has ended",
    ];
    assert_eq!(network.dump().lines().collect::<Vec<_>>(), expected);
    drop(call);
    network.finish();
}

#[test]
fn a_test_may_say_exactly_what_is_left() {
    let network = Network::row(2);
    let opened = refer(&network, A, &network.root(A, B), "open", &[]);
    network.run();
    let held = opened.reference();
    drop(opened);
    let (holds, owns) = (
        TableSizes { imports: 1, ..TableSizes::default() },
        TableSizes { exports: 1, ..TableSizes::default() },
    );
    network.finish_with(&[(A, B, holds), (B, A, owns)]);
    drop(held);
}

/// Whether `object` is held by anybody but the test.
fn is_held(object: &Handle) -> bool {
    let Handle::Object(object) = object else { panic!("an object of the test's own") };
    std::rc::Rc::strong_count(object) > 1
}

#[test]
fn cancelling_a_call_that_waits_for_a_result_gives_its_arguments_back_at_once() {
    let network = Network::row(2);
    let given = Handle::object("given");
    let held = refer(&network, A, &network.root(A, B), "hold", &[]);
    let waits =
        network.node(A).call(&held.promised(), "keep", "", std::slice::from_ref(&given), Reply::Value);
    let behind = network.node(A).call(&held.promised(), "say", "behind", &[], Reply::Value);
    network.run();
    assert!(is_held(&given));
    drop(waits);
    network.run();
    assert!(!is_held(&given), "what it waits for may never come");
    assert!(network.dialogue().contains(&"B: reject 2, origin 1, Cancelled, ran No".to_owned()));
    let started = network.node(B).take("hold");
    network.node(B).answer(started, Ended::Reference(Handle::object("late")));
    network.run();
    assert_eq!(network.node(B).arrived(), ["root.hold()", "late.say(behind)"]);
    drop((held, behind));
    network.finish();
}

#[test]
fn cancelling_a_call_that_waits_for_a_promise_of_a_third_party_gives_its_arguments_back_at_once() {
    let network = Network::row(3);
    let given = Handle::object("given");
    // B shows A what C has not answered yet: to A it is an object, on which calls wait at B.
    let pending = refer(&network, B, &network.root(B, C), "hold", &[]);
    let echoed = refer(&network, A, &network.root(A, B), "echo", &[]);
    drop(echoed);
    let shown = network.node(B).call(&network.root(B, A), "keep", "", &[pending.promised()], Reply::Value);
    network.run();
    let far = network.node(A).root().kept.borrow()[0].clone();
    let waits = network.node(A).call(&far, "keep", "", std::slice::from_ref(&given), Reply::Value);
    network.run();
    assert!(is_held(&given));
    drop(waits);
    network.run();
    assert!(!is_held(&given));
    let started = network.node(C).take("hold");
    network.node(C).answer(started, Ended::App(Vec::new(), "closed".into()));
    drop((far, pending, shown));
    network.finish();
}
