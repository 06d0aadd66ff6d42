//! Waiting for room instead of failing: programs that ask whether they may call, and middlemen (`docs/protocol.md`, section 12).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::reactor::Stream;
use pb_server::{Broker, FailureKind, Limits, Ran, Referenceable, Stub, TableSizes, remote_interface};
use tokio::sync::watch;

#[remote_interface]
trait Gate {
    /// Returns `n` once the gate is open.
    async fn pass(&self, n: u64) -> u64;
    async fn echo(&self, n: u64) -> u64;
    #[remote(answer_bytes = 300_000)]
    async fn large(&self, bytes: u32) -> Vec<u8>;
    #[remote(oneway)]
    async fn note(&self, n: u64);
}

#[derive(Referenceable)]
struct MyGate {
    open: watch::Sender<bool>,
    noted: AtomicUsize,
    seen: std::sync::Mutex<Vec<u64>>,
}

impl MyGate {
    fn new() -> Arc<Self> {
        Arc::new(MyGate {
            open: watch::Sender::new(false),
            noted: AtomicUsize::new(0),
            seen: std::sync::Mutex::default(),
        })
    }
}

impl Gate for MyGate {
    async fn pass(&self, n: u64) -> u64 {
        self.seen.lock().expect("nobody panics in it").push(n);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        n
    }
    async fn echo(&self, n: u64) -> u64 {
        self.seen.lock().expect("nobody panics in it").push(n);
        n
    }
    async fn large(&self, bytes: u32) -> Vec<u8> {
        vec![7; bytes as usize]
    }
    async fn note(&self, n: u64) {
        self.noted.fetch_add(n as usize, Ordering::SeqCst);
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes")
}

/// Two ends, of which one serves `root`.
async fn joined(root: GateRef, serving: Limits, calling: Limits) -> (Broker, Broker) {
    let (one, other) = Stream::pair();
    let root = Some(root.as_reference().clone());
    let serve = Broker::open(one, Config { root, limits: serving, stays: true, ..Config::default() });
    let call = Broker::open(other, Config { root: None, limits: calling, stays: false, ..Config::default() });
    let (serve, call) = tokio::join!(serve, call);
    (serve.expect("greeted"), call.expect("greeted"))
}

fn few() -> Limits {
    Limits { calls: 16, ..Limits::default() }
}

async fn idle(broker: &Broker) {
    soon(async {
        while broker.tables() != TableSizes::default() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_waits_for_room_and_nothing_is_refused() {
    let gate = MyGate::new();
    let (server, client) = joined(GateRef::new(Arc::clone(&gate)), few(), Limits::default()).await;
    let root: GateRef = client.root();
    let held: Vec<_> = (0..16).map(|n| root.pass(n)).collect();
    let refused = soon(root.pass(99)).await.expect_err("the grant is used up");
    assert_eq!((refused.kind, refused.ran), (FailureKind::Overloaded, Ran::No));
    let waiting: Vec<_> = (0..100u64)
        .map(|n| {
            let root = root.clone();
            tokio::spawn(async move {
                loop {
                    root.remote().ready().await?;
                    match root.echo(n).await {
                        Err(failure) if failure.kind == FailureKind::Overloaded => {}
                        other => return other,
                    }
                }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    gate.open.send_replace(true);
    for (n, waiting) in (0..).zip(waiting) {
        assert_eq!(soon(waiting).await.expect("no panic"), Ok(n));
    }
    for (n, held) in (0..).zip(held) {
        assert_eq!(soon(held).await, Ok(n));
    }
    idle(&client).await;
    idle(&server).await;
}

#[tokio::test]
async fn who_waits_for_room_learns_that_the_connection_has_ended() {
    let gate = MyGate::new();
    let (server, client) = joined(GateRef::new(Arc::clone(&gate)), few(), Limits::default()).await;
    let root: GateRef = client.root();
    let held: Vec<_> = (0..16).map(|n| root.pass(n)).collect();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let root = root.clone();
                async move { root.remote().ready().await }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    server.close();
    for waiting in waiting {
        let failure = soon(waiting).await.expect("no panic").expect_err("there will be no room");
        assert_eq!(failure.kind, FailureKind::Disconnected);
    }
    drop(held);
    idle(&client).await;
}

/// Lets one call of `held` go, and waits until its room is free.
async fn free_one<T>(client: &Broker, held: &mut Vec<T>) {
    drop(held.pop());
    soon(async {
        while client.tables().calls > held.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn room_that_a_waiter_gave_up_goes_to_the_next() {
    let gate = MyGate::new();
    let (_server, client) = joined(GateRef::new(Arc::clone(&gate)), few(), Limits::default()).await;
    let root: GateRef = client.root();
    let mut held: Vec<_> = (0..16).map(|n| root.pass(n)).collect();
    let mut first = Box::pin(root.remote().ready());
    let mut second = Box::pin(root.remote().ready());
    assert!(futures::poll!(first.as_mut()).is_pending());
    assert!(futures::poll!(second.as_mut()).is_pending());
    // There is room for one, of which the first is told.
    free_one(&client, &mut held).await;
    drop(first);
    soon(second).await.expect("there is room");
}

#[tokio::test]
async fn room_that_a_waiter_does_not_use_goes_to_the_next() {
    let gate = MyGate::new();
    let (_server, client) = joined(GateRef::new(Arc::clone(&gate)), few(), Limits::default()).await;
    let root: GateRef = client.root();
    let mut held: Vec<_> = (0..16).map(|n| root.pass(n)).collect();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(root.remote().ready())).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one.as_mut()).is_pending());
    }
    free_one(&client, &mut held).await;
    for one in waiting {
        soon(one).await.expect("there is room");
    }
}

#[tokio::test]
async fn answers_count_until_they_are_decoded_or_dropped() {
    let gate = MyGate::new();
    let small = Limits { answer_bytes: 700_000, ..Limits::default() };
    let (_server, client) = joined(GateRef::new(Arc::clone(&gate)), Limits::default(), small).await;
    let root: GateRef = client.root();
    let (one, other) = (root.large(299_000), root.large(299_000));
    let refused = soon(root.large(1)).await.expect_err("two answers of 300,000 bytes are awaited");
    assert_eq!((refused.kind, refused.ran), (FailureKind::Overloaded, Ran::No));
    // They have come when a call behind them is answered; nobody has decoded them.
    assert_eq!(soon(root.echo(1)).await, Ok(1));
    assert!(soon(root.large(1)).await.is_err(), "two answers of 299,000 bytes are kept");
    assert_eq!(soon(one).await.map(|bytes| bytes.len()), Ok(299_000));
    drop(other);
    assert_eq!(soon(root.large(299_000)).await.map(|bytes| bytes.len()), Ok(299_000));
}

/// A middleman's object is somebody else's: it hands out a reference that it got itself.
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

struct Chain {
    gate: Arc<MyGate>,
    brokers: [Broker; 4],
    far: GateRef,
}

/// A client, a middleman, and a server that grants the middleman 16 calls.
async fn chain() -> Chain {
    let gate = MyGate::new();
    let (server, behind) = joined(GateRef::new(Arc::clone(&gate)), few(), Limits::default()).await;
    let (one, other) = Stream::pair();
    let root = Some(MiddleRef::new(MyMiddle(behind.root())).as_reference().clone());
    let serve =
        Broker::open(one, Config { root, limits: Limits::default(), stays: true, ..Config::default() });
    let call = Broker::open(
        other,
        Config { root: None, limits: Limits::default(), stays: false, ..Config::default() },
    );
    let (before, client) = tokio::join!(serve, call);
    let (before, client) = (before.expect("greeted"), client.expect("greeted"));
    let far = soon(client.root::<MiddleRef>().gate()).await.expect("a reference");
    Chain { gate, brokers: [server, behind, before, client], far }
}

impl Chain {
    async fn ends_idle(self) {
        drop(self.far);
        for broker in &self.brokers {
            // The middleman's own reference to the server's root is no entry.
            idle(broker).await;
        }
    }
}

#[tokio::test]
async fn calls_that_are_passed_on_wait_for_room_in_their_order() {
    let chain = chain().await;
    let calls: Vec<_> = (0..200).map(|n| chain.far.pass(n)).collect();
    (0..50).for_each(|_| chain.far.note(1));
    let last = chain.far.echo(200);
    // The grant of 16 is used up, and nothing has failed: the middleman keeps the rest.
    soon(async {
        while chain.gate.seen.lock().expect("nobody panics in it").len() < 16 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    chain.gate.open.send_replace(true);
    for (n, call) in (0..).zip(calls) {
        assert_eq!(soon(call).await, Ok(n));
    }
    assert_eq!(soon(last).await, Ok(200));
    assert_eq!(*chain.gate.seen.lock().expect("nobody panics in it"), (0..=200).collect::<Vec<_>>());
    assert_eq!(chain.gate.noted.load(Ordering::SeqCst), 50, "one-way calls wait as well");
    chain.ends_idle().await;
}

#[tokio::test]
async fn a_call_that_waits_for_room_at_a_middleman_can_be_cancelled() {
    let chain = chain().await;
    let held: Vec<_> = (0..16).map(|n| chain.far.pass(n)).collect();
    let dropped: Vec<_> = (16..100).map(|n| chain.far.pass(n)).collect();
    let kept = chain.far.echo(100);
    drop(dropped);
    // Their answers come although the far side has answered nothing: the middleman's own.
    soon(async {
        while chain.brokers[3].tables().calls > 17 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    chain.gate.open.send_replace(true);
    assert_eq!(soon(kept).await, Ok(100));
    for held in held {
        soon(held).await.expect("it was sent");
    }
    assert_eq!(chain.gate.seen.lock().expect("nobody panics in it").len(), 17);
    chain.ends_idle().await;
}

#[tokio::test]
async fn calls_that_wait_for_room_fail_with_the_connection_that_they_wait_for() {
    let chain = chain().await;
    let calls: Vec<_> = (0..100).map(|n| chain.far.pass(n)).collect();
    soon(async {
        while chain.gate.seen.lock().expect("nobody panics in it").len() < 16 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    chain.brokers[0].close();
    for call in calls {
        assert_eq!(soon(call).await.expect_err("nobody answers").kind, FailureKind::Disconnected);
    }
    chain.ends_idle().await;
}

#[remote_interface]
trait Fails {
    #[remote(answer_bytes = 300_000)]
    async fn gate(&self, bytes: u32) -> Result<GateRef, String>;
    async fn call(&self, gate: GateRef) -> u64;
}

#[derive(Referenceable)]
struct MyFails;

impl Fails for MyFails {
    async fn gate(&self, bytes: u32) -> Result<GateRef, String> {
        Err("x".repeat(bytes as usize))
    }
    async fn call(&self, gate: GateRef) -> u64 {
        gate.echo(1).await.unwrap_or(0)
    }
}

/// A large error counts against the bytes for answers until it is dropped; kept as a cause in a table it would be dropped under a lock.
#[tokio::test]
async fn a_large_error_of_a_promise_is_no_cause_that_is_kept() {
    let (one, other) = Stream::pair();
    let config = |root: FailsRef| Config {
        root: Some(root.as_reference().clone()),
        limits: Limits::default(),
        stays: true,
        ..Config::default()
    };
    let ends = (
        Broker::open(one, config(FailsRef::new(MyFails))),
        Broker::open(other, config(FailsRef::new(MyFails))),
    );
    let (one, other) = tokio::join!(ends.0, ends.1);
    let (one, other) = (one.expect("greeted"), other.expect("greeted"));
    for bytes in [10, 4_000, 5_000, 200_000] {
        let (here, there): (FailsRef, FailsRef) = (one.root(), other.root());
        let failed = here.gate(bytes);
        let promise = failed.promised();
        // The promise goes to both sides before and after it has failed.
        assert_eq!(soon(there.call(promise.clone())).await, Ok(0));
        assert!(soon(failed).await.is_err());
        assert_eq!(soon(there.call(promise.clone())).await.unwrap_or(0), 0);
        assert_eq!(soon(here.call(promise.clone())).await.unwrap_or(0), 0);
        assert_eq!(soon(promise.echo(1)).await.expect_err("it is broken").kind, FailureKind::Broken);
    }
    idle(&one).await;
    idle(&other).await;
}

/// A call at the head of what waits at a middleman, which finds no room though small ones would.
async fn stuck() -> (Arc<MyGate>, [Broker; 4], GateRef) {
    let gate = MyGate::new();
    let own = Limits { answer_bytes: 400_000, ..Limits::default() };
    let (server, behind) = joined(GateRef::new(Arc::clone(&gate)), Limits::default(), own).await;
    let (one, other) = Stream::pair();
    let root = Some(MiddleRef::new(MyMiddle(behind.root())).as_reference().clone());
    let serve =
        Broker::open(one, Config { root, limits: Limits::default(), stays: true, ..Config::default() });
    let call = Broker::open(
        other,
        Config { root: None, limits: Limits::default(), stays: false, ..Config::default() },
    );
    let (before, client) = tokio::join!(serve, call);
    let (before, client) = (before.expect("greeted"), client.expect("greeted"));
    let far = soon(client.root::<MiddleRef>().gate()).await.expect("a reference");
    (gate, [server, behind, before, client], far)
}

#[tokio::test]
async fn a_call_that_finds_no_room_holds_up_nothing_but_what_is_behind_it() {
    let (gate, brokers, far) = stuck().await;
    let held = (far.pass(1), far.pass(2));
    let large = far.large(1);
    let behind_it = far.echo(3);
    // One thread runs all of this: whoever tried again and again would be the only one to run.
    assert!(soon(brokers[3].root::<MiddleRef>().gate()).await.is_ok(), "the middleman answers for itself");
    drop(large);
    assert_eq!(soon(behind_it).await, Ok(3), "it goes as the one before it is cancelled");
    gate.open.send_replace(true);
    assert_eq!((soon(held.0).await, soon(held.1).await), (Ok(1), Ok(2)));
    drop(far);
    for broker in &brokers {
        idle(broker).await;
    }
}
