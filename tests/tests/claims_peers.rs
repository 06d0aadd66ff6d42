//! Claims that need a peer which sends what no stub of ours does: names as text without prints, unknown messages, methods
//! of its own choosing. `tests/claims.md` says which claim is proved where.

use std::collections::BTreeSet;
use std::sync::Arc;

use pb_core::message::*;
use pb_server::{Description, FailureKind, Referenceable, Running, Server, Stub, remote_interface};
use pb_tests::hostile::framed;
use pb_tests::live::{NodeRef, World, soon, until};
use pb_tests::raw::{Raw, call, with_caps};
use serde::Serialize;
use serde::de::DeserializeOwned;

async fn serve(root: impl Stub) -> Running {
    Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a port").spawn().expect("it listens")
}

/// The server lets go of everything once the peer is gone.
async fn finish(raw: Raw, running: Running, world: &Arc<World>) {
    drop(raw);
    until(|| world.alive() == 1, || format!("{} objects are alive", world.alive())).await;
    soon(running.shutdown()).await;
    until(|| world.alive() == 0, || format!("{} objects are alive", world.alive())).await;
}

fn on(target: i64, reply: Reply, call: Call) -> Message {
    Message::Call(Call { target: ImportId(target), reply, ..call })
}

fn resolved(message: Option<Message>) -> Resolve {
    match message {
        Some(Message::Resolve(resolve)) => resolve,
        other => panic!("no value, but {other:?}"),
    }
}

fn value<T: DeserializeOwned>(message: Option<Message>) -> T {
    let body = resolved(message).payload.body;
    pb_core::wire::body::decode(&mut &body[..]).expect("a value of this type")
}

fn answer(export: i64, value: &impl Serialize) -> Message {
    let mut body = Vec::new();
    pb_core::wire::body::encode(value, &mut body).expect("it can be encoded");
    let payload = Payload { caps: Vec::new(), body: body.into() };
    Message::Resolve(Resolve { export: ExportId(export), payload })
}

#[tokio::test]
async fn a_dynamic_caller_and_a_typed_object_work_together_with_pipelining() {
    let world = Arc::new(World::default());
    let running = serve(world.node("root")).await;
    let mut raw = Raw::greeted(running.url()).await;
    // Names are texts, and nothing says what types the caller believes in.
    raw.message(&on(0, Reply::Reference, call(1, "Node/open", &("ada",)))).await;
    raw.message(&on(1, Reply::Value, call(2, "say", &(7_u64,)))).await;
    raw.message(&on(1, Reply::Reference, call(3, "Node/fail", &("no",)))).await;
    raw.message(&on(3, Reply::Value, call(4, "Node/name", &()))).await;
    assert_eq!(resolved(raw.answer().await).payload.caps, [Cap::Mine(ExportId(-1))]);
    assert_eq!(value::<u64>(raw.answer().await), 7);
    let Some(Message::Reject(Reject { rejection: Rejection::App(payload), .. })) = raw.answer().await else {
        panic!("the method's own error")
    };
    // Variant 0 with a text and a number.
    assert_eq!(&payload.body[..], [0, 2, b'n', b'o', 7]);
    let Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) = raw.answer().await
    else {
        panic!("it is broken")
    };
    let cause = Cause::App(AppCause { body: payload.body });
    assert_eq!((failure.kind, failure.cause.as_deref()), (FailureKind::Broken, Some(&cause)));
    finish(raw, running, &world).await;
}

