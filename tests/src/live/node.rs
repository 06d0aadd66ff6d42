use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use pb_core::{CallContext, Referenceable, remote_interface};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// An object whose methods do what their names say, and note that they have started.
#[remote_interface]
pub trait Node {
    /// Returns `n`.
    async fn say(&self, n: u64) -> u64;
    /// What it was opened as.
    async fn name(&self) -> String;
    /// A new object.
    async fn open(&self, name: String) -> NodeRef;
    /// Fails with an error that holds `text`.
    async fn fail(&self, text: String) -> Result<NodeRef, Trouble>;
    /// Gives back what it was given.
    async fn echo(&self, node: NodeRef) -> NodeRef;
    /// Itself.
    async fn this(&self, cx: &CallContext) -> NodeRef;
    /// Keeps the references.
    async fn keep(&self, nodes: Vec<NodeRef>);
    /// The first of those kept.
    async fn kept(&self) -> NodeRef;
    /// Drops those kept.
    async fn forget(&self);
    /// Gives back what it was given, once the world's gate is open.
    async fn hold(&self, node: NodeRef) -> NodeRef;
    /// A new object, once the world's gate is open.
    async fn open_late(&self, name: String) -> NodeRef;
    /// Never returns.
    async fn hang(&self, nodes: Vec<NodeRef>) -> u64;
    /// Calls `say` of `node`.
    async fn tell(&self, node: NodeRef, n: u64) -> Result<u64, Trouble>;
    /// Calls `say` of what `open` of `node` will return, without waiting for it.
    async fn tell_opened(&self, node: NodeRef, n: u64) -> Result<u64, Trouble>;
    /// The same as `say`, but a call that is not answered.
    #[remote(oneway)]
    async fn note(&self, n: u64);
    /// Many new objects.
    async fn many(&self, count: u32) -> Vec<NodeRef>;
}

/// A method's own error, of several forms.
#[derive(Serialize, Deserialize, thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// With a text.
    #[error("{text} for {cents} cents")]
    Said {
        /// What was said.
        text: String,
        /// A number beside it.
        cents: u64,
    },
    /// What was called on the way failed.
    #[error("the callback failed: {0}")]
    Callback(String),
}

/// What the objects of one test share.
pub struct World {
    alive: AtomicUsize,
    freed: Mutex<Vec<String>>,
    started: Mutex<Vec<String>>,
    stopped: AtomicUsize,
    gate: watch::Sender<bool>,
}

impl Default for World {
    fn default() -> Self {
        World {
            alive: AtomicUsize::new(0),
            freed: Mutex::default(),
            started: Mutex::default(),
            stopped: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
        }
    }
}

impl World {
    /// A reference to a new object.
    pub fn node(self: &Arc<Self>, name: &str) -> NodeRef {
        NodeRef::new(MyNode::new(name, self))
    }

    /// Objects that live.
    pub fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }

    /// Names of the objects that were dropped, in their order.
    pub fn freed(&self) -> Vec<String> {
        lock(&self.freed).clone()
    }

    /// The methods that have started, as `object.method(argument)`.
    pub fn started(&self) -> Vec<String> {
        lock(&self.started).clone()
    }

    /// Methods that hung, or waited for the gate, and were stopped.
    pub fn stopped(&self) -> usize {
        self.stopped.load(SeqCst)
    }

    /// Lets everything end that waits for the gate, from now on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    fn start(&self, what: String) {
        lock(&self.started).push(what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// The object behind a [`NodeRef`].
#[derive(Referenceable)]
pub struct MyNode {
    name: String,
    world: Arc<World>,
    kept: Mutex<Vec<NodeRef>>,
}

impl MyNode {
    /// A new object.
    pub fn new(name: &str, world: &Arc<World>) -> Arc<Self> {
        world.alive.fetch_add(1, SeqCst);
        Arc::new(MyNode { name: name.to_owned(), world: Arc::clone(world), kept: Mutex::default() })
    }

    /// Keeps a reference, as its method does.
    pub fn hold_on_to(&self, node: NodeRef) {
        lock(&self.kept).push(node);
    }

    /// Waits for the gate.
    async fn wait(&self) {
        let stopped = Stopped(Some(Arc::clone(&self.world)));
        let _ = self.world.gate.subscribe().wait_for(|open| *open).await;
        stopped.came_to_its_end();
    }

    fn start(&self, what: impl std::fmt::Display) {
        self.world.start(format!("{}.{what}", self.name));
    }
}

impl Drop for MyNode {
    fn drop(&mut self) {
        lock(&self.world.freed).push(self.name.clone());
        self.world.alive.fetch_sub(1, SeqCst);
    }
}

/// Counts a method that is stopped half-way.
struct Stopped(Option<Arc<World>>);

impl Stopped {
    fn came_to_its_end(mut self) {
        self.0 = None;
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(world) = &self.0 {
            world.stopped.fetch_add(1, SeqCst);
        }
    }
}

impl Node for MyNode {
    async fn say(&self, n: u64) -> u64 {
        self.start(format_args!("say({n})"));
        n
    }
    async fn name(&self) -> String {
        self.name.clone()
    }
    async fn open(&self, name: String) -> NodeRef {
        self.start(format_args!("open({name})"));
        self.world.node(&name)
    }
    async fn fail(&self, text: String) -> Result<NodeRef, Trouble> {
        self.start("fail()");
        Err(Trouble::Said { text, cents: 7 })
    }
    async fn echo(&self, node: NodeRef) -> NodeRef {
        node
    }
    async fn this(&self, cx: &CallContext) -> NodeRef {
        cx.this()
    }
    async fn keep(&self, nodes: Vec<NodeRef>) {
        lock(&self.kept).extend(nodes);
    }
    async fn kept(&self) -> NodeRef {
        lock(&self.kept).first().expect("something is kept").clone()
    }
    async fn forget(&self) {
        let kept = std::mem::take(&mut *lock(&self.kept));
        drop(kept);
    }
    async fn hold(&self, node: NodeRef) -> NodeRef {
        self.start("hold()");
        self.wait().await;
        node
    }
    async fn open_late(&self, name: String) -> NodeRef {
        self.start("open_late()");
        self.wait().await;
        self.world.node(&name)
    }
    async fn hang(&self, nodes: Vec<NodeRef>) -> u64 {
        self.start("hang()");
        let _stopped = Stopped(Some(Arc::clone(&self.world)));
        let never = pending().await;
        drop(nodes);
        never
    }
    async fn tell(&self, node: NodeRef, n: u64) -> Result<u64, Trouble> {
        node.say(n).await.map_err(|failure| Trouble::Callback(failure.to_string()))
    }
    async fn tell_opened(&self, node: NodeRef, n: u64) -> Result<u64, Trouble> {
        let opened = node.open("opened".to_owned());
        opened.say(n).await.map_err(|failure| Trouble::Callback(failure.to_string()))
    }
    async fn note(&self, n: u64) {
        self.start(format_args!("note({n})"));
    }
    async fn many(&self, count: u32) -> Vec<NodeRef> {
        (0..count).map(|n| self.world.node(&n.to_string())).collect()
    }
}
