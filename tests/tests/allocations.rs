//! Allocations of a null call, and of one with a large body, both ends together, counted by an allocator that counts per thread: server and client
//! share one current-thread runtime, so everything happens on the test's own thread.

use pb_client::Broker;
use pb_server::{Bytes, Referenceable, Server, remote_interface};
use std::error::Error;
use tokio::runtime::{Builder, Runtime};

/// The null call, and one that is large.
#[remote_interface]
pub trait Adder {
    /// The sum, wrapping.
    async fn add(&self, a: i64, b: i64) -> i64;
    /// The same bytes.
    #[remote(answer_bytes = 2_000_000)]
    async fn echo(&self, body: Bytes) -> Bytes;
}

#[derive(Referenceable)]
struct Sum;

impl Adder for Sum {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn echo(&self, body: Bytes) -> Bytes {
        body
    }
}

#[test]
fn a_null_call_over_tcp_allocates_no_more_than_is_pinned() -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    let (_running, broker) = runtime.block_on(async {
        let running = Server::new(AdderRef::new(Sum)).listen("tcp://127.0.0.1:0").await?.spawn()?;
        let broker = pb_client::connect(&running.urls()[0]).await?;
        Ok::<_, Box<dyn Error>>((running, broker))
    })?;
    holds(&runtime, &broker);
    Ok(())
}

#[test]
fn a_null_call_in_memory_allocates_no_more_than_is_pinned() -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    let (_server_end, broker) = runtime.block_on(pb_server::pair(AdderRef::new(Sum)));
    holds(&runtime, &broker);
    Ok(())
}

#[test]
fn large_bytes_are_read_once_on_each_side_and_not_copied() -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    let (running, broker) = runtime.block_on(async {
        let running = Server::new(AdderRef::new(Sum)).listen("tcp://127.0.0.1:0").await?.spawn()?;
        let broker = pb_client::connect(running.url()).await?;
        Ok::<_, Box<dyn Error>>((running, broker))
    })?;
    let adder: AdderRef = broker.root();
    let body = Bytes::from(vec![7; LARGE_BYTES]);
    let echoes = |count: usize| {
        runtime.block_on(async {
            for _ in 0..count {
                assert!(adder.echo(body.clone()).await.is_ok_and(|same| same == body));
            }
        });
    };
    echoes(3);
    let counted = allocation_counter::measure(|| echoes(LARGE_CALLS));
    let bodies = counted.bytes_total as f64 / (LARGE_CALLS * LARGE_BYTES) as f64;
    println!("{bodies:.3} times the body is allocated for an echo");
    assert!(bodies <= 2.1, "{bodies:.3} times the body is allocated, where each side reads it once");
    drop(running);
    Ok(())
}

fn holds(runtime: &Runtime, broker: &Broker) {
    let adder: AdderRef = broker.root();
    let calls = |count: i64| {
        runtime.block_on(async {
            for number in 0..count {
                assert_eq!(adder.add(number, i64::MAX).await.ok(), Some(number.wrapping_add(i64::MAX)));
            }
        });
    };
    calls(WARM_UP);
    let counted = allocation_counter::measure(|| calls(CALLS));
    let a_call = counted.count_total as f64 / CALLS as f64;
    println!("{a_call:.2} allocations and {:.0} bytes a call", counted.bytes_total as f64 / CALLS as f64);
    assert!(a_call <= PINNED + GROWTH, "a null call makes {a_call:.2} allocations, {PINNED} are pinned");
    let left = counted.count_current;
    assert!(left < CALLS / 100, "{left} allocations of {CALLS} calls are still there");
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Fills buffers and tables up to the size they keep.
const WARM_UP: i64 = 1_000;
const CALLS: i64 = 10_000;
/// Of a body that nearly fills a frame, and how often it is sent.
const LARGE_BYTES: usize = 1_000_000;
const LARGE_CALLS: usize = 20;
/// Both ends together: the caller's slot and the method's boxed future. Whoever lowers the figure pins the lower one.
const PINNED: f64 = 2.0;
/// Buffers and tables that grow once more than the warm-up made them are not the calls'.
const GROWTH: f64 = 0.01;
