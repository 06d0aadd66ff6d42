//! However long a connection looks for more before its thread sleeps, calls are the same.

use std::time::Duration;

use pb_client::Connect;
use pb_core::Limits;
use pb_server::{Referenceable, Server, remote_interface};

#[remote_interface]
trait Sums {
    /// The sum, at once.
    async fn add(&self, left: i64, right: i64) -> i64;
    /// The sum, when others had their turn.
    async fn add_later(&self, left: i64, right: i64) -> i64;
    /// The same bytes, which may be more than one look takes.
    async fn same(&self, bytes: Vec<u8>) -> Vec<u8>;
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
