//! Large bodies are sent without being copied, between small frames: nothing of either is lost, doubled or out of its order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pb_server::{Bytes, CallError, Referenceable, Server, remote_interface};

#[remote_interface]
trait Store {
    #[remote(answer_bytes = 2_000_000)]
    async fn echo(&self, bytes: Bytes) -> Bytes;
    async fn add(&self, one: u64, other: u64) -> u64;
    #[remote(answer_bytes = 2_000_000)]
    async fn refuse(&self, bytes: Bytes) -> Result<u64, Bytes>;
    /// Takes them in their order.
    #[remote(oneway)]
    async fn note(&self, number: u64, bytes: Bytes);
    async fn noted(&self) -> u64;
}

#[derive(Referenceable, Default)]
struct Shelf {
    noted: Arc<AtomicU64>,
}

impl Store for Shelf {
    async fn echo(&self, bytes: Bytes) -> Bytes {
        bytes
    }
    async fn add(&self, one: u64, other: u64) -> u64 {
        one + other
    }
    async fn refuse(&self, bytes: Bytes) -> Result<u64, Bytes> {
        Err(bytes)
    }
    async fn note(&self, number: u64, bytes: Bytes) {
        let is_next = self.noted.load(Ordering::Relaxed) == number && bytes == pattern(number);
        self.noted.store(if is_next { number + 1 } else { u64::MAX }, Ordering::Relaxed);
    }
    async fn noted(&self) -> u64 {
        self.noted.load(Ordering::Relaxed)
    }
}

/// Sizes about every bound: of a buffer of its own, of a chunk, of a batch.
const SIZES: [usize; 12] =
    [0, 1, 200, 16_383, 16_384, 16_385, 32_768, 65_535, 65_537, 262_144, 262_145, 1_000_000];

/// Bytes that say where they stand.
fn pattern(number: u64) -> Bytes {
    let bytes = SIZES[number as usize % SIZES.len()];
    (0..bytes).map(|at| (at as u64).wrapping_mul(31).wrapping_add(number) as u8).collect::<Vec<u8>>().into()
}

async fn all_cross(store: StoreRef) {
    for number in 0..24 {
        let bytes = pattern(number);
        // A small call on either side of a large one, without waiting between.
        let (before, large) = (store.add(number, 1), store.echo(bytes.clone()));
        let after = store.add(number, 2);
        assert_eq!(before.await.expect("it is answered"), number + 1);
        assert!(large.await.expect("it is answered") == bytes, "{} bytes came back otherwise", bytes.len());
        assert_eq!(after.await.expect("it is answered"), number + 2);
    }
    for number in 0..12 {
        let bytes = pattern(number);
        let error = store.refuse(bytes.clone()).await.expect_err("it refuses");
        assert!(matches!(&error, CallError::App(words) if *words == bytes), "another error came");
    }
    for number in 0..12 {
        store.remote().ready().await.expect("the connection is there");
        store.note(number, pattern(number));
        assert_eq!(store.noted().await.expect("it is answered"), number + 1, "casts came otherwise");
    }
    // Many at once, as many as are granted.
    let small: Vec<_> = (0..20)
        .map(|number| {
            (store.echo(Bytes::from(vec![number; 20_000 + usize::from(number)])), store.add(1, number.into()))
        })
        .collect();
    for (number, (echo, sum)) in (0_u8..).zip(small) {
        let bytes = echo.await.expect("it is answered");
        assert!(bytes.len() == 20_000 + usize::from(number) && bytes.iter().all(|byte| *byte == number));
        assert_eq!(sum.await.expect("it is answered"), 1 + u64::from(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_small_bodies_cross_a_socket_in_their_order() {
    let server = Server::new(StoreRef::new(Shelf::default()));
    let running = server.listen("tcp://127.0.0.1:0").await.expect("a free port").spawn().expect("it serves");
    let broker = pb_client::connect(running.url()).await.expect("it listens");
    all_cross(broker.root()).await;
    drop(broker);
    running.shutdown().await;
}

#[tokio::test]
async fn large_and_small_bodies_cross_a_pipe_that_holds_less_than_one() {
    let (_server, client) = pb_server::pair(StoreRef::new(Shelf::default())).await;
    all_cross(client.root()).await;
}
