//! Traces that go with calls where nobody subscribes to `tracing`: set, read, inherited, passed on; and what peers send in their place.

use std::time::Duration;

use pb_client::{Broker, FailureKind, trace};
use pb_core::trace::TraceParent;
use pb_server::{CallContext, Referenceable, pair, remote_interface};
use pb_tests::live::soon;

/// What a method learns about its call.
#[remote_interface]
pub trait Witness {
    /// The call's `traceparent`, as it is typed, what it inherits to calls, and all of its metadata.
    async fn seen(&self, cx: &CallContext) -> Seen;
    /// What `other` sees of a call that this method makes.
    async fn asked(&self, other: WitnessRef) -> Option<Seen>;
    /// The same of one that a task makes that this method spawns.
    async fn spawned(&self, other: WitnessRef) -> Option<Seen>;
    /// The same in a scope of its own, and behind it.
    async fn scoped(&self, other: WitnessRef, parent: String) -> Vec<Option<Seen>>;
}

/// See [`Witness::seen`].
#[derive(serde::Serialize, serde::Deserialize, Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    parent: Option<String>,
    current: Option<String>,
    metadata: Vec<(String, Vec<u8>)>,
    in_time: bool,
}

#[derive(Referenceable)]
struct MyWitness;

impl Witness for MyWitness {
    async fn seen(&self, cx: &CallContext) -> Seen {
        let value = |key: &str| cx.metadata(key).expect("it has the key").to_vec();
        Seen {
            parent: cx.traceparent().map(|parent| parent.to_string()),
            current: trace::current().map(|parent| parent.to_string()),
            metadata: cx.metadata_keys().map(|key| (key.to_owned(), value(key))).collect(),
            in_time: cx.deadline().is_some(),
        }
    }
    async fn asked(&self, other: WitnessRef) -> Option<Seen> {
        other.seen().await.ok()
    }
    async fn spawned(&self, other: WitnessRef) -> Option<Seen> {
        tokio::spawn(async move { other.seen().await.ok() }).await.ok().flatten()
    }
    async fn scoped(&self, other: WitnessRef, parent: String) -> Vec<Option<Seen>> {
        let parent = parent.parse().expect("a traceparent");
        let within = trace::scope(parent, async { other.seen().await.ok() }).await;
        vec![within, other.seen().await.ok()]
    }
}

const A: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn parsed(text: &str) -> TraceParent {
    text.parse().expect("a traceparent")
}

/// What is seen of a call with that trace and no other entry.
fn only(parent: &str) -> Seen {
    let metadata = vec![("traceparent".to_owned(), parent.as_bytes().to_vec())];
    Seen { parent: Some(parent.into()), current: Some(parent.into()), metadata, in_time: false }
}

/// A server's end, both ends of a middleman's two connections, and the client's.
struct Row {
    root: WitnessRef,
    server: Broker,
    ends: [Broker; 3],
}

/// A client, a middleman, a server.
async fn row() -> Row {
    let (server, near) = pair(WitnessRef::new(MyWitness)).await;
    let (far, client) = pair(near.root::<WitnessRef>()).await;
    Row { root: client.root(), server, ends: [near, far, client] }
}

#[tokio::test]
async fn a_scopes_trace_goes_with_its_calls_through_a_middleman_and_on_with_what_their_methods_call() {
    let row = row().await;
    let own = WitnessRef::new(MyWitness);
    let seen = trace::scope(parsed(A), async {
        assert_eq!(trace::current(), Some(parsed(A)));
        let calls = (row.root.seen(), row.root.asked(own.clone()), own.seen());
        (soon(calls.0).await, soon(calls.1).await, soon(calls.2).await)
    });
    // By the server, by our own object that the server's method calls, and by our own object called from here.
    assert_eq!(seen.await, (Ok(only(A)), Ok(Some(only(A))), Ok(only(A))));
    assert_eq!(trace::current(), None);
    assert_eq!(soon(row.root.seen()).await, Ok(Seen::default()), "behind it nothing is marked");
}

