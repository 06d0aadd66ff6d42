//! Cap'n Proto's RPC.
//!
//! `adder_capnp.rs` was made of `adder.capnp` by `capnpc` 0.27 with `default_parent_module(["peers", "capnp"])`, which needs
//! the `capnp` program (0.9.2); it is kept so that building the benchmark does not.

#[allow(clippy::all, clippy::unimplemented, unused)]
#[rustfmt::skip]
mod adder_capnp;
mod served;

use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::Workload;
use adder_capnp::{adder, counter, node};
use anyhow::Result;
use bytes::Bytes;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use served::{Counted, Root};
use std::net::SocketAddr;
use tokio::io::{BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// <https://crates.io/crates/capnp-rpc>
pub struct CapnpRpc;

/// The server's root.
#[derive(Clone)]
pub struct Client(adder::Client);

impl Peer for CapnpRpc {
    type Client = Client;

    const NAME: &'static str = "capnp-rpc";
    const LOCAL: bool = true;
    const SETTINGS: &'static str = "0.27, a current-thread runtime and a LocalSet on each side, 16 KiB buffers around the socket's halves; bytes are copied once \
        into and once out of a message, as its interface wants it";

    fn takes_part(_: &Workload) -> bool {
        true
    }

    async fn listen(_: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let root: adder::Client = new_client(Root::default());
                let Ok(network) = network(stream, Side::Server) else { continue };
                spawn_local(RpcSystem::new(Box::new(network), Some(root.client)));
            }
        });
        Ok(address)
    }

    async fn connect(address: SocketAddr, _: &Workload) -> Result<Client> {
        let network = network(TcpStream::connect(address).await?, Side::Client)?;
        let mut system = RpcSystem::new(Box::new(network), None);
        let root = system.bootstrap(Side::Server);
        spawn_local(system);
        Ok(Client(root))
    }

    fn start(lane: Lane<Client>) -> JoinHandle<Tally<Client>> {
        spawn_local(lane.run())
    }
}

type Reader = tokio_util::compat::Compat<BufReader<tokio::net::tcp::OwnedReadHalf>>;

fn network(stream: TcpStream, side: Side) -> Result<VatNetwork<Reader>> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let reader = BufReader::with_capacity(BUFFER_BYTES, reader).compat();
    let writer = BufWriter::with_capacity(BUFFER_BYTES, writer).compat_write();
    Ok(VatNetwork::new(reader, writer, side, ReaderOptions::new()))
}

impl Calls for Client {
    type Object = counter::Client;

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let mut request = self.0.add_request();
        let mut pair = request.get();
        pair.set_a(a);
        pair.set_b(b);
        Ok(request.send().promise.await?.get()?.get_value())
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let mut request = self.0.echo_request();
        request.get().set_bytes(&body);
        let response = request.send().promise.await?;
        Ok(Bytes::copy_from_slice(response.get()?.get_bytes()?))
    }

    async fn make(&self, first: i64) -> Result<counter::Client> {
        let mut request = self.0.make_request();
        request.get().set_value(first);
        Ok(request.send().promise.await?.get()?.get_counter()?)
    }

    async fn poke(object: &counter::Client, number: i64) -> Result<i64> {
        let mut request = object.add_request();
        request.get().set_value(number);
        Ok(request.send().promise.await?.get()?.get_value())
    }

    async fn live(&self) -> Result<u64> {
        Ok(self.0.live_request().send().promise.await?.get()?.get_value().cast_unsigned())
    }

    async fn watch(&self) -> Result<()> {
        let mut request = self.0.watch_request();
        request.get().set_callee(new_client(Counted::new(1)));
        request.send().promise.await?;
        Ok(())
    }

    async fn callback(&self, number: i64) -> Result<i64> {
        let mut request = self.0.callback_request();
        request.get().set_value(number);
        Ok(request.send().promise.await?.get()?.get_value())
    }

    async fn chain(&self, depth: u64) -> Result<u64> {
        let mut at: node::Client = self.0.node_request().send().pipeline.get_node();
        for _ in 1..depth {
            at = at.child_request().send().pipeline.get_node();
        }
        Ok(at.value_request().send().promise.await?.get()?.get_value().cast_unsigned())
    }
}

const BUFFER_BYTES: usize = 16 << 10;
