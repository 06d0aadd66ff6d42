//! Rows A35 to A46 of `attacks.md`: forged ids, counts, and what a connection leaves behind.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pb_core::broker::Config;
use pb_core::message::*;
use pb_core::proto::{Connection, Host, Key, Outbox, Place, Violation};
use pb_core::reactor::Stream;
use pb_server::{Broker, FailureKind, Limits, Referenceable, Stub, TableSizes, remote_interface};
use pb_tests::golden::plain_call;
use pb_tests::net::{A, B, Handle, Net};

// ---- forged ids --------------------------------------------------------------------------------------------------

/// An owner of nothing but a root, which is handle 0.
struct Bare;

impl Host for Bare {
    type Handle = i64;
    type Waiter = ();
    type Canceller = ();
    type Proxy = ();
    type Watch = ();
    type Memo = ();

    fn settled(&self, _: &i64) -> Option<i64> {
        None
    }
    fn place(&self, handle: &i64) -> Place {
        Place::Ours(self.key(handle))
    }
    fn key(&self, handle: &i64) -> Key {
        Key { object: *handle as usize, facet: 0 }
    }
    fn mention(&self, id: ImportId, proxy: &mut Option<()>) -> (i64, bool) {
        (id.0, proxy.replace(()).is_none())
    }
    fn promise(&self) -> i64 {
        i64::MAX
    }
    fn broken(&self, _: Failure) -> i64 {
        i64::MIN
    }
}

/// Counts what is sent.
#[derive(Default)]
struct Sent(usize);

impl Outbox for Sent {
    fn send(&mut self, _: Message<Body<'_>>) {
        self.0 += 1;
    }
    fn unread(&self) -> u64 {
        0
    }
    fn prompted(&self) -> u64 {
        0
    }
}

/// A side that serves its root and has exported nothing.
fn fresh() -> Connection<Bare> {
    let mut connection = Connection::new(Bare, Some(0), Limits::default());
    let hello = Hello { versions: (1, 1), features: 0, grants: Grants::MINIMUM };
    let greeted = connection.handle(Message::Hello(hello), Instant::now(), &mut Sent::default());
    assert!(greeted.is_ok());
    connection
}

/// Each way to name `id`, which is not 0.
fn forged(id: i64) -> Vec<Message> {
    let method =
        || MethodName::Once(Arc::new(MethodText { name: "say".into(), fewest: 0, prints: [].into() }));
    let target = ImportId(id);
    let call = |target, caps: &[Cap]| Call {
        target,
        method: method(),
        payload: Payload { caps: caps.to_vec(), body: Bytes::new() },
        ..plain_call()
    };
    let cast = Cast { target, method: method(), options: None, payload: Payload::default() };
    let resolve = Resolve { export: ExportId(id), payload: Payload::default() };
    let failure = Failure::new(FailureKind::Failed, Ran::No, "forged");
    let reject = Reject { export: ExportId(id), rejection: Rejection::Broker(failure) };
    let mut messages = vec![
        Message::Cast(cast),
        Message::Call(call(ImportId::ROOT, &[Cap::Mine(ExportId(-1)), Cap::Yours(target)])),
        Message::Resolve(resolve),
        Message::Reject(reject),
        Message::Release(Release { mentions: vec![(target, 1)] }),
        Message::Disembargo(Disembargo::Ask { target, number: 1 }),
        Message::Disembargo(Disembargo::Echo { number: id.unsigned_abs() }),
    ];
    match id {
        1.. => messages.push(Message::Cancel(Cancel { result: target })),
        _ => messages.push(Message::Call(call(target, &[]))),
    }
    messages
}

#[test]
fn none_of_the_small_ids_in_any_message_reaches_anything_that_was_not_given() {
    let now = Instant::now();
    for id in (-(1 << 15)..=(1 << 15)).filter(|id| *id != 0) {
        for message in forged(id) {
            let (mut connection, mut sent) = (fresh(), Sent::default());
            let said = format!("{message:?}");
            let refused = connection.handle(message, now, &mut sent);
            assert!(
                matches!(refused, Err(ref violation) if violation.abort_code() == AbortCode::Violation),
                "{said}"
            );
            assert!(
                connection.poll_task(&mut sent).is_none() && connection.poll_notice().is_none(),
                "{said}"
            );
            assert_eq!(sent.0, 0, "{said}");
            assert_eq!((connection.sizes().exports, connection.sizes().calls), (0, 0), "{said}");
        }
    }
}

