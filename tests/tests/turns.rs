//! One connection's work does not hold up what else the process does.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pb_core::message::{Message, Ping};
use pb_core::wire::frame::{self, MAGIC};
use pb_server::{Referenceable, Server, remote_interface};
use pb_tests::raw::hello;

#[remote_interface]
trait Quiet {
    async fn nothing(&self);
}

#[derive(Referenceable)]
struct Root;

impl Quiet for Root {
    async fn nothing(&self) {}
}

/// Frames that a peer sends at once.
const PINGS: u64 = 100_000;

/// On the one thread of this test, a task that is always ready runs whenever the connection lets it: at least once for so many frames.
#[tokio::test]
async fn a_flood_of_small_frames_lets_others_have_their_turn() {
    const FRAMES_A_TURN: u64 = 128;
    let server = Server::new(QuietRef::new(Root)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    let host = running.url().strip_prefix("tcp://").expect("a tcp address").to_owned();
    let (turns, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let flood = std::thread::spawn({
        let (turns, over) = (Arc::clone(&turns), Arc::clone(&over));
        move || {
            flood(&host);
            over.store(true, Ordering::Release);
            turns.load(Ordering::Acquire)
        }
    });
    while !over.load(Ordering::Acquire) {
        turns.fetch_add(1, Ordering::Release);
        tokio::task::yield_now().await;
    }
    let turns = flood.join().expect("the flood is answered");
    assert!(turns >= PINGS / FRAMES_A_TURN, "{turns} turns beside {PINGS} frames");
    running.shutdown().await;
}

/// Sends the pings with one write a part, reading in a thread of its own, until all are answered.
fn flood(host: &str) {
    let mut stream = std::net::TcpStream::connect(host).expect("the server listens");
    let mut reader = stream.try_clone().expect("a second handle");
    let mut out = MAGIC.to_vec();
    frame::encode(&hello(), &mut out);
    stream.write_all(&out).expect("the server reads");
    let mut ping = Vec::new();
    frame::encode::<&[u8]>(&Message::Ping(Ping { nonce: 1 }), &mut ping);
    let all = ping.repeat(PINGS as usize);
    let due = all.len();
    let reading = std::thread::spawn(move || {
        // A pong is as long as its ping; the server's hello comes before them.
        let (mut come, mut buffer) = (0, vec![0; 1 << 16]);
        while come < due {
            match reader.read(&mut buffer).expect("the connection lives") {
                0 => panic!("the server closed after {come} bytes"),
                read => come += read,
            }
        }
    });
    stream.write_all(&all).expect("the server reads");
    reading.join().expect("all is answered");
}
