//! Those who wait, for room or for a promise, as a connection ends, as they are cancelled, or as they panic.

use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::message::{Grants, Hello, Message};
use pb_core::reactor::Stream;
use pb_core::wire::frame::MAGIC;
use pb_server::{Broker, FailureKind, Limits, Referenceable, Stub, TableSizes, remote_interface};
use pb_tests::quiet::Quiet;
use pb_tests::raw::call;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;

/// Cannot be read.
#[derive(Serialize)]
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("intended: the secret of Bomb")
    }
}

#[remote_interface]
trait Gate {
    /// Returns `n` once the gate is open.
    async fn pass(&self, n: u64) -> u64;
    async fn echo(&self, n: u64) -> u64;
    #[remote(oneway)]
    async fn note(&self, n: u64);
    /// Gives back what it is given, once the gate is open.
    async fn keep(&self, mine: GateRef) -> GateRef;
    async fn take(&self, bomb: Bomb) -> u64;
}

#[derive(Referenceable)]
struct MyGate {
    open: watch::Sender<bool>,
}

impl MyGate {
    fn new() -> Arc<Self> {
        Arc::new(MyGate { open: watch::Sender::new(false) })
    }

    async fn opened(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

impl Gate for MyGate {
    async fn pass(&self, n: u64) -> u64 {
        self.opened().await;
        n
    }
    async fn echo(&self, n: u64) -> u64 {
        n
    }
    async fn note(&self, _n: u64) {}
    async fn keep(&self, mine: GateRef) -> GateRef {
        self.opened().await;
        mine
    }
    async fn take(&self, _bomb: Bomb) -> u64 {
        0
    }
}

/// A middleman's object: it hands out what its process got elsewhere.
#[remote_interface]
trait Middle {
    async fn gate(&self) -> GateRef;
}

#[derive(Referenceable)]
struct MyMiddle(GateRef);

impl Middle for MyMiddle {
    async fn gate(&self) -> GateRef {
        self.0.clone()
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes")
}

/// Lets everybody run until it is so.
async fn until(so: impl Fn() -> bool) {
    soon(async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Two ends, of which one serves `root` and grants `calls`.
async fn joined(root: impl Stub, calls: u64) -> (Broker, Broker) {
    let (one, other) = Stream::pair();
    let root = Some(root.as_reference().clone());
    let limits = Limits { calls, ..Limits::default() };
    let serve = Broker::open(one, Config { root, limits, stays: true, ..Config::default() });
    let call = Broker::open(other, Config::default());
    let (serve, call) = tokio::join!(serve, call);
    (serve.expect("greeted"), call.expect("greeted"))
}

#[tokio::test]
async fn a_connection_that_ended_is_idle_though_a_cast_waited_for_a_promise() {
    let gate = MyGate::new();
    let (server, client) = joined(GateRef::new(Arc::clone(&gate)), 100).await;
    let root: GateRef = client.root();
    let kept = root.keep(GateRef::new(Arc::clone(&gate)));
    kept.note(1);
    assert_eq!(soon(root.echo(1)).await, Ok(1));
    assert!(!server.is_idle());
    client.close();
    soon(server.closed()).await;
    soon(server.idle()).await;
    assert_eq!((server.tables(), client.tables()), Default::default());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_direction_is_told_to_all_who_wait() {
    let gate = MyGate::new();
    let root = GateRef::new(Arc::clone(&gate));
    let (opening, mut quiet) = Quiet::connect(Some(root.as_reference().clone()), Limits::default());
    let hello = Hello { versions: (1, 1), features: 0, grants: Grants::MINIMUM };
    let (broker, ()) = tokio::join!(opening, async {
        quiet.send(&MAGIC).await;
        quiet.message(&Message::Hello(hello)).await;
        // What is still to be answered keeps the connection.
        quiet.message(&Message::Call(call(1, "Gate/pass", &5_u64))).await;
    });
    let broker = broker.expect("a hello as it should be");
    let far: GateRef = broker.root();
    let held: Vec<_> = (0..16).map(|n| far.echo(n)).collect();
    let from = tokio::time::Instant::now();
    let ended = async {
        tokio::task::yield_now().await;
        quiet.end().await;
    };
    let ready = || far.remote().ready();
    let (first, second, leaving, broken, ()) =
        tokio::join!(ready(), ready(), broker.leaving(), far.remote().on_broken(), ended);
    for failure in [first.err(), second.err(), leaving.err(), Some(broken)] {
        assert_eq!(failure.map(|failure| failure.kind), Some(FailureKind::Disconnected));
    }
    for held in held {
        assert_eq!(held.await.expect_err("nobody answers").kind, FailureKind::Disconnected);
    }
    assert_eq!(from.elapsed(), Duration::ZERO);
    assert_eq!(broker.tables().answers, 1, "it still answers");
    gate.open.send_replace(true);
    broker.closed().await;
    assert_eq!(from.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn arguments_that_panic_as_they_are_read_behind_a_promise_fail_their_call_only() {
    let gate = MyGate::new();
    let (_server, behind) = joined(GateRef::new(Arc::clone(&gate)), 100).await;
    // The middleman's promise of an object of its own: what waits for it is read as that comes home.
    let kept = behind.root::<GateRef>().keep(GateRef::new(MyGate::new()));
    let (_before, client) = joined(MiddleRef::new(MyMiddle(kept.promised())), 100).await;
    let far = soon(client.root::<MiddleRef>().gate()).await.expect("a reference");
    let (bomb, next) = (far.take(Bomb), far.echo(2));
    assert!(soon(client.root::<MiddleRef>().gate()).await.is_ok(), "both have come to the middleman");
    gate.open.send_replace(true);
    let failure = soon(bomb).await.expect_err("it panics");
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
    assert_eq!(soon(next).await, Ok(2));
    assert_eq!(soon(behind.root::<GateRef>().echo(3)).await, Ok(3), "its connection lives");
}

#[test]
fn calls_that_are_cancelled_while_they_wait_at_a_middleman_leave_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (far, held, brokers) = runtime.block_on(async {
        let (server, behind) = joined(GateRef::new(MyGate::new()), 16).await;
        let (before, client) = joined(MiddleRef::new(MyMiddle(behind.root())), 1000).await;
        let far = soon(client.root::<MiddleRef>().gate()).await.expect("a reference");
        let held: Vec<_> = (0..16).map(|n| far.pass(n)).collect();
        until(|| server.tables().answers == 16).await;
        (far, held, [server, behind, before, client])
    });
    // A hundred at a time wait for room behind those that are held.
    let round = || {
        runtime.block_on(async {
            let dropped: Vec<_> = (0..100).map(|n| far.pass(n)).collect();
            until(|| brokers[2].tables().answers == 116).await;
            drop(dropped);
            until(|| brokers[2].tables().answers == 16 && brokers[3].tables().calls == 16).await;
        });
    };
    // Until buffers have the size that such rounds want.
    (0..100).for_each(|_| round());
    let left = allocation_counter::measure(|| (0..400).for_each(|_| round())).bytes_current;
    // Buffers are larger or smaller by chance; a call that stayed would be some hundred bytes.
    assert!(left < 100_000, "{left} bytes are left of 40,000 calls");
    assert_eq!(brokers[0].tables(), TableSizes { answers: 16, ..TableSizes::default() });
    drop((held, far));
    runtime.block_on(until(|| brokers.iter().all(|broker| broker.tables() == TableSizes::default())));
}

/// Calls of a peer's that wait for a promise of this process, and of this process's own.
#[test]
fn calls_that_are_cancelled_while_they_wait_for_a_promise_leave_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let gate = MyGate::new();
    let (promise, server, client, far) = runtime.block_on(async {
        let promise = GateRef::new(Arc::clone(&gate)).keep(GateRef::new(MyGate::new()));
        let (server, client) = joined(MiddleRef::new(MyMiddle(promise.promised())), 1000).await;
        let far = soon(client.root::<MiddleRef>().gate()).await.expect("a reference");
        (promise, server, client, far)
    });
    let round = || {
        runtime.block_on(async {
            let dropped: Vec<_> = (0..100).map(|n| far.echo(n)).collect();
            let own: Vec<_> = (0..100).map(|n| promise.echo(n)).collect();
            until(|| server.tables().answers == 100).await;
            drop((dropped, own));
            until(|| server.tables().answers == 0 && client.tables().calls == 0).await;
        });
    };
    // Until buffers have the size that such rounds want.
    (0..100).for_each(|_| round());
    let left = allocation_counter::measure(|| (0..400).for_each(|_| round())).bytes_current;
    assert!(left < 100_000, "{left} bytes are left of 80,000 calls");
    let kept = (far.echo(1), promise.echo(2));
    gate.open.send_replace(true);
    assert_eq!(runtime.block_on(async { (soon(kept.0).await, soon(kept.1).await) }), (Ok(1), Ok(2)));
}
