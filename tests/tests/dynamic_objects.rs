//! Objects without a trait, called by typed stubs, by name and by description, here, over connections and through middlemen.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pb_core::message::*;
use pb_core::{
    AnyRef, Broker, CallError, Description, DynamicCall, DynamicObject, InterfaceDescription,
    MethodDescription, MethodFlags, Plain, Referenceable, Shape, Stub, Value, remote_interface,
};
// All that shapes are made of, as a client's program has it.
use pb_client::{Content, Field, Opaque, Variant, Why};
use pb_server::{Server, pair};
use pb_tests::live::{Chain, NodeRef, Trouble, soon, until};
use pb_tests::raw::{Raw, call};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
struct Line {
    what: String,
    count: Option<u8>,
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
enum Refusal {
    Closed,
    Unknown { what: String },
}

#[remote_interface]
trait Till {
    /// Adds.
    async fn add(&self, lines: Vec<Line>, #[remote(default)] rest: u32) -> Result<u64, Refusal>;
    async fn open(&self, name: String) -> TillRef;
    async fn name(&self) -> String;
    async fn echo(&self, tills: (TillRef, Option<TillRef>)) -> Vec<TillRef>;
    async fn hang(&self) -> u64;
    #[remote(run_to_end)]
    async fn hang_on(&self) -> u64;
    #[remote(oneway)]
    async fn note(&self, text: String);
    async fn wrong(&self) -> u8;
    async fn fail(&self) -> u8;
    async fn panic(&self) -> u8;
    async fn this(&self) -> TillRef;
    async fn deadline(&self) -> bool;
}

/// What the objects of a test have done.
#[derive(Default)]
struct Log {
    calls: Mutex<Vec<String>>,
    stopped: AtomicUsize,
}

struct Scripted {
    name: String,
    log: Arc<Log>,
}

struct Stopped(Arc<Log>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped.fetch_add(1, SeqCst);
    }
}

impl Scripted {
    fn make(name: &str, log: &Arc<Log>) -> AnyRef {
        let object = Scripted { name: name.to_owned(), log: Arc::clone(log) };
        AnyRef::dynamic(Arc::new(object)).expect("it is sound")
    }

