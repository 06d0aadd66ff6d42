//! The broker of this repository.

use super::counter;
use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::{PACED_LANES, Work, Workload};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use pb_client::Connect;
use pb_server::{Bytes, Capacity, Limits, Referenceable, Server, remote_interface};
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// pb-server and pb-client.
pub struct Ours;

/// What is served: see the workloads.
#[remote_interface]
pub trait Adder {
    /// The sum, wrapping.
    async fn add(&self, a: i64, b: i64) -> i64;
    /// The same bytes. Its answer is allowed to be as large as what the workloads send.
    #[remote(answer_bytes = 2_097_152)]
    async fn echo(&self, body: Bytes) -> Bytes;
    /// A counter that begins at `first`.
    async fn make(&self, first: i64) -> CounterRef;
    /// Counters alive.
    async fn live(&self) -> u64;
    /// Keeps an object of the caller's.
    async fn watch(&self, callee: CounterRef);
    /// What that object answers.
    async fn callback(&self, number: i64) -> i64;
    /// The root's child, the first of an endless chain.
    async fn node(&self) -> NodeRef;
}

/// What is made, and what is called back.
#[remote_interface]
pub trait Counter {
    /// Its number plus this one, wrapping.
    async fn add(&self, number: i64) -> i64;
}

/// A node of an endless chain.
#[remote_interface]
pub trait Node {
    /// The next one.
    async fn child(&self) -> NodeRef;
    /// How many nodes stand before it.
    async fn value(&self) -> u64;
}

#[derive(Referenceable, Default)]
struct Sum {
    callee: Mutex<Option<CounterRef>>,
}

#[derive(Referenceable)]
struct Counted(counter::Counter);

#[derive(Referenceable)]
struct Link(u64);

impl Adder for Sum {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn echo(&self, body: Bytes) -> Bytes {
        body
    }

    async fn make(&self, first: i64) -> CounterRef {
        CounterRef::new(Counted(counter::Counter::new(first)))
    }

    async fn live(&self) -> u64 {
        counter::live()
    }

    async fn watch(&self, callee: CounterRef) {
        *self.callee.lock() = Some(callee);
    }

    async fn callback(&self, number: i64) -> i64 {
        let callee = self.callee.lock().clone();
        // The driver takes every other answer for a wrong one.
        let Some(callee) = callee else { return 0 };
        callee.add(number).await.unwrap_or(0)
    }

    async fn node(&self) -> NodeRef {
        NodeRef::new(Link(1))
    }
}

impl Counter for Counted {
    async fn add(&self, number: i64) -> i64 {
        self.0.add(number)
    }
}

impl Node for Link {
    async fn child(&self) -> NodeRef {
        NodeRef::new(Link(self.0 + 1))
    }

    async fn value(&self) -> u64 {
        self.0
    }
}

impl Peer for Ours {
    type Client = AdderRef;

    const NAME: &'static str = "ours";
    const SETTINGS: &'static str = "defaults, but where limits were raised for a workload";

    fn takes_part(_: &Workload) -> bool {
        true
    }

    fn raised(workload: &Workload) -> Option<&'static str> {
        match workload.work {
            Work::Echo { .. } => Some(
                "frames 8 MiB (1 MiB), bytes of calls 32 MiB (1 MiB), budget 64 MiB (1,664 KiB), answer_bytes of the method 2 MiB (64 KiB)",
            ),
            Work::Hold { .. } => Some("exports and imports 2,000,000 (65,536), budget 1 GiB (1,664 KiB)"),
            Work::Idle { .. } | Work::Add { connections: 257.., .. } => {
                Some("connections per address 4,096 (256)")
            }
            Work::Add { in_flight: 1025.., .. } => Some(
                "calls 4,096 (1,024), budget 64 MiB (1,664 KiB), the client's answer bytes 1 GiB (64 MiB)",
            ),
            _ => None,
        }
    }

    async fn listen(workload: &Workload) -> Result<SocketAddr> {
        let capacity = match workload.work {
            Work::Idle { .. } | Work::Add { connections: 257.., .. } => {
                Capacity { per_address: 4096, ..Capacity::default() }
            }
            _ => Capacity::default(),
        };
        let server = Server::new(AdderRef::new(Sum::default())).limits(limits(workload)).capacity(capacity);
        let running = server.listen("tcp://127.0.0.1:0").await?.spawn()?;
        let url = running.url();
        let address =
            url.strip_prefix("tcp://").context("the server listens on something else than TCP")?.parse()?;
        // Serves until the process ends.
        std::mem::forget(running);
        Ok(address)
    }

    async fn connect(address: SocketAddr, workload: &Workload) -> Result<AdderRef> {
        Ok(Connect::to(format!("tcp://{address}")).limits(limits(workload)).open().await?.root())
    }

    fn start(lane: Lane<AdderRef>) -> JoinHandle<Tally<AdderRef>> {
        tokio::spawn(lane.run())
    }
}

/// As [`Ours::raised`] says.
fn limits(workload: &Workload) -> Limits {
    let limits = Limits::default();
    match workload.work {
        Work::Echo { .. } => {
            Limits { frame_bytes: 8 << 20, call_bytes: 32 << 20, budget: 64 << 20, ..limits }
        }
        Work::Hold { .. } => Limits { exports: 2_000_000, imports: 2_000_000, budget: 1 << 30, ..limits },
        Work::Add { in_flight: 1025.., .. } => {
            Limits { calls: 4096, budget: 64 << 20, answer_bytes: 1 << 30, ..limits }
        }
        _ => limits,
    }
}

impl Calls for AdderRef {
    type Object = CounterRef;

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.add(a, b).await?)
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        Ok(self.echo(body).await?)
    }

    async fn make(&self, first: i64) -> Result<CounterRef> {
        Ok(self.make(first).await?)
    }

    async fn poke(object: &CounterRef, number: i64) -> Result<i64> {
        Ok(object.add(number).await?)
    }

    async fn live(&self) -> Result<u64> {
        Ok(self.live().await?)
    }

    async fn watch(&self) -> Result<()> {
        Ok(self.watch(CounterRef::new(Counted(counter::Counter::new(1)))).await?)
    }

    async fn callback(&self, number: i64) -> Result<i64> {
        Ok(self.callback(number).await?)
    }

    async fn chain(&self, depth: u64) -> Result<u64> {
        let mut at = self.node();
        for _ in 1..depth {
            at = at.child();
        }
        Ok(at.value().await?)
    }
}

/// Calls in flight that the default limits allow; paced calls are no more.
const _: () = assert!(PACED_LANES <= 1024);
