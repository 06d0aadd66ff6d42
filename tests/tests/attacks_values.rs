//! Rows A23 to A32 of `attacks.md` where `bodies` and `hostile_peers` leave something: values that lie, live and counted.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pb_core::broker::{Broker, Config};
use pb_core::message::*;
use pb_core::reactor::Stream;
use pb_core::wire::body;
use pb_core::wire::frame::MAGIC;
use pb_server::{AppError, CallError, Limits, Referenceable, Running, Server, remote_interface};
use pb_tests::raw::{Raw, bytes_call, call, hello, with_caps};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[remote_interface]
trait Judge {
    async fn flag(&self, value: bool) -> bool;
    async fn letter(&self, value: char) -> char;
    async fn maybe(&self, value: Option<u8>) -> Option<u8>;
    async fn choice(&self, value: Choice) -> Choice;
    async fn wide(&self, value: u64) -> u64;
    async fn real(&self, value: f64) -> u64;
    async fn map(&self, value: HashMap<u64, u64>) -> (u64, u64);
    async fn nest(&self, value: Nest) -> Nest;
    async fn try_nest(&self) -> Result<u8, Nest>;
    async fn thing(&self) -> Result<JudgeRef, Nest>;
    async fn things(&self, values: Vec<JudgeRef>) -> u64;
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Choice {
    One,
    Two(u16),
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Nest {
    Leaf(u8),
    List(Vec<Nest>),
}

#[derive(Referenceable)]
struct Fair;

impl Judge for Fair {
    async fn flag(&self, value: bool) -> bool {
        value
    }
    async fn letter(&self, value: char) -> char {
        value
    }
    async fn maybe(&self, value: Option<u8>) -> Option<u8> {
        value
    }
    async fn choice(&self, value: Choice) -> Choice {
        value
    }
    async fn wide(&self, value: u64) -> u64 {
        value
    }
    async fn real(&self, value: f64) -> u64 {
        value.to_bits()
    }
    async fn map(&self, value: HashMap<u64, u64>) -> (u64, u64) {
        (value.len() as u64, value.get(&0).copied().unwrap_or(u64::MAX))
    }
    async fn nest(&self, value: Nest) -> Nest {
        value
    }
    async fn try_nest(&self) -> Result<u8, Nest> {
        Err(Nest::Leaf(1))
    }
    async fn thing(&self) -> Result<JudgeRef, Nest> {
        Ok(JudgeRef::new(Fair))
    }
    async fn things(&self, values: Vec<JudgeRef>) -> u64 {
        values.len() as u64
    }
}

async fn serving(limits: Limits) -> Running {
    let server = Server::new(JudgeRef::new(Fair)).limits(limits).listen("tcp://127.0.0.1:0").await;
    server.expect("a free port").spawn().expect("it listens")
}

/// Sends one call and returns what it was answered with, releases left out.
async fn answer(raw: &mut Raw, call: Call) -> Result<Bytes, Failure> {
    raw.message(&Message::Call(call)).await;
    loop {
        match raw.answer().await {
            Some(Message::Resolve(resolve)) => return Ok(resolve.payload.body),
            Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
                return Err(failure);
            }
            Some(Message::Release(_)) => {}
            other => panic!("no answer, but {other:?}"),
        }
    }
}

/// A list of one list of one list …, and a leaf.
fn nested(levels: usize) -> Vec<u8> {
    let mut body = [1, 1].repeat(levels);
    body.extend([0, 7]);
    body
}

/// Two workers with the stack that tokio gives them where nobody says otherwise.
fn small_stacks() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_stack_size(2 << 20).enable_all().build().expect("a runtime")
}

const DEEP: [usize; 3] = [65, 10_000, 1_000_000];

