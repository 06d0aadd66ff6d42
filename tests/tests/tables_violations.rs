//! What a peer must not do: each variant of `Violation`, what is sent, and that nothing stays behind.

use bytes::Bytes;
use pb_core::message::*;
use pb_core::proto::{Limits, Violation};
use pb_tests::golden::plain_call;
use pb_tests::net::{A, B, Ended, Handle, Net};

fn define(name: &str) -> MethodName {
    MethodName::Defined(std::sync::Arc::new(MethodText {
        name: name.into(),
        fewest: 0,
        prints: Box::default(),
    }))
}

/// A call of the root's method `say`, with `result` and `caps`.
fn say(result: i64, caps: &[Cap]) -> Call {
    Call {
        result: ImportId(result),
        method: define("say"),
        payload: Payload { caps: caps.to_vec(), body: Bytes::new() },
        ..plain_call()
    }
}

fn resolve(id: i64, caps: &[Cap], body: &'static str) -> Message {
    let payload = Payload { caps: caps.to_vec(), body: Bytes::from_static(body.as_bytes()) };
    Message::Resolve(Resolve { export: ExportId(id), payload })
}

fn release(mentions: &[(i64, u64)]) -> Message {
    let mentions = mentions.iter().map(|&(id, count)| (ImportId(id), count)).collect();
    Message::Release(Release { mentions })
}

/// What B ends the connection for when A sends `messages`; B's tables are empty then, and A knows why.
#[track_caller]
fn violation(net: Net, messages: impl IntoIterator<Item = Message>) -> Violation {
    for message in messages {
        net.inject(A, message);
    }
    let violation = net.violation(A);
    assert_eq!(net.sizes(B), Default::default());
    let ended = net.ended(B).expect("B has ended");
    assert_eq!((ended.kind, &*ended.message), (FailureKind::Protocol, &*violation.to_string()));
    let abort = net.last_abort(B).expect("B says why");
    assert_eq!((abort.code, &*abort.reason), (violation.abort_code(), &*violation.to_string()));
    // A's own tables knew nothing of the messages: what B answered before is nothing to them.
    while let Some(message) = net.side(B).next_message() {
        if let Message::Abort(_) = message {
            net.inject(B, message);
            break;
        }
    }
    net.run();
    let known = net.ended(A).expect("A has ended");
    assert!(known.message.contains(&*violation.to_string()), "{known}");
    net.finish();
    violation
}

#[test]
fn nothing_may_come_before_the_hello() {
    for message in [
        Message::Call(say(1, &[])),
        Message::Ping(Ping { nonce: 1 }),
        release(&[(-1, 1)]),
        resolve(1, &[], ""),
        Message::Goaway(Goaway { last: ExportId(0), drain_ms: 0, reason: "".into() }),
    ] {
        let net = Net::strangers(Limits::default(), Limits::default());
        let hello = net.side(A).next_message();
        assert!(matches!(hello, Some(Message::Hello(_))));
        net.deliver(B);
        assert_eq!(violation(net, [message]), Violation::BeforeHello);
    }
}

#[test]
fn an_unknown_type_may_not_come_before_the_hello() {
    let net = Net::strangers(Limits::default(), Limits::default());
    net.side(A).next_message();
    net.deliver(B);
    net.side(A).put_on_the_wire(&pb_tests::hostile::framed(&[99, 1, 4, 1, 2, 3]));
    assert_eq!(violation(net, []), Violation::BeforeHello);
}

#[test]
fn an_abort_may_come_before_the_hello() {
    let net = Net::strangers(Limits::default(), Limits::default());
    net.side(A).next_message();
    let abort = Abort { code: AbortCode::Version, reason: "too old".into() };
    net.inject(A, Message::Abort(abort));
    net.run();
    assert!(net.ended(B).is_some_and(|failure| failure.message.contains("too old")));
    net.cut(A);
    net.finish();
}

#[test]
fn there_is_one_hello() {
    let hello = Hello { versions: (1, 1), features: 0, grants: Grants::MINIMUM };
    assert_eq!(violation(Net::new(), [Message::Hello(hello)]), Violation::SecondHello);
}

#[test]
fn without_a_common_version_the_connection_ends_with_code_1() {
    for versions in [(0, 0), (2, 2), (2, u32::MAX), (5, 0)] {
        let net = Net::strangers(Limits::default(), Limits::default());
        net.side(A).next_message();
        net.deliver(B);
        let hello = Hello { versions, features: 0, grants: Grants::MINIMUM };
        let found = violation(net, [Message::Hello(hello)]);
        assert_eq!(found, Violation::Version { lowest: versions.0, highest: versions.1 });
        assert_eq!(found.abort_code(), AbortCode::Version);
    }
}

