//! What a peer sent in one write is done in the order in which it sent it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;

use pb_core::message::*;
use pb_core::objects::Stub;
use pb_core::wire::frame;
use pb_core::{Broker, Bytes, Limits};
use pb_server::{Referenceable, remote_interface};
use pb_tests::quiet::Quiet;
use pb_tests::raw::call;
use tokio::sync::Notify;

#[remote_interface]
trait Progress {
    #[remote(oneway)]
    async fn step(&self);
}

#[remote_interface]
trait Worker {
    async fn work(&self, progress: ProgressRef);
}

#[derive(Referenceable)]
struct Steps(Arc<AtomicU64>);

impl Progress for Steps {
    async fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The cast of it.
fn step(target: ImportId) -> Message {
    let name = MethodText { name: "Progress/step".into(), fewest: 0, prints: Box::default() };
    let method = MethodName::Once(Arc::new(name));
    Message::Cast(Cast { target, method, options: None, payload: Payload::default() })
}

/// Notes how many steps had been told when it was woken.
struct Seen {
    steps: Arc<AtomicU64>,
    when_woken: AtomicU64,
}

impl Wake for Seen {
    fn wake(self: Arc<Self>) {
        self.when_woken.fetch_max(self.steps.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Progress that was told before the result is known before the result, though both came in one read.
#[tokio::test(start_paused = true)]
async fn a_cast_that_came_before_an_answer_is_started_before_the_answer_is_told() {
    const STEPS: u64 = 5;
    let (broker, mut peer) = Quiet::greeted(None, Limits::default()).await;
    let steps = Arc::new(AtomicU64::new(0));
    let mut done = broker.root::<WorkerRef>().work(ProgressRef::new(Steps(Arc::clone(&steps))));
    let call = loop {
        match peer.read().await.expect("a call") {
            Message::Call(call) => break call,
            Message::Hello(_) => {}
            other => panic!("{other:?} came"),
        }
    };
    let [Cap::Mine(id)] = call.payload.caps[..] else { panic!("{:?} were passed", call.payload.caps) };
    let seen = Arc::new(Seen { steps: Arc::clone(&steps), when_woken: AtomicU64::new(0) });
    let waker = Waker::from(Arc::clone(&seen));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut done).poll(&mut cx).is_pending());
    let step = step(ImportId(id.0));
    let mut out = Vec::new();
    (0..STEPS).for_each(|_| frame::encode(&step, &mut out));
    frame::encode(
        &Message::<Bytes>::Resolve(Resolve { export: ExportId(call.result.0), payload: Payload::default() }),
        &mut out,
    );
    peer.send(&out).await;
    while seen.when_woken.load(Ordering::SeqCst) == 0 && steps.load(Ordering::SeqCst) < STEPS {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.when_woken.load(Ordering::SeqCst), STEPS);
    assert!(matches!(Pin::new(&mut done).poll(&mut cx), Poll::Ready(Ok(()))));
}

#[remote_interface]
trait Door {
    async fn logout(&self);
    async fn open(&self) -> ProgressRef;
}

/// A root that ends its connection where it is told to, and opens once its gate does.
#[derive(Referenceable)]
#[referenceable(Progress)]
struct Guard {
    connection: Mutex<Option<Broker>>,
    gate: Notify,
    steps: Arc<AtomicU64>,
}

impl Door for Guard {
    async fn logout(&self) {
        self.connection.lock().take().expect("it has one").close();
    }

