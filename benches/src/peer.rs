//! What a peer has to offer to be measured.

use crate::load::{Lane, Tally};
use crate::workload::Workload;
use anyhow::Result;
use std::future::Future;
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// One of the systems that are compared. The code of a peer is one small file (or folder) in `peers/`.
pub trait Peer: 'static {
    /// What calls are made with: cloned once for each call that is kept in flight.
    type Client: Calls;

    /// The name on the command line and in the tables.
    const NAME: &'static str;

    /// How the peer is set up and every limit that was raised for it: printed with the results.
    const SETTINGS: &'static str;

    /// Whether the peer takes part in `workload`.
    fn takes_part(_workload: &Workload) -> bool {
        true
    }

    /// Starts serving on a free loopback port, in the background, with `TCP_NODELAY` on every connection.
    fn listen() -> impl Future<Output = Result<SocketAddr>>;

    /// Opens one connection with `TCP_NODELAY`.
    fn connect(address: SocketAddr) -> impl Future<Output = Result<Self::Client>>;

    /// Starts a lane of calls as a task. Each peer writes `tokio::spawn(lane.run())`: only there is the lane's type
    /// known, and with it whether the task may move between threads.
    fn start(lane: Lane<Self::Client>) -> JoinHandle<Tally>;
}

/// The calls of the workloads `seq…` and `pipe…`.
pub trait Calls: Clone + 'static {
    /// The sum of two numbers, wrapping, computed by the server.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = Result<i64>>;
}
