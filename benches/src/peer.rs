//! What a peer has to offer to be measured.

use crate::work::{Lane, Tally};
use crate::workload::Workload;
use anyhow::{Result, bail};
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// One of the systems that are compared. The code of a peer is one small file (or folder) in `peers/`.
pub trait Peer: 'static {
    /// What calls are made with: cloned once for each call that is kept in flight.
    type Client: Calls;

    /// The name on the command line and in the tables.
    const NAME: &'static str;

    /// How the peer is set up and every limit that is raised for all workloads: printed with the results.
    const SETTINGS: &'static str;

    /// Whether it lives on one thread, in a `LocalSet`.
    const LOCAL: bool = false;

    /// Whether the peer takes part in `workload`.
    fn takes_part(workload: &Workload) -> bool;

    /// The limits that are raised for `workload` alone, beside what [`SETTINGS`](Self::SETTINGS) says, with what they are otherwise.
    fn raised(_workload: &Workload) -> Option<&'static str> {
        None
    }

    /// Starts serving on a free loopback port, in the background, with `TCP_NODELAY` on every connection.
    fn listen(workload: &Workload) -> impl Future<Output = Result<SocketAddr>>;

    /// Opens one connection with `TCP_NODELAY`.
    fn connect(address: SocketAddr, workload: &Workload) -> impl Future<Output = Result<Self::Client>>;

    /// Starts a lane of calls as a task. Each peer writes `tokio::spawn(lane.run())`: only there is the lane's type
    /// known, and with it whether the task may move between threads.
    fn start(lane: Lane<Self::Client>) -> JoinHandle<Tally<Self::Client>>;
}

/// The calls of all workloads. What a peer takes no part in it need not have.
pub trait Calls: Clone + 'static {
    /// An object of the server's, held by the client; dropping it lets the server drop its own.
    type Object: 'static;

    /// The sum of two numbers, wrapping, computed by the server.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = Result<i64>>;

    /// The same bytes again.
    fn echo(&self, _body: Bytes) -> impl Future<Output = Result<Bytes>> {
        async { bail!("this peer echoes nothing") }
    }

    /// Has the server make a [`Counter`](crate::peers::counter::Counter), and waits for the reference to it.
    fn make(&self, _first: i64) -> impl Future<Output = Result<Self::Object>> {
        async { bail!("this peer has no objects") }
    }

    /// The counter's number plus this one, wrapping.
    fn poke(_object: &Self::Object, _number: i64) -> impl Future<Output = Result<i64>> {
        async { bail!("this peer has no objects") }
    }

    /// How many counters are alive in the serving process.
    fn live(&self) -> impl Future<Output = Result<u64>> {
        async { bail!("this peer has no objects") }
    }

    /// Passes an object of this process to the server, which keeps it for [`callback`](Self::callback): a counter that begins at 1.
    fn watch(&self) -> impl Future<Output = Result<()>> {
        async { bail!("this peer has no callbacks") }
    }

    /// What the client's object answers the server, which asks it while it serves this call.
    fn callback(&self, _number: i64) -> impl Future<Output = Result<i64>> {
        async { bail!("this peer has no callbacks") }
    }

    /// The root's child, so many times, and the value of the last one: in as few round trips as the peer can. The value is the depth.
    fn chain(&self, _depth: u64) -> impl Future<Output = Result<u64>> {
        async { bail!("this peer has no chains") }
    }
}
