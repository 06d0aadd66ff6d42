//! What follows from a batch of frames is done by the reading task: it is counted when it takes long, no panic of it ends a connection, and a violation
//! among the frames is what the connection ends for.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::message::{AbortCode, ExportId, Message, Payload, Resolve};
use pb_core::reactor::Stream;
use pb_core::wire::{body, frame};
use pb_core::{Bytes, DeferredExt, Failure};
use pb_server::{Broker, FailureKind, Limits, Referenceable, Stub, pair, remote_interface};
use pb_tests::live::soon;
use pb_tests::quiet::Quiet;
use pb_tests::raw::bytes_call;
use tokio::sync::Notify;

#[remote_interface]
trait Door {
    async fn say(&self, text: String) -> String;
    async fn open(&self) -> RoomRef;
    /// Once the bell is rung.
    async fn wait(&self) -> u64;
}

#[remote_interface]
trait Room {
    async fn enter(&self) -> u64;
}

#[derive(Referenceable, Default)]
struct House {
    bell: Arc<Notify>,
}

/// Blocks its thread as it is dropped.
#[derive(Referenceable)]
struct Slow;

/// Longer than what counts as held up.
const LONG: Duration = Duration::from_millis(1_200);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(LONG);
    }
}

impl Door for House {
    async fn say(&self, text: String) -> String {
        text
    }
    async fn open(&self) -> RoomRef {
        RoomRef::new(Slow)
    }
    async fn wait(&self) -> u64 {
        self.bell.notified().await;
        1
    }
}

impl Room for Slow {
    async fn enter(&self) -> u64 {
        1
    }
}

/// What ends this side, which leaves while a call of its own is not answered, where the peer calls by an id that is not the next; behind the answer, if
/// that comes too.
async fn end_of_a_violation_while_leaving(answer_too: bool) -> (AbortCode, FailureKind) {
    let root = DoorRef::new(House::default());
    let (broker, mut quiet) = Quiet::greeted(Some(root.as_reference().clone()), Limits::default()).await;
    let call = broker.root::<DoorRef>().say("x".into());
    let leaving = broker.clone();
    let leave = tokio::spawn(async move { leaving.leave(Duration::from_secs(60), "done").await });
    while !matches!(quiet.read().await.expect("it stays"), Message::Call(_)) {}
    // It has nothing to say to a peer that does not know of leaving, and nobody else runs here.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let mut out = Vec::new();
    if answer_too {
        let mut answer = Vec::new();
        body::encode(&"x", &mut answer).expect("a text");
        let payload = Payload { caps: Vec::new(), body: Bytes::from(answer) };
        frame::encode(&Message::Resolve(Resolve { export: ExportId(1), payload }), &mut out);
    }
    frame::encode(&Message::Call(bytes_call(9, "Door/say", "")), &mut out);
    quiet.send(&out).await;
    let last = quiet.rest().await.pop();
    let Some(Message::Abort(abort)) = last else { panic!("no abort but {last:?}") };
    let reason = broker.closed().await;
    leave.await.expect("it has left");
    drop(call);
    (abort.code, reason.kind)
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_what_a_leaving_side_ends_for_also_behind_the_answer_it_waits_for() {
    for answer_too in [false, true] {
        let end = end_of_a_violation_while_leaving(answer_too).await;
        assert_eq!(end, (AbortCode::Violation, FailureKind::Protocol), "with the answer: {answer_too}");
    }
}

async fn until_held_up(broker: &Broker) {
    let counted = async {
        while broker.held_up() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(counted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_object_that_blocks_as_it_is_dropped_for_a_release_is_counted() {
    let (server, client) = pair(DoorRef::new(House::default())).await;
    let door: DoorRef = client.root();
    let room = soon(door.open()).await.expect("a room");
    drop(room);
    until_held_up(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_callback_that_blocks_as_an_answer_comes_is_counted() {
    let bell = Arc::new(Notify::new());
    let (_server, client) = pair(DoorRef::new(House { bell: Arc::clone(&bell) })).await;
    let door: DoorRef = client.root();
    let blocks = |_| {
        std::thread::sleep(LONG);
        Ok::<(), Failure>(())
    };
    door.wait().add_callback(blocks).detach();
    bell.notify_one();
    until_held_up(&client).await;
}

struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("intended: a waker");
    }
}

#[tokio::test]
async fn a_waker_of_who_waits_for_idleness_may_panic_and_the_connection_stands() {
    let (_server, client) = pair(DoorRef::new(House::default())).await;
    let door: DoorRef = client.root();
    let said = door.say("x".into());
    let waker = Waker::from(Arc::new(Bad));
    let mut idle = Box::pin(client.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(soon(said).await.expect("an answer"), "x");
    drop(idle);
    assert_eq!(soon(door.say("y".into())).await.expect("another"), "y");
}

#[tokio::test]
async fn a_waker_of_who_waits_for_room_may_panic_and_all_calls_have_their_answers() {
    let (ours, theirs) = Stream::pair();
    let root = DoorRef::new(House::default());
    let limits = Limits { calls: 1, ..Limits::default() };
    let serving =
        Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() };
    let calling = Config { root: None, stays: false, ..Config::default() };
    let (server, client) = tokio::join!(Broker::open(ours, serving), Broker::open(theirs, calling));
    let (_server, client) = (server.expect("a server"), client.expect("a client"));
    let door: DoorRef = client.root();
    let waker = Waker::from(Arc::new(Bad));
    let mut calls = Vec::new();
    let mut ready = Box::pin(door.remote().ready());
    while ready.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        calls.push(door.say("x".into()));
        assert!(calls.len() < 1_000, "there is room for so many");
        ready = Box::pin(door.remote().ready());
    }
    for call in calls {
        assert_eq!(soon(call).await.expect("an answer"), "x");
    }
    drop(ready);
    assert_eq!(soon(door.say("y".into())).await.expect("another"), "y");
}
