//! `$describe`: what objects say of themselves, and what becomes of those that say nonsense.

use std::sync::Arc;

use pb_core::message::*;
use pb_core::wire::body;
use pb_core::wire::shape::trace;
use pb_core::{
    AnyRef, ArgumentDescription, Description, InterfaceDescription, MethodDescription, MethodFlags, Plain,
    Referenceable, Shape, Stub, remote_interface,
};
use pb_server::pair;
use pb_tests::golden;
use pb_tests::live::{Chain, NodeRef, soon};
use pb_tests::raw::{Raw, call, hello};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Money.
#[remote_interface]
trait Till {
    /// Adds.
    #[remote(idempotent)]
    async fn add(&self, #[remote(default)] cents: u64) -> u64;
}

#[derive(Serialize, Deserialize)]
enum Closed {
    Until { hour: u8 },
}

/// Opens and
/// closes.
#[remote_interface]
trait Door {
    #[remote(oneway)]
    async fn knock(&self, knocks: u8);
    #[remote(run_to_end, spawn, answer_bytes = 100_000)]
    async fn open(&self, till: Option<TillRef>, key: (u8, String)) -> Result<DoorRef, Closed>;
}

#[derive(Referenceable)]
#[referenceable(Till, Door)]
struct Shop;

impl Till for Shop {
    async fn add(&self, cents: u64) -> u64 {
        cents
    }
}

impl Door for Shop {
    async fn knock(&self, _: u8) {}
    async fn open(&self, _: Option<TillRef>, _: (u8, String)) -> Result<DoorRef, Closed> {
        Err(Closed::Until { hour: 9 })
    }
}

fn checked(description: &Description) {
    let [door, till] = &description.interfaces[..] else { panic!("two interfaces: {description:?}") };
    assert_eq!((&*door.name, &*door.docs), ("Door", "Opens and\ncloses."));
    assert_eq!(*till, InterfaceDescription::of::<TillRef>());
    let [knock, open] = &door.methods[..] else { panic!("two methods: {door:?}") };
    assert_eq!(knock.flags, MethodFlags { oneway: true, ..MethodFlags::default() });
    let flags =
        MethodFlags { run_to_end: true, spawn: true, answer_bytes: 100_000, ..MethodFlags::default() };
    assert_eq!(open.flags, flags);
    assert_eq!((&*open.name, open.short_name(), open.optional), ("Door/open", "open", 0));
    let argument = |name: &str, shape| ArgumentDescription { name: name.into(), shape };
    let till = Shape::Option(Box::new(Shape::Reference("Till".into())));
    let key = Shape::Tuple(vec![Shape::Plain(Plain::U8), Shape::Plain(Plain::Text)]);
    assert_eq!(open.arguments, [argument("till", till), argument("key", key)]);
    assert_eq!((&open.ok, &open.err), (&Shape::Reference("Door".into()), &Some(trace::<Closed>())));
    assert_eq!(open.signature(), DoorRef::interface().methods()[1].signature());
    let add = description.method("add").expect("it has one");
    assert_eq!((add.optional, &*add.docs), (1, "Adds."));
    assert_eq!(add.flags, MethodFlags { idempotent: true, ..MethodFlags::default() });
}

#[tokio::test]
async fn an_object_tells_its_interfaces_with_all_that_their_traits_say() {
    let shop = DoorRef::new(Shop);
    let _held = pair(shop.clone()).await;
    let through: DoorRef = _held.1.root();
    for shop in [shop, through] {
        checked(&soon(shop.remote().describe()).await.expect("it tells"));
        let any = AnyRef::from_reference(shop.as_reference().clone());
        checked(&soon(any.remote().describe()).await.expect("to whoever holds it"));
    }
}

#[tokio::test]
async fn promises_and_middlemen_tell_what_the_object_tells() {
    for links in [0, 1, 3] {
        let chain = Chain::of(links).await;
        let own = Description::of::<NodeRef>();
        let opened = chain.root.open("a".into());
        let [of_root, of_promise] = [chain.root.remote().describe(), opened.remote().describe()];
        assert_eq!(soon(of_root).await, Ok(own.clone()));
        assert_eq!(soon(of_promise).await, Ok(own));
        drop(opened);
        chain.finish().await;
    }
}

#[test]
fn a_name_means_one_method_or_says_why_not() {
    let mut both = Description::of::<DoorRef>();
    assert_eq!(both.method("knock").map(|method| &*method.name), Ok("Door/knock"));
    assert_eq!(both.method("Door/open").map(MethodDescription::short_name), Ok("open"));
    let missing = both.method("shut").expect_err("no such method");
    assert_eq!((missing.kind, missing.ran), (FailureKind::Unimplemented, Ran::No));
    assert!(missing.message.contains("shut") && missing.message.contains("Door"), "{missing}");
    both.interfaces.push(InterfaceDescription::new(
        "Box",
        "",
        [MethodDescription::new("Box/open", Shape::Plain(Plain::Unit))],
    ));
    let ambiguous = both.method("open").expect_err("two have it");
    assert!(ambiguous.message.contains("Door/open") && ambiguous.message.contains("Box/open"));
    assert_eq!(both.method("Box/open").map(|method| &*method.name), Ok("Box/open"));
}

#[test]
fn a_description_is_encoded_as_the_protocol_says() {
    let mut encoded = Vec::new();
    body::encode(&Description::of::<TillRef>(), &mut encoded).expect("it can be");
    assert_eq!(encoded, golden::DESCRIPTION);
    let mut rest = golden::DESCRIPTION;
    assert_eq!(body::decode(&mut rest), Ok(Description::of::<TillRef>()));
    // A later version's flags and details are passed over.
    let mut later = golden::DESCRIPTION[..golden::DESCRIPTION.len() - 5].to_vec();
    later.extend(b"\xf8\x00\x01\x03new\x02\x00\xff\x00\x00");
    let found: Description = body::decode(&mut &later[..]).expect("it is one");
    let flags = found.interfaces[0].methods[0].flags;
    assert_eq!(flags, MethodFlags { idempotent: true, ..MethodFlags::default() });
}

#[tokio::test]
async fn describing_is_a_call_of_a_value_without_arguments() {
    let listener = pb_server::Server::new(DoorRef::new(Shop)).listen("tcp://127.0.0.1:0").await;
    let running = listener.expect("a port").spawn().expect("it listens");
    let mut raw = Raw::greeted(running.url()).await;
    let describe = |id, reply| Call { reply, ..call(id, "$describe", &()) };
    raw.message(&Message::Call(describe(1, Reply::Value))).await;
    raw.message(&Message::Call(describe(2, Reply::Reference))).await;
    raw.message(&Message::Call(call(3, "$describe", &7u8))).await;
    raw.message(&Message::Call(call(4, "Door/$describe", &()))).await;
    raw.message(&Message::Call(call(5, "$other", &()))).await;
    let mut failures = Vec::new();
    let mut described = None;
    while described.is_none() || failures.len() < 4 {
        match raw.answer().await {
            Some(Message::Resolve(resolve)) => {
                assert_eq!(resolve.export, ExportId(1));
                described = body::decode::<Description>(&mut &resolve.payload.body[..]).ok();
            }
            Some(Message::Reject(Reject { export, rejection: Rejection::Broker(failure) })) => {
                failures.push((export.0, failure.kind, failure.ran));
            }
            other => panic!("{other:?}"),
        }
    }
    checked(&described.expect("a description"));
    failures.sort_by_key(|(id, ..)| *id);
    let expected = [
        (2, FailureKind::Incompatible, Ran::Yes),
        (3, FailureKind::Failed, Ran::No),
        (4, FailureKind::Unimplemented, Ran::No),
        (5, FailureKind::Unimplemented, Ran::No),
    ];
    assert_eq!(failures, expected);
    drop(raw);
    soon(running.shutdown()).await;
}

/// A client that asks for a description, of a server that answers with `body`.
async fn told(body: Vec<u8>) -> Result<Description, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let asked = tokio::spawn(async move {
        let broker = pb_client::connect(&url).await.expect("it is accepted");
        let told = broker.root::<AnyRef>().remote().describe().await;
        // Whatever it was, the connection goes on.
        assert!(broker.root::<AnyRef>().remote().call::<u64>("add", (1u64,)).await.is_ok());
        told
    });
    let mut server = Raw::accept(&listener).await;
    server.send(&pb_core::wire::frame::MAGIC).await;
    server.message(&hello()).await;
    let Some(Message::Call(call)) = server.answer().await else { panic!("a call") };
    let text = MethodText { name: "$describe".into(), fewest: 0, prints: Box::new([]) };
    assert_eq!(call.method, MethodName::Defined(Arc::new(text)));
    assert_eq!(call.options.expect("they say how much").answer_bytes, Some(256 << 10));
    let answer = |id, body: Vec<u8>| {
        let payload = Payload { caps: Vec::new(), body: body.into() };
        Message::Resolve(Resolve { export: ExportId(id), payload })
    };
    server.message(&answer(1, body)).await;
    let Some(Message::Call(_)) = server.answer().await else { panic!("the next call") };
    server.message(&answer(2, vec![1])).await;
    soon(asked).await.expect("it ends")
}

