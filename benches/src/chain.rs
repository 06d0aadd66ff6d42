//! A chain of calls, each on the result of the one before, over a link that delays every byte: how many round trips it takes.

use crate::Place;
use crate::process::{self, Worker};
use anyhow::{Context, Result, ensure};
use pb_server::{Referenceable, Server, remote_interface};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// A node of an endless chain.
#[remote_interface]
pub trait Node {
    /// The next one.
    async fn child(&self) -> NodeRef;
    /// How many nodes stand before it.
    async fn value(&self) -> u64;
}

#[derive(Referenceable)]
struct Link(u64);

impl Node for Link {
    async fn child(&self) -> NodeRef {
        NodeRef::new(Link(self.0 + 1))
    }

    async fn value(&self) -> u64 {
        self.0
    }
}

/// What one round took, medians in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// One call.
    pub one_ms: f64,
    /// A chain of [`DEPTH`] calls, and one on its end, without awaiting any between.
    pub chain_ms: f64,
    /// As many calls, each awaited.
    pub awaited_ms: f64,
}

/// Measures once: a server, a client, and between them a relay in this process.
pub fn measure(times: usize) -> Result<Chain> {
    let place = Place { cpu: None };
    let mut server = Worker::start(&["chain-serve"], place)?;
    let to: SocketAddr = server.hear()?;
    let runtime = process::runtime(place)?;
    let relay = runtime.block_on(relay(to))?;
    Worker::start(&["chain-drive", &relay.to_string(), &times.to_string()], place)?.hear()
}

/// In a child: serves the chain until its standard input closes.
pub fn serve() -> Result<()> {
    process::runtime(Place { cpu: None })?.block_on(async {
        let running = Server::new(NodeRef::new(Link(0))).listen("tcp://127.0.0.1:0").await?.spawn()?;
        let address: SocketAddr = running.url().strip_prefix("tcp://").context("not over TCP")?.parse()?;
        process::say(&address)?;
        tokio::task::spawn_blocking(process::wait_for_go).await?.ok();
        running.shutdown().await;
        Ok(())
    })
}

/// In a child: calls, and prints what it took.
pub fn drive(address: SocketAddr, times: usize) -> Result<()> {
    process::runtime(Place { cpu: None })?.block_on(async {
        let broker = pb_client::connect(&format!("tcp://{address}")).await?;
        let root: NodeRef = broker.root();
        let (mut one, mut chain, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
        // The first time defines the methods' names.
        for _ in 0..=times {
            let began = Instant::now();
            ensure!(root.value().await? == 0, "the root is not the first");
            one.push(began.elapsed());

            let began = Instant::now();
            let mut at = root.child();
            for _ in 1..DEPTH {
                at = at.child();
            }
            ensure!(at.value().await? == DEPTH, "the chain leads elsewhere");
            chain.push(began.elapsed());

            let began = Instant::now();
            let mut at = root.clone();
            for _ in 0..DEPTH {
                at = at.child().await?;
            }
            ensure!(at.value().await? == DEPTH, "the chain leads elsewhere");
            awaited.push(began.elapsed());
        }
        let median = |mut times: Vec<Duration>| {
            times.remove(0);
            times.sort_unstable();
            times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        process::say(&Chain { one_ms: median(one), chain_ms: median(chain), awaited_ms: median(awaited) })
    })
}

/// Leads from a free port to `to`, and lets every byte come later by [`DELAY`].
async fn relay(to: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let Ok(to) = TcpStream::connect(to).await else { continue };
            // Without it the figures are of Nagle's algorithm; they are then too large, not wrong.
            let _ = (from.set_nodelay(true), to.set_nodelay(true));
            let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
            tokio::spawn(later(from_read, to_write));
            tokio::spawn(later(to_read, from_write));
        }
    });
    Ok(address)
}

/// Passes bytes on, [`DELAY`] after they came; a byte that comes meanwhile does not wait for the one before it.
async fn later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender.send((tokio::time::Instant::now() + DELAY, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    while let Some((due, bytes)) = receiver.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Calls in the chain.
const DEPTH: u64 = 10;
/// What a byte takes each way.
const DELAY: Duration = Duration::from_millis(10);