    async fn open(&self) -> ProgressRef {
        self.gate.notified().await;
        ProgressRef::new(Steps(Arc::clone(&self.steps)))
    }
}

impl Progress for Guard {
    async fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }
}

async fn guarded() -> (Broker, Quiet, DoorRef, Arc<AtomicU64>) {
    let steps = Arc::new(AtomicU64::new(0));
    let guard = Guard { connection: Mutex::default(), gate: Notify::new(), steps: Arc::clone(&steps) };
    let root = DoorRef::new(guard);
    let (broker, peer) = Quiet::greeted(Some(root.as_reference().clone()), Limits::default()).await;
    let guard = root.remote().local::<Guard>().expect("it is here");
    *guard.connection.lock() = Some(broker.clone());
    (broker, peer, root, steps)
}

/// Whoever closes a connection in a method need not fear that what came with the call is run after it.
#[tokio::test(start_paused = true)]
async fn no_call_starts_after_a_method_has_closed_its_connection() {
    let (broker, mut peer, _root, steps) = guarded().await;
    let mut out = Vec::new();
    frame::encode(&step(ImportId::ROOT), &mut out);
    frame::encode(&Message::Call(call(1, "Door/logout", &())), &mut out);
    (0..10).for_each(|_| frame::encode(&step(ImportId::ROOT), &mut out));
    peer.send(&out).await;
    broker.closed().await;
    peer.rest().await;
    assert_eq!(steps.load(Ordering::SeqCst), 1, "what came before it, and nothing behind");
}

/// A peer that says no more, and reads, has all that it asked for before.
#[tokio::test(start_paused = true)]
async fn casts_that_wait_for_a_result_are_started_though_the_peer_says_no_more() {
    let (broker, mut peer, root, steps) = guarded().await;
    let mut out = Vec::new();
    let asked = Call { reply: Reply::Reference, ..call(1, "Door/open", &()) };
    frame::encode(&Message::Call(asked), &mut out);
    (0..5).for_each(|_| frame::encode(&step(ImportId(1)), &mut out));
    peer.send(&out).await;
    peer.end().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    root.remote().local::<Guard>().expect("it is here").gate.notify_one();
    broker.closed().await;
    peer.rest().await;
    assert_eq!(steps.load(Ordering::SeqCst), 5);
}

/// Looks whether the connection is idle when it is woken.
struct Looks {
    broker: Mutex<Option<Broker>>,
    was_idle: Mutex<Vec<bool>>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let broker = self.broker.lock().clone();
        let idle = broker.map(|broker| broker.idle().now_or_never().is_some());
        self.was_idle.lock().extend(idle);
    }
}

/// Two answers in one read: as the first is told, the second is out of the tables, and not told yet.
#[tokio::test(start_paused = true)]
async fn a_connection_is_not_idle_while_an_answer_that_has_come_is_not_told() {
    let (broker, mut peer) = Quiet::greeted(None, Limits::default()).await;
    let door: DoorRef = broker.root();
    let mut calls = [door.logout(), door.logout()];
    let looks = Arc::new(Looks { broker: Mutex::new(Some(broker.clone())), was_idle: Mutex::default() });
    let waker = Waker::from(Arc::clone(&looks));
    let mut cx = Context::from_waker(&waker);
    assert!(calls.iter_mut().all(|call| Pin::new(call).poll(&mut cx).is_pending()));
    let mut out = Vec::new();
    while out.len() < 2 {
        match peer.read().await.expect("a call") {
            Message::Call(call) => out.push(call.result.0),
            Message::Hello(_) => {}
            other => panic!("{other:?} came"),
        }
    }
    let mut bytes = Vec::new();
    for id in out {
        let answer = Resolve { export: ExportId(id), payload: Payload::default() };
        frame::encode(&Message::<Bytes>::Resolve(answer), &mut bytes);
    }
    assert!(broker.idle().now_or_never().is_none(), "two calls wait");
    peer.send(&bytes).await;
    broker.idle().await;
    assert!(calls.iter_mut().all(|call| matches!(Pin::new(call).poll(&mut cx), Poll::Ready(Ok(())))));
    assert_eq!(looks.was_idle.lock()[..], [false, false]);
    looks.broker.lock().take();
}

#[remote_interface]
trait Scale {
    async fn weigh(&self, bytes: Vec<u8>) -> u64;
}

#[derive(Referenceable)]
struct MyScale;

impl Scale for MyScale {
    async fn weigh(&self, bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }
}

/// What one by one has room goes in, however it was cut into reads: the first ones are answered before the last one counts.
#[tokio::test(start_paused = true)]
async fn calls_that_come_together_are_taken_where_each_of_them_has_room() {
    const SMALL: i64 = 15;
    let root = ScaleRef::new(MyScale);
    // 64 KiB beside the connection itself.
    let limits = Limits { budget: 80 << 10, ..Limits::default() };
    let (_broker, mut peer) = Quiet::greeted(Some(root.as_reference().clone()), limits).await;
    // All in one read; each by itself takes 512 bytes of the budget beside its own.
    let mut bytes = Vec::new();
    for result in 1..=SMALL {
        frame::encode(&Message::Call(call(result, "Scale/weigh", &vec![0u8; 1])), &mut bytes);
    }
    frame::encode(&Message::Call(call(SMALL + 1, "Scale/weigh", &vec![0u8; 58_000])), &mut bytes);
    peer.send(&bytes).await;
    peer.end().await;
    let mut answers = peer.rest().await;
    answers.retain(|message| !matches!(message, Message::Abort(_)));
    for (answer, result) in answers.iter().zip(1..) {
        match answer {
            Message::Resolve(resolve) => assert_eq!(resolve.export.0, result),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers.len(), SMALL as usize + 1, "{answers:?}");
}