#[tokio::test]
async fn a_typed_caller_and_a_dynamic_object_work_together_with_pipelining() {
    let world = Arc::new(World::default());
    let running = serve(world.node("root")).await;
    let mut raw = Raw::greeted(running.url()).await;
    let ours = [Cap::Mine(ExportId(-1))];
    raw.message(&Message::Call(with_caps(call(1, "Node/tell_opened", &(0_u32, 5_u64)), ours))).await;
    // The server opens and calls what it has opened before it has an answer.
    let (Some(Message::Call(open)), Some(Message::Call(say))) = (raw.answer().await, raw.answer().await)
    else {
        panic!("two calls")
    };
    assert_eq!((open.target, open.result, open.reply), (ImportId(-1), ImportId(1), Reply::Reference));
    assert_eq!((say.target, say.result, say.reply), (ImportId(1), ImportId(2), Reply::Value));
    for (method, name) in [(open.method, "Node/open"), (say.method, "Node/say")] {
        let MethodName::Defined(text) = method else { panic!("a name: {method:?}") };
        assert_eq!((&*text.name, text.prints.len()), (name, 1));
    }
    assert_eq!(&open.payload.body[..], b"\x06opened");
    let payload = Payload { caps: vec![Cap::Mine(ExportId(-2))], body: Default::default() };
    raw.message(&Message::Resolve(Resolve { export: ExportId(1), payload })).await;
    raw.message(&answer(2, &5_u64)).await;
    let mut answers = BTreeSet::new();
    let mut released = BTreeSet::new();
    while answers.is_empty() || released.len() < 3 {
        match raw.answer().await {
            Some(Message::Resolve(resolve)) => drop(answers.insert(resolve.payload.body.to_vec())),
            Some(Message::Release(release)) => {
                released.extend(release.mentions.iter().map(|(id, count)| (id.0, *count)));
            }
            other => panic!("neither an answer nor a release: {other:?}"),
        }
    }
    assert_eq!(answers, [vec![5]].into());
    assert_eq!(released, [(1, 1), (-1, 1), (-2, 1)].into(), "everything is given back, once");
    finish(raw, running, &world).await;
}