    fn add(&self, arguments: &[Value]) -> Result<Value, CallError<Value>> {
        let lines: Vec<Line> = arguments[0].to().expect("they have that shape");
        let rest: u32 = arguments.get(1).map_or(100, |rest| rest.to().expect("it has that shape"));
        if let Some(line) = lines.iter().find(|line| line.what.is_empty()) {
            let refusal = Refusal::Unknown { what: line.what.clone() };
            return Err(CallError::App(Value::of(&refusal).expect("it has a shape")));
        }
        let counts = lines.iter().map(|line| u64::from(line.count.unwrap_or(1)));
        Ok((counts.sum::<u64>() + u64::from(rest)).into())
    }
}

impl DynamicObject for Scripted {
    fn describe(&self) -> Arc<Description> {
        let knock = MethodDescription::new("Door/knock", Shape::Plain(Plain::U8)).documented("Knocks.");
        let name = MethodDescription::new("Door/name", Shape::Plain(Plain::Text));
        let door = InterfaceDescription::new("Door", "A door.", [knock, name]);
        Arc::new(Description::new([InterfaceDescription::of::<TillRef>(), door]))
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        self.log.calls.lock().expect("nobody panics").push(format!("{}.{}", self.name, call.method().name));
        match call.method().name.as_str() {
            "Till/add" => self.add(&call.arguments),
            "Till/open" => {
                let Value::Text(name) = &call.arguments[0] else { panic!("{:?}", call.arguments) };
                Ok(Scripted::make(name, &self.log).into())
            }
            "Till/name" => Ok(self.name.as_str().into()),
            "Till/echo" => {
                let Value::Tuple(tills) = &call.arguments[0] else { panic!("{:?}", call.arguments) };
                let Value::Option(second) = &tills[1] else { panic!("{tills:?}") };
                let second = second.iter().map(|second| (**second).clone());
                Ok([tills[0].clone()].into_iter().chain(second).collect::<Vec<_>>().into())
            }
            "Till/hang" | "Till/hang_on" => {
                let _stopped = Stopped(Arc::clone(&self.log));
                std::future::pending().await
            }
            "Till/note" => Ok(Value::Unit),
            "Till/wrong" => Ok(256.into()),
            "Till/fail" => {
                Err(CallError::Broker(Failure::new(FailureKind::Refused, Ran::No, "the script says no")))
            }
            "Till/panic" => panic!("intended: called"),
            "Till/this" => Ok(call.context().this::<AnyRef>().into()),
            "Till/deadline" => Ok(call.context().deadline().is_some().into()),
            "Door/knock" => Ok(7.into()),
            "Door/name" => Ok("the door's".into()),
            other => panic!("{other} is not described"),
        }
    }
}

/// The same object here, over one connection, and through a middleman.
struct Ways {
    tills: [AnyRef; 3],
    log: Arc<Log>,
    _ends: Vec<Broker>,
}

async fn ways() -> Ways {
    let log = Arc::new(Log::default());
    let here = Scripted::make("root", &log);
    let (server, client) = pair(here.clone()).await;
    let over: AnyRef = client.root();
    let (further, last) = pair(over.clone()).await;
    Ways { tills: [here, over, last.root()], log, _ends: vec![server, client, further, last] }
}

fn line(what: &str, count: Option<u8>) -> Line {
    Line { what: what.into(), count }
}

#[tokio::test]
async fn a_typed_stub_calls_it_as_it_would_a_typed_object() {
    let ways = ways().await;
    for any in &ways.tills {
        let till: TillRef = any.remote().cast();
        let lines = || vec![line("bread", Some(3)), line("milk", None)];
        assert_eq!(soon(till.add(lines(), 5)).await, Ok(9));
        let refused = Refusal::Unknown { what: String::new() };
        assert_eq!(soon(till.add(vec![line("", None)], 0)).await, Err(CallError::App(refused)));
        assert_eq!(soon(till.name()).await.as_deref(), Ok("root"));
        // The root of a connection has a second reference; another till has one.
        let other = soon(till.open("other".into())).await.expect("opened");
        let echoed = soon(till.echo((other.clone(), Some(other.clone())))).await.expect("given back");
        assert!(echoed.len() == 2 && echoed.iter().all(|one| one.remote().same(&other)));
        let this = soon(till.this()).await.expect("itself");
        assert_eq!(soon(this.name()).await.as_deref(), Ok("root"));
        till.note("psst".into());
        until(
            || {
                ways.log
                    .calls
                    .lock()
                    .expect("nobody panics")
                    .last()
                    .is_some_and(|call| call == "root.Till/note")
            },
            || "it is noted".into(),
        )
        .await;
    }
}

#[tokio::test]
async fn what_it_opens_is_called_before_it_is_there() {
    let ways = ways().await;
    for any in &ways.tills {
        let till: TillRef = any.remote().cast();
        let typed = till.open("a".into()).open("b".into());
        assert_eq!(soon(typed.name()).await.as_deref(), Ok("b"));
        let by_name = any.remote().call::<AnyRef>("Till/open", ("c".to_owned(),));
        assert_eq!(soon(by_name.remote().call("Till/name", ())).await, Ok("c".to_owned()));
        let description = soon(any.remote().describe()).await.expect("it tells");
        let open = description.method("open").expect("it has one");
        let opened = any.remote().invoke(open, ("d",)).promised().expect("it gives one");
        let name = description.method("Till/name").expect("it has one");
        assert_eq!(soon(opened.remote().invoke(name, ())).await, Ok("d".into()));
    }
}

#[tokio::test]
async fn it_describes_itself_and_is_called_by_that_and_by_name() {
    let ways = ways().await;
    for any in &ways.tills {
        let description = soon(any.remote().describe()).await.expect("it tells");
        assert_eq!(description.interfaces[0], InterfaceDescription::of::<TillRef>());
        assert_eq!(description.method("knock").expect("it has one").docs, "Knocks.");
        let add = description.method("add").expect("it has one");
        let lines = Value::from(vec![Value::record([("what", "bread".into())])]);
        assert_eq!(soon(any.remote().invoke(add, (lines.clone(), 5))).await, Ok(Value::Int(6)));
        // The caller leaves out what has a default, and the object sees that.
        assert_eq!(soon(any.remote().invoke(add, (lines,))).await, Ok(Value::Int(101)));
        assert_eq!(soon(any.remote().call::<u8>("knock", ())).await, Ok(7));
        let ambiguous = soon(any.remote().call::<String>("name", ())).await.expect_err("two have it");
        assert!(ambiguous.message.contains("ambiguous"), "{ambiguous}");
        assert_eq!(soon(any.remote().call("Door/name", ())).await, Ok("the door's".to_owned()));
    }
}

#[remote_interface]
trait Door {
    async fn knock(&self, loudly: bool) -> u8;
    async fn shut(&self);
}

#[tokio::test]
async fn other_signatures_are_incompatible_and_other_methods_unimplemented() {
    let ways = ways().await;
    for any in &ways.tills {
        let door: DoorRef = any.remote().cast();
        let failure = soon(door.knock(true)).await.expect_err("it takes nothing");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
        assert!(failure.message.contains("Door/knock() -> u8"), "{failure}");
        assert!(failure.message.contains("Door/knock(loudly: bool) -> u8"), "{failure}");
        let failure = soon(door.shut()).await.expect_err("it has no such method");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No));
        assert!(failure.message.contains("it offers Till, Door"), "{failure}");
        let failure = soon(any.remote().call::<u8>("$other", ())).await.expect_err("the broker's");
        assert_eq!(failure.kind, FailureKind::Failed);
    }
    assert!(ways.log.calls.lock().expect("nobody panics").is_empty(), "none has run");
}

