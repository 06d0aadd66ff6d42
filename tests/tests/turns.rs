//! One connection's work does not hold up what else the process does.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use pb_core::Broker;
use pb_core::broker::{Config, Lanes};
use pb_core::message::{Message, Ping};
use pb_core::objects::Stub;
use pb_core::wire::frame::{self, MAGIC};
use pb_server::{Referenceable, Server, remote_interface};
use pb_tests::quiet::Quiet as Peer;
use pb_tests::raw::{call, hello};

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

#[remote_interface]
trait Meter {
    /// What has been read of all peers together until now, in messages.
    async fn read(&self) -> u64;
}

/// What all peers share that the server has.
#[derive(Default)]
struct Book {
    peers: Mutex<Vec<Broker>>,
    told: Mutex<Option<u64>>,
}

#[derive(Referenceable)]
struct Gauge(Arc<Book>);

impl Meter for Gauge {
    async fn read(&self) -> u64 {
        let read = self.0.peers.lock().iter().map(|peer| peer.counters().received.messages).sum();
        *self.0.told.lock() = Some(read);
        read
    }
}

/// How many messages of flooding peers are handled before the call of one who floods nobody and was behind them.
async fn messages_before_a_call(lanes: Option<Lanes>) -> u64 {
    let book = Arc::new(Book::default());
    let root = MeterRef::new(Gauge(Arc::clone(&book))).as_reference().clone();
    let config =
        || Config { root: Some(root.clone()), stays: true, lanes: lanes.clone(), ..Config::default() };
    let mut ping = Vec::new();
    frame::encode::<&[u8]>(&Message::Ping(Ping { nonce: 1 }), &mut ping);
    let flood = ping.repeat(PINGS_AT_ONCE);
    let (honest, mut asking) = Peer::greeted_by(config()).await;
    let mut flooding = Vec::new();
    for _ in 0..FLOODING {
        let (broker, peer) = Peer::greeted_by(config()).await;
        book.peers.lock().push(broker);
        flooding.push(peer);
    }
    let before: u64 = book.peers.lock().iter().map(|peer| peer.counters().received.messages).sum();
    // On one thread, nothing is read before all this is written: it fits the streams.
    for peer in &mut flooding {
        peer.send(&flood).await;
    }
    asking.message(&Message::Call(call(1, "Meter/read", &()))).await;
    let said = [asking.read().await, asking.read().await];
    assert!(matches!(said, [Some(Message::Hello(_)), Some(Message::Resolve(_))]), "{said:?}");
    let told = book.told.lock().expect("it was told");
    drop(honest);
    told - before
}

/// Peers, and what each has sent before anything is read.
const FLOODING: usize = 16;
const PINGS_AT_ONCE: usize = 1500;

/// On one thread there is one lane: before a small call comes what each flooding peer may do without one, and a turn or two.
#[tokio::test]
async fn a_small_call_waits_for_a_long_turn_or_two_however_many_peers_flood() {
    let with = messages_before_a_call(Some(Lanes::new(1))).await;
    assert!(with <= 16 * 20 + 2 * 128, "{with} messages came before the call");
    let without = messages_before_a_call(None).await;
    assert!(without >= 12 * 128, "{without}: the flood is too small to tell anything");
}
