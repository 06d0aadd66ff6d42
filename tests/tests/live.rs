//! Two live ends and the programs on them: what user code may do from its `Drop`, `Serialize` and methods, and what load does not break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::reactor::Stream;
use pb_server::{
    Broker, CallContext, Cause, FailureKind, Limits, Referenceable, Server, Stub, TableSizes,
    remote_interface,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[remote_interface]
trait Node {
    async fn next(&self) -> NodeRef;
    async fn echo(&self, node: NodeRef) -> NodeRef;
    async fn number(&self) -> u64;
    async fn this(&self, cx: &CallContext) -> NodeRef;
    async fn hold(&self) -> NodeRef;
    #[remote(answer_bytes = 1_048_576)]
    async fn large(&self, bytes: u32) -> Vec<u8>;
    /// The same, once the gate opens.
    #[remote(answer_bytes = 1_048_576)]
    async fn later(&self, bytes: u32) -> Vec<u8>;
    /// What `own` holds, once the gate opens.
    async fn later_node(&self) -> NodeRef;
    async fn fail(&self) -> Result<NodeRef, String>;
    async fn take(&self, touchy: Touchy) -> u64;
    /// Calls `node` with something that cannot be encoded, as soon as `node` is known.
    async fn send_touchy(&self, node: NodeRef) -> bool;
    async fn tie(&self, node: NodeRef) -> NodeRef;
    #[remote(oneway)]
    async fn note(&self, bytes: Vec<u8>);
}

/// Panics as it is read, or as it is written.
#[derive(Debug)]
struct Touchy {
    on_write: bool,
}

impl Serialize for Touchy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.on_write, "intended: written");
        serializer.serialize_u8(7)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = u8::deserialize(deserializer)?;
        assert!(read != 7, "intended: read");
        Ok(Touchy { on_write: false })
    }
}

#[derive(Default)]
struct Shared {
    alive: AtomicUsize,
    noted: AtomicUsize,
    go: Notify,
    gate: tokio::sync::watch::Sender<bool>,
    own: std::sync::Mutex<Option<NodeRef>>,
}

#[derive(Referenceable)]
struct MyNode {
    number: u64,
    shared: Arc<Shared>,
    /// Called as this is dropped.
    tied: Option<NodeRef>,
}

impl MyNode {
    fn new(number: u64, shared: &Arc<Shared>) -> Self {
        shared.alive.fetch_add(1, Ordering::SeqCst);
        MyNode { number, shared: Arc::clone(shared), tied: None }
    }

    fn reference(number: u64, shared: &Arc<Shared>) -> NodeRef {
        NodeRef::new(MyNode::new(number, shared))
    }
}

impl Drop for MyNode {
    fn drop(&mut self) {
        self.shared.alive.fetch_sub(1, Ordering::SeqCst);
        if let Some(tied) = self.tied.take() {
            tied.note(vec![1]);
        }
    }
}

impl Node for MyNode {
    async fn next(&self) -> NodeRef {
        MyNode::reference(self.number + 1, &self.shared)
    }
    async fn echo(&self, node: NodeRef) -> NodeRef {
        node
    }
    async fn number(&self) -> u64 {
        self.number
    }
    async fn this(&self, cx: &CallContext) -> NodeRef {
        cx.this()
    }
    async fn hold(&self) -> NodeRef {
        self.shared.go.notified().await;
        MyNode::reference(100, &self.shared)
    }
    async fn large(&self, bytes: u32) -> Vec<u8> {
        vec![7; bytes as usize]
    }
    async fn later(&self, bytes: u32) -> Vec<u8> {
        let _ = self.shared.gate.subscribe().wait_for(|open| *open).await;
        vec![7; bytes as usize]
    }
    async fn later_node(&self) -> NodeRef {
        let _ = self.shared.gate.subscribe().wait_for(|open| *open).await;
        self.shared.own.lock().expect("nobody panics in it").take().expect("somebody put it there")
    }
    async fn fail(&self) -> Result<NodeRef, String> {
        Err("far away".to_owned())
    }
    async fn take(&self, _touchy: Touchy) -> u64 {
        1
    }
    async fn send_touchy(&self, node: NodeRef) -> bool {
        node.take(Touchy { on_write: true }).await.is_err()
    }
    async fn tie(&self, node: NodeRef) -> NodeRef {
        let mut tied = MyNode::new(0, &self.shared);
        tied.tied = Some(node);
        NodeRef::new(tied)
    }
    async fn note(&self, bytes: Vec<u8>) {
        self.shared.noted.fetch_add(bytes.len(), Ordering::SeqCst);
    }
}

