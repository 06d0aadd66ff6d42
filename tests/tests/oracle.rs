//! The oracle that watches every message of every table test: what it lets pass, and that it misses nothing.

use std::sync::Arc;

use bytes::Bytes;
use pb_core::message::{
    Abort, AbortCode, Call, Cancel, Cap, Cast, Credit, Disembargo, ExportId, Failure, FailureKind, Goaway,
    Grants, Hello, ImportId, Message, MethodName, MethodText, Payload, Ping, Ran, Reject, Rejection, Release,
    Reply, Resolve, Unimplemented,
};
use pb_core::wire::frame;
use pb_tests::net::Oracle;
use pb_tests::net::oracle::End::{self, One, Other};
use pb_tests::net::oracle::Finding;

type Step = (End, Message);

fn method(number: u32) -> MethodName {
    MethodName::Known(number)
}

fn defined(name: &str) -> MethodName {
    MethodName::Defined(Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::default() }))
}

fn payload(caps: &[Cap], body: &'static str) -> Payload {
    Payload { caps: caps.to_vec(), body: Bytes::from_static(body.as_bytes()) }
}

fn mine(id: i64) -> Cap {
    Cap::Mine(ExportId(id))
}

fn yours(id: i64) -> Cap {
    Cap::Yours(ImportId(id))
}

fn call(target: i64, result: i64, reply: Reply, method: MethodName, caps: &[Cap]) -> Message {
    let (target, result) = (ImportId(target), ImportId(result));
    Message::Call(Call { target, result, reply, method, options: None, payload: payload(caps, "") })
}

fn long(result: i64, body: Vec<u8>) -> Message {
    let payload = Payload { caps: Vec::new(), body: body.into() };
    let (target, result) = (ImportId::ROOT, ImportId(result));
    Message::Call(Call { target, result, reply: Reply::Value, method: method(1), options: None, payload })
}

fn cast(target: i64, caps: &[Cap]) -> Message {
    let target = ImportId(target);
    Message::Cast(Cast { target, method: method(1), options: None, payload: payload(caps, "") })
}

fn resolve(export: i64, caps: &[Cap], body: &'static str) -> Message {
    Message::Resolve(Resolve { export: ExportId(export), payload: payload(caps, body) })
}

fn reject(export: i64) -> Message {
    let failure = Failure::new(FailureKind::Failed, Ran::Yes, "no");
    Message::Reject(Reject { export: ExportId(export), rejection: Rejection::Broker(failure) })
}

fn release(id: i64, count: u64) -> Message {
    Message::Release(Release { mentions: vec![(ImportId(id), count)] })
}

fn cancel(id: i64) -> Message {
    Message::Cancel(Cancel { result: ImportId(id) })
}

fn ask(target: i64, number: u64) -> Message {
    Message::Disembargo(Disembargo::Ask { target: ImportId(target), number })
}

fn echo(number: u64) -> Message {
    Message::Disembargo(Disembargo::Echo { number })
}

fn hello() -> Message {
    let grants = Grants { calls: 3, call_bytes: 100, imports: 2, exports: 3, names: 2, frame_bytes: 4096 };
    Message::Hello(Hello { versions: (1, 1), features: 0, grants: Grants { ..grants } })
}

/// One message of every kind, each read before the next is sent.
fn session() -> Vec<Step> {
    vec![
        (One, hello()),
        (Other, hello()),
        (One, call(0, 1, Reply::Reference, defined("open"), &[mine(-1)])),
        (One, call(1, 2, Reply::Value, defined("say"), &[])),
        (Other, resolve(1, &[mine(-1)], "")), // 4
        (Other, resolve(2, &[], "x")),
        (One, release(1, 1)),
        (One, call(-1, 3, Reply::Value, method(2), &[])),
        (Other, reject(3)), // 8
        (One, call(0, 4, Reply::Reference, method(1), &[yours(-1)])),
        (One, call(4, 5, Reply::Value, method(2), &[])),
        (Other, resolve(4, &[yours(-1)], "")),
        (One, ask(4, 1)), // 12
        (Other, echo(1)),
        (One, release(4, 1)),
        (Other, resolve(5, &[], "")),
        (One, call(0, 6, Reply::Reference, method(1), &[])), // 16
        (One, cancel(6)),
        (Other, reject(6)),
        (One, Message::Ping(Ping { nonce: 1 })),
        (Other, Message::Pong(Ping { nonce: 1 })), // 20
        (One, cast(-1, &[])),
        (One, release(-1, 1)),
        (Other, release(-1, 1)),
    ]
}

