//! What a server publishes by name, and what one learns who asks for a name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pb_core::message::*;
use pb_server::{
    AnyRef, FailureKind, NameError, Ran, Referenceable, Running, ServeError, Server, remote_interface,
};
use pb_tests::live::{soon, until};
use pb_tests::raw::{Raw, call};
use tokio::net::TcpListener;

#[remote_interface]
trait Till {
    async fn add(&self, cents: u64) -> u64;
}

#[derive(Referenceable, Default)]
struct MyTill(AtomicU64);

impl Till for MyTill {
    async fn add(&self, cents: u64) -> u64 {
        self.0.fetch_add(cents, Ordering::SeqCst) + cents
    }
}

fn till(cents: u64) -> Arc<MyTill> {
    Arc::new(MyTill(AtomicU64::new(cents)))
}

/// A server with 1 cent in its root, and tills named "ten" and "hundred" with as many.
async fn shop() -> Running {
    let server = Server::new(TillRef::new(till(1))).publish("ten", &TillRef::new(till(10))).expect("a name");
    let server = server.publish("hundred", &TillRef::new(till(100))).expect("a name");
    server.listen("tcp://127.0.0.1:0").await.expect("a port").spawn().expect("it listens")
}

#[tokio::test]
async fn a_published_object_is_got_by_its_name_and_the_root_is_another() {
    let running = shop().await;
    let broker = pb_client::connect(running.url()).await.expect("it listens");
    assert_eq!(soon(broker.named::<TillRef>("ten").add(1)).await, Ok(11));
    assert_eq!(soon(broker.named::<TillRef>("hundred").add(1)).await, Ok(101));
    assert_eq!(soon(broker.root::<TillRef>().add(1)).await, Ok(2));
    let (one, same) =
        (soon(broker.named::<TillRef>("ten")).await, soon(broker.named::<TillRef>("ten")).await);
    assert!(one.expect("published").remote().same(&same.expect("published")), "one object, one reference");
    soon(broker.idle()).await;
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_name_and_a_call_on_what_it_gives_are_one_round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let asked = tokio::spawn(async move {
        let broker = pb_client::connect(&url).await.expect("it is accepted");
        broker.named::<TillRef>("ten").add(5).await
    });
    let mut server = Raw::accept(&listener).await;
    server.send(&pb_core::wire::frame::MAGIC).await;
    server.message(&pb_tests::raw::hello()).await;
    let (Some(Message::Call(named)), Some(Message::Call(add))) =
        (server.answer().await, server.answer().await)
    else {
        panic!("two calls, before there is an answer")
    };
    assert_eq!((named.target, named.result, named.reply), (ImportId(0), ImportId(1), Reply::Reference));
    let text = Arc::new(MethodText { name: "$named".into(), fewest: 0, prints: Box::new([]) });
    assert_eq!(named.method, MethodName::Defined(text), "nothing is compared");
    assert_eq!(&named.payload.body[..], b"\x03ten");
    assert_eq!(add.target, ImportId(1));
    let payload = Payload { caps: vec![Cap::Mine(ExportId(-1))], body: Default::default() };
    server.message(&Message::Resolve(Resolve { export: ExportId(1), payload })).await;
    let payload = Payload { caps: vec![], body: vec![15].into() };
    server.message(&Message::Resolve(Resolve { export: ExportId(2), payload })).await;
    assert_eq!(soon(asked).await.expect("no panic"), Ok(15));
}

