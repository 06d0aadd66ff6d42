//! remoc's remote traits.

use super::counter;
use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::{Work, Workload};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use parking_lot::Mutex;
use remoc::codec::Default as Codec;
use remoc::prelude::*;
use remoc::rtc::CallError;
use serde_bytes::ByteBuf;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// <https://crates.io/crates/remoc>
pub struct Remoc;

/// What is served: see the workloads.
#[rtc::remote]
pub trait Adder {
    #[serde(rename = "_0")]
    async fn add(
        &self,
        #[serde(rename = "_0")] a: i64,
        #[serde(rename = "_1")] b: i64,
    ) -> Result<i64, CallError>;
    #[serde(rename = "_1")]
    async fn echo(&self, #[serde(rename = "_0")] body: ByteBuf) -> Result<ByteBuf, CallError>;
    #[serde(rename = "_2")]
    async fn make(&self, #[serde(rename = "_0")] first: i64) -> Result<CounterClient, CallError>;
    #[serde(rename = "_3")]
    async fn live(&self) -> Result<u64, CallError>;
    #[serde(rename = "_4")]
    async fn watch(&self, #[serde(rename = "_0")] callee: CounterClient) -> Result<(), CallError>;
    #[serde(rename = "_5")]
    async fn callback(&self, #[serde(rename = "_0")] number: i64) -> Result<i64, CallError>;
    #[pipelinable]
    async fn node(&self) -> Result<NodeClient, CallError>;
}

/// What is made, and what is called back.
#[rtc::remote]
pub trait Counter {
    #[serde(rename = "_0")]
    async fn add(&self, #[serde(rename = "_0")] number: i64) -> Result<i64, CallError>;
}

/// A node of an endless chain.
#[rtc::remote]
pub trait Node {
    #[pipelinable]
    async fn child(&self) -> Result<NodeClient, CallError>;
    async fn value(&self) -> Result<u64, CallError>;
}

#[derive(Default)]
struct Root {
    callee: Mutex<Option<CounterClient>>,
}

struct Link(u64);

impl Adder for Root {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError> {
        Ok(a.wrapping_add(b))
    }

    async fn echo(&self, body: ByteBuf) -> Result<ByteBuf, CallError> {
        Ok(body)
    }

    async fn make(&self, first: i64) -> Result<CounterClient, CallError> {
        Ok(served_counter(first))
    }

    async fn live(&self) -> Result<u64, CallError> {
        Ok(counter::live())
    }

    async fn watch(&self, callee: CounterClient) -> Result<(), CallError> {
        *self.callee.lock() = Some(callee);
        Ok(())
    }

    async fn callback(&self, number: i64) -> Result<i64, CallError> {
        let callee = self.callee.lock().clone();
        match callee {
            Some(callee) => callee.add(number).await,
            // The driver takes every other answer for a wrong one.
            None => Ok(0),
        }
    }

    async fn node(&self) -> Result<NodeClient, CallError> {
        Ok(served_node(1))
    }
}

impl Counter for counter::Counter {
    async fn add(&self, number: i64) -> Result<i64, CallError> {
        Ok(counter::Counter::add(self, number))
    }
}

impl Node for Link {
    async fn child(&self) -> Result<NodeClient, CallError> {
        Ok(served_node(self.0 + 1))
    }

    async fn value(&self) -> Result<u64, CallError> {
        Ok(self.0)
    }
}

/// An object is a task that serves it, as the crate's examples have it.
fn served_counter(first: i64) -> CounterClient {
    let (server, client) = CounterServerShared::new(Arc::new(counter::Counter::new(first)));
    tokio::spawn(server.serve());
    client
}

fn served_node(value: u64) -> NodeClient {
    let (server, client) = NodeServerShared::new(Arc::new(Link(value)));
    tokio::spawn(server.serve());
    client
}

impl Peer for Remoc {
    type Client = AdderClient;

    const NAME: &'static str = "remoc";
    const SETTINGS: &'static str = "0.20, its default codec with fields of one byte; request buffer and parallelism of the root 1,024 (its defaults are lower: 32); \
        an object is a task that serves it, with the default buffers; chains are pipelined; limit raised: ports 1,000,000 (8,192), connections to ports that wait 16,384 (128)";

    fn takes_part(_: &Workload) -> bool {
        true
    }

    fn raised(workload: &Workload) -> Option<&'static str> {
        match workload.work {
            Work::Echo { .. } => Some(
                "chunks 2 MiB (32 KiB), port buffers 16 MiB (128 KiB), data 16 MiB (512 KiB), I/O buffers 1 MiB (64 KiB)",
            ),
            _ => None,
        }
    }

    async fn listen(workload: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let workload = workload.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cfg = cfg(&workload);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, cfg).await {
                        eprintln!("remoc: {error:#}");
                    }
                });
            }
        });
        Ok(address)
    }

    async fn connect(address: SocketAddr, workload: &Workload) -> Result<AdderClient> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let connect = remoc::Connect::io(cfg(workload), reader, writer);
        let client: AdderClient = connect.consume().await.context("the server gave no client")?;
        Ok(client)
    }

    fn start(lane: Lane<AdderClient>) -> JoinHandle<Tally<AdderClient>> {
        tokio::spawn(lane.run())
    }
}

async fn serve(stream: TcpStream, cfg: remoc::Cfg) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (mut server, client) =
        AdderServerShared::<Root, Codec>::with_request_buffer(Arc::new(Root::default()), BUFFER);
    server.set_parallelism(BUFFER);
    tokio::spawn(server.serve());
    if remoc::Connect::io(cfg, reader, writer).provide(client).await.is_err() {
        bail!("the client took nothing");
    }
    Ok(())
}

fn cfg(workload: &Workload) -> remoc::Cfg {
    let cfg = remoc::Cfg { max_ports: 1_000_000, connect_queue: 16_384, ..remoc::Cfg::default() };
    match workload.work {
        Work::Echo { .. } => remoc::Cfg {
            chunk_size: 2 << 20,
            port_receive_buffer: 16 << 20,
            max_data_size: 16 << 20,
            io_buffer_size: 1 << 20,
            ..cfg
        },
        _ => cfg,
    }
}

impl Calls for AdderClient {
    type Object = CounterClient;

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(Adder::add(self, a, b).await?)
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let back = Adder::echo(self, ByteBuf::from(body)).await?;
        Ok(Bytes::from(back.into_vec()))
    }

    async fn make(&self, first: i64) -> Result<CounterClient> {
        Ok(Adder::make(self, first).await?)
    }

    async fn poke(object: &CounterClient, number: i64) -> Result<i64> {
        Ok(Counter::add(object, number).await?)
    }

    async fn live(&self) -> Result<u64> {
        Ok(Adder::live(self).await?)
    }

    async fn watch(&self) -> Result<()> {
        Ok(Adder::watch(self, served_counter(1)).await?)
    }

    async fn callback(&self, number: i64) -> Result<i64> {
        Ok(Adder::callback(self, number).await?)
    }

    async fn chain(&self, depth: u64) -> Result<u64> {
        let (mut at, requests) = NodeClient::new();
        let mut begun = vec![self.node_pipelined(requests).await];
        for _ in 1..depth {
            let (next, requests) = NodeClient::new();
            begun.push(at.child_pipelined(requests).await);
            at = next;
        }
        let value = at.value_call().await;
        for call in begun {
            call.await?;
        }
        Ok(value.await?)
    }
}

/// Requests that wait for the root, and that it serves at a time.
const BUFFER: usize = 1024;