mod older {
    use super::*;

    #[remote_interface]
    pub trait Till {
        async fn add(&self, lines: Vec<Line>) -> Result<u64, Refusal>;
    }
}

#[tokio::test]
async fn an_older_callers_call_has_fewer_arguments() {
    let ways = ways().await;
    for any in &ways.tills {
        let till: older::TillRef = any.remote().cast();
        assert_eq!(soon(till.add(vec![line("bread", None)])).await, Ok(101));
    }
}

#[tokio::test]
async fn what_goes_wrong_in_it_fails_its_call_alone() {
    let ways = ways().await;
    for any in &ways.tills {
        let till: TillRef = any.remote().cast();
        let failure = soon(till.wrong()).await.expect_err("256 is no u8");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::Yes));
        assert!(failure.message.contains("expected u8, found 256"), "{failure}");
        let failure = soon(till.fail()).await.expect_err("it says no");
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Refused, "the script says no"));
        let failure = soon(till.panic()).await.expect_err("it panics");
        assert_eq!(failure.kind, FailureKind::Internal);
        assert_eq!(soon(till.name()).await.as_deref(), Ok("root"));
    }
}

#[tokio::test]
async fn cancelling_deadlines_and_options_hold_for_it() {
    let ways = ways().await;
    for (any, before) in ways.tills.iter().zip([0, 2, 4]) {
        let till: TillRef = any.remote().cast();
        let started = ways.log.calls.lock().expect("nobody panics").len();
        let hung = till.hang();
        let kept = till.hang_on();
        let calls = || ways.log.calls.lock().expect("nobody panics").len();
        until(|| calls() == started + 2, || "both start".into()).await;
        drop((hung, kept));
        until(|| ways.log.stopped.load(SeqCst) == before + 1, || "one is stopped".into()).await;
        let short = till.within(Duration::from_millis(20));
        assert_eq!(soon(till.deadline()).await, Ok(false));
        assert_eq!(soon(till.within(Duration::from_secs(60)).deadline()).await, Ok(true));
        let late = soon(short.hang()).await.expect_err("too late");
        assert_eq!(late.kind, FailureKind::DeadlineExceeded);
        until(|| ways.log.stopped.load(SeqCst) == before + 2, || "it is stopped".into()).await;
    }
}

