//! What a connection's reading task does and when: work that is due late is counted, stopped or done as all other work is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pb_core::message::{Abort, AbortCode, Message, Ping};
use pb_core::wire::frame;
use pb_core::{Deferred, FailureKind, Ran, Resolver};
use pb_server::{Referenceable, Server, pair, remote_interface};
use pb_tests::live::soon;
use pb_tests::raw::Raw;
use tokio::sync::Notify;

#[remote_interface]
trait Desk {
    /// Another desk, once the gate is open.
    async fn open(&self) -> DeskRef;
    /// Blocks its thread so many milliseconds.
    async fn block(&self, millis: u64);
    /// Notes that it has run.
    async fn note(&self) -> u64;
    /// The desk that the test settles.
    async fn lent(&self) -> DeskRef;
    /// Waits for ever.
    async fn wait(&self);
}

#[derive(Default)]
struct Office {
    gate: Notify,
    notes: AtomicU64,
    lent: parking_lot::Mutex<Option<DeskRef>>,
}

#[derive(Referenceable, Clone)]
struct MyDesk(Arc<Office>);

impl Desk for MyDesk {
    async fn open(&self) -> DeskRef {
        self.0.gate.notified().await;
        DeskRef::new(self.clone())
    }
    async fn block(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
    async fn note(&self) -> u64 {
        self.0.notes.fetch_add(1, SeqCst) + 1
    }
    async fn lent(&self) -> DeskRef {
        self.0.lent.lock().clone().expect("the test has set it")
    }
    async fn wait(&self) {
        std::future::pending().await
    }
}

fn office() -> (Arc<Office>, DeskRef) {
    let office = Arc::<Office>::default();
    (Arc::clone(&office), DeskRef::new(MyDesk(office)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_method_that_blocks_its_thread_is_counted_also_where_it_waited_for_a_result() {
    let (office, root) = office();
    let (server, client) = pair(root).await;
    let desk: DeskRef = client.root();
    let opened = desk.open();
    let blocked = opened.block(1_100);
    // Both have come when this is answered.
    assert_eq!(soon(desk.note()).await, Ok(1));
    assert_eq!(server.held_up(), 0);
    office.gate.notify_one();
    assert_eq!(soon(blocked).await, Ok(()));
    let until = Instant::now() + Duration::from_secs(20);
    while server.held_up() == 0 {
        assert!(Instant::now() < until, "it is not counted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(opened);
}

/// Both ends on one thread: both calls come in one read.
#[tokio::test]
async fn a_call_whose_time_is_over_when_its_turn_comes_is_not_started() {
    let (_office, root) = office();
    let (_server, client) = pair(root).await;
    let desk: DeskRef = client.root();
    assert_eq!(soon(desk.note()).await, Ok(1));
    let blocks = desk.block(300);
    let late = desk.within(Duration::from_millis(100)).note();
    let failure = soon(late).await.expect_err("its time is over");
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
    assert_eq!(soon(blocks).await, Ok(()));
    assert_eq!(soon(desk.note()).await, Ok(2), "it has not run");
}

/// Calls of the peer's that wait for a promise of this process start where that is settled: on a runtime that never looks at them, or is gone.
#[tokio::test]
async fn methods_that_were_handed_to_a_runtime_that_is_idle_or_gone_hold_nothing_up() {
    const MANY: usize = 40;
    for gone in [false, true] {
        let (office, root) = office();
        let (resolver, lent): (Resolver<DeskRef>, Deferred<DeskRef>) = Deferred::new();
        *office.lent.lock() = Some(lent.promised());
        let (_server, client) = pair(root.clone()).await;
        let desk: DeskRef = client.root();
        let theirs = soon(desk.lent()).await.expect("a promise");
        let waiting: Vec<_> = (0..MANY).map(|_| theirs.wait()).collect();
        assert_eq!(soon(desk.note()).await, Ok(1), "all have come");
        let other = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = other.handle().clone();
        let kept = if gone {
            other.shutdown_background();
            None
        } else {
            Some(other)
        };
        std::thread::spawn(move || {
            let _inside = handle.enter();
            _ = resolver.resolve(root);
        })
        .join()
        .expect("no panic");
        for more in 2..20 {
            assert_eq!(soon(desk.note()).await, Ok(more), "the connection goes on; gone: {gone}");
        }
        if gone {
            for call in waiting {
                let failure = soon(call).await.expect_err("nobody runs it");
                assert_eq!((failure.kind, failure.ran), (FailureKind::Internal, Ran::Maybe), "{failure}");
            }
        }
        std::thread::spawn(move || drop(kept)).join().expect("no panic");
        drop(lent);
    }
}

/// Pings must be answered; the answers meet a socket that is closed, before the last words behind them have been read.
#[tokio::test]
async fn what_a_peer_said_last_is_why_its_connection_ended_though_it_takes_no_answers_any_more() {
    let why = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = Arc::clone(&why);
    let server =
        Server::new(office().1).on_disconnected(move |_, ended| noted.lock().push(ended.reason.to_string()));
    let running = server.listen("tcp://127.0.0.1:0").await.expect("a free port").spawn().expect("it listens");
    for pings in [300, 3_000] {
        let mut raw = Raw::greeted(running.url()).await;
        let mut out = Vec::new();
        (0..pings)
            .for_each(|nonce| frame::encode(&Message::<pb_core::Bytes>::Ping(Ping { nonce }), &mut out));
        let abort = Abort { code: AbortCode::Closing, reason: "the shop is shut".into() };
        frame::encode(&Message::<pb_core::Bytes>::Abort(abort), &mut out);
        raw.send(&out).await;
        drop(raw);
        let until = Instant::now() + Duration::from_secs(20);
        let reason = loop {
            if let Some(reason) = why.lock().pop() {
                break reason;
            }
            assert!(Instant::now() < until, "it does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(reason.contains("the shop is shut"), "{pings} pings: {reason}");
    }
    running.shutdown().await;
}