/// Both ends, the client's root, and what all objects share.
struct Bench {
    server: Broker,
    client: Broker,
    root: NodeRef,
    shared: Arc<Shared>,
}

async fn bench() -> Bench {
    let shared = Arc::new(Shared::default());
    let (server, client) = pb_server::pair(MyNode::reference(0, &shared)).await;
    let root = client.root();
    Bench { server, client, root, shared }
}

/// A failure bound only.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes, and does not hang")
}

impl Bench {
    /// The root answers still, the tables of both ends are empty, and `alive` objects live beside the root.
    async fn is_idle(&self, alive: usize) {
        assert_eq!(soon(self.root.number()).await, Ok(0));
        let idle = |broker: &Broker| broker.tables() == TableSizes::default();
        for _ in 0..100_000 {
            if idle(&self.server) && idle(&self.client) {
                assert_eq!(self.shared.alive.load(Ordering::SeqCst), alive + 1);
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("server {:?}, client {:?}", self.server.tables(), self.client.tables());
    }
}

#[tokio::test]
async fn a_drop_that_calls_back_over_its_own_connection_blocks_nothing() {
    let bench = bench().await;
    let ours = MyNode::reference(9, &bench.shared);
    let tied = bench.root.tie(ours.clone()).await.expect("tied");
    drop(tied); // Dropped over there, where it calls `ours` from its drop, under whatever is held then.
    bench.is_idle(1).await;
    assert_eq!(bench.shared.noted.load(Ordering::SeqCst), 1);
    // Never received: dropped as garbage of the tables.
    bench.root.tie(ours.clone()).detach();
    drop(bench.root.tie(ours.clone()));
    drop(ours);
    bench.is_idle(0).await;
}

#[tokio::test]
async fn objects_that_call_back_as_the_connection_ends_block_nothing() {
    let bench = bench().await;
    let ours = MyNode::reference(9, &bench.shared);
    let tied = bench.root.tie(ours.clone()).await.expect("tied");
    bench.client.close();
    soon(bench.server.closed()).await;
    drop((tied, ours));
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.server.tables(), TableSizes::default());
    assert_eq!(bench.client.tables(), TableSizes::default());
}

#[tokio::test]
async fn arguments_that_panic_as_they_are_read_fail_their_call_only() {
    let bench = bench().await;
    let failure = soon(bench.root.take(Touchy { on_write: false })).await.expect_err("it panics");
    assert!(!failure.to_string().contains("intended"), "{failure}");
    bench.is_idle(0).await;
}

#[tokio::test]
async fn arguments_that_panic_as_they_are_written_behind_a_promise_fail_their_call_only() {
    let bench = bench().await;
    // The server's method gets the promise of `held`, and its call waits there for it.
    let held = bench.root.hold();
    let ours = MyNode::reference(9, &bench.shared);
    let echoed = held.echo(ours);
    let sent = bench.root.send_touchy(echoed.promised());
    assert_eq!(soon(bench.root.number()).await, Ok(0));
    bench.shared.go.notify_one();
    assert_eq!(soon(sent).await, Ok(true));
    drop((held, echoed));
    bench.is_idle(0).await;
}

#[tokio::test]
async fn a_method_gets_itself_and_the_caller_knows_it_again() {
    let bench = bench().await;
    let node = bench.root.next().await.expect("a node");
    let (one, other) = (node.this().await.expect("itself"), node.this().await.expect("itself"));
    assert!(one.remote().same(&node) && other.remote().same(&one));
    drop((node, one, other));
    bench.is_idle(0).await;
}

#[tokio::test]
async fn a_promise_may_be_dropped_in_any_order() {
    let bench = bench().await;
    for order in 0..24 {
        for settled in [false, true] {
            let deferred = bench.root.next();
            let promised = deferred.promised();
            let mut on_it = Some(promised.next());
            let mut on_that = Some(on_it.as_ref().expect("there").number());
            let (mut deferred, mut promised) = (Some(deferred), Some(promised));
            if settled {
                assert_eq!(soon(bench.root.number()).await, Ok(0));
            }
            // The order as four digits in the factorial base.
            let mut left = vec![0, 1, 2, 3];
            let mut digits = order;
            for base in (1..=4).rev() {
                match left.remove(digits % base) {
                    0 => drop(deferred.take()),
                    1 => drop(promised.take()),
                    2 => drop(on_it.take()),
                    _ => drop(on_that.take()),
                }
                digits /= base;
            }
            bench.is_idle(0).await;
        }
    }
}

#[tokio::test]
async fn references_come_and_go_by_the_thousand_and_nothing_stays() {
    let bench = bench().await;
    for _ in 0..20 {
        let nodes = futures::future::join_all((0..500).map(|_| bench.root.next())).await;
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.expect("a node")).collect();
        let echoes = futures::future::join_all(nodes.iter().map(|node| bench.root.echo(node.clone()))).await;
        for (echo, node) in echoes.iter().zip(&nodes) {
            assert!(echo.as_ref().expect("an echo").remote().same(node));
        }
        drop((nodes, echoes));
    }
    bench.is_idle(0).await;
}

