//! Live ends that leave, that are left, and that are cut off, in tokio's paused time where time matters.

use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::Config;
use pb_core::message::{AbortCode, Hello, Message, Reject, Rejection, features};
use pb_core::proto::LONGEST_TIME;
use pb_core::reactor::Stream;
use pb_core::wire::frame::MAGIC;
use pb_server::{Broker, FailureKind, Limits, Ran, Referenceable, Server, Stub, remote_interface};
use pb_tests::live::soon;
use pb_tests::quiet::Quiet;
use pb_tests::raw::{Raw, bytes_call, call, hello};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, advance, sleep, timeout};

#[remote_interface]
trait Door {
    /// Ends when it is let go.
    async fn hold(&self) -> u64;
    async fn say(&self, text: String) -> String;
    async fn open(&self) -> RoomRef;
    /// Calls the bell once it is let go.
    async fn ring(&self, bell: RoomRef) -> u64;
    /// Lets go of the last handle of a connection, which is the one that it is called over.
    async fn drop_broker(&self) -> u64;
    #[remote(oneway)]
    async fn note(&self);
}

#[remote_interface]
trait Room {
    async fn enter(&self) -> u64;
}

#[derive(Referenceable)]
struct House {
    gate: watch::Receiver<bool>,
    started: Arc<Semaphore>,
    broker: std::sync::Mutex<Option<Broker>>,
}

#[derive(Referenceable)]
struct Plain;

impl House {
    async fn wait(&self) {
        self.started.add_permits(1);
        let mut gate = self.gate.clone();
        let _ = gate.wait_for(|open| *open).await;
    }
}

impl Door for House {
    async fn hold(&self) -> u64 {
        self.wait().await;
        42
    }
    async fn say(&self, text: String) -> String {
        text
    }
    async fn open(&self) -> RoomRef {
        RoomRef::new(Plain)
    }
    async fn ring(&self, bell: RoomRef) -> u64 {
        self.wait().await;
        bell.enter().await.unwrap_or(0)
    }
    async fn drop_broker(&self) -> u64 {
        let broker = self.broker.lock().expect("nobody panics in it").take();
        self.started.add_permits(1);
        drop(broker);
        7
    }
    async fn note(&self) {
        self.wait().await;
    }
}

impl Room for Plain {
    async fn enter(&self) -> u64 {
        1
    }
}

/// What the tests of one server share.
struct Bench {
    gate: watch::Sender<bool>,
    started: Arc<Semaphore>,
    root: DoorRef,
    house: Arc<House>,
}

fn bench() -> Bench {
    let gate = watch::Sender::new(false);
    let started = Arc::new(Semaphore::new(0));
    let house =
        Arc::new(House { gate: gate.subscribe(), started: Arc::clone(&started), broker: Default::default() });
    Bench { gate, started, root: DoorRef::new(Arc::clone(&house)), house }
}

impl Bench {
    /// Waits until `count` methods run.
    async fn until_started(&self, count: u32) {
        soon(self.started.acquire_many(count)).await.expect("it is never closed").forget();
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A result that did not run because of a leave.
#[track_caller]
fn assert_turned_away<T: std::fmt::Debug>(result: Result<T, pb_server::Failure>) {
    let failure = result.expect_err("it is refused");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No), "{failure}");
}