#[tokio::test]
async fn a_scope_within_another_and_a_stubs_own_trace_count_where_they_are_and_tasks_have_none() {
    let row = row().await;
    let own = WitnessRef::new(MyWitness);
    trace::scope(parsed(A), async {
        let both = soon(row.root.scoped(own.clone(), B.into())).await;
        assert_eq!(both, Ok(vec![Some(only(B)), Some(only(A))]));
        assert_eq!(soon(row.root.remote().with_traceparent(parsed(B)).seen()).await, Ok(only(B)));
        let spawned = soon(row.root.spawned(own.clone())).await;
        assert_eq!(spawned, Ok(Some(Seen::default())));
    })
    .await;
}

#[tokio::test]
async fn a_scope_leaves_deadline_and_other_entries_as_they_are() {
    let row = row().await;
    let marked = row.root.remote().with_metadata("tracestate", "a=1").within(Duration::from_secs(60));
    let seen = trace::scope(parsed(A), async { soon(marked.seen()).await }).await.expect("it answers");
    assert!(seen.in_time);
    assert_eq!(seen.parent.as_deref(), Some(A));
    let mut keys: Vec<_> = seen.metadata.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["traceparent", "tracestate"]);
}

#[tokio::test]
async fn where_there_is_no_room_for_a_trace_the_scope_is_left_without_and_no_call_fails() {
    let row = row().await;
    let mut full = row.root.clone();
    for at in 0..15 {
        full = full.remote().with_metadata(format!("key {at}"), "value");
    }
    let seen = trace::scope(parsed(A), async { soon(full.seen()).await }).await.expect("16 are allowed");
    assert_eq!((seen.metadata.len(), seen.parent.as_deref()), (16, Some(A)));
    let over = full.remote().with_metadata("one more", "value");
    let seen = soon(over.seen()).await.expect("16 are allowed");
    assert_eq!((seen.metadata.len(), seen.parent), (16, None));
    let failure = trace::scope(parsed(A), async { soon(over.seen()).await }).await.expect_err("they are 17");
    assert_eq!(failure.kind, FailureKind::Failed);
}

#[tokio::test]
async fn what_a_peer_calls_a_trace_and_is_none_is_ignored_with_its_state_and_counted() {
    let row = row().await;
    let own = WitnessRef::new(MyWitness);
    let bad: [&[u8]; 7] = [
        b"",
        b"00",
        b"garbage \x1b[31m \xff\xfe",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        &[b'0'; 256],
    ];
    let counted = |broker: &Broker| broker.counters().bad_traceparents;
    for (before, bytes) in (0..).zip(bad) {
        let marked = row.root.remote().with_metadata("traceparent", bytes.to_vec());
        let marked =
            marked.remote().with_metadata("tracestate", "a=1").remote().with_metadata("other", "kept");
        let kept = vec![("other".to_owned(), b"kept".to_vec())];
        let expected = Seen { metadata: kept, ..Seen::default() };
        assert_eq!(soon(marked.seen()).await, Ok(expected.clone()));
        // Nor does what the method calls carry it: only the other entry.
        assert_eq!(soon(marked.asked(own.clone())).await, Ok(Some(expected)));
        assert_eq!(counted(&row.server), 2 * before + 2);
    }
    // Middlemen pass it on unseen, and who is called back by a method has none of it.
    assert!(row.ends.iter().all(|end| counted(end) == 0));
    assert_eq!(soon(row.root.remote().with_traceparent(parsed(A)).seen()).await, Ok(only(A)));
    assert_eq!(counted(&row.server), 14, "a good one is not counted");
}

#[tokio::test]
async fn a_version_that_is_not_known_yet_is_passed_on_as_it_came() {
    let row = row().await;
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
    let seen = soon(row.root.remote().with_metadata("traceparent", later).seen()).await.expect("it answers");
    assert_eq!(seen.parent.as_deref(), Some(A));
    assert_eq!(seen.metadata, [("traceparent".to_owned(), later.as_bytes().to_vec())]);
    assert_eq!(row.server.counters().bad_traceparents, 0);
}