#[tokio::test]
async fn a_long_chain_of_promises_made_here_is_dropped_link_by_link() {
    let bench = bench().await;
    let mut node = bench.root.next().promised();
    for n in 0..20_000 {
        node = node.next().promised();
        if n % 500 == 0 {
            soon(node.number()).await.expect("it is reached");
        }
    }
    assert_eq!(soon(node.number()).await, Ok(20_001));
    drop(node);
    bench.is_idle(0).await;
}

#[tokio::test]
async fn a_long_chain_of_calls_on_objects_here_runs_and_is_dropped() {
    let shared = Arc::new(Shared::default());
    let mut node = MyNode::reference(0, &shared);
    for _ in 0..20_000 {
        node = node.next().promised();
    }
    assert_eq!(soon(node.number()).await, Ok(20_000));
    drop(node);
    for _ in 0..100_000 {
        if shared.alive.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} nodes live", shared.alive.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_long_chain_on_a_failed_call_fails_and_is_dropped() {
    let bench = bench().await;
    let failed = bench.root.fail();
    let mut node = failed.promised();
    for n in 0..20_000 {
        node = node.next().promised();
        if n % 500 == 0 {
            assert_eq!(soon(node.number()).await.expect_err("it fails").kind, FailureKind::Broken);
        }
    }
    drop((failed, node));
    bench.is_idle(0).await;
}

#[tokio::test]
async fn a_chain_never_awaited_is_cancelled_link_by_link() {
    let bench = bench().await;
    let held = bench.root.hold();
    let mut node = held.promised();
    for _ in 0..900 {
        node = node.next().promised();
    }
    drop((held, node));
    bench.is_idle(0).await;
}

#[tokio::test]
async fn more_than_the_peer_reads_at_once_is_sent_and_answered() {
    let bench = bench().await;
    let large = vec![1; 16 << 10];
    let mut answers = Vec::new();
    // 3 MiB of casts with calls between them, each as soon as there is room: over every bound at which starting pauses.
    for n in 0..192 {
        soon(bench.root.remote().ready()).await.expect("room");
        bench.root.note(large.clone());
        if n % 8 == 0 {
            soon(bench.root.remote().ready()).await.expect("room");
            answers.push(bench.root.large(200 << 10));
        }
    }
    for answer in answers {
        assert_eq!(soon(answer).await.map(|bytes| bytes.len()), Ok(200 << 10));
    }
    bench.is_idle(0).await;
    assert_eq!(bench.shared.noted.load(Ordering::SeqCst), 192 * (16 << 10));
}