#[test]
fn a_call_takes_no_id_but_the_next_for_its_result() {
    for result in (-(1 << 15)..=(1 << 15)).filter(|id| *id != 1) {
        let mut connection = fresh();
        let call = Call { result: ImportId(result), ..plain_call() };
        let refused = connection.handle(Message::Call(call), Instant::now(), &mut Sent::default());
        // One that is not positive is refused by the codec already.
        assert_eq!(refused, Err(Violation::ResultNotNext { id: result, next: 1 }));
    }
}

// ---- counts ------------------------------------------------------------------------------------------------------

#[test]
fn a_hundred_thousand_mentions_are_counted_and_given_back_at_once() {
    let net = Net::new();
    let object = Handle::object("often");
    let thousand = vec![object.clone(); 1000];
    for _ in 0..100 {
        let call = net.call(A, &net.root(A), "keep", "", &thousand);
        net.run();
        assert!(call.has_ended());
    }
    assert_eq!((net.sizes(A).exports, net.sizes(B).imports), (1, 1));
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    assert!(net.dialogue().contains(&"B: release (-1, 100000)".to_owned()), "{:?}", net.dialogue().last());
    assert_eq!(net.sizes(A).exports, 0);
    drop(dropped);
    net.finish();
}

#[test]
fn an_object_goes_with_its_last_mention_and_not_before() {
    let net = Net::new();
    let object = Handle::object("often");
    let call = net.call(B, &net.root(B), "keep", "", &vec![object; 1000]);
    net.run();
    drop(call);
    let release = |count| Message::Release(Release { mentions: vec![(ImportId(-1), count)] });
    for (count, left) in [(1, 1), (998, 1), (1, 0)] {
        net.inject(A, release(count));
        net.deliver(A);
        assert_eq!(net.sizes(B).exports, left, "after {count}");
    }
    net.inject(A, release(1));
    let found = net.violation(A);
    assert_eq!(found, Violation::ReleasedTooMany { id: -1, held: 0, released: 1 });
    net.cut(A);
    net.finish();
}

// ---- what a connection leaves behind -----------------------------------------------------------------------------

#[remote_interface]
trait Node {
    /// Keeps them.
    async fn keep(&self, nodes: Vec<NodeRef>) -> u64;
    /// A new node, which keeps `other`.
    async fn tie(&self, other: NodeRef) -> NodeRef;
    async fn number(&self) -> u64;
}

#[derive(Referenceable)]
struct MyNode {
    kept: Mutex<Vec<NodeRef>>,
    alive: Arc<AtomicUsize>,
}

impl MyNode {
    fn new(alive: &Arc<AtomicUsize>) -> Arc<MyNode> {
        alive.fetch_add(1, SeqCst);
        Arc::new(MyNode { kept: Mutex::default(), alive: Arc::clone(alive) })
    }

    fn take(&self) -> Vec<NodeRef> {
        std::mem::take(&mut self.kept.lock().expect("nobody panics in it"))
    }
}

impl Drop for MyNode {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

impl Node for MyNode {
    async fn keep(&self, nodes: Vec<NodeRef>) -> u64 {
        let mut kept = self.kept.lock().expect("nobody panics in it");
        kept.extend(nodes);
        kept.len() as u64
    }
    async fn tie(&self, other: NodeRef) -> NodeRef {
        let node = MyNode::new(&self.alive);
        node.kept.lock().expect("nobody panics in it").push(other);
        NodeRef::new(node)
    }
    async fn number(&self) -> u64 {
        7
    }
}

/// A failure bound only.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes, and does not hang")
}

/// A server's end that serves `root`, and a client's.
async fn ends(root: &Arc<MyNode>, limits: Limits) -> (Broker, Broker) {
    let (one, other) = Stream::pair();
    let root: NodeRef = NodeRef::new(Arc::clone(root));
    let server = Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() };
    let client = Config { root: None, limits, stays: false, ..Config::default() };
    let (server, client) = tokio::join!(Broker::open(one, server), Broker::open(other, client));
    (server.expect("greeted"), client.expect("greeted"))
}