fn judge(steps: &[Step]) -> Result<(), Finding> {
    let mut oracle = Oracle::default();
    for (from, message) in steps {
        let mut frame = Vec::new();
        frame::encode(message, &mut frame);
        let length = frame.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let content = Bytes::from(frame).slice(length..);
        oracle.sent(*from, content.clone())?;
        oracle.received(if *from == One { Other } else { One }, content);
    }
    oracle.adds_up(One)?;
    oracle.adds_up(Other)
}

/// The session with `message` put in before step `at`.
fn with(at: usize, from: End, message: Message) -> Result<(), Finding> {
    let mut steps = session();
    steps.insert(at, (from, message));
    judge(&steps)
}

/// The session with `message` in the place of step `at`.
fn instead(at: usize, message: Message) -> Result<(), Finding> {
    let mut steps = session();
    steps[at].1 = message;
    judge(&steps)
}

fn without(at: usize) -> Result<(), Finding> {
    let mut steps = session();
    steps.remove(at);
    judge(&steps)
}

#[test]
fn an_honest_session_passes() {
    assert_eq!(judge(&session()), Ok(()));
}

#[test]
fn what_comes_before_the_hello_or_behind_the_end_is_found() {
    assert_eq!(without(0), Err(Finding::BeforeHello));
    assert_eq!(with(5, One, hello()), Err(Finding::SecondHello));
    let abort = || Message::Abort(Abort { code: AbortCode::Closing, reason: "bye".into() });
    assert_eq!(with(21, One, abort()), Err(Finding::BehindTheEnd), "behind one's own");
    assert_eq!(with(21, Other, abort()), Err(Finding::BehindTheEnd), "behind the other's");
}

#[test]
fn ids_that_do_not_go_up_by_one_are_found() {
    let skips = call(-1, 4, Reply::Value, method(2), &[]);
    assert_eq!(instead(7, skips), Err(Finding::ResultNotNext { id: 4, next: 3 }));
    let again = call(-1, 2, Reply::Value, method(2), &[]);
    assert_eq!(instead(7, again), Err(Finding::ResultNotNext { id: 2, next: 3 }));
    assert_eq!(instead(4, resolve(1, &[mine(-2)], "")), Err(Finding::ObjectNotNext { id: -2, next: -1 }));
    let reused = with(24, One, cast(0, &[mine(-1)]));
    assert_eq!(reused, Err(Finding::ObjectReused { id: -1 }));
}

#[test]
fn names_of_what_is_not_there_are_found() {
    assert_eq!(with(6, One, cast(9, &[])), Err(Finding::NeverGiven { id: 9 }));
    assert_eq!(with(6, One, cast(-2, &[])), Err(Finding::NeverGiven { id: -2 }));
    assert_eq!(with(6, One, cast(0, &[yours(-2)])), Err(Finding::NeverGiven { id: -2 }));
    assert_eq!(with(6, One, cancel(9)), Err(Finding::NeverGiven { id: 9 }));
    assert_eq!(with(4, One, cast(2, &[])), Err(Finding::NotAReference { id: 2 }));
    assert_eq!(with(6, One, cast(1, &[])), Err(Finding::Settled { id: 1 }), "it leads elsewhere by now");
}

