//! What `tracing` is told of calls, on both sides.

#[path = "spans/watching.rs"]
mod watching;

use std::time::Duration;

use pb_client::trace::{self, TraceParent};
use pb_client::{Broker, CallError, FailureKind};
use pb_server::{CallContext, Referenceable, pair, remote_interface};
use pb_tests::live::{soon, until};
use tracing::{Level, info_span};
use watching::{Seen, Spans};

/// Methods that end in every way.
#[remote_interface]
pub trait Actor {
    /// Returns, having made a span of its own.
    async fn act(&self) -> u64;
    /// Fails with an error of its own.
    async fn fail(&self) -> Result<(), Fault>;
    /// Never returns.
    async fn hang(&self);
    /// Panics.
    async fn panic(&self);
    /// Calls `other`.
    async fn direct(&self, other: ActorRef) -> Result<u64, Fault>;
    /// Is not answered.
    #[remote(oneway)]
    async fn note(&self);
    /// Gives itself.
    async fn this(&self, cx: &CallContext) -> ActorRef;
    /// How many entries of metadata the call has.
    async fn entries(&self, cx: &CallContext) -> usize;
}

/// A fault.
#[derive(serde::Serialize, serde::Deserialize, thiserror::Error, PartialEq, Eq, Debug)]
#[error("a fault")]
pub struct Fault;

/// An interface that nobody has.
#[remote_interface]
pub trait Other {
    /// Nobody answers it.
    async fn other(&self);
}

#[derive(Referenceable)]
struct MyActor;

impl Actor for MyActor {
    async fn act(&self) -> u64 {
        tokio::task::yield_now().await;
        info_span!("own").in_scope(|| 7)
    }
    async fn fail(&self) -> Result<(), Fault> {
        Err(Fault)
    }
    async fn hang(&self) {
        std::future::pending().await
    }
    async fn panic(&self) {
        panic!("intended")
    }
    async fn direct(&self, other: ActorRef) -> Result<u64, Fault> {
        other.act().await.map_err(|_| Fault)
    }
    async fn note(&self) {}
    async fn this(&self, cx: &CallContext) -> ActorRef {
        cx.this()
    }
    async fn entries(&self, cx: &CallContext) -> usize {
        cx.metadata_keys().count()
    }
}

async fn actors() -> (Broker, Broker, ActorRef) {
    let (server, client) = pair(ActorRef::new(MyActor)).await;
    let root = client.root();
    (server, client, root)
}

/// The one span of this name for a call of that method.
fn one(spans: &Spans, name: &str, method: &str) -> Seen {
    let mut found = spans.named(name);
    found.retain(|span| span.field("method") == method);
    assert_eq!(found.len(), 1, "{name} of {method}: {found:#?}");
    found.remove(0)
}

/// Waits until all spans are over.
async fn all_closed(spans: &Spans) {
    until(|| spans.all().iter().all(|span| span.closed), || format!("{:#?}", spans.all())).await;
}

fn ids(span: &Seen) -> (&str, &str) {
    (span.field("trace_id"), span.field("span_id"))
}

#[tokio::test]
async fn a_call_has_a_span_on_each_side_with_interface_method_id_and_outcome() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (server, _client, root) = actors().await;
    let outer = info_span!("outer");
    let call = outer.in_scope(|| root.act());
    drop(outer);
    assert_eq!(soon(call).await, Ok(7));
    all_closed(&spans).await;
    let (call, serve) = (one(&spans, "call", "act"), one(&spans, "serve", "act"));
    for span in [&call, &serve] {
        assert_eq!((span.field("interface"), span.field("id"), span.field("outcome")), ("Actor", "1", "ok"));
    }
    assert_eq!(serve.field("peer"), server.peer());
    let all = spans.all();
    assert_eq!(call.parent.map(|at| all[at].name), Some("outer"));
    assert_eq!(serve.parent, None, "another process would know nothing of it");
    assert_eq!(spans.named("own")[0].parent.map(|at| all[at].name), Some("serve"));
    assert!(call.entered == 0 && serve.entered >= 2, "a method is polled in its span");
    // One span of one trace, which both sides have.
    assert_eq!(ids(&call), ids(&serve));
    let parent = format!("00-{}-{}-01", call.field("trace_id"), call.field("span_id"));
    assert!(parent.parse::<TraceParent>().is_ok(), "{parent}");
}