#[tokio::test]
async fn unknown_messages_of_a_newer_peer_are_answered_and_their_references_released() {
    let world = Arc::new(World::default());
    let running = serve(world.node("root")).await;
    let mut raw = Raw::greeted(running.url()).await;
    raw.message(&Message::Call(call(1, "Node/say", &(1_u64,)))).await;
    assert_eq!(value::<u64>(raw.answer().await), 1);
    for (message_type, id) in (32..=127).zip(1..) {
        // Two mentions of a new object, and bytes that mean nothing here.
        let cap = (2 * id - 1) << 2;
        let mut content = vec![message_type, 2];
        for _ in 0..2 {
            content.extend(uint(cap));
        }
        content.extend([1, 2, 3]);
        raw.send(&framed(&content)).await;
        let unimplemented = Message::Unimplemented(Unimplemented { message_type });
        assert_eq!(raw.answer().await, Some(unimplemented));
        let Some(Message::Release(release)) = raw.answer().await else { panic!("no release") };
        assert!(release.mentions.iter().all(|(released, _)| released.0 == -(id as i64)));
        assert_eq!(release.mentions.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
    raw.message(&Message::Call(call(2, "Node/say", &(2_u64,)))).await;
    assert_eq!(value::<u64>(raw.answer().await), 2);
    finish(raw, running, &world).await;
}

#[tokio::test]
async fn a_violation_gets_an_abort_with_a_reason_and_then_the_end_of_the_stream() {
    let world = Arc::new(World::default());
    let running = serve(world.node("root")).await;
    let never_given = on(-7, Reply::Value, call(1, "Node/say", &(1_u64,)));
    let released = Message::Release(Release { mentions: vec![(ImportId(-1), 1)] });
    let second_hello = pb_tests::raw::hello();
    for (violation, words) in [(never_given, "-7"), (released, "-1"), (second_hello, "hello")] {
        let mut raw = Raw::greeted(running.url()).await;
        raw.message(&violation).await;
        // What comes behind it is not looked at.
        raw.message(&Message::Call(call(1, "Node/say", &(2_u64,)))).await;
        raw.message(&Message::Ping(Ping { nonce: 3 })).await;
        let rest = raw.rest().await;
        let [Message::Abort(abort)] = &rest[..] else { panic!("more than an abort: {rest:?}") };
        assert_eq!(abort.code, AbortCode::Violation);
        assert!(abort.reason.contains(words), "{}", abort.reason);
    }
    assert!(world.started().is_empty());
    let raw = Raw::greeted(running.url()).await;
    finish(raw, running, &world).await;
}

fn uint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[remote_interface]
trait Open {
    async fn look(&self) -> u64;
}

/// Implemented by the object below, but not offered.
#[remote_interface]
trait Hidden {
    async fn destroy(&self) -> u64;
    async fn look(&self) -> u64;
}

#[derive(Referenceable)]
struct Vault {
    calls: std::sync::atomic::AtomicU64,
}

impl Vault {
    /// A method of the struct's own.
    fn touched(&self) -> u64 {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    }
}

impl Open for Vault {
    async fn look(&self) -> u64 {
        0
    }
}

impl Hidden for Vault {
    async fn destroy(&self) -> u64 {
        self.touched()
    }
    async fn look(&self) -> u64 {
        self.touched()
    }
}

#[tokio::test]
async fn only_methods_of_the_declared_interfaces_can_be_reached() {
    let vault = Arc::new(Vault { calls: Default::default() });
    let running = serve(OpenRef::new(Arc::clone(&vault))).await;
    let mut raw = Raw::greeted(running.url()).await;
    let names = [
        "Hidden/destroy",
        "Hidden/look",
        "destroy",
        "Vault/touched",
        "touched",
        "Vault/look",
        "Open/touched",
        "Open/look/",
        "Open//look",
        "Open/Look",
        "open/look",
        "Open/",
        "/look",
        "/",
        "Open::look",
        "Open/drop",
        "Drop/drop",
        "Open/type_id",
        "Open/__pb_dispatch",
        "Open/__pb_offer",
        "remote",
        "Open/remote",
        "$Describe",
        "Open/$describe",
        "Object/dispatch",
    ];
    for (name, result) in names.into_iter().zip(1..) {
        raw.message(&Message::Call(call(result, name, &()))).await;
        let Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) = raw.answer().await
        else {
            panic!("{name} was reached")
        };
        assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No), "{name}");
    }
    for (name, result) in ["Open/look", "look"].into_iter().zip(names.len() as i64 + 1..) {
        raw.message(&Message::Call(call(result, name, &()))).await;
        assert_eq!(value::<u64>(raw.answer().await), 0, "{name}");
    }
    raw.message(&Message::Call(call(names.len() as i64 + 3, "$describe", &()))).await;
    assert_eq!(value::<Description>(raw.answer().await), Description::of::<OpenRef>(), "no other is told");
    assert_eq!(vault.touched(), 0, "nothing else has run");
    drop(raw);
    soon(running.shutdown()).await;
    until(|| Arc::strong_count(&vault) == 1, || "the server holds it still".to_owned()).await;
}

#[tokio::test]
async fn only_methods_of_the_declared_interfaces_can_be_reached_by_a_cast_either() {
    let vault = Arc::new(Vault { calls: Default::default() });
    let (_server, client) = pb_server::pair(OpenRef::new(Arc::clone(&vault))).await;
    let root: OpenRef = client.root();
    let hidden: HiddenRef = root.remote().cast();
    for call in [hidden.destroy(), hidden.look()] {
        assert_eq!(soon(call).await.expect_err("it is hidden").kind, FailureKind::Unimplemented);
    }
    let node: NodeRef = root.remote().cast();
    assert_eq!(soon(node.say(1)).await.expect_err("no Node").kind, FailureKind::Unimplemented);
    // The same for a local object: a cast is no way around.
    let hidden: HiddenRef = OpenRef::new(Arc::clone(&vault)).remote().cast();
    assert_eq!(soon(hidden.destroy()).await.expect_err("it is hidden").kind, FailureKind::Unimplemented);
    assert_eq!((soon(root.look()).await, vault.touched()), (Ok(0), 0));
}