#[tokio::test]
async fn calls_of_all_kinds_start_in_their_order() {
    let ways = ways().await;
    for any in &ways.tills {
        ways.log.calls.lock().expect("nobody panics").clear();
        let till: TillRef = any.remote().cast();
        let description = Description::of::<TillRef>();
        let name = description.method("name").expect("it has one");
        let mut waits: Vec<std::pin::Pin<Box<dyn Future<Output = bool>>>> = Vec::new();
        for _ in 0..20 {
            let (deadline, by_name) = (till.deadline(), any.remote().call::<u8>("Door/knock", ()));
            let invoked = any.remote().invoke(name, ());
            waits.push(Box::pin(async { deadline.await.is_ok() }));
            waits.push(Box::pin(async { by_name.await.is_ok() }));
            waits.push(Box::pin(async { invoked.await.is_ok() }));
        }
        assert!(soon(futures::future::join_all(waits)).await.into_iter().all(|done| done));
        let calls = ways.log.calls.lock().expect("nobody panics").clone();
        assert_eq!(calls, ["root.Till/deadline", "root.Door/knock", "root.Till/name"].repeat(20));
    }
}

#[tokio::test]
async fn it_comes_home_as_itself_and_lives_as_long_as_it_is_held() {
    let log = Arc::new(Log::default());
    let object = Arc::new(Scripted { name: "own".into(), log });
    let own = AnyRef::dynamic(Arc::clone(&object)).expect("it is sound");
    let chain = Chain::of(2).await;
    let home = soon(chain.root.remote().call::<AnyRef>("Node/echo", (own.clone(),))).await.expect("echoed");
    assert!(home.remote().same(&own));
    let local = home.remote().local::<Scripted>().expect("it is here");
    assert!(Arc::ptr_eq(&local, &object));
    drop((own, home, local));
    until(|| Arc::strong_count(&object) == 1, || "it is let go".into()).await;
    chain.finish().await;
}