#[test]
fn what_is_named_behind_its_last_word_is_found() {
    assert_eq!(with(7, One, cast(1, &[])), Err(Finding::BehindTheLastWord { id: 1 }));
    assert_eq!(with(18, One, cast(0, &[yours(6)])), Err(Finding::BehindTheLastWord { id: 6 }));
    assert_eq!(with(18, One, cancel(6)), Err(Finding::BehindTheLastWord { id: 6 }), "cancelled twice");
    assert_eq!(with(19, One, release(6, 1)), Err(Finding::BehindTheLastWord { id: 6 }), "and released");
    assert_eq!(with(23, One, cast(-1, &[])), Err(Finding::GivenBack { id: -1 }));
}

#[test]
fn releases_of_what_is_not_held_are_found() {
    let much = |released| Finding::ReleasedTooMany { id: -1, released, held: 1 };
    assert_eq!(instead(22, release(-1, 2)), Err(much(2)));
    assert_eq!(with(24, One, release(-1, 1)), Err(Finding::ReleasedTooMany { id: -1, released: 1, held: 0 }));
    assert_eq!(instead(6, release(1, 2)), Err(Finding::ReleasedTooMany { id: 1, released: 2, held: 1 }));
    assert_eq!(with(4, One, release(1, 1)), Err(Finding::ReleasedTooEarly { id: 1 }));
    assert_eq!(with(13, One, release(4, 1)), Err(Finding::ReleasedTooEarly { id: 4 }), "before its echo");
    assert_eq!(with(6, One, cancel(1)), Err(Finding::CancelledTooLate { id: 1 }));
    assert_eq!(with(6, One, cancel(2)), Err(Finding::CancelledTooLate { id: 2 }));
}

#[test]
fn answers_that_nobody_asked_for_are_found() {
    assert_eq!(with(5, Other, resolve(3, &[], "")), Err(Finding::AnswerNotAsked { id: 3 }));
    assert_eq!(with(6, Other, resolve(2, &[], "")), Err(Finding::AnsweredTwice { id: 2 }));
    assert_eq!(with(9, Other, reject(3)), Err(Finding::AnsweredTwice { id: 3 }));
    assert_eq!(instead(4, resolve(1, &[], "x")), Err(Finding::NotOneReference { id: 1 }));
}

#[test]
fn objects_are_broken_once_and_only_while_they_are_held() {
    assert_eq!(with(5, Other, reject(-1)), Ok(()));
    assert_eq!(with(4, Other, reject(-1)), Err(Finding::BrokenUnheld { id: -1 }));
    assert_eq!(with(23, Other, reject(-1)), Err(Finding::BrokenUnheld { id: -1 }));
    let mut steps = session();
    steps.splice(5..5, [(Other, reject(-1)), (Other, reject(-1))]);
    assert_eq!(judge(&steps), Err(Finding::BrokenTwice { id: -1 }));
}

#[test]
fn grants_that_are_passed_are_found() {
    let more = |from: i64, count: i64, reply| {
        let mut steps = session()[..9].to_vec();
        steps.extend((from..from + count).map(|id| (One, call(0, id, reply, method(1), &[]))));
        judge(&steps)
    };
    assert_eq!(more(4, 4, Reply::Value), Err(Finding::TooManyCalls { granted: 3 }));
    assert_eq!(more(4, 3, Reply::Reference), Err(Finding::TooManyHeld { held: 4, granted: 3 }));
    assert_eq!(
        with(9, One, long(4, vec![0; 101])),
        Err(Finding::TooManyCallBytes { bytes: 101, granted: 100 })
    );
    let many = cast(0, &[mine(-2), mine(-3)]);
    assert_eq!(with(9, One, many), Err(Finding::TooManyExported { held: 3, granted: 2 }));
    let third = call(-1, 3, Reply::Value, defined("third"), &[]);
    assert_eq!(instead(7, third), Err(Finding::TooManyNames { granted: 2 }));
    let text: Box<str> = "x".repeat(1000).into();
    let failure = (0..6).fold(Failure::new(FailureKind::Failed, Ran::Yes, text.clone()), |cause, _| {
        Failure::new(FailureKind::Failed, Ran::Yes, text.clone())
            .caused_by(pb_core::message::Cause::Broker(cause))
    });
    let large = Message::Reject(Reject { export: ExportId(3), rejection: Rejection::Broker(failure) });
    assert!(matches!(instead(8, large), Err(Finding::FrameTooLong { granted: 4096, .. })));
}

