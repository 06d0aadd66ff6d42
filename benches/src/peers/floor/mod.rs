//! The floor: what the same calls cost when a program is written by hand for nothing else.
//!
//! It has no limits, no cancellation and no errors. A library cannot be faster than it for long; how close one comes is
//! the figure that matters. Large bodies have a protocol of their own ([`echo`]), as a program by hand would have.

mod client;
mod echo;
pub mod frame;
mod server;

use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::{Work, Workload};
use anyhow::{Result, bail};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Length-prefixed frames with correlation ids on tokio.
pub struct Floor;

/// A connection of either kind.
#[derive(Clone)]
pub enum Client {
    /// For calls.
    Small(client::Client),
    /// For large bodies.
    Large(echo::Client),
}

impl Peer for Floor {
    type Client = Client;

    const NAME: &'static str = "floor";
    const SETTINGS: &'static str = "hand-written tokio: u32 length, u32 id, u8 method, two i64; one mutex-guarded batch a connection, \
        a writer that yields once and writes everything, reply slots with wakers in a slab; the server handles requests inline and \
        writes once per read; objects are numbers into a slab of boxes, a chain is one request; large bodies: no copy, vectored \
        writes, the server reads and writes in turn";

    fn takes_part(_: &Workload) -> bool {
        true
    }

    async fn listen(workload: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        if let Work::Echo { .. } = workload.work {
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(echo::serve(stream));
                }
            });
        } else {
            tokio::spawn(server::accept(listener));
        }
        Ok(address)
    }

    async fn connect(address: SocketAddr, workload: &Workload) -> Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(match workload.work {
            Work::Echo { .. } => Client::Large(echo::Client::start(stream)),
            _ => Client::Small(client::Client::start(stream, workload.in_flight() as u32 + 1)),
        })
    }

    fn start(lane: Lane<Client>) -> JoinHandle<Tally<Client>> {
        tokio::spawn(lane.run())
    }
}

impl Client {
    fn small(&self) -> Result<&client::Client> {
        match self {
            Client::Small(client) => Ok(client),
            Client::Large(_) => bail!("this connection is for large bodies"),
        }
    }
}

impl Calls for Client {
    type Object = client::Held;

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        self.small()?.add(a, b).await
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        match self {
            Client::Large(client) => client.echo(body).await,
            Client::Small(_) => bail!("this connection is for calls"),
        }
    }

    async fn make(&self, first: i64) -> Result<client::Held> {
        self.small()?.make(first).await
    }

    async fn poke(object: &client::Held, number: i64) -> Result<i64> {
        client::Client::poke(object, number).await
    }

    async fn live(&self) -> Result<u64> {
        self.small()?.live().await
    }

    async fn watch(&self) -> Result<()> {
        self.small().map(|_| ())
    }

    async fn callback(&self, number: i64) -> Result<i64> {
        self.small()?.callback(number).await
    }

    async fn chain(&self, depth: u64) -> Result<u64> {
        self.small()?.chain(depth).await
    }
}