/// Passes all calls on, and writes them down: for any object that there is.
struct Proxy {
    to: AnyRef,
    description: Arc<Description>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl DynamicObject for Proxy {
    fn describe(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        let text = format!("{}{:?}", call.method().name, call.arguments);
        self.seen.lock().expect("nobody panics").push(text);
        self.to.remote().invoke(call.method(), call.arguments.clone()).await
    }
}

#[tokio::test]
async fn a_proxy_passes_on_what_it_knows_by_description_alone() {
    let chain = Chain::of(1).await;
    let to = AnyRef::from_reference(chain.root.as_reference().clone());
    let description = Arc::new(soon(to.remote().describe()).await.expect("it tells"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let proxy = AnyRef::dynamic(Arc::new(Proxy { to, description, seen: Arc::clone(&seen) }));
    let (server, client) = pair(proxy.expect("it is sound")).await;
    let root: NodeRef = client.root();
    assert_eq!(soon(root.say(5)).await, Ok(5));
    let said = Trouble::Said { text: "no".into(), cents: 7 };
    assert_eq!(soon(root.fail("no".into())).await.map(drop), Err(CallError::App(said)));
    let opened = root.open("a".into());
    assert_eq!(soon(opened.say(6)).await, Ok(6));
    let echoed = soon(root.echo(opened.promised())).await.expect("echoed");
    assert_eq!(soon(echoed.name()).await.as_deref(), Ok("a"));
    let hung = root.hang(Vec::new());
    until(|| chain.world.started().len() == 5, || format!("{:?}", chain.world.started())).await;
    drop(hung);
    until(|| chain.world.stopped() == 1, || "the cancel goes through".into()).await;
    let seen = seen.lock().expect("nobody panics").clone();
    assert_eq!(seen[..3], ["Node/say[5]", "Node/fail[\"no\"]", "Node/open[\"a\"]"]);
    drop((opened, echoed, root, server, client));
    chain.finish().await;
}

struct Says(Description);

impl DynamicObject for Says {
    fn describe(&self) -> Arc<Description> {
        Arc::new(self.0.clone())
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        match call.method().short_name() {
            "own" => Err(CallError::App(1.into())),
            "error" => Err(CallError::App(Value::Unit)),
            _ => Ok(call.arguments.into()),
        }
    }
}

#[tokio::test]
async fn a_description_that_does_not_hold_together_is_not_handed_out() {
    let unit = || Shape::Plain(Plain::Unit);
    let wrong = InterfaceDescription::new("A", "", [MethodDescription::new("B/b", unit())]);
    let error = AnyRef::dynamic(Arc::new(Says(Description::new([wrong])))).expect_err("of another interface");
    let words =
        "the object's description does not hold together: \"B/b\" cannot be the name of a method of A";
    assert_eq!(error.to_string(), words);
}

#[tokio::test]
async fn errors_are_those_that_it_has_described() {
    let own = MethodDescription::new("A/own", Shape::Plain(Plain::Unit));
    let error = MethodDescription::new("A/error", Shape::Plain(Plain::Unit)).error(Shape::Plain(Plain::Bool));
    let says = Says(Description::new([InterfaceDescription::new("A", "", [own, error])]));
    let says = AnyRef::dynamic(Arc::new(says)).expect("it is sound");
    for (method, words) in [("A/own", "its description has none"), ("A/error", "expected bool, found ()")] {
        let failure = soon(says.remote().try_call::<(), bool>(method, ())).await;
        let CallError::Broker(failure) = failure.expect_err("no such error") else { panic!("{words}") };
        match method {
            // It has no error of its own, and the caller expects one.
            "A/own" => assert_eq!(failure.kind, FailureKind::Incompatible),
            _ => {
                assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::Yes));
                assert!(failure.message.contains(words), "{failure}");
            }
        }
    }
    let failure = soon(says.remote().call::<()>("A/own", ())).await.expect_err("an error all the same");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::Yes));
    assert!(failure.message.contains("its description has none"), "{failure}");
}

#[tokio::test]
async fn a_peers_bytes_that_are_not_its_arguments_fail_their_call() {
    let pair = Shape::Tuple(vec![Shape::Plain(Plain::Text), Shape::Plain(Plain::Bool)]);
    let take = MethodDescription::new("A/take", Shape::Seq(Box::new(pair.clone()))).argument("pair", pair);
    let says = Says(Description::new([InterfaceDescription::new("A", "", [take])]));
    let says = AnyRef::dynamic(Arc::new(says)).expect("it is sound");
    let server = Server::new(says).listen("tcp://127.0.0.1:0").await.expect("a port");
    let running = server.spawn().expect("it listens");
    let mut raw = Raw::greeted(running.url()).await;
    let bodies: [&[u8]; 4] = [b"\x02hi", b"\x02hi\x02", b"\x02hi\x01\x00", b"\xfc\xff\xff\xff\xff"];
    for (body, id) in bodies.into_iter().zip(1..) {
        let payload = Payload { caps: Vec::new(), body: body.to_vec().into() };
        raw.message(&Message::Call(Call { payload, ..call(id, "take", &()) })).await;
        let Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) = raw.answer().await
        else {
            panic!("it was taken")
        };
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No), "{failure}");
    }
    raw.message(&Message::Call(call(5, "take", &("hi", true)))).await;
    let Some(Message::Resolve(resolve)) = raw.answer().await else { panic!("it is one") };
    assert_eq!(&resolve.payload.body[..], b"\x01\x02hi\x01");
    drop(raw);
    soon(running.shutdown()).await;
}