#[test]
fn frames_in_which_not_every_answer_has_room_are_refused() {
    for granted in [0, 1, 600, 4095] {
        let net = Net::strangers(Limits::default(), Limits::default());
        net.side(A).next_message();
        net.deliver(B);
        let grants = Grants { frame_bytes: granted, ..Grants::MINIMUM };
        let found = violation(net, [Message::Hello(Hello { versions: (1, 1), features: 0, grants })]);
        assert_eq!(found, Violation::FramesTooSmall { granted, least: 4096 });
        assert_eq!(found.abort_code(), AbortCode::Violation);
    }
}

#[test]
fn a_version_range_that_holds_ours_is_accepted() {
    let net = Net::strangers(Limits::default(), Limits::default());
    net.side(A).next_message();
    net.inject(A, Message::Hello(Hello { versions: (0, 9), features: u64::MAX, grants: Grants::MINIMUM }));
    net.run();
    assert!(net.ended(B).is_none());
    net.finish();
}

#[test]
fn a_call_takes_the_next_result_id() {
    for (first, second, next) in [(1, 1, 2), (1, 3, 2), (2, 3, 1)] {
        let calls = [Message::Call(say(first, &[])), Message::Call(say(second, &[]))];
        let found = violation(Net::new(), calls);
        let id = if first == next + 1 { first } else { second };
        assert_eq!(found, Violation::ResultNotNext { id, next });
    }
}

#[test]
fn a_target_was_given_before() {
    for target in [5, -1, i64::from(i32::MIN), 1] {
        let call = Call { target: ImportId(target), ..say(1, &[Cap::Mine(ExportId(-1))]) };
        assert_eq!(violation(Net::new(), [Message::Call(call)]), Violation::NeverGiven { id: target });
    }
    let cast = Cast {
        target: ImportId(-1),
        method: define("say"),
        options: Default::default(),
        payload: Payload { caps: vec![Cap::Mine(ExportId(-1))], body: Bytes::new() },
    };
    assert_eq!(violation(Net::new(), [Message::Cast(cast)]), Violation::NeverGiven { id: -1 });
}

#[test]
fn a_capability_of_the_receivers_was_given_before() {
    for id in [-1, 2, 1] {
        let call = say(1, &[Cap::Mine(ExportId(-1)), Cap::Yours(ImportId(id))]);
        assert_eq!(violation(Net::new(), [Message::Call(call)]), Violation::NeverGiven { id });
    }
}

#[test]
fn a_cancelled_id_and_a_broken_one_were_given_before() {
    let cancel = Message::Cancel(Cancel { result: ImportId(1) });
    assert_eq!(violation(Net::new(), [cancel]), Violation::NeverGiven { id: 1 });
    let failure = Failure::new(FailureKind::Refused, Ran::No, "revoked");
    let reject = Message::Reject(Reject { export: ExportId(-1), rejection: Rejection::Broker(failure) });
    assert_eq!(violation(Net::new(), [reject]), Violation::NeverGiven { id: -1 });
}

#[test]
fn an_object_breaks_once_and_so_does_the_root() {
    let reject = |id| {
        let failure = Failure::new(FailureKind::Refused, Ran::No, "revoked");
        Message::Reject(Reject { export: ExportId(id), rejection: Rejection::Broker(failure) })
    };
    assert_eq!(violation(Net::new(), [reject(0), reject(0)]), Violation::BrokenTwice { id: 0 });
    let net = Net::new();
    let given = net.call(A, &net.root(A), "keep", "", &[Handle::object("mine")]);
    net.run();
    assert_eq!(given.value(), "");
    assert_eq!(violation(net, [reject(-1), reject(-1)]), Violation::BrokenTwice { id: -1 });
}

#[test]
fn a_values_result_cannot_be_named() {
    let hold = Call { method: define("hold"), ..say(1, &[]) };
    let on_it = Call { target: ImportId(1), ..say(2, &[Cap::Mine(ExportId(-1))]) };
    let with_it = say(2, &[Cap::Mine(ExportId(-1)), Cap::Yours(ImportId(1))]);
    for second in [on_it, with_it] {
        let found = violation(Net::new(), [Message::Call(hold.clone()), Message::Call(second)]);
        assert_eq!(found, Violation::NotAReference { id: 1 });
    }
}

#[test]
fn an_object_takes_the_next_id() {
    for (caps, id, next) in [(vec![-2], -2, -1), (vec![-1, -3], -3, -2), (vec![-(1 << 60)], -(1 << 60), -1)] {
        let caps: Vec<_> = caps.into_iter().map(|id| Cap::Mine(ExportId(id))).collect();
        let found = violation(Net::new(), [Message::Call(say(1, &caps))]);
        assert_eq!(found, Violation::ObjectNotNext { id, next });
    }
}