#[tokio::test]
async fn an_unknown_name_fails_its_call_and_lists_nothing() {
    let running = shop().await;
    let broker = pb_client::connect(running.url()).await.expect("it listens");
    let long = "x".repeat(100_000);
    for name in ["twelve", "", "TEN", "ten ", "ten\n", "\u{1b}[31mten", "$named", "Till/add", &long] {
        let failure = soon(broker.named::<TillRef>(name)).await.expect_err("no such name");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No), "{name:?}");
        assert!(!failure.message.contains("hundred"), "{failure}");
        assert!(failure.message.len() < 400 && !failure.message.contains(char::is_control), "{failure}");
        // What is called on it fails with that as its cause.
        let failure = soon(broker.named::<TillRef>(name).add(1)).await.expect_err("no such name");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No), "{name:?}");
    }
    let message = soon(broker.named::<TillRef>("twelve")).await.expect_err("no such name").to_string();
    assert_eq!(message, "nothing is published as \"twelve\"");
    assert_eq!(soon(broker.named::<TillRef>("ten").add(1)).await, Ok(11), "the connection lives");
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_side_without_names_or_without_a_root_gives_none() {
    let (server, client) = pb_server::pair(TillRef::new(till(0))).await;
    let failure = soon(client.named::<TillRef>("ten")).await.expect_err("nothing is published");
    assert_eq!(failure.kind, FailureKind::Unimplemented);
    let failure = soon(server.named::<TillRef>("ten")).await.expect_err("a client serves nothing");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Refused, Ran::No));
}