/// Takes a dynamic object as a reference of its interface.
#[derive(Referenceable)]
struct Client;

#[remote_interface]
trait Calls {
    async fn call(&self, till: TillRef) -> String;
}

impl Calls for Client {
    async fn call(&self, till: TillRef) -> String {
        till.name().await.unwrap_or_else(|failure| failure.to_string())
    }
}

#[tokio::test]
async fn typed_methods_take_it_and_flags_are_its_descriptions() {
    let ways = ways().await;
    let (_server, client) = pair(CallsRef::new(Client)).await;
    let calls: CallsRef = client.root();
    for any in &ways.tills {
        assert_eq!(soon(calls.call(any.remote().cast())).await.as_deref(), Ok("root"));
    }
    let description = soon(ways.tills[2].remote().describe()).await.expect("it tells");
    let note = description.method("note").expect("it has one");
    assert_eq!(note.flags, MethodFlags { oneway: true, ..MethodFlags::default() });
}

fn refused(method: MethodDescription) -> String {
    let says = Says(Description::new([InterfaceDescription::new("A", "", [method])]));
    AnyRef::dynamic(Arc::new(says)).expect_err("it does not hold together").to_string()
}

#[tokio::test]
async fn an_argument_that_must_be_there_stands_before_those_that_may_be_missing() {
    let unit = || Shape::Plain(Plain::Unit);
    let method = MethodDescription::new("A/a", unit());
    let misplaced =
        method.clone().argument("one", unit()).optional_argument("two", unit()).argument("three", unit());
    let words = "the argument \"three\" of A/a may not be missing, and stands behind one that may; put those that may be missing last";
    assert_eq!(refused(misplaced), format!("the object's description does not hold together: {words}"));
    let right =
        method.argument("one", unit()).optional_argument("two", unit()).optional_argument("three", unit());
    let says = Says(Description::new([InterfaceDescription::new("A", "", [right])]));
    assert!(AnyRef::dynamic(Arc::new(says)).is_ok());
}

#[tokio::test]
async fn two_arguments_of_one_name_are_refused() {
    let unit = || Shape::Plain(Plain::Unit);
    let method = MethodDescription::new("A/a", unit()).argument("x", unit()).argument("y", unit());
    let words = refused(method.argument("x", unit()));
    assert!(words.ends_with("two arguments of A/a are called \"x\"; give each a name of its own"), "{words}");
}

#[test]
fn what_a_terminal_would_obey_in_names_of_shapes_is_escaped_for_people_and_counts_as_it_is() {
    let name = |text: &str| format!("{text}\u{1b}[2J\u{9b}");
    let field = Field { name: name("field"), shape: Shape::Plain(Plain::Unit) };
    let variant = Variant { name: name("variant"), content: Content::Struct(vec![field.clone()]) };
    let shapes = [
        Shape::Struct(name("Struct"), vec![field]),
        Shape::Enum(name("Enum"), vec![variant]),
        Shape::Newtype(name("Newtype"), Box::new(Shape::Reference(name("Interface")))),
        Shape::Opaque(Opaque { type_name: name("Opaque"), why: Why::Varies }),
    ];
    for shape in shapes {
        let shown = format!("{shape:#}");
        assert!(!shown.contains(char::is_control) && shown.contains("\\u{1b}[2J\\u{9b}"), "{shown:?}");
        let method =
            MethodDescription::new("A/a", shape.clone()).argument("x", shape.clone()).error(shape.clone());
        assert!(!method.signature().contains(char::is_control), "{:?}", method.signature());
        let wrong = method.check_arguments((Value::Unit,)).expect_err("no unit").to_string();
        assert!(!wrong.contains(char::is_control), "{wrong:?}");
        // What is hashed is as it was.
        let canonical = shape.to_string();
        assert!(
            matches!(shape, Shape::Opaque(_) | Shape::Newtype(..)) || canonical.contains("\u{1b}"),
            "{canonical:?}"
        );
    }
}