#[test]
fn methods_without_a_definition_are_found() {
    let undefined = call(-1, 3, Reply::Value, method(3), &[]);
    assert_eq!(instead(7, undefined), Err(Finding::UndefinedMethod { number: 3, defined: 2 }));
}

#[test]
fn questions_and_echoes_out_of_place_are_found() {
    assert_eq!(instead(12, ask(4, 2)), Err(Finding::AskNotNext { number: 2, next: 1 }));
    assert_eq!(with(6, One, ask(1, 1)), Err(Finding::NotHome { id: 1 }), "that one is the peer's");
    assert_eq!(with(11, One, ask(4, 1)), Err(Finding::NotHome { id: 4 }), "nobody knows yet");
    assert_eq!(with(13, One, ask(4, 2)), Err(Finding::NotHome { id: 4 }), "asked before");
    assert_eq!(with(12, Other, echo(1)), Err(Finding::EchoNotAsked { number: 1 }));
    assert_eq!(with(14, Other, echo(1)), Err(Finding::EchoNotAsked { number: 1 }));
    let pong = || Message::Pong(Ping { nonce: 1 });
    assert_eq!(with(19, Other, pong()), Err(Finding::PongNotAsked { nonce: 1 }));
    assert_eq!(with(21, Other, pong()), Err(Finding::PongNotAsked { nonce: 1 }));
}

#[test]
fn features_that_are_not_offered_are_found() {
    let credit = Message::Credit(Credit { casts: 1, bytes: 1 });
    assert_eq!(with(6, One, credit), Err(Finding::NotOffered { feature: "credit" }));
    let goaway = Message::Goaway(Goaway { last: ExportId(0), drain_ms: 0, reason: "".into() });
    assert_eq!(with(6, One, goaway), Err(Finding::NotOffered { feature: "goaway" }));
    let promise = cast(0, &[Cap::MyPromise(ExportId(-2))]);
    assert_eq!(with(6, One, promise), Err(Finding::NotOffered { feature: "a promise as capability" }));
    let late = Err(Finding::NotOffered { feature: "a resolve of a promise" });
    assert_eq!(with(6, Other, resolve(-1, &[], "")), late);
    let unknown = Message::Unimplemented(Unimplemented { message_type: 99 });
    assert_eq!(with(6, One, unknown), Err(Finding::NothingUnknown));
}

#[test]
fn what_does_not_add_up_at_the_end_is_found() {
    let left = |what| Err(Finding::DoesNotAddUp { count: 1, what });
    assert_eq!(without(15), left("calls have no answer"));
    assert_eq!(without(14), left("results have no last word"));
    assert_eq!(without(22), left("objects of the peer's were not released"));
    assert_eq!(without(23), left("objects were not released by the peer"));
    assert_eq!(without(20), left("pings have no pong"));
    let mut steps = session();
    steps.drain(13..15);
    assert_eq!(judge(&steps), left("results have no last word"));
}

#[test]
fn a_frame_that_is_no_message_is_found_but_not_where_a_test_made_it() {
    let mut oracle = Oracle::default();
    assert_eq!(oracle.sent(One, Bytes::from_static(&[1, 2, 3])), Err(Finding::NoMessage));
    oracle.stand_back(One);
    assert_eq!(oracle.sent(One, Bytes::from_static(&[1, 2, 3])), Ok(()));
    assert_eq!(oracle.sent(Other, Bytes::from_static(&[1, 2, 3])), Err(Finding::NoMessage));
}