#[tokio::test]
async fn a_description_that_does_not_hold_together_is_refused_and_the_connection_stays() {
    let unit = || Shape::Plain(Plain::Unit);
    let method = |name: &str| MethodDescription::new(name, unit());
    let one = |name: &str, methods: Vec<MethodDescription>| {
        Description::new([InterfaceDescription::new(name, "", methods)])
    };
    let twice = InterfaceDescription::new("A", "", []);
    let many = (0..13).fold(method("A/b"), |method, n| method.argument(format!("a{n}"), unit()));
    let mut missing = method("A/b");
    missing.optional = 1;
    let long = format!("A/{}", "b".repeat(255));
    let wrong = [
        (Description::new([twice.clone(), twice]), "interface \"A\" stands in it twice"),
        (one("A", vec![method("A/b"), method("A/b")]), "method \"A/b\" stands in it twice"),
        (one("", vec![]), "cannot be the name of an interface"),
        (one("$", vec![]), "cannot be the name of an interface"),
        (one("A/B", vec![]), "cannot be the name of an interface"),
        (one("A\u{7}", vec![]), "cannot be the name of an interface"),
        (one("A", vec![method("b")]), "cannot be the name of a method of A"),
        (one("A", vec![method("B/b")]), "cannot be the name of a method of A"),
        (one("A", vec![method("A/$b")]), "cannot be the name of a method of A"),
        (one("A", vec![method("A/b\n")]), "cannot be the name of a method of A"),
        (one("A", vec![method(&long)]), "cannot be the name of a method of A"),
        (one("A", vec![many]), "13 arguments; 12 are allowed"),
        (one("A", vec![missing]), "of the 0 arguments of A/b, 1 may be missing"),
    ];
    for (description, problem) in wrong {
        let mut body = Vec::new();
        body::encode(&description, &mut body).expect("it can be");
        let failure = told(body).await.expect_err(problem);
        assert_eq!(failure.kind, FailureKind::Incompatible);
        assert!(failure.message.contains(problem), "{failure}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_description_are_refused_and_the_connection_stays() {
    let whole = golden::DESCRIPTION;
    assert_eq!(told(whole.to_vec()).await, Ok(Description::of::<TillRef>()));
    // Half of it, one byte more, four billion interfaces, and a shape of a hundred options.
    let mut deep = whole[..whole.len() - 10].to_vec();
    deep.push(100);
    deep.extend([1; 100]);
    let wrong = [
        whole[..20].to_vec(),
        [whole, &[0]].concat(),
        b"\xfd\xff\xff\xff\xff\x00\x00\x00\x00".to_vec(),
        deep,
    ];
    for body in wrong {
        let failure = told(body).await.expect_err("it is none");
        assert_eq!(failure.kind, FailureKind::Incompatible, "{failure}");
    }
}
