//! Which traces that begin here say that they are sampled. In a process of its own: the choice is the process's.

use pb_core::trace::{self, TraceParent};
use pb_core::{CallContext, Referenceable, remote_interface};

#[remote_interface]
trait Account {
    async fn trace(&self, cx: &CallContext) -> Option<String>;
}

#[derive(Referenceable)]
struct MyAccount;

impl Account for MyAccount {
    async fn trace(&self, cx: &CallContext) -> Option<String> {
        cx.traceparent().map(|parent| parent.to_string())
    }
}

#[tokio::test]
async fn a_trace_that_begins_here_is_sampled_where_its_span_is_recorded_unless_the_program_says_otherwise() {
    let account = AccountRef::new(MyAccount);
    assert_eq!(account.trace().await, Ok(None), "nobody looks on");
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
    let sampled = async || {
        let text = account.trace().await.expect("it is here").expect("it has begun");
        text.parse::<TraceParent>().expect("it is one").is_sampled()
    };
    assert!(sampled().await, "who records it says so");
    assert!(trace::sample_by(|span| {
        assert_eq!(span.metadata().map(|span| span.name()), Some("call"));
        false
    }));
    assert!(!trace::sample_by(|_| true), "the first counts");
    assert!(!sampled().await);
    // What was begun elsewhere keeps its flag, whatever this process records.
    for flag in [true, false] {
        let parent = TraceParent::random(flag);
        assert_eq!(trace::scope(parent, sampled()).await, flag);
    }
}
