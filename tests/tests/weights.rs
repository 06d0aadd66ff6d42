//! What connections and objects weigh on the heap, both ends together, counted by an allocator that counts per thread: server and client share
//! one current-thread runtime, so everything happens on the test's own thread.

use pb_client::Broker;
use pb_server::{Referenceable, Running, Server, pair, remote_interface};
use std::error::Error;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Something that makes others.
#[remote_interface]
pub trait Mint {
    /// Another one.
    async fn make(&self) -> MintRef;
}

#[derive(Referenceable)]
struct Maker;

impl Mint for Maker {
    async fn make(&self) -> MintRef {
        MintRef::new(Maker)
    }
}

#[test]
fn a_connection_that_is_used_once_keeps_no_large_buffers() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (running, first) = served(&runtime)?;
    let mut kept = Vec::with_capacity(CONNECTIONS);
    let counted = allocation_counter::measure(|| {
        for _ in 0..CONNECTIONS {
            kept.push(connected(&runtime, &running));
        }
    });
    let each = counted.bytes_current / CONNECTIONS as i64;
    println!("{each} bytes a connection, both ends");
    assert!(kept.iter().all(Option::is_some), "not all connections were made and used");
    assert!(each <= MOST_CONNECTION_BYTES, "a connection keeps {each} bytes, both ends");
    drop((first, running));
    Ok(())
}

/// What a read may take doubles as buffers are used up, on a connection that has much to say and on one that has said little for long.
#[test]
fn a_connection_that_is_silent_gives_its_buffers_back() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let (serving, broker) = runtime.block_on(pair(MintRef::new(Maker)));
    let mint: MintRef = broker.root();
    let rest = || runtime.block_on(async { tokio::time::sleep(SILENCE).await });
    runtime.block_on(mint.make())?;
    rest();
    let left = allocation_counter::measure(|| {
        runtime.block_on(async {
            for _ in 0..OBJECTS {
                drop(mint.make().await);
            }
        });
        rest();
    });
    println!("{} bytes are kept", left.bytes_current);
    assert!(left.bytes_current <= MOST_SILENT_BYTES, "{} bytes are kept", left.bytes_current);
    drop(serving);
    Ok(())
}

#[test]
fn an_object_that_is_held_weighs_little_on_both_ends() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (running, broker) = served(&runtime)?;
    let mint: MintRef = broker.root();
    let mut held = Vec::with_capacity(OBJECTS);
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            for _ in 0..OBJECTS {
                held.extend(mint.make().await);
            }
        });
    });
    let each = counted.bytes_current / OBJECTS as i64;
    println!("{each} bytes an object, both ends");
    assert_eq!(held.len(), OBJECTS);
    assert!(each <= MOST_OBJECT_BYTES, "an object takes {each} bytes, both ends");
    drop(running);
    Ok(())
}

fn served(runtime: &Runtime) -> Result<(Running, Broker), Box<dyn Error>> {
    runtime.block_on(async {
        let running = Server::new(MintRef::new(Maker)).listen("tcp://127.0.0.1:0").await?.spawn()?;
        let broker = pb_client::connect(running.url()).await?;
        broker.root::<MintRef>().make().await?;
        Ok((running, broker))
    })
}

fn connected(runtime: &Runtime, running: &Running) -> Option<Broker> {
    runtime.block_on(async {
        let broker = pb_client::connect(running.url()).await.ok()?;
        broker.root::<MintRef>().make().await.ok()?;
        Some(broker)
    })
}

const CONNECTIONS: usize = 100;
/// Two tasks, tables and small buffers for each end, and a third task on the server's: 14,155 bytes. Before buffers grew with what is read it was
/// twelve times as much; 2.6 KB of it went when tasks stopped to keep room for what they do seldom.
const MOST_CONNECTION_BYTES: i64 = 15 << 10;
/// Longer than a side waits before it asks whether the other is there.
const SILENCE: Duration = Duration::from_secs(60);
/// Of both ends, beyond what they kept before they had much to say: half of what one read may take.
const MOST_SILENT_BYTES: i64 = 32 << 10;
/// As many as the default budget lets a peer be answered, but for a few.
const OBJECTS: usize = 3_000;
/// On the server the object itself, its entry and its key's place, on the client a proxy and an entry: 234 when this was written. With hash maps on both sides, of which
/// the server's had entries as large as a call's, it was nearly twice that.
const MOST_OBJECT_BYTES: i64 = 270;