#[tokio::test]
async fn a_drain_answers_all_calls_in_flight_and_turns_new_ones_away() {
    let bench = bench();
    let server = Server::new(bench.root.clone()).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let url = server.urls().remove(0);
    let running = server.spawn().expect("it listens");
    let mut clients = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..8 {
        let client = pb_client::connect(&url).await.expect("it listens");
        calls.extend((0..25).map(|_| client.root::<DoorRef>().hold()));
        clients.push(client);
    }
    bench.until_started(200).await;
    let drain = tokio::spawn(running.drain(seconds(60)));
    for client in &clients {
        let leaving = soon(client.leaving()).await.expect("it is told before the end");
        assert_eq!(&*leaving.reason, "the server is shutting down");
        assert!(leaving.left > seconds(50) && leaving.left <= seconds(60), "{:?}", leaving.left);
        assert_eq!(client.peer_leaving().map(|leaving| leaving.reason), Some(leaving.reason));
        assert_turned_away(soon(client.root::<DoorRef>().say("late".into())).await);
    }
    assert!(pb_client::connect(&url).await.is_err(), "nobody listens any more");
    assert!(!drain.is_finished());
    bench.gate.send_replace(true);
    for call in calls {
        assert_eq!(soon(call).await, Ok(42));
    }
    soon(drain).await.expect("it does not panic");
    for client in &clients {
        let reason = soon(client.closed()).await;
        assert!(reason.message.contains("the server is shutting down"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_references_has_the_whole_time_of_a_drain_and_can_end_it_early() {
    for early in [false, true] {
        let bench = bench();
        let name = format!("mem://drain-{early}");
        let running = Server::new(bench.root.clone()).listen(&name).await.expect("a name").spawn();
        let client = pb_client::connect(&name).await.expect("it listens");
        let room = client.root::<DoorRef>().open().await.expect("a room");
        let from = Instant::now();
        let drain = tokio::spawn(running.expect("it listens").drain(seconds(20)));
        client.leaving().await.expect("it is told");
        sleep(seconds(8)).await;
        assert_eq!(room.enter().await, Ok(1), "what is held runs");
        if early {
            drop(room);
        }
        drain.await.expect("it does not panic");
        assert_eq!(from.elapsed().as_secs(), if early { 8 } else { 20 });
        client.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_time_a_drain_is_given_its_peers_are_told_49_days_at_the_most() {
    let running = Server::new(bench().root).listen("mem://drain-longest").await.expect("a name").spawn();
    let client = pb_client::connect("mem://drain-longest").await.expect("it listens");
    let room = client.root::<DoorRef>().open().await.expect("a room");
    let from = Instant::now();
    let drain = tokio::spawn(running.expect("it listens").drain(Duration::MAX));
    let leaving = client.leaving().await.expect("it is told");
    assert_eq!(leaving.left + from.elapsed(), LONGEST_TIME);
    assert_eq!(LONGEST_TIME.as_secs() / 86_400, 49);
    drop(room);
    drain.await.expect("it does not panic");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_one_way_calls_that_run() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    client.root::<DoorRef>().note();
    bench.until_started(1).await;
    let leave = tokio::spawn(async move { server.leave(seconds(60), "done").await });
    client.leaving().await.expect("it is told");
    sleep(seconds(5)).await;
    assert!(!leave.is_finished());
    bench.gate.send_replace(true);
    leave.await.expect("it does not panic");
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_nobody() {
    let bench = bench();
    let running = Server::new(bench.root.clone()).listen("mem://shutdown").await.expect("a name").spawn();
    let client = pb_client::connect("mem://shutdown").await.expect("it listens");
    let held = client.root::<DoorRef>().hold();
    bench.until_started(1).await;
    let from = Instant::now();
    running.expect("it listens").shutdown().await;
    assert!(from.elapsed() < seconds(1));
    let failure = held.await.expect_err("it is cut off");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_dropped_closes_at_once() {
    let bench = bench();
    let running = Server::new(bench.root.clone()).listen("mem://dropped").await.expect("a name").spawn();
    let client = pb_client::connect("mem://dropped").await.expect("it listens");
    let held = client.root::<DoorRef>().hold();
    bench.until_started(1).await;
    let from = Instant::now();
    let drain = running.expect("it listens").drain(seconds(60));
    assert!(timeout(seconds(3), drain).await.is_err());
    let failure = held.await.expect_err("it is cut off");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    client.closed().await;
    assert_eq!(from.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn leaving_goes_on_when_its_future_is_dropped_and_can_be_hurried() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    let held = client.root::<DoorRef>().hold();
    bench.until_started(1).await;
    let from = Instant::now();
    assert!(timeout(seconds(1), server.leave(seconds(30), "slowly")).await.is_err());
    assert_turned_away(client.root::<DoorRef>().say("late".into()).await);
    server.leave(seconds(4), "ignored").await;
    assert_eq!(from.elapsed().as_secs(), 5);
    let failure = held.await.expect_err("it is stopped");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
    assert!(failure.message.contains("slowly"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_finishes_its_calls_and_serves_what_it_lent() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    let rung = client.root::<DoorRef>().ring(RoomRef::new(Plain));
    bench.until_started(1).await;
    let leave = tokio::spawn(async move { client.leave(seconds(60), "goodbye").await });
    assert_eq!(&*server.leaving().await.expect("it is told").reason, "goodbye");
    bench.gate.send_replace(true);
    assert_eq!(rung.await, Ok(1), "the bell could be called");
    leave.await.expect("it does not panic");
    server.closed().await;
}

#[tokio::test]
async fn who_waits_for_a_leave_that_never_comes_learns_the_end() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.leaving().await }
    });
    server.close();
    let failure = soon(waiting).await.expect("it does not panic").expect_err("nobody left");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert_eq!(client.peer_leaving(), None);
}

#[tokio::test(start_paused = true)]
async fn idle_is_told_on_both_sides_when_the_last_reference_goes_and_not_before() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    let root: DoorRef = client.root();
    assert!(client.is_idle() && server.is_idle(), "the root does not count");
    client.idle().await;
    let held = root.hold();
    let room = root.open().await.expect("a room");
    bench.until_started(1).await;
    let idle = tokio::spawn({
        let (client, server) = (client.clone(), server.clone());
        async move { tokio::join!(client.idle(), server.idle()) }
    });
    sleep(seconds(1)).await;
    assert!(!idle.is_finished() && !client.is_idle() && !server.is_idle());
    bench.gate.send_replace(true);
    held.await.expect("an answer");
    sleep(seconds(1)).await;
    assert!(!idle.is_finished() && !client.is_idle() && !server.is_idle(), "a room is held");
    drop(room);
    idle.await.expect("it does not panic");
    assert!(client.is_idle() && server.is_idle());
    root.note();
    assert!(!client.is_idle(), "a one-way call is on its way");
    client.idle().await;
    assert!(server.is_idle());
    client.close();
    client.idle().await;
}

#[tokio::test]
async fn calls_received_before_the_end_of_one_direction_are_answered_over_tcp() {
    let bench = bench();
    let server = Server::new(bench.root.clone()).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let url = server.urls().remove(0);
    let running = server.spawn().expect("it listens");
    let mut raw = Raw::greeted(&url).await;
    raw.message(&Message::Call(call(1, "Door/hold", &()))).await;
    raw.message(&Message::Call(call(2, "Door/say", &"behind"))).await;
    bench.until_started(1).await;
    let finish = tokio::spawn(raw.finish());
    // The end of the stream is read before the answer: a further connection's call is answered behind it.
    let client = pb_client::connect(&url).await.expect("it listens");
    assert_eq!(soon(client.root::<DoorRef>().say("hello".into())).await.as_deref(), Ok("hello"));
    bench.gate.send_replace(true);
    let messages = soon(finish).await.expect("it does not panic");
    let ids: Vec<_> = messages
        .iter()
        .map(|message| match message {
            Message::Resolve(resolve) => resolve.export.0,
            other => panic!("no answer, but {other:?}"),
        })
        .collect();
    assert_eq!(ids, [2, 1], "and then the end of the stream, nothing else");
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn answers_behind_the_end_of_one_direction_have_ten_seconds() {
    let bench = bench();
    let (broker, mut quiet) =
        Quiet::greeted(Some(bench.root.as_reference().clone()), Limits::default()).await;
    quiet.message(&Message::Call(call(1, "Door/hold", &()))).await;
    bench.until_started(1).await;
    let own = broker.root::<RoomRef>().enter();
    let from = Instant::now();
    quiet.end().await;
    assert_eq!(own.await.expect_err("nobody can answer").kind, FailureKind::Disconnected);
    assert!(from.elapsed() < seconds(1));
    let refused = broker.root::<RoomRef>().enter().await.expect_err("nobody can answer");
    assert_eq!(refused.ran, Ran::No);
    broker.root::<RoomRef>().remote().on_broken().await;
    assert!(from.elapsed() < seconds(1), "references break at once");
    broker.closed().await;
    assert_eq!(from.elapsed().as_secs(), 10);
    let last = quiet.rest().await.pop();
    assert!(matches!(last, Some(Message::Abort(abort)) if abort.code == AbortCode::Timeout));
}

/// Each message that breaks the protocol, while methods run and more is sent: what comes back ends with the abort.
#[tokio::test(start_paused = true)]
async fn a_violation_is_answered_with_an_abort_and_the_end_and_nothing_else() {
    let violations = [
        bytes_call(9, "Door/say", ""),
        pb_core::message::Call { target: pb_core::message::ImportId(-5), ..bytes_call(2, "Door/say", "") },
    ];
    for violation in violations {
        let bench = bench();
        let (broker, mut quiet) =
            Quiet::greeted(Some(bench.root.as_reference().clone()), Limits::default()).await;
        quiet.message(&Message::Call(call(1, "Door/hold", &()))).await;
        bench.until_started(1).await;
        quiet.message(&Message::Call(violation)).await;
        // What follows is neither answered nor judged.
        quiet.message(&Message::Call(call(2, "Door/say", &"more"))).await;
        quiet.message(&Message::Ping(pb_core::message::Ping { nonce: 1 })).await;
        bench.gate.send_replace(true);
        let messages = quiet.rest().await;
        let [Message::Abort(abort)] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(abort.code, AbortCode::Violation);
        let reason = broker.closed().await;
        assert_eq!(reason.kind, FailureKind::Protocol);
        assert!(reason.message.contains(&*abort.reason), "{reason} does not say {}", abort.reason);
    }
}

/// Both programs dial each other at the same time: that makes two connections, and neither gives way.
#[tokio::test]
async fn crossed_dials_are_two_connections() {
    let (one, other) = (bench(), bench());
    let mut servers = Vec::new();
    for root in [&one.root, &other.root] {
        let server = Server::new(root.clone()).listen("tcp://127.0.0.1:0").await.expect("a free port");
        servers.push(server.spawn().expect("it listens"));
    }
    let (ones, others) =
        tokio::join!(pb_client::connect(servers[1].url()), pb_client::connect(servers[0].url()));
    let (ones, others) = (ones.expect("connected"), others.expect("connected"));
    for (client, text) in [(&ones, "from one"), (&others, "from the other")] {
        assert_eq!(soon(client.root::<DoorRef>().say(text.into())).await.as_deref(), Ok(text));
    }
    let room = soon(ones.root::<DoorRef>().open()).await.expect("a room");
    others.close();
    assert_eq!(soon(room.enter()).await, Ok(1), "the end of one is not the end of the other");
    // A reference of the one, sent over the other, goes through the middle like any other.
    assert_eq!((ones.tables().imports, ones.tables().exports), (1, 0));
    drop((room, ones, others));
    for server in servers {
        soon(server.shutdown()).await;
    }
}

#[tokio::test]
async fn the_last_handle_of_a_connection_may_be_dropped_in_a_method_that_runs_for_it() {
    let bench = bench();
    let (server, client) = pb_server::pair(bench.root.clone()).await;
    *bench.house.broker.lock().expect("nobody panics in it") = Some(server);
    assert_eq!(
        soon(client.root::<DoorRef>().drop_broker()).await,
        Ok(7),
        "a server's end lives until its peer leaves"
    );
    // The same over a connection that its handles alone keep.
    let (ours, theirs) = Stream::pair();
    let config = |root: Option<&DoorRef>| Config {
        root: root.map(|root| root.as_reference().clone()),
        limits: Limits::default(),
        stays: false,
        ..Config::default()
    };
    let (mine, peer) =
        tokio::join!(Broker::open(ours, config(Some(&bench.root))), Broker::open(theirs, config(None)));
    *bench.house.broker.lock().expect("nobody panics in it") = Some(mine.expect("greeted"));
    let peer = peer.expect("greeted");
    let result = soon(peer.root::<DoorRef>().drop_broker()).await;
    assert!(matches!(&result, Ok(7)) || result.as_ref().is_err_and(|f| f.kind == FailureKind::Disconnected));
    soon(peer.closed()).await;
}

#[test]
fn a_runtime_dropped_in_the_middle_settles_what_others_wait_for() {
    let outer = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outer = outer.expect("a runtime");
    let bench = bench();
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let servers = servers.expect("a runtime");
    let root = bench.root.clone();
    let (url, running) = servers.block_on(async {
        let server = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
        let url = server.urls().remove(0);
        (url, server.spawn().expect("it listens"))
    });
    let client = outer.block_on(pb_client::connect(&url)).expect("it listens");
    let door: DoorRef = client.root();
    let calls: Vec<_> = outer.block_on(async { (0..20).map(|_| door.hold()).collect() });
    outer.block_on(bench.until_started(20));
    // Its methods wait, its connections and its listener are open.
    drop(servers);
    for call in calls {
        let failure = outer.block_on(soon(call)).expect_err("the server is gone");
        // Some methods may be dropped, and say so, before their connection is.
        assert!(matches!(failure.kind, FailureKind::Disconnected | FailureKind::Internal), "{failure}");
    }
    outer.block_on(soon(client.closed()));
    drop(running);
    // And the client's own, under a call that waits, and a handle that outlives it.
    let late = {
        let _within = outer.enter();
        door.hold()
    };
    drop(outer);
    drop(client);
    let fresh = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let failure = fresh.block_on(soon(late)).expect_err("nobody is left to ask");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert_eq!(fresh.block_on(soon(door.hold())).expect_err("nor now").kind, FailureKind::Disconnected);
}

#[test]
fn a_clients_runtime_dropped_in_the_middle_settles_its_calls() {
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let servers = servers.expect("a runtime");
    let bench = bench();
    let root = bench.root.clone();
    let running = servers.block_on(async {
        let server = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
        server.spawn().expect("it listens")
    });
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let clients = clients.expect("a runtime");
    let client = clients.block_on(pb_client::connect(running.url())).expect("it listens");
    let door: DoorRef = client.root();
    let call = {
        let _within = clients.enter();
        door.hold()
    };
    servers.block_on(bench.until_started(1));
    drop(clients);
    let failure = servers.block_on(soon(call)).expect_err("its connection is gone");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    drop((door, client));
    servers.block_on(soon(running.shutdown()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_calling_the_root_of_a_leaving_side_is_answered_each_time() {
    let bench = bench();
    let (opening, mut quiet) = Quiet::connect(Some(bench.root.as_reference().clone()), Limits::default());
    let Message::Hello(hello) = hello() else { panic!("a hello is a hello") };
    let (broker, ()) = tokio::join!(opening, async {
        quiet.send(&MAGIC).await;
        quiet.message(&Message::Hello(Hello { features: features::DRAIN, ..hello })).await;
    });
    let broker = broker.expect("a hello as it should be");
    quiet.message(&Message::Call(call(1, "Door/hold", &()))).await;
    bench.until_started(1).await;
    let leave = tokio::spawn(async move { broker.leave(seconds(30), "restart").await });
    assert!(matches!(quiet.read().await, Some(Message::Hello(_))));
    match quiet.read().await {
        Some(Message::Goaway(goaway)) => assert_eq!((goaway.last.0, goaway.drain_ms), (1, 30_000)),
        other => panic!("no goaway, but {other:?}"),
    }
    for id in 2..=50 {
        quiet.message(&Message::Call(call(id, &format!("Door/say{id}"), &"x"))).await;
        match quiet.read().await {
            Some(Message::Reject(Reject { export, rejection: Rejection::Broker(failure) })) => {
                assert_eq!((export.0, failure.kind, failure.ran), (id, FailureKind::Disconnected, Ran::No));
            }
            other => panic!("no rejection, but {other:?}"),
        }
    }
    advance(seconds(30)).await;
    let last = quiet.rest().await.pop();
    assert!(matches!(last, Some(Message::Abort(abort)) if abort.code == AbortCode::Closing));
    leave.await.expect("it does not panic");
}