#[test]
fn a_name_defined_twice_takes_a_number_each_time() {
    let net = Net::new();
    let by = |result, method| Call { result: ImportId(result), method, ..say(result, &[]) };
    for (result, method) in
        [(1, define("say")), (2, define("say")), (3, MethodName::Known(1)), (4, MethodName::Known(2))]
    {
        net.inject(A, Message::Call(by(result, method)));
    }
    for result in 1..=4 {
        net.deliver(A);
        let resolved = net.side(B).next_message();
        assert!(matches!(resolved, Some(Message::Resolve(found)) if found.export == ExportId(result)));
    }
    let found = violation(net, [Message::Call(by(5, MethodName::Known(3)))]);
    assert_eq!(found, Violation::UndefinedMethod { number: 3, defined: 2 });
}

#[test]
fn a_methods_number_is_defined_before() {
    let call = |number| Message::Call(Call { method: MethodName::Known(number), ..say(1, &[]) });
    for number in [1, 2, u32::MAX] {
        let found = violation(Net::new(), [call(number)]);
        assert_eq!(found, Violation::UndefinedMethod { number, defined: 0 });
    }
}

#[test]
fn an_answer_is_to_an_open_call() {
    assert_eq!(violation(Net::new(), [resolve(1, &[], "")]), Violation::AnswerNotAsked { id: 1 });
    // A second one: the first stands.
    let net = Net::new();
    let call = net.call(B, &net.root(B), "say", "1", &[]);
    net.run();
    let found = violation(net, [resolve(1, &[], "2")]);
    assert_eq!(found, Violation::AnswerNotAsked { id: 1 });
    assert_eq!(call.value(), "1");
    // The same for a reference whose promise is still held.
    let net = Net::new();
    let call = net.refer(B, &net.root(B), "open", "1", &[]);
    net.run();
    let found = violation(net, [resolve(1, &[Cap::Mine(ExportId(-2))], "")]);
    assert_eq!(found, Violation::AnswerNotAsked { id: 1 });
    drop(call);
    let failure = Failure::new(FailureKind::Failed, Ran::No, "");
    let reject = Message::Reject(Reject { export: ExportId(3), rejection: Rejection::Broker(failure) });
    assert_eq!(violation(Net::new(), [reject]), Violation::AnswerNotAsked { id: 3 });
}

#[test]
fn the_root_is_no_result_and_is_told_so() {
    let found = violation(Net::new(), [resolve(0, &[Cap::Mine(ExportId(-1))], "")]);
    assert_eq!(found, Violation::RootResolved);
    let told = "a resolve names the root, which is no call's result: a call's id is positive";
    assert_eq!(found.to_string(), told);
    let net = Net::new();
    let call = net.call(B, &net.root(B), "hold", "", &[]);
    assert_eq!(violation(net, [resolve(0, &[], "")]), Violation::RootResolved);
    assert_eq!(call.failure().kind, FailureKind::Protocol, "its call ends with the connection");
}

#[test]
fn a_bad_answer_ends_its_call_with_the_connection() {
    let own = Cap::Yours(ImportId(-1));
    let answers: [(Message, Reply); 6] = [
        (resolve(1, &[], ""), Reply::Reference),
        (resolve(1, &[Cap::Mine(ExportId(-1)), Cap::Mine(ExportId(-1))], ""), Reply::Reference),
        (resolve(1, &[Cap::Mine(ExportId(-1))], "body"), Reply::Reference),
        (resolve(1, &[own], ""), Reply::Reference),
        (resolve(1, &[Cap::Mine(ExportId(-1)), own], ""), Reply::Value),
        (
            Message::Reject(Reject {
                export: ExportId(1),
                rejection: Rejection::App(Payload { caps: vec![own], body: Bytes::new() }),
            }),
            Reply::Value,
        ),
    ];
    for (answer, reply) in answers {
        let net = Net::new();
        net.block(A);
        let root = net.root(B);
        let call = match reply {
            Reply::Value => net.call(B, &root, "hold", "", &[]),
            Reply::Reference => net.refer(B, &root, "hold", "", &[]),
        };
        let found = violation(net, [answer]);
        assert_eq!(call.failure().kind, FailureKind::Protocol, "{found}");
    }
}

