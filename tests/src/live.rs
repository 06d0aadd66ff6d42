//! Real brokers in a row: a client, any number of middlemen, a server. What users would feel is tested on these.
//!
//! Every test is a leak test: [`Chain::finish`] waits until the tables of all ends are empty and no object of the test
//! is alive but the root, ends the connections, and waits until that is gone too.

use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::reactor::{Address, Listener, Stream};
use pb_core::{Broker, Limits, Stub, TableSizes};
use tokio::sync::watch;

mod held;
mod node;

pub use node::{MyNode, Node, NodeRef, Trouble, World};

/// A failure bound: no test that passes waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what comes when all is well.
///
/// # Panics
/// After a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("what must happen did not within 60 s")
}

/// Waits until `holds` does, while everything else runs.
///
/// # Panics
/// After a minute, with what `describe` says.
pub async fn until(holds: impl Fn() -> bool, describe: impl Fn() -> String) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("not within 60 s: {}", describe());
    }
}

/// What the connections of a [`Chain`] run over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Pipes in this process.
    Mem,
    /// Sockets on the loopback interface, with ports that the system chooses. What goes towards the client can be held
    /// back ([`Chain::hold_answers`]).
    Tcp,
}

/// Connections in a row, each but the last passing on what the next one serves.
pub struct Chain {
    /// The server's root, as the client at the other end calls it.
    pub root: NodeRef,
    /// What the objects of the server share; the client's own may be of it too.
    pub world: Arc<World>,
    /// The ends of all connections, from the server's to the client's.
    pub ends: Vec<Broker>,
    held: watch::Sender<bool>,
    finished: bool,
}

impl Chain {
    /// A chain of `links` connections in memory: 1 is a server with its client, each further one a middleman more.
    pub async fn of(links: usize) -> Chain {
        Chain::over(Over::Mem, links, Limits::default()).await
    }

    /// The same over whatever is asked for, both ends of each connection with these limits.
    pub async fn over(over: Over, links: usize, limits: Limits) -> Chain {
        let world = Arc::new(World::default());
        let mut root = world.node("root");
        let mut ends = Vec::new();
        let held = watch::Sender::new(false);
        for _ in 0..links {
            let (server, client) = link(over, root, limits, held.subscribe()).await;
            root = client.root();
            ends.extend([server, client]);
        }
        Chain { root, world, ends, held, finished: false }
    }

    /// The client's end.
    pub fn client(&self) -> &Broker {
        &self.ends[self.ends.len() - 1]
    }

    /// From now on nothing that is sent towards the client arrives, on any of the connections.
    ///
    /// # Panics
    /// Over anything but [`Over::Tcp`], whose answers cannot be held.
    pub fn hold_answers(&self) {
        assert!(self.held.receiver_count() > 0, "only sockets can be held");
        self.held.send_replace(true);
    }

    /// Lets go what was held.
    pub fn let_answers_go(&self) {
        self.held.send_replace(false);
    }

    /// The server's end.
    pub fn server(&self) -> &Broker {
        &self.ends[0]
    }

    /// Waits until all tables are empty and only the root is alive, and ends the connections.
    pub async fn finish(mut self) {
        self.finished = true;
        let (ends, world) = (self.ends.clone(), Arc::clone(&self.world));
        let idle = || ends.iter().all(|end| end.tables() == TableSizes::default()) && world.alive() == 1;
        let tables = || ends.iter().map(|end| format!("{:?}", end.tables())).collect::<Vec<_>>().join("\n");
        until(idle, || format!("{} objects, and tables\n{}", world.alive(), tables())).await;
        // It answers still, and nothing comes back into the tables.
        assert_eq!(soon(self.root.name()).await.as_deref(), Ok("root"));
        until(idle, tables).await;
        drop(self);
        drop(ends);
        until(|| world.alive() == 0, || format!("{} objects outlive their connections", world.alive())).await;
    }

    /// Ends it where a connection was cut: all tables are empty, and no object of the test's is alive.
    pub async fn finish_cut(mut self) {
        self.finished = true;
        let world = Arc::clone(&self.world);
        self.ends.iter().for_each(Broker::close);
        for end in &self.ends {
            soon(end.closed()).await;
            assert_eq!(end.tables(), TableSizes::default(), "the connection has ended");
        }
        drop(self);
        until(|| world.alive() == 0, || format!("{} objects outlive their connections", world.alive())).await;
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test must end with Chain::finish()");
    }
}

/// A connection whose one end serves `root`; both ends.
async fn link(over: Over, root: NodeRef, limits: Limits, held: watch::Receiver<bool>) -> (Broker, Broker) {
    let (ours, theirs) = match over {
        Over::Mem => Stream::pair(),
        Over::Tcp => {
            let address: Address = "tcp://127.0.0.1:0".parse().expect("an address");
            let mut listener = Listener::bind(&address).await.expect("a free port");
            let Address::Tcp(host) = listener.address().expect("it is bound") else {
                unreachable!("it is tcp")
            };
            let address = Address::Tcp(held::between(host, held).await);
            let (ours, theirs) = tokio::join!(listener.accept(), Stream::connect(&address));
            (ours.expect("a client"), theirs.expect("a server"))
        }
    };
    let serving =
        Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() };
    let calling = Config { root: None, limits, stays: false, ..Config::default() };
    let (server, client) = tokio::join!(Broker::open(ours, serving), Broker::open(theirs, calling));
    (server.expect("greeted"), client.expect("greeted"))
}