#[tokio::test]
async fn each_way_for_a_call_to_end_is_told() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (_server, client, root) = actors().await;
    assert!(matches!(soon(root.fail()).await, Err(CallError::App(Fault))));
    assert_eq!(soon(root.panic()).await.expect_err("it panics").kind, FailureKind::Internal);
    let late = soon(root.within(Duration::from_millis(20)).hang()).await.expect_err("it hangs");
    assert_eq!(late.kind, FailureKind::DeadlineExceeded);
    let strange = soon(root.remote().cast::<OtherRef>().other()).await.expect_err("it has none");
    assert_eq!(strange.kind, FailureKind::Unimplemented);
    root.note();
    assert!(soon(root.this()).await.is_ok());
    drop(root.act());
    let cancelled = || spans.named("call").iter().all(|span| span.closed);
    until(cancelled, || format!("{:#?}", spans.all())).await;
    let outcome = |side, method| one(&spans, side, method).field("outcome").to_owned();
    let told = |method| [outcome("call", method), outcome("serve", method)];
    all_closed(&spans).await;
    assert_eq!(told("fail"), ["error", "error"]);
    assert_eq!(told("panic"), ["Internal", "unanswered"]);
    assert_eq!(told("hang"), ["DeadlineExceeded", "unanswered"]);
    assert_eq!(told("other"), ["Unimplemented", "Unimplemented"]);
    assert_eq!(told("note"), ["sent", "done"]);
    assert_eq!(told("this"), ["ok", "ok"]);
    assert_eq!(outcome("call", "act"), "dropped");
    client.close();
    assert!(soon(root.entries()).await.is_err());
    root.note();
    assert_eq!(outcome("call", "entries"), "Disconnected");
    let notes: Vec<_> =
        spans.named("call").iter().filter(|span| span.field("method") == "note").cloned().collect();
    assert_eq!(notes.last().map(|span| span.field("outcome")), Some("Disconnected"));
}

#[tokio::test]
async fn the_calls_of_a_method_are_of_its_trace_and_below_its_span_also_back_to_the_caller() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (_server, _client, root) = actors().await;
    let own = ActorRef::new(MyActor);
    let parent: TraceParent =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("it is one");
    assert_eq!(soon(trace::scope(parent, async { root.direct(own).await })).await, Ok(7));
    all_closed(&spans).await;
    let all = spans.all();
    let (direct, serving) = (one(&spans, "call", "direct"), one(&spans, "serve", "direct"));
    let (back, served) = (one(&spans, "call", "act"), one(&spans, "serve", "act"));
    for span in [&direct, &serving, &back, &served] {
        assert_eq!(span.field("trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
    assert_eq!((ids(&direct), ids(&back)), (ids(&serving), ids(&served)));
    assert_ne!(direct.field("span_id"), "00f067aa0ba902b7", "it has a span of its own");
    assert_ne!(ids(&direct), ids(&back));
    assert_eq!(back.parent.map(|at| (all[at].name, all[at].field("method"))), Some(("serve", "direct")));
}

#[tokio::test]
async fn a_local_call_has_one_span_and_runs_in_it() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let own = ActorRef::new(MyActor);
    assert_eq!(soon(own.act()).await, Ok(7));
    assert!(matches!(soon(own.fail()).await, Err(CallError::App(Fault))));
    all_closed(&spans).await;
    assert!(spans.named("serve").is_empty());
    let (act, all) = (one(&spans, "call", "act"), spans.all());
    assert_eq!((act.field("outcome"), act.field("id")), ("ok", ""));
    assert_eq!(one(&spans, "call", "fail").field("outcome"), "error");
    assert_eq!(spans.named("own")[0].parent.map(|at| all[at].field("method")), Some("act"));
    assert!(act.entered > 0);
}

#[tokio::test]
async fn who_does_not_subscribe_to_the_level_has_neither_spans_nor_traces_begun() {
    let (spans, _guard) = Spans::watch(Level::INFO);
    let (_server, _client, root) = actors().await;
    assert_eq!(soon(root.act()).await, Ok(7));
    assert_eq!(soon(root.entries()).await, Ok(0));
    root.note();
    assert_eq!(soon(root.act()).await, Ok(7));
    assert!(spans.all().iter().all(|span| span.name == "own"), "{:#?}", spans.all());
}

#[tokio::test]
async fn who_subscribes_has_traces_begun_but_where_there_is_no_room_for_them() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (_server, _client, root) = actors().await;
    assert_eq!(soon(root.entries()).await, Ok(1));
    let mut full = root.clone();
    for at in 0..16 {
        full = full.remote().with_metadata(format!("key {at}"), "value");
    }
    assert_eq!(soon(full.entries()).await, Ok(16));
    all_closed(&spans).await;
    assert!(spans.named("call").iter().all(|span| span.field("outcome") == "ok"));
    let serves = spans.named("serve");
    assert_eq!((serves[0].field("trace_id").len(), serves[1].field("trace_id")), (32, ""));
}

#[tokio::test]
async fn calls_by_name_and_questions_for_descriptions_have_spans_too() {
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (_server, _client, root) = actors().await;
    let own = ActorRef::new(MyActor);
    for actor in [&root, &own] {
        assert_eq!(soon(actor.remote().call::<u64>("act", ())).await, Ok(7));
        let description = soon(actor.remote().describe()).await.expect("it tells");
        let act = description.method("act").expect("it has one");
        assert!(soon(actor.remote().invoke(act, ())).await.is_ok());
    }
    all_closed(&spans).await;
    let told = |name| -> Vec<_> {
        let spans = spans.named(name).into_iter();
        spans
            .map(|span| ["interface", "method", "outcome"].map(|field| span.field(field).to_owned()))
            .collect()
    };
    let ([act, described], all) = ([["Actor", "act", "ok"], ["", "$describe", "ok"]], spans.all());
    assert_eq!(told("call"), [act, described, act, act, described, act]);
    assert_eq!(told("serve"), [act, described, act]);
    let own: Vec<_> = spans.named("own").iter().map(|span| span.parent.map(|at| all[at].name)).collect();
    assert_eq!(own, [Some("serve"), Some("serve"), Some("call"), Some("call")]);
}