#[test]
fn a_reference_is_answered_with_one_reference() {
    let net = Net::new();
    let call = net.refer(B, &net.root(B), "hold", "", &[]);
    let found = violation(net, [resolve(1, &[], "x")]);
    assert_eq!(found, Violation::NotOneReference { id: 1, caps: 0, bytes: 1 });
    drop(call);
}

#[test]
fn no_more_is_released_than_was_held() {
    let held = |mentions: usize| {
        let net = Net::new();
        let given = vec![Handle::object("given"); mentions];
        let call = net.call(B, &net.root(B), "keep", "", &given);
        net.run();
        drop(call);
        net
    };
    // How often it was given, what is released, and what is wrong with that.
    type Case = (usize, &'static [(i64, u64)], i64, u64, u64);
    let cases: [Case; 7] = [
        (0, &[(-1, 1)], -1, 0, 1),
        (2, &[(-1, 3)], -1, 2, 3),
        (2, &[(-1, u64::MAX)], -1, 2, u64::MAX),
        (2, &[(-1, 1), (-1, 2)], -1, 1, 2),
        (2, &[(-1, 2), (-1, 1)], -1, 0, 1),
        (1, &[(0, 1)], 0, 0, 1),
        (1, &[(7, 1)], 7, 0, 1),
    ];
    for (mentions, releases, id, held_count, released) in cases {
        let found = violation(held(mentions), [release(releases)]);
        assert_eq!(found, Violation::ReleasedTooMany { id, held: held_count, released });
    }
}

#[test]
fn a_long_release_gives_back_what_many_short_ones_do_up_to_the_first_that_is_too_much() {
    let objects = || (1..=100_i64).map(|number| -number);
    let even = |id: &i64| id % 2 == 0;
    // Every object is held twice.
    let held = || {
        let net = Net::new();
        let given: Vec<_> = objects().map(|id| Handle::object(&id.to_string())).collect();
        for _ in 0..2 {
            let call = net.call(B, &net.root(B), "keep", "", &given);
            net.run();
            drop(call);
        }
        net
    };
    let all: Vec<_> = objects().map(|id| (id, if even(&id) { 2 } else { 1 })).collect();
    for (again, left) in [(vec![], 50), (vec![(-1, 1), (-99, 1)], 48)] {
        let net = held();
        net.inject(A, release(&[all.as_slice(), again.as_slice()].concat()));
        net.deliver(A);
        assert_eq!(net.sizes(B).exports, left);
        let odd: Vec<_> =
            objects().filter(|id| !even(id) && !again.contains(&(*id, 1))).map(|id| (id, 1)).collect();
        net.inject(A, release(&odd));
        net.deliver(A);
        assert_eq!(net.sizes(B).exports, 0);
        net.cut(A);
        net.finish();
    }
    for place in [0, 31, 32, 45, 99] {
        let mut much = all.clone();
        let (id, _) = std::mem::replace(&mut much[place], (-1 - place as i64, 3));
        let found = violation(held(), [release(&much)]);
        assert_eq!(found, Violation::ReleasedTooMany { id, held: 2, released: 3 });
    }
}

#[test]
fn a_running_result_is_not_released_and_a_settled_one_once() {
    let call =
        |method| Message::Call(Call { reply: Reply::Reference, method: define(method), ..say(1, &[]) });
    let found = violation(Net::new(), [call("hold"), release(&[(1, 1)])]);
    assert_eq!(found, Violation::ReleasedTooMany { id: 1, held: 0, released: 1 });
    let found = violation(Net::new(), [call("open"), release(&[(1, 2)])]);
    assert_eq!(found, Violation::ReleasedTooMany { id: 1, held: 1, released: 2 });
    let found = violation(Net::new(), [call("fail"), release(&[(1, 1)]), release(&[(1, 1)])]);
    assert_eq!(found, Violation::ReleasedTooMany { id: 1, held: 0, released: 1 });
}

#[test]
fn a_question_names_a_settled_reference_of_the_askers_own() {
    let ask = |target| Message::Disembargo(Disembargo::Ask { target: ImportId(target), number: 1 });
    let call =
        |method| Message::Call(Call { reply: Reply::Reference, method: define(method), ..say(1, &[]) });
    for (before, target) in [("hold", 1), ("open", 1), ("open", -1), ("open", 0), ("open", 9), ("fail", 1)] {
        let found = violation(Net::new(), [call(before), ask(target)]);
        assert_eq!(found, Violation::NotEmbargoed { id: target });
    }
}

#[test]
fn an_echo_was_asked_for_and_comes_once() {
    let echo = |number| Message::Disembargo(Disembargo::Echo { number });
    assert_eq!(violation(Net::new(), [echo(1)]), Violation::EchoNotAsked { number: 1 });
    let net = Net::new();
    let echoed = net.refer(B, &net.root(B), "echo", "", &[Handle::object("mine")]);
    let piped = net.call(B, &echoed.promised(), "say", "", &[]);
    net.run();
    assert!(piped.has_ended());
    drop((echoed, piped));
    assert_eq!(violation(net, [echo(1)]), Violation::EchoNotAsked { number: 1 });
}

#[test]
fn features_that_were_not_offered_are_not_used() {
    let promise = Message::Call(say(1, &[Cap::Mine(ExportId(-1)), Cap::MyPromise(ExportId(-2))]));
    let feature = "promises as capabilities";
    assert_eq!(violation(Net::new(), [promise]), Violation::NotOffered { feature });
    let settled = resolve(-1, &[Cap::Mine(ExportId(-1))], "");
    assert_eq!(violation(Net::new(), [settled]), Violation::NotOffered { feature });
}

fn minimum() -> Limits {
    Limits {
        frame_bytes: 4096,
        calls: 16,
        call_bytes: 65_536,
        imports: 16,
        exports: 16,
        names: 16,
        strikes: 5,
        ..Limits::default()
    }
}

#[test]
fn limits_that_cannot_be_answered_end_the_connection_with_code_4() {
    let net = || Net::with_limits(minimum(), minimum());
    let objects: Vec<_> = (1..=17).map(|id| Cap::Mine(ExportId(-id))).collect();
    let found = violation(net(), [Message::Call(say(1, &objects))]);
    assert_eq!(found, Violation::Limit { what: "imports", limit: 16 });
    assert_eq!(found.abort_code(), AbortCode::Limit);
    let names =
        (1..=17).map(|id| Message::Call(Call { method: define(&format!("say{id}")), ..say(id, &[]) }));
    // The first 16 calls wait, the 17th would define one name more.
    assert_eq!(violation(net(), names), Violation::Limit { what: "method names", limit: 16 });
}

#[test]
fn casts_over_the_grant_are_not_sent() {
    let net = Net::with_limits(minimum(), minimum());
    let held = net.refer(A, &net.root(A), "hold", "", &[]);
    for _ in 0..20 {
        net.cast(A, &held.promised(), "say", "", &[Handle::object("given")]);
        net.run();
    }
    assert_eq!(net.sizes(B).imports, 15, "with the call they are as many as the grant allows");
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Reference(Handle::object("ada")));
    net.run();
    assert_eq!(net.side(B).arrived().len(), 1 + 15);
    drop(held);
    net.finish();
}