async fn until(done: impl Fn() -> bool) {
    soon(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_references_to_a_gone_peer_are_all_broken_and_no_table_keeps_one() {
    let limits = Limits { imports: 200_000, exports: 200_000, budget: 64 << 20, ..Limits::default() };
    let alive = Arc::new(AtomicUsize::new(0));
    let root = MyNode::new(&alive);
    let (server, client) = ends(&root, limits).await;
    let far: NodeRef = client.root();
    for batch in 1..=500 {
        let nodes = (0..200).map(|_| NodeRef::new(MyNode::new(&alive))).collect();
        assert_eq!(soon(far.keep(nodes)).await, Ok(batch * 200));
    }
    assert_eq!((server.tables().imports, client.tables().exports), (100_000, 100_000));
    client.close();
    soon(server.closed()).await;
    assert_eq!((server.tables(), client.tables()), (TableSizes::default(), TableSizes::default()));
    until(|| alive.load(SeqCst) == 1).await; // Freed with the table that owned them; the root is left.
    let kept = root.take();
    assert_eq!(kept.len(), 100_000);
    for node in &kept {
        assert_eq!(soon(node.remote().on_broken()).await.kind, FailureKind::Disconnected);
        let failure = soon(node.number()).await.expect_err("nobody is there");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, pb_server::Ran::No));
    }
    drop((kept, far));
}

/// An object here that holds one there, which holds the first: nobody else does, and only the connection's end sees it.
#[tokio::test]
async fn a_circle_of_references_through_a_connection_ends_with_it() {
    for closed_by_the_server in [false, true] {
        let alive = Arc::new(AtomicUsize::new(0));
        let root = MyNode::new(&alive);
        let (server, client) = ends(&root, Limits::default()).await;
        let far: NodeRef = client.root();
        let ours = MyNode::new(&alive);
        let theirs = soon(far.tie(NodeRef::new(Arc::clone(&ours)))).await.expect("tied");
        assert_eq!(soon(ours.keep(vec![theirs])).await, 1);
        drop((ours, far));
        until(|| client.tables() == TableSizes { exports: 1, imports: 1, ..TableSizes::default() }).await;
        assert_eq!(alive.load(SeqCst), 3, "each holds the other");
        if closed_by_the_server {
            server.close()
        } else {
            client.close()
        }
        until(|| alive.load(SeqCst) == 1).await;
        assert_eq!((server.tables(), client.tables()), (TableSizes::default(), TableSizes::default()));
    }
}

/// The root that a connection serves keeps references that lead over it.
#[tokio::test]
async fn a_root_that_keeps_references_over_its_own_connection_keeps_nothing_of_it_alive() {
    let alive = Arc::new(AtomicUsize::new(0));
    let root = MyNode::new(&alive);
    let (server, client) = ends(&root, Limits::default()).await;
    let far: NodeRef = client.root();
    let ours = NodeRef::new(MyNode::new(&alive));
    // Its own root by way of the client, which comes home; an object of the client's; and one of the server's own.
    let tied = soon(far.tie(ours.clone())).await.expect("tied");
    assert_eq!(soon(far.keep(vec![far.clone(), ours, tied.clone()])).await, Ok(3));
    drop((tied, far, client)); // The last handle: the client's end leaves.
    soon(server.closed()).await;
    assert_eq!(server.tables(), TableSizes::default());
    let kept = root.take();
    assert!(kept[0].remote().local::<MyNode>().is_some_and(|own| Arc::ptr_eq(&own, &root)));
    assert_eq!(soon(kept[1].number()).await.expect_err("it is gone").kind, FailureKind::Disconnected);
    assert_eq!(soon(kept[2].number()).await, Ok(7), "what is its own lives on");
    drop(kept);
    until(|| alive.load(SeqCst) == 1).await;
    drop(server);
    assert_eq!(Arc::strong_count(&root), 1, "no table and no task holds it");
}