#[test]
fn arguments_nested_a_million_deep_fail_their_call_on_a_worker_with_two_mebibytes() {
    let runtime = small_stacks();
    let attack = async {
        let limits =
            Limits { frame_bytes: 4 << 20, call_bytes: 8 << 20, budget: 8 << 20, ..Limits::default() };
        let running = serving(limits).await;
        let mut raw = Raw::greeted(running.url()).await;
        for (n, levels) in (1..).zip(DEEP) {
            let failure = answer(&mut raw, bytes_call(n, "Judge/nest", nested(levels))).await;
            let failure = failure.expect_err("it is too deep");
            assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
            assert!(failure.message.contains("64"), "{failure}");
        }
        let shallow = nested(20);
        assert_eq!(answer(&mut raw, bytes_call(4, "Judge/nest", shallow.clone())).await, Ok(shallow.into()));
    };
    runtime.block_on(runtime.spawn(attack)).expect("no thread has died");
}

/// A server that answers the next call with what the test says.
async fn lie(raw: &mut Raw, answer: impl FnOnce(ExportId) -> Message) {
    loop {
        match raw.answer().await.expect("the client stays") {
            Message::Call(call) => return raw.message(&answer(ExportId(call.result.0))).await,
            Message::Release(_) | Message::Cancel(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn payload(body: Vec<u8>) -> Payload {
    Payload { caps: Vec::new(), body: body.into() }
}

async fn lying() -> (Raw, Broker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let raw = async {
        let mut raw = Raw::accept(&listener).await;
        raw.send(&MAGIC).await;
        raw.message(&hello()).await;
        raw
    };
    let limits = Limits { frame_bytes: 4 << 20, ..Limits::default() };
    let client = async {
        let stream = Stream::connect(&url.parse().expect("an address")).await.expect("it listens");
        Broker::open(stream, Config { root: None, limits, stays: false, ..Config::default() })
            .await
            .expect("it is greeted")
    };
    tokio::join!(raw, client)
}

#[test]
fn answers_nested_deep_fail_their_call_on_a_worker_with_two_mebibytes() {
    let runtime = small_stacks();
    let attack = async {
        let (mut raw, client) = lying().await;
        let judge: JudgeRef = client.root();
        // The last of them is as deep as an answer of the usual limit can be.
        for levels in [65, 10_000, 32_000] {
            let (answer, ()) = tokio::join!(judge.nest(Nest::Leaf(1)), async {
                lie(&mut raw, |export| {
                    Message::Resolve(Resolve { export, payload: payload(nested(levels)) })
                })
                .await;
            });
            assert_eq!(answer.expect_err("it is too deep").kind, FailureKind::Incompatible);
            // The same as the method's own error, and as the cause of a call on what was to come.
            let reject = |export| {
                Message::Reject(Reject { export, rejection: Rejection::App(payload(nested(levels))) })
            };
            let (answer, ()) = tokio::join!(judge.try_nest(), lie(&mut raw, reject));
            let Err(CallError::Broker(failure)) = answer else { panic!("{answer:?}") };
            assert_eq!(failure.kind, FailureKind::Incompatible);
            let thing = judge.thing();
            let promised = thing.promised();
            let (answer, ()) = tokio::join!(thing, lie(&mut raw, reject));
            assert!(matches!(answer, Err(CallError::Broker(_))));
            let failure = promised.flag(true).await.expect_err("it is broken");
            assert_eq!((failure.kind, failure.app::<Nest>()), (FailureKind::Broken, None));
        }
        // One of a million levels is larger than its caller takes, which nobody who keeps the protocol sends.
        let deepest = |export| Message::Resolve(Resolve { export, payload: payload(nested(1_000_000)) });
        let (answer, ()) = tokio::join!(judge.nest(Nest::Leaf(1)), lie(&mut raw, deepest));
        answer.expect_err("it is too large");
        assert_eq!(client.closed().await.kind, FailureKind::Protocol);
    };
    runtime.block_on(runtime.spawn(attack)).expect("no thread has died");
}

/// A structure whose elements are larger in memory than on the wire.
#[derive(Deserialize)]
#[allow(dead_code, reason = "only decoded")]
struct Wide([u128; 32], #[serde(skip)] Filler);

#[allow(dead_code, reason = "only made")]
struct Filler([u64; 64]);

impl Default for Filler {
    fn default() -> Self {
        Filler([7; 64])
    }
}

fn claims<T: DeserializeOwned>(body: &[u8]) -> u64 {
    let counted = allocation_counter::measure(|| {
        let mut rest = body;
        assert!(body::decode::<T>(&mut rest).is_err(), "it has not what it claims");
    });
    counted.bytes_max
}

#[test]
fn a_list_allocates_what_it_brings_and_not_what_it_claims() {
    let mut huge = vec![253];
    huge.extend((1u64 << 40).to_le_bytes());
    huge.extend([1, 2, 3]);
    // Within what may be claimed: 1,000 elements in three bytes, and nothing behind them.
    let allowed = [251, 0xe8, 3];
    for body in [&huge[..], &allowed] {
        for bytes in [
            claims::<String>(body),
            claims::<bytes::Bytes>(body),
            claims::<Vec<u8>>(body),
            claims::<Vec<u64>>(body),
            claims::<Vec<Vec<u64>>>(body),
            claims::<Vec<Wide>>(body),
            claims::<HashMap<u64, Wide>>(body),
            claims::<BTreeMap<u64, Wide>>(body),
            claims::<Vec<(String, Wide)>>(body),
        ] {
            // A dozen elements, and the error's text.
            assert!(bytes <= 16 << 10, "{bytes} bytes allocated for a body of {}", body.len());
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_value_fail_their_call_and_odd_values_come_back() {
    let running = serving(Limits::default()).await;
    let mut raw = Raw::greeted(running.url()).await;
    let wrong: [(&str, &[u8]); 12] = [
        ("Judge/flag", &[2]),
        ("Judge/flag", &[0xff]),
        ("Judge/letter", &[0xed, 0xa0, 0x80]), // Half of a surrogate pair.
        ("Judge/letter", &[0xf4, 0x90, 0x80, 0x80]), // Behind the last character.
        ("Judge/letter", &[0xc0, 0x80]),       // A longer form of NUL.
        ("Judge/maybe", &[2, 1]),
        ("Judge/choice", &[2]),
        ("Judge/choice", &[252, 0xff, 0xff, 0xff, 0xff]),
        ("Judge/wide", &[254, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), // More than 64 bits.
        ("Judge/wide", &[255]),
        ("Judge/real", &[0; 7]),
        ("Judge/map", &[1, 1]),
    ];
    for (n, (method, body)) in (1..).zip(wrong) {
        let failure = answer(&mut raw, bytes_call(n, method, body)).await.expect_err("it is no value");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No), "{method} {body:02x?}");
    }
    let bits = |value: f64| call(0, "Judge/real", &value).payload.body;
    let odd = f64::from_bits(0x7ff4_0000_dead_beef);
    for (n, value) in (13..).zip([odd, -odd, -0.0, f64::NEG_INFINITY, f64::MIN_POSITIVE / 4.0]) {
        let found = answer(&mut raw, bytes_call(n, "Judge/real", bits(value))).await.expect("a number");
        assert_eq!(body::decode::<u64>(&mut &found[..]), Ok(value.to_bits()));
    }
    for (n, value) in (18..).zip([u64::MAX, i64::MAX as u64 + 1, 1 << 53]) {
        let found = answer(&mut raw, call(n, "Judge/wide", &value)).await.expect("a number");
        assert_eq!(body::decode::<u64>(&mut &found[..]), Ok(value));
    }
    running.shutdown().await;
}

/// Whoever decodes a map decides what its keys are hashed with; of two entries with one key the later one counts.
#[tokio::test]
async fn a_map_with_one_key_twice_or_keys_that_collide_is_read_as_any_other() {
    let running = serving(Limits::default()).await;
    let mut raw = Raw::greeted(running.url()).await;
    // Alike in their lower 40 bits, where a hash that only multiplies looks; and each key twice.
    let keys = (0..40_000u64).map(|n| (n % 20_000) << 40);
    let entries: Vec<(u64, u64)> = keys.zip(0..).collect();
    let found = answer(&mut raw, call(1, "Judge/map", &entries)).await.expect("a map");
    assert_eq!(body::decode::<(u64, u64)>(&mut &found[..]), Ok((20_000, 20_000)));
    running.shutdown().await;
}

#[tokio::test]
async fn an_index_is_below_the_number_of_capabilities_and_each_capability_is_released() {
    let running = serving(Limits::default()).await;
    let mut raw = Raw::greeted(running.url()).await;
    // The last index is good; no other capability is ever referred to.
    let cases: [(i64, u32); 6] = [(0, 0), (0, 1), (1, 1), (3, 3), (3, u32::MAX), (3, 2)];
    for (n, (count, index)) in (1..).zip(cases) {
        let caps = (1..=count).map(|id| Cap::Mine(ExportId(-id)));
        raw.message(&Message::Call(with_caps(call(n, "Judge/things", &vec![index]), caps))).await;
    }
    let (mut answered, mut released) = (0, 0);
    while answered < 6 || released < 10 {
        match raw.answer().await {
            Some(Message::Reject(Reject { export, rejection: Rejection::Broker(failure) })) => {
                assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No), "call {export}");
                answered += 1;
            }
            Some(Message::Resolve(resolve)) => {
                assert_eq!((resolve.export, &resolve.payload.body[..]), (ExportId(6), &[1][..]));
                answered += 1;
            }
            Some(Message::Release(release)) => {
                released += release.mentions.iter().map(|(_, count)| count).sum::<u64>();
            }
            other => panic!("{other:?}"),
        }
    }
    raw.message(&Message::Ping(Ping { nonce: 1 })).await;
    assert_eq!(raw.answer().await, Some(Message::Pong(Ping { nonce: 1 })), "and no more of either");
    running.shutdown().await;
}

/// Keeps what is logged, as a subscriber that writes lines does: texts between quotes, with escapes, and all else as it shows itself.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<String>>);

impl Visit for Logged {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        *self.0.lock().expect("nobody panics in it") += &format!("{field}={value:?};");
    }
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pb_")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

const NASTY: &str = "\x1b[2J\x1b]0;owned\x07 first\r\nsecond\0\u{9b}31m";

#[tokio::test]
async fn control_characters_of_a_peer_are_escaped_in_errors_and_logs() {
    let logged = Logged::default();
    let _default = tracing::subscriber::set_default(logged.clone());
    // A server that fails a call and leaves with such words.
    let (mut raw, client) = lying().await;
    let judge: JudgeRef = client.root();
    let nasty = || Failure {
        details: vec![(NASTY.into(), NASTY.into())],
        ..Failure::new(FailureKind::Failed, Ran::No, NASTY)
    };
    let failed = |export| {
        let rejection = Rejection::Broker(nasty().caused_by(Cause::Broker(nasty())));
        Message::Reject(Reject { export, rejection })
    };
    let (failure, ()) = tokio::join!(judge.flag(true), lie(&mut raw, failed));
    let failure = failure.expect_err("it was refused");
    assert_eq!(&*failure.message, NASTY, "for programs it is what was sent");
    let cause = failure.source().map(ToString::to_string).expect("a cause");
    let abort = Abort { code: AbortCode::Other(77), reason: NASTY.into() };
    raw.message(&Message::Abort(abort.clone())).await;
    let ended = client.closed().await;
    // A client that leaves a server of ours like that, and one that calls what cannot be a name.
    let running = serving(Limits::default()).await;
    let mut raw = Raw::greeted(running.url()).await;
    raw.message(&Message::Abort(abort)).await;
    assert_eq!(raw.rest().await, []);
    let mut raw = Raw::greeted(running.url()).await;
    raw.message(&Message::Call(call(1, NASTY, &()))).await;
    let refused = raw.abort().await.reason;
    running.shutdown().await;
    let logged = logged.0.lock().expect("nobody panics in it").clone();
    assert!(logged.contains("owned"), "the words of the one who left are logged: {logged}");
    for text in
        [&failure.to_string(), &format!("{failure:?}"), &cause, &ended.to_string(), &logged, &*refused]
    {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    assert!(failure.to_string().contains(r"first\r\nsecond"), "{failure}");
}
