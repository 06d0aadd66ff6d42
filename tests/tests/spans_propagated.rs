//! Spans whose ids another system gives. One test: what gives them is the process's.

#[path = "spans/watching.rs"]
mod watching;

use std::sync::Mutex;

use pb_client::trace::{self, Propagator, TraceParent};
use pb_server::{CallContext, Referenceable, pair, remote_interface};
use pb_tests::live::soon;
use tracing::{Level, Span};
use watching::Spans;

/// Says its trace.
#[remote_interface]
pub trait Witness {
    /// The call's.
    async fn seen(&self, cx: &CallContext) -> Option<String>;
}

#[derive(Referenceable)]
struct MyWitness;

impl Witness for MyWitness {
    async fn seen(&self, cx: &CallContext) -> Option<String> {
        cx.traceparent().map(|parent| parent.to_string())
    }
}

/// What was extracted, in order.
static EXTRACTED: Mutex<Vec<TraceParent>> = Mutex::new(Vec::new());

/// Gives calls that are made in a span `fives` the ids 5 and 6, and no others.
struct Fives;

impl Propagator for Fives {
    fn inject(&self, span: &Span) -> Option<TraceParent> {
        let metadata = span.metadata().expect("it is enabled");
        assert_eq!((metadata.name(), metadata.target()), ("call", "pb::call"));
        let within = Span::current().metadata().map(|outer| outer.name());
        TraceParent::new(5, 6, false).filter(|_| within == Some("fives"))
    }

    fn extract(&self, span: &Span, parent: TraceParent) {
        assert_eq!(span.metadata().map(|metadata| metadata.name()), Some("serve"));
        EXTRACTED.lock().expect("no panic").push(parent);
    }
}

#[tokio::test]
async fn ids_are_those_of_the_propagator_and_what_was_inherited_goes_on_where_it_has_none() {
    assert!(trace::propagate_by(Fives));
    assert!(!trace::propagate_by(Fives), "only the first counts");
    let (spans, _guard) = Spans::watch(Level::DEBUG);
    let (_server, client) = pair(WitnessRef::new(MyWitness)).await;
    let root: WitnessRef = client.root();
    let fives = "00-00000000000000000000000000000005-0000000000000006-00";
    let inherited = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = tracing::info_span!("fives").in_scope(|| root.seen());
    assert_eq!(soon(call).await, Ok(Some(fives.to_owned())));
    assert_eq!(soon(root.seen()).await, Ok(None), "the broker makes up none beside it");
    let parent: TraceParent = inherited.parse().expect("it is one");
    let call = trace::scope(parent, async { root.seen().await });
    assert_eq!(soon(call).await, Ok(Some(inherited.to_owned())));
    let extracted = EXTRACTED.lock().expect("no panic").clone();
    assert_eq!(extracted, [fives, inherited].map(|text| text.parse().expect("it is one")));
    let served: Vec<_> = spans.named("serve").iter().map(|span| span.field("span_id").to_owned()).collect();
    assert_eq!(served, ["0000000000000006", "", "00f067aa0ba902b7"]);
}