/// Methods that wait are not bounded by what waits to be written: their answers may come all at once, on both sides.
#[tokio::test]
async fn both_sides_may_owe_each_other_more_than_either_takes_at_once() {
    let shared = Arc::new(Shared::default());
    let (one, other) = Stream::pair();
    let config = || {
        let root = MyNode::reference(0, &shared);
        let limits = Limits { budget: 64 << 20, ..Limits::default() };
        Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() }
    };
    let (one, other) = tokio::join!(Broker::open(one, config()), Broker::open(other, config()));
    let (one, other) = (one.expect("greeted"), other.expect("greeted"));
    let (ones, others): (NodeRef, NodeRef) = (one.root(), other.root());
    let calls: Vec<_> = (0..40).map(|n| if n % 2 == 0 { &ones } else { &others }.later(300_000)).collect();
    assert_eq!(soon(ones.number()).await, Ok(0));
    assert_eq!(soon(others.number()).await, Ok(0));
    shared.gate.send_replace(true);
    for answer in soon(futures::future::join_all(calls)).await {
        assert_eq!(answer.map(|bytes| bytes.len()), Ok(300_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_with_calls_of_all_sizes_each_get_their_own_answer() {
    let shared = Arc::new(Shared::default());
    let server =
        Server::new(MyNode::reference(0, &shared)).listen("tcp://127.0.0.1:0").await.expect("a port");
    let url = server.urls().remove(0);
    let running = server.spawn().expect("it listens");
    let client = pb_client::connect(&url).await.expect("connected");
    let root: NodeRef = client.root();
    let tasks = (0..16u32).map(|task| {
        let root = root.clone();
        tokio::spawn(async move {
            for round in 0..150u32 {
                let bytes = (task * 7919 + round * 104_729) % if round % 10 == 0 { 300_000 } else { 300 };
                let (answer, node) = (root.large(bytes), root.next());
                let number = node.next().number();
                assert_eq!(soon(answer).await.map(|answer| answer.len()), Ok(bytes as usize));
                assert_eq!(soon(number).await, Ok(2));
                if round % 3 == 0 {
                    drop(root.hold());
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("all answers came");
    }
    for _ in 0..10_000 {
        if client.tables() == TableSizes::default() && shared.alive.load(Ordering::SeqCst) == 1 {
            break;
        }
        assert_eq!(soon(root.number()).await, Ok(0));
    }
    assert_eq!(client.tables(), TableSizes::default());
    assert_eq!(shared.alive.load(Ordering::SeqCst), 1);
    drop((root, client));
    running.shutdown().await;
}

/// A client, a middleman and a server: two connections.
struct Chain {
    far: Bench,
    near: Bench,
    /// The far root, by way of the middleman.
    through: NodeRef,
}

async fn chain() -> Chain {
    let far = bench().await;
    let near = bench().await;
    let middle: NodeRef = near.server.root();
    drop(middle);
    let shared = Arc::clone(&near.shared);
    drop(shared);
    let (server, client) = pb_server::pair(far.root.clone()).await;
    let through = client.root();
    let near = Bench { server, client, root: near.root.clone(), shared: Arc::clone(&near.shared) };
    Chain { far, near, through }
}

impl Chain {
    async fn ends_idle(self) {
        let Chain { far, near, through } = self;
        assert_eq!(soon(through.number()).await, Ok(0));
        for _ in 0..100_000 {
            let tables = [&far.server, &far.client, &near.server, &near.client].map(Broker::tables);
            if tables == [TableSizes::default(); 4] {
                break;
            }
            tokio::task::yield_now().await;
        }
        let tables = [&far.server, &far.client, &near.server, &near.client].map(Broker::tables);
        assert_eq!(tables, [TableSizes::default(); 4]);
        assert_eq!(far.shared.alive.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_middleman_keeps_nothing_of_what_it_passed_on() {
    let chain = chain().await;
    let node = soon(chain.through.next()).await.expect("a node");
    assert_eq!(soon(node.number()).await, Ok(1));
    assert_eq!(soon(chain.through.next().next().next().number()).await, Ok(3));
    let echoed = soon(chain.through.echo(node.clone())).await.expect("an echo");
    assert!(echoed.remote().same(&node));
    drop((node, echoed));
    chain.ends_idle().await;
}

#[tokio::test]
async fn a_cancel_goes_through_a_middleman_to_the_method() {
    let chain = chain().await;
    let held = chain.through.hold();
    let on_it = held.number();
    assert_eq!(soon(chain.through.number()).await, Ok(0));
    drop((held, on_it));
    chain.ends_idle().await;
}

#[tokio::test]
async fn a_methods_error_keeps_its_words_through_a_middleman() {
    let chain = chain().await;
    let failed = soon(chain.through.fail()).await.err();
    assert_eq!(failed, Some(pb_server::CallError::App("far away".to_owned())));
    let broken = soon(chain.through.fail().number()).await.expect_err("it is broken");
    assert_eq!(pb_server::AppError::app::<String>(&broken).as_deref(), Some("far away"));
    chain.ends_idle().await;
}

#[tokio::test]
async fn a_far_connection_that_ends_breaks_what_was_passed_on() {
    let chain = chain().await;
    let node = soon(chain.through.next()).await.expect("a node");
    let held = chain.through.hold();
    assert_eq!(soon(chain.through.number()).await, Ok(0));
    chain.far.client.close();
    assert_eq!(soon(held).await.expect_err("it is gone").kind, FailureKind::Disconnected);
    let failure = soon(node.number()).await.expect_err("it is gone");
    assert_eq!(failure.kind, FailureKind::Broken, "{failure}");
    let Some(Cause::Broker(cause)) = failure.cause.as_deref() else { panic!("no cause: {failure:?}") };
    assert_eq!(cause.kind, FailureKind::Disconnected, "{cause}");
    drop((node, chain));
}

#[tokio::test]
async fn a_reference_learns_once_and_with_the_reason_that_it_is_broken() {
    let bench = bench().await;
    let node = bench.root.next().await.expect("a node");
    let promised = bench.root.hold().promised();
    let ours = MyNode::reference(9, &bench.shared);
    drop(node.remote().on_broken()); // One that nobody waits for.
    let (first, second) = (node.remote().on_broken(), node.remote().on_broken());
    let (root, promise) = (bench.root.remote().on_broken(), promised.remote().on_broken());
    let mut never = Box::pin(ours.remote().on_broken());
    assert!(futures::poll!(&mut never).is_pending());
    bench.server.close();
    for broken in [first, second, root, promise] {
        let failure = soon(broken).await;
        assert_eq!(failure.kind, FailureKind::Disconnected);
        assert!(failure.message.contains("closing"), "{failure}");
    }
    assert_eq!(
        soon(node.remote().on_broken()).await.kind,
        FailureKind::Disconnected,
        "who asks late learns it, too"
    );
    assert!(futures::poll!(&mut never).is_pending(), "our own object breaks never");
}

/// Cannot be written: but its reference is, first.
struct Half(NodeRef);

impl Serialize for Half {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.0)?;
        Err(S::Error::custom("the other half is missing"))
    }
}

impl<'de> Deserialize<'de> for Half {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(NodeRef, u8)>::deserialize(deserializer).map(|(node, _)| Half(node))
    }
}

#[remote_interface]
trait Halves {
    async fn put(&self, half: Half) -> u64;
    async fn get(&self) -> Half;
}

#[derive(Referenceable)]
struct MyHalves(Arc<Shared>);

impl Halves for MyHalves {
    async fn put(&self, _half: Half) -> u64 {
        1
    }
    async fn get(&self) -> Half {
        Half(MyNode::reference(1, &self.0))
    }
}

#[tokio::test]
async fn what_cannot_be_serialised_fails_its_call_and_its_references_are_given_back() {
    let shared = Arc::new(Shared::default());
    let (server, client) = pb_server::pair(HalvesRef::new(MyHalves(Arc::clone(&shared)))).await;
    let root: HalvesRef = client.root();
    for failure in [
        soon(root.put(Half(MyNode::reference(1, &shared)))).await.expect_err("it cannot be sent"),
        soon(root.get()).await.err().expect("it cannot be answered"),
    ] {
        assert_eq!(failure.kind, FailureKind::Failed);
        assert!(failure.message.contains("the other half is missing"), "{failure}");
    }
    assert_eq!(client.tables(), TableSizes::default());
    assert_eq!(server.tables(), TableSizes::default());
    assert_eq!(shared.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_connection_that_is_reset_fails_its_calls_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("an address"));
    let peer = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut hello = pb_core::wire::frame::MAGIC.to_vec();
        pb_core::wire::frame::encode(&pb_tests::raw::hello(), &mut hello);
        stream.write_all(&hello).await.expect("sent");
        let mut some = [0; 64];
        let _ = stream.read(&mut some).await; // What is unread as it closes makes a reset.
    });
    let client = pb_client::connect(&url).await.expect("connected");
    let root: NodeRef = client.root();
    let calls: Vec<_> = (0..50).map(|_| root.large(1)).collect();
    peer.await.expect("it has closed");
    for call in calls {
        assert_eq!(soon(call).await.expect_err("nobody answers").kind, FailureKind::Disconnected);
    }
    for _ in 0..2 {
        assert_eq!(soon(root.number()).await.expect_err("nobody is there").kind, FailureKind::Disconnected);
    }
    assert_eq!(client.tables(), TableSizes::default());
}

#[tokio::test]
async fn a_method_that_ends_with_the_promise_of_its_own_call_breaks_it() {
    let shared = Arc::new(Shared::default());
    let node = MyNode::reference(0, &shared);
    let held = node.later_node();
    let promise = held.promised();
    *shared.own.lock().expect("nobody panics in it") = Some(promise.clone());
    shared.gate.send_replace(true);
    assert_eq!(soon(promise.number()).await.expect_err("it leads nowhere").kind, FailureKind::Broken);
    drop((held, promise));
}
