//! gRPC by tonic, with messages written by hand as prost derives them, so that no schema compiler is needed.

use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::Workload;
use anyhow::Result;
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context as TaskContext, Poll};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// <https://crates.io/crates/tonic>
pub struct Tonic;

/// Two numbers; `sfixed64`, since `int64` takes ten bytes for every negative one.
#[derive(Clone, Copy, PartialEq, Message)]
struct Pair {
    #[prost(sfixed64, tag = "1")]
    a: i64,
    #[prost(sfixed64, tag = "2")]
    b: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sum {
    #[prost(sfixed64, tag = "1")]
    sum: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Body64 {
    #[prost(bytes = "bytes", tag = "1")]
    body: Bytes,
}

/// The service, as a generated server is: one that finds the method by its path.
#[derive(Clone)]
struct Adder;

impl NamedService for Adder {
    const NAME: &'static str = "a.A";
}

impl Service<http::Request<Body>> for Adder {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            ADD => Box::pin(async {
                Ok(tonic::server::Grpc::new(ProstCodec::<Sum, Pair>::default()).unary(Add, request).await)
            }),
            ECHO => Box::pin(async {
                let grpc = tonic::server::Grpc::new(ProstCodec::<Body64, Body64>::default());
                Ok(grpc.max_decoding_message_size(MESSAGE_BYTES).unary(Echo, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such method").into_http()) }),
        }
    }
}

struct Add;

impl Service<Request<Pair>> for Add {
    type Response = Response<Sum>;
    type Error = Status;
    type Future = std::future::Ready<Result<Response<Sum>, Status>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Pair>) -> Self::Future {
        let Pair { a, b } = *request.get_ref();
        std::future::ready(Ok(Response::new(Sum { sum: a.wrapping_add(b) })))
    }
}

struct Echo;

impl Service<Request<Body64>> for Echo {
    type Response = Response<Body64>;
    type Error = Status;
    type Future = std::future::Ready<Result<Response<Body64>, Status>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body64>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

/// A channel: one connection.
#[derive(Clone)]
pub struct Client(Channel);

impl Peer for Tonic {
    type Client = Client;

    const NAME: &'static str = "tonic";
    const SETTINGS: &'static str = "0.14, one HTTP/2 connection a channel; frames of 1 MiB (16 KiB), windows of 16 MiB for a stream and 64 MiB for a \
        connection (64 KiB, 1 MiB); fixed-width numbers, bytes as Bytes, a short path; limits raised: streams at once 4,096 (200), messages 64 MiB (4 MiB); \
        a chain is calls one after the other";

    fn takes_part(workload: &Workload) -> bool {
        !workload.has_objects()
    }

    async fn listen(_: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(STREAMS)
            .add_service(Adder);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        Ok(address)
    }

    async fn connect(address: SocketAddr, _: &Workload) -> Result<Client> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .buffer_size(STREAMS as usize);
        Ok(Client(endpoint.connect().await?))
    }

    fn start(lane: Lane<Client>) -> JoinHandle<Tally<Client>> {
        tokio::spawn(lane.run())
    }
}

impl Calls for Client {
    type Object = ();

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await?;
        let path = PathAndQuery::from_static(ADD);
        let sum = grpc.unary(Request::new(Pair { a, b }), path, ProstCodec::<Pair, Sum>::default()).await?;
        Ok(sum.get_ref().sum)
    }

    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES);
        grpc.ready().await?;
        let path = PathAndQuery::from_static(ECHO);
        let back =
            grpc.unary(Request::new(Body64 { body }), path, ProstCodec::<Body64, Body64>::default()).await?;
        Ok(back.into_inner().body)
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

const ADD: &str = "/a.A/add";
const ECHO: &str = "/a.A/echo";
const FRAME_BYTES: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const MESSAGE_BYTES: usize = 64 << 20;
const STREAMS: u32 = 4096;
