//! The floor: what the same calls cost when a program is written by hand for nothing else.
//!
//! It has no limits, no cancellation, no errors and no objects. A library cannot be faster than it for long; how close
//! one comes is the figure that matters.

mod client;
pub mod frame;
mod server;

use crate::load::{Lane, Tally};
use crate::peer::Peer;
use anyhow::Result;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Length-prefixed frames with correlation ids on tokio.
pub struct Floor;

impl Peer for Floor {
    type Client = client::Client;

    const NAME: &'static str = "floor";
    const SETTINGS: &'static str = "hand-written tokio: u32 length, u32 id, u8 method, two i64; one mutex-guarded batch a connection, \
        a writer that yields once and writes everything, reply slots with wakers in a slab; the server handles requests inline and \
        writes once per read";

    async fn listen() -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(server::accept(listener));
        Ok(address)
    }

    async fn connect(address: SocketAddr) -> Result<client::Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(client::Client::start(stream))
    }

    fn start(lane: Lane<client::Client>) -> JoinHandle<Tally> {
        tokio::spawn(lane.run())
    }
}