#[tokio::test]
async fn names_come_and_go_while_the_server_runs_and_who_holds_an_object_keeps_it() {
    let server = Server::new(TillRef::new(till(0)));
    let names = server.names();
    let server = server.listen("tcp://127.0.0.1:0").await.expect("a port").spawn().expect("it listens");
    let broker = pb_client::connect(server.url()).await.expect("it listens");
    assert!(soon(broker.named::<TillRef>("ten")).await.is_err());
    let ten = till(10);
    names.publish("ten", &TillRef::new(Arc::clone(&ten))).expect("a name");
    let held = soon(broker.named::<TillRef>("ten")).await.expect("it is published by now");
    assert!(names.withdraw("ten") && !names.withdraw("ten"));
    assert!(soon(broker.named::<TillRef>("ten")).await.is_err());
    assert_eq!(soon(held.add(1)).await, Ok(11));
    drop(held);
    until(|| Arc::strong_count(&ten) == 1, || "somebody keeps what was withdrawn".to_owned()).await;
    soon(server.shutdown()).await;
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_the_reason() {
    let server = || Server::new(TillRef::new(till(0)));
    let object = TillRef::new(till(1));
    let long = "x".repeat(257);
    for (name, bytes) in [("", 0), (long.as_str(), 257)] {
        let Err(ServeError::Name(error)) = server().publish(name, &object) else { panic!("{name:?}") };
        assert_eq!(error, NameError::Length { bytes });
    }
    for name in ["\0", "a\u{7f}", "tab\t"] {
        let error = server().names().publish(name, &object).expect_err("a control character");
        assert!(matches!(error, NameError::Control { .. }), "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
    let names = server().names();
    names.publish("one", &object).expect("a name");
    let taken = names.publish("one", &TillRef::new(till(2))).expect_err("it is taken");
    assert_eq!(taken.to_string(), "something is published as \"one\" already");
    for number in 1..65_536 {
        names.publish(&format!("till {number}"), &object).expect("there is room");
    }
    assert_eq!(names.publish("one more", &object), Err(NameError::Full));
    assert!(names.withdraw("one"));
    assert_eq!(names.publish(&"y".repeat(256), &object), Ok(()));
}

#[tokio::test]
async fn named_is_a_method_of_the_root_alone_and_takes_one_text() {
    let running = shop().await;
    let mut raw = Raw::greeted(running.url()).await;
    let on = |target, reply, call: Call| Message::Call(Call { target: ImportId(target), reply, ..call });
    raw.message(&on(0, Reply::Reference, call(1, "$named", &("ten",)))).await;
    let Some(Message::Resolve(resolve)) = raw.answer().await else { panic!("it is published") };
    assert_eq!(resolve.payload.caps, [Cap::Mine(ExportId(-1))]);
    let prints = [7, 7];
    let printed = MethodText { name: "$named".into(), fewest: 0, prints: Box::new(prints) };
    let printed = Call { method: MethodName::Once(Arc::new(printed)), ..call(6, "$named", &("ten",)) };
    let cases = [
        (on(0, Reply::Value, call(2, "$named", &("ten",))), FailureKind::Incompatible),
        (on(0, Reply::Reference, call(3, "$named", &())), FailureKind::Failed),
        (on(0, Reply::Reference, call(4, "$named", &("ten", "ten"))), FailureKind::Failed),
        (on(0, Reply::Reference, call(5, "$named", &([0xff_u8; 3],))), FailureKind::Failed),
        (on(0, Reply::Reference, printed), FailureKind::Incompatible),
        (on(-1, Reply::Reference, call(7, "$named", &("ten",))), FailureKind::Unimplemented),
        (on(1, Reply::Reference, call(8, "$named", &("ten",))), FailureKind::Unimplemented),
        (on(0, Reply::Reference, call(9, "Till/$named", &("ten",))), FailureKind::Unimplemented),
        (on(0, Reply::Reference, call(10, "$/$named", &("ten",))), FailureKind::Unimplemented),
        (on(0, Reply::Reference, call(11, "$names", &("ten",))), FailureKind::Unimplemented),
        (on(0, Reply::Reference, call(12, "$describe", &("ten",))), FailureKind::Failed),
    ];
    for (message, kind) in cases {
        raw.message(&message).await;
        let Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) = raw.answer().await
        else {
            panic!("{message:?} was answered")
        };
        assert_eq!(failure.kind, kind, "{message:?}: {failure}");
    }
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_server_whose_root_is_another_servers_answers_of_its_own_names() {
    let far = shop().await;
    let onward = pb_client::connect(far.url()).await.expect("it listens");
    let near =
        Server::new(onward.root::<TillRef>()).publish("mine", &onward.named::<TillRef>("ten").promised());
    let near = near.expect("a name").listen("tcp://127.0.0.1:0").await.expect("a port");
    let near = near.spawn().expect("it listens");
    let broker = pb_client::connect(near.url()).await.expect("it listens");
    assert_eq!(soon(broker.root::<TillRef>().add(1)).await, Ok(2));
    assert_eq!(soon(broker.named::<TillRef>("mine").add(1)).await, Ok(11));
    let failure = soon(broker.named::<TillRef>("hundred")).await.expect_err("that is the other's name");
    assert_eq!(failure.kind, FailureKind::Unimplemented);
    soon(near.shutdown()).await;
    soon(far.shutdown()).await;
}

#[tokio::test]
async fn a_proxy_gives_out_what_another_has_published_and_its_own_names_come_first() {
    let far = shop().await;
    let onward = pb_client::connect(far.url()).await.expect("it listens");
    let near = Server::new(TillRef::new(till(0))).publish("ten", &TillRef::new(till(1010))).expect("a name");
    let upstream = onward.clone();
    near.names().publish_by(move |name| match name {
        "none" => None,
        "odd" => panic!("it is meant to"),
        _ => Some(upstream.named::<AnyRef>(name).promised()),
    });
    let near = near.listen("tcp://127.0.0.1:0").await.expect("a port").spawn().expect("it listens");
    let broker = pb_client::connect(near.url()).await.expect("it listens");
    assert_eq!(soon(broker.named::<TillRef>("hundred").add(1)).await, Ok(101), "in one go");
    assert_eq!(soon(broker.named::<TillRef>("ten").add(1)).await, Ok(1011));
    let unknown = soon(broker.named::<TillRef>("twelve").add(1)).await.expect_err("neither has it");
    assert!(unknown.to_string().contains("nothing is published as \"twelve\""), "{unknown}");
    let none = soon(broker.named::<TillRef>("none")).await.expect_err("it gives none");
    assert_eq!((none.kind, none.ran), (FailureKind::Unimplemented, Ran::No));
    let odd = soon(broker.named::<TillRef>("odd")).await.expect_err("it panicked");
    assert_eq!((odd.kind, odd.ran), (FailureKind::Internal, Ran::Yes));
    assert_eq!(soon(broker.named::<TillRef>("ten").add(1)).await, Ok(1012), "the connection lives");
    soon(near.shutdown()).await;
    soon(far.shutdown()).await;
}
