//! tarpc with its bincode transport.

use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::Workload;
use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use serde_bytes::ByteBuf;
use std::net::SocketAddr;
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Decoder, LengthDelimitedCodec};
use tarpc::{client, context, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// <https://crates.io/crates/tarpc>
pub struct Tarpc;

#[tarpc::service]
trait Adder {
    async fn add(a: i64, b: i64) -> i64;
    async fn echo(body: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Sum;

impl Adder for Sum {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn echo(self, _: context::Context, body: ByteBuf) -> ByteBuf {
        body
    }
}

/// tarpc's client of the service above.
#[derive(Clone)]
pub struct Client(AdderClient);

impl Peer for Tarpc {
    type Client = Client;

    const NAME: &'static str = "tarpc";
    const SETTINGS: &'static str = "0.38, bincode over TCP; for_each_concurrent instead of a task per request, its own 8 KiB buffers (64 KiB measured no better); limits raised to 4,096: \
        requests in flight (1,000), pending requests (100), pending responses (100), concurrent handlers; bytes as serde_bytes; a chain is calls one after the other";

    fn takes_part(workload: &Workload) -> bool {
        !workload.has_objects()
    }

    async fn listen(_: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(address)
    }

    async fn connect(address: SocketAddr, _: &Workload) -> Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let transport = serde_transport::new(LengthDelimitedCodec::new().framed(stream), Bincode::default());
        let mut config = client::Config::default();
        config.max_in_flight_requests = LIMIT;
        config.pending_request_buffer = LIMIT;
        Ok(Client(AdderClient::new(config, transport).spawn()))
    }

    fn start(lane: Lane<Client>) -> JoinHandle<Tally<Client>> {
        tokio::spawn(lane.run())
    }
}

impl Calls for Client {
    type Object = ();

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.0.add(context::current(), a, b).await?)
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let body = self.0.echo(context::current(), ByteBuf::from(body)).await?;
        Ok(Bytes::from(body.into_vec()))
    }

    async fn chain(&self, depth: u64) -> Result<u64> {
        // A handle is a number; each call on one needs the answer that it came with.
        let mut node = 0;
        for _ in 0..depth {
            node = self.add(node, 1).await?;
        }
        Ok(self.add(node, 0).await?.cast_unsigned())
    }
}

async fn serve(stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("tarpc: {error}");
    }
    let transport = serde_transport::new(LengthDelimitedCodec::new().framed(stream), Bincode::default());
    let config = server::Config { pending_response_buffer: LIMIT };
    BaseChannel::new(config, transport)
        .execute(Sum.serve())
        .for_each_concurrent(LIMIT, |request| request)
        .await;
}

/// Stands in for each of tarpc's limits.
const LIMIT: usize = 4096;
