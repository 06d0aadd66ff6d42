//! However long a connection looks for more before its thread sleeps, calls are the same, and ends too.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use pb_client::Connect;
use pb_core::Limits;
use pb_core::message::Message;
use pb_server::{Referenceable, Server, remote_interface};
use pb_tests::raw::{Raw, call};

#[remote_interface]
trait Sums {
    /// The sum, at once.
    async fn add(&self, left: i64, right: i64) -> i64;
    /// The sum, when others had their turn.
    async fn add_later(&self, left: i64, right: i64) -> i64;
    /// The same bytes, which may be more than one look takes.
    async fn same(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// Never ends by itself.
    async fn hang(&self);
}

#[derive(Referenceable)]
struct MySums;

impl Sums for MySums {
    async fn add(&self, left: i64, right: i64) -> i64 {
        left + right
    }
    async fn add_later(&self, left: i64, right: i64) -> i64 {
        tokio::task::yield_now().await;
        left + right
    }
    async fn same(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    async fn hang(&self) {
        std::future::pending().await
    }
}

fn limits(busy_wait: Duration) -> Limits {
    Limits { busy_wait, ..Limits::default() }
}

/// A server at `address`, and a client of it, which both look so long.
async fn calls(address: &str, busy_wait: Duration) {
    let server = Server::new(SumsRef::new(MySums)).limits(limits(busy_wait)).listen(address).await;
    let server = server.expect("it listens");
    let running = server.spawn().expect("it runs");
    let broker = Connect::to(running.url()).limits(limits(busy_wait)).open().await.expect("it connects");
    let sums: SumsRef = broker.root();
    for round in 0..200 {
        assert_eq!(sums.add(round, 1).await, Ok(round + 1));
        assert_eq!(sums.add_later(round, 2).await, Ok(round + 2));
        let bytes = vec![round as u8; 60 * round as usize];
        assert_eq!(sums.same(bytes.clone()).await, Ok(bytes));
        let many: Vec<_> = (0..8).map(|one| sums.add(round, one)).collect();
        for (one, sum) in (0..).zip(many) {
            assert_eq!(sum.await, Ok(round + one));
        }
    }
    let looked = broker.counters().busy_waits;
    if busy_wait.is_zero() || address.starts_with("mem:") {
        assert_eq!((looked.paid, looked.in_vain), (0, 0));
    }
    drop(sums);
    broker.idle().await;
    assert_eq!(broker.tables().exports + broker.tables().imports, 0, "{:?}", broker.tables());
    drop(broker);
    running.shutdown().await;
}

const TCP: &str = "tcp://127.0.0.1:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_ends_on_one_thread_answer_each_other_however_long_they_look() {
    for busy_wait in [Duration::ZERO, Duration::from_micros(50), Duration::MAX] {
        calls(TCP, busy_wait).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_connections_that_look_answer_beside_each_other() {
    let waits = [Duration::ZERO, Duration::from_micros(50), Duration::MAX, Duration::MAX];
    let all: Vec<_> = waits.into_iter().map(|busy_wait| tokio::spawn(calls(TCP, busy_wait))).collect();
    for one in all {
        one.await.expect("no panic");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_in_the_file_system_are_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    calls(&format!("unix://{}", folder.path().join("sums").display()), Duration::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipes_of_the_process_are_not_looked_at() {
    calls("mem://busy-wait", Duration::MAX).await;
}

#[tokio::test]
async fn a_runtime_of_one_thread_never_looks() {
    let server = Server::new(SumsRef::new(MySums))
        .limits(limits(Duration::MAX))
        .listen(TCP)
        .await
        .expect("it listens");
    let running = server.spawn().expect("it runs");
    let broker = Connect::to(running.url()).limits(limits(Duration::MAX)).open().await.expect("it connects");
    let sums: SumsRef = broker.root();
    for round in 0..100 {
        assert_eq!(sums.add(round, 1).await, Ok(round + 1));
    }
    assert_eq!(broker.counters().busy_waits, Default::default());
    running.shutdown().await;
}

/// On a machine of one processor nobody looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_of_several_threads_looks_before_one_of_them_sleeps() {
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1) {
        return;
    }
    let server = Server::new(SumsRef::new(MySums)).listen(TCP).await.expect("it listens");
    let running = server.spawn().expect("it runs");
    let broker = Connect::to(running.url()).limits(limits(Duration::MAX)).open().await.expect("it connects");
    let sums: SumsRef = broker.root();
    let looked = async {
        while broker.counters().busy_waits == Default::default() {
            assert_eq!(sums.add(1, 1).await, Ok(2));
            // Nothing comes meanwhile: what has looked sleeps by then, or does so another time.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.expect("it looks");
    running.shutdown().await;
}

/// A reset that looking comes upon is one: the methods of a peer that is gone are stopped at once, and not when a peer that has only said its last
/// would have had its answers.
#[test]
fn a_reset_is_told_from_an_end_though_this_side_looks() {
    const PEERS: u32 = 200;
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (ends, ended) = mpsc::channel();
    let running = server.block_on(async {
        let server = Server::new(SumsRef::new(MySums)).limits(limits(Duration::MAX));
        let server = server.on_disconnected(move |_, ended| {
            let _ = ends.send(ended.reason.to_string());
        });
        server.listen(TCP).await.expect("it listens").spawn().expect("it runs")
    });
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    client.block_on(async {
        for peer in 0..PEERS {
            let mut raw = Raw::greeted(running.url()).await;
            raw.message(&Message::Call(call(1, "Sums/hang", &()))).await;
            raw.message(&Message::Call(call(2, "Sums/add", &(1_i64, 2_i64)))).await;
            assert!(matches!(raw.answer().await, Some(Message::Resolve(_))));
            let from = Instant::now();
            while from.elapsed() < Duration::from_micros(20) * (peer % 10) {
                std::hint::spin_loop();
            }
            raw.reset();
        }
    });
    for _ in 0..PEERS {
        let reason = ended.recv_timeout(Duration::from_secs(60)).expect("each ends");
        assert!(reason.contains("the connection was lost"), "{reason}");
    }
    server.block_on(running.shutdown());
}
