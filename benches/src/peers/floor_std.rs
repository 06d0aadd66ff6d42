//! The floor under `seq`: blocking sockets of the standard library, no runtime at all.

use super::floor::frame;
use crate::peer::{Calls, Peer};
use crate::work::{Lane, Tally};
use crate::workload::{Work, Workload};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// One thread on each side that writes and reads in turn.
pub struct FloorStd;

/// One connection, for one caller at a time.
#[derive(Clone)]
pub struct Client(Arc<Mutex<TcpStream>>);

impl Peer for FloorStd {
    type Client = Client;

    const NAME: &'static str = "floor-std";
    const SETTINGS: &'static str =
        "blocking std sockets, a thread on each side, the floor's frames; only for one call outstanding";

    fn takes_part(workload: &Workload) -> bool {
        workload.work == Work::Add { connections: 1, in_flight: 1 }
    }

    async fn listen(_: &Workload) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || serve(stream?));
            }
        });
        Ok(address)
    }

    async fn connect(address: SocketAddr, _: &Workload) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client(Arc::new(Mutex::new(stream))))
    }

    fn start(lane: Lane<Client>) -> JoinHandle<Tally<Client>> {
        tokio::spawn(lane.run())
    }
}

impl Calls for Client {
    type Object = ();

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let mut stream = self.0.lock();
        stream.write_all(&frame::request(0, frame::ADD, a, b))?;
        let mut reply = [0; frame::REPLY_BYTES];
        stream.read_exact(&mut reply)?;
        let (_, sum) = frame::read_reply(&reply[4..]).context("a reply was malformed")?;
        Ok(sum)
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; frame::REQUEST_BYTES];
    loop {
        stream.read_exact(&mut request)?;
        let Some((id, _, a, b)) = frame::read_request(&request[4..]) else { return Ok(()) };
        stream.write_all(&frame::reply(id, a.wrapping_add(b)))?;
    }
}