#[test]
fn calls_over_the_grant_are_answered_and_persisting_ends_the_connection() {
    let hold = |id| {
        let method = if id == 1 { define("hold") } else { MethodName::Known(1) };
        Message::Call(Call { method, ..say(id, &[]) })
    };
    let net = Net::with_limits(minimum(), minimum());
    (1..=21).for_each(|id| net.inject(A, hold(id)));
    while net.deliver(A) {}
    assert_eq!(net.side(B).waiting_count(), 16, "what is over the grant does not run");
    let refused = net.dialogue().iter().filter(|line| line.contains("Overloaded, ran No")).count();
    assert_eq!(refused, 5);
    net.cut(A);
    net.cut(B);
    net.finish();
    let found = violation(Net::with_limits(minimum(), minimum()), (1..=22).map(hold));
    assert_eq!(found, Violation::Limit { what: "calls over the grant", limit: 5 });
}

#[test]
fn bytes_over_the_grant_are_answered() {
    let net = Net::with_limits(minimum(), minimum());
    for id in 1..=17 {
        let method = if id == 1 { define("hold") } else { MethodName::Known(1) };
        let body = Bytes::from(vec![b'x'; 16 * 1024]);
        net.inject(
            A,
            Message::Call(Call { method, payload: Payload { caps: vec![], body }, ..say(id, &[]) }),
        );
        net.deliver(A);
        if id == 5 {
            break;
        }
    }
    assert_eq!(net.side(B).waiting_count(), 4, "4 × 16 KiB are granted");
    net.cut(A);
    net.cut(B);
    net.finish();
}

#[test]
fn a_method_ends_with_the_connection_and_its_late_answer_is_dropped() {
    let net = Net::new();
    let call = net.call(A, &net.root(A), "hold", "", &[]);
    net.run();
    let started = net.side(B).take("hold"); // As a method that runs to its end.
    net.cut(A);
    net.cut(B);
    let before = net.dialogue().len();
    net.side(B).answer(started, Ended::Value(vec![Handle::object("late")], Bytes::new()));
    assert_eq!(net.dialogue().len(), before);
    drop(call);
    net.finish();
}
