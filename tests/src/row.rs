//! A row of live brokers in one process: an owner of objects, any number of middlemen who pass everything on, and a client.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pb_server::{Broker, Cause, Failure, Referenceable, TableSizes, remote_interface};
use tokio::sync::watch;

/// What nodes do.
#[remote_interface]
pub trait Node {
    /// A new node.
    async fn next(&self) -> NodeRef;
    /// The number it was made with.
    async fn number(&self) -> u64;
    /// Writes `n` into the log of its place.
    async fn log(&self, n: u64);
    /// Its argument.
    async fn echo(&self, node: NodeRef) -> NodeRef;
    /// Its argument, once the gate of its place is open.
    async fn echo_late(&self, node: NodeRef) -> NodeRef;
    /// What its place gives.
    async fn give(&self) -> NodeRef;
    /// The same, once the gate is open.
    async fn give_late(&self) -> NodeRef;
    /// Keeps a reference.
    async fn keep(&self, node: NodeRef);
    /// The reference kept last.
    async fn kept(&self) -> NodeRef;
    /// The same, once the gate is open.
    async fn kept_late(&self) -> NodeRef;
    /// Lets go of what was kept.
    async fn forget(&self);
    /// A new node, once the gate is open.
    async fn held(&self) -> NodeRef;
    /// Fails, once the gate is open.
    async fn fails_late(&self) -> Result<NodeRef, String>;
    /// Never returns.
    async fn hang(&self) -> NodeRef;
}

/// What all nodes of one program share.
#[derive(Default)]
pub struct Place {
    /// Nodes that have not been dropped.
    pub alive: AtomicUsize,
    /// What was logged, in order.
    pub log: Mutex<Vec<u64>>,
    /// What `give` gives.
    pub gives: Mutex<Option<NodeRef>>,
    /// How often `give` and `give_late` ran.
    pub given: AtomicUsize,
    /// `hang` calls that have started, and that were stopped.
    pub hanging: AtomicUsize,
    /// See `hanging`.
    pub stopped: AtomicUsize,
    gate: watch::Sender<bool>,
}

impl Place {
    /// Lets everything go that waits for the gate.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Sets what `give` gives.
    pub fn gives(&self, node: NodeRef) {
        *self.gives.lock().expect("nobody panics in it") = Some(node);
    }

    /// What was logged.
    pub fn logged(&self) -> Vec<u64> {
        self.log.lock().expect("nobody panics in it").clone()
    }

    async fn gate(&self) {
        let _ = self.gate.subscribe().wait_for(|open| *open).await;
    }

    fn taken(&self) -> NodeRef {
        self.given.fetch_add(1, SeqCst);
        self.gives.lock().expect("nobody panics in it").clone().expect("the test has set it")
    }
}

/// A node.
#[derive(Referenceable)]
pub struct MyNode {
    number: u64,
    place: Arc<Place>,
    kept: Mutex<Vec<NodeRef>>,
}

impl MyNode {
    /// A node of `place`.
    pub fn reference(number: u64, place: &Arc<Place>) -> NodeRef {
        NodeRef::new(MyNode::new(number, place))
    }

    /// A node of `place`.
    pub fn new(number: u64, place: &Arc<Place>) -> MyNode {
        place.alive.fetch_add(1, SeqCst);
        MyNode { number, place: Arc::clone(place), kept: Mutex::default() }
    }
}

impl Drop for MyNode {
    fn drop(&mut self) {
        self.place.alive.fetch_sub(1, SeqCst);
    }
}

struct Hanging<'a>(&'a Place);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.stopped.fetch_add(1, SeqCst);
    }
}

impl Node for MyNode {
    async fn next(&self) -> NodeRef {
        MyNode::reference(self.number + 1, &self.place)
    }
    async fn number(&self) -> u64 {
        self.number
    }
    async fn log(&self, n: u64) {
        self.place.log.lock().expect("nobody panics in it").push(n);
    }
    async fn echo(&self, node: NodeRef) -> NodeRef {
        node
    }
    async fn echo_late(&self, node: NodeRef) -> NodeRef {
        self.place.gate().await;
        node
    }
    async fn give(&self) -> NodeRef {
        self.place.taken()
    }
    async fn give_late(&self) -> NodeRef {
        self.place.gate().await;
        self.place.taken()
    }
    async fn keep(&self, node: NodeRef) {
        self.kept.lock().expect("nobody panics in it").push(node);
    }
    async fn kept(&self) -> NodeRef {
        self.kept.lock().expect("nobody panics in it").last().cloned().expect("something was kept")
    }
    async fn kept_late(&self) -> NodeRef {
        self.place.gate().await;
        self.kept().await
    }
    async fn forget(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().expect("nobody panics in it"));
        drop(kept);
    }
    async fn held(&self) -> NodeRef {
        self.place.gate().await;
        MyNode::reference(100, &self.place)
    }
    async fn fails_late(&self) -> Result<NodeRef, String> {
        self.place.gate().await;
        Err("it failed".to_owned())
    }
    async fn hang(&self) -> NodeRef {
        let _hanging = Hanging(&self.place);
        self.place.hanging.fetch_add(1, SeqCst);
        std::future::pending().await
    }
}

/// The owner's root, and who calls it from how far.
pub struct Row {
    /// Each connection's serving and calling end, the owner's first.
    pub links: Vec<(Broker, Broker)>,
    /// The owner's root as the client has it.
    pub root: NodeRef,
    /// Where the owner's nodes live.
    pub owner: Arc<Place>,
    /// Where the client's do.
    pub ours: Arc<Place>,
}

impl Row {
    /// With so many middlemen.
    pub async fn new(middlemen: usize) -> Row {
        let (owner, ours) = <(Arc<Place>, Arc<Place>)>::default();
        let mut links = vec![pb_server::pair(MyNode::reference(0, &owner)).await];
        for _ in 0..middlemen {
            let onward: NodeRef = links[links.len() - 1].1.root();
            links.push(pb_server::pair(onward).await);
        }
        let root = links[middlemen].1.root();
        Row { links, root, owner, ours }
    }

    /// A new node of the client's.
    pub fn mine(&self) -> NodeRef {
        MyNode::reference(7, &self.ours)
    }

    /// A new node of the owner's, as the client has it.
    pub async fn node(&self) -> NodeRef {
        soon(self.root.next()).await.expect("a node")
    }

    /// All tables are empty, and of the nodes only the owner's root lives.
    pub async fn is_idle(&self) {
        let nodes = || (self.owner.alive.load(SeqCst), self.ours.alive.load(SeqCst));
        let tables = || -> Vec<TableSizes> {
            self.links.iter().flat_map(|(server, client)| [server.tables(), client.tables()]).collect()
        };
        for _ in 0..100_000 {
            if tables().iter().all(|sizes| *sizes == TableSizes::default()) && nodes() == (1, 0) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("nodes {:?}, tables {:?}", nodes(), tables());
    }

    /// Gives the brokers time to do what they have to.
    pub async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

/// A failure bound only.
///
/// # Panics
/// After a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes, and does not hang")
}

/// The failure that brought `failure` about.
///
/// # Panics
/// When none is given.
pub fn cause(failure: &Failure) -> &Failure {
    match failure.cause.as_deref() {
        Some(Cause::Broker(cause)) => cause,
        other => panic!("no failure of the broker's is the cause but {other:?}"),
    }
}
