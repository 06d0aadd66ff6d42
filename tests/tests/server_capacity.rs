//! How many may be connected, and what those learn who may not. Rows A18 and A21 of `attacks.md`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pb_core::message::*;
use pb_core::reactor::{Address, Stream};
use pb_core::wire::frame::MAGIC;
use pb_server::{Capacity, FailureKind, Running, Server};
use pb_tests::desk::{DeskRef, Office};
use pb_tests::live::{soon, until};
use pb_tests::raw::{Raw, call};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

async fn start(capacity: Capacity) -> (Arc<Office>, Running) {
    let office = Office::new();
    let server = Server::new(office.desk(1)).capacity(capacity);
    let server = server.listen("tcp://127.0.0.1:0").await.expect("a free port");
    (office, server.spawn().expect("it listens"))
}

async fn until_open(running: &Running, open: usize) {
    until(|| running.statistics().open == open, || format!("{:?}", running.statistics())).await;
}

#[tokio::test]
async fn one_connection_too_many_is_refused_with_the_reason_until_another_leaves() {
    for (capacity, words) in [
        (Capacity { connections: 2, ..Capacity::default() }, "2 connections are all that it takes"),
        (Capacity { per_address: 2, ..Capacity::default() }, "2 connections from 127.0.0.1 are all"),
    ] {
        let (_office, running) = start(capacity).await;
        let first = pb_client::connect(running.url()).await.expect("there is room");
        let second = pb_client::connect(running.url()).await.expect("there is room");
        for refused in 1..=3 {
            let error = pb_client::connect(running.url()).await.expect_err("there is none").to_string();
            assert!(error.contains("the server has no room") && error.contains(words), "{error}");
            assert_eq!(running.statistics().refused, refused);
        }
        assert_eq!(soon(first.root::<DeskRef>().number()).await, Ok(1), "those inside notice nothing");
        drop(second);
        until_open(&running, 1).await;
        let third = pb_client::connect(running.url()).await.expect("there is room again");
        assert_eq!(soon(third.root::<DeskRef>().number()).await, Ok(1));
        assert_eq!(running.statistics().accepted, 6);
        soon(running.shutdown()).await;
    }
}

#[tokio::test]
async fn who_is_refused_hears_an_abort_in_the_place_of_a_hello_whatever_he_sends() {
    let (office, running) = start(Capacity { connections: 0, ..Capacity::default() }).await;
    for sent in [0, 1, 2] {
        let mut raw = match sent {
            0 => Raw::connect(running.url()).await,
            _ => Raw::greeted(running.url()).await,
        };
        if sent == 2 {
            raw.message(&Message::Call(call(1, "Desk/count", &()))).await;
            raw.flood(&[0; 4096], 512 << 10).await;
        }
        let Some(Message::Abort(abort)) = raw.read().await else { panic!("no abort") };
        assert_eq!(abort.code, AbortCode::Limit);
        assert!(abort.reason.contains("no room"), "{}", abort.reason);
        assert_eq!(raw.read().await, None, "nothing else");
    }
    assert_eq!(office.counted(), 0, "nothing has run");
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_crowd_that_is_refused_and_does_not_leave_keeps_nobody_out() {
    let (_office, running) = start(Capacity { connections: 1, ..Capacity::default() }).await;
    let inside = pb_client::connect(running.url()).await.expect("there is room");
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(Raw::connect(running.url()).await);
    }
    until(|| running.statistics().refused == 300, || format!("{:?}", running.statistics())).await;
    assert_eq!(running.statistics().open, 1);
    drop(inside);
    until_open(&running, 0).await;
    let next = pb_client::connect(running.url()).await.expect("there is room again");
    assert_eq!(soon(next.root::<DeskRef>().number()).await, Ok(1));
    soon(running.shutdown()).await;
}

/// Those at the door are waited for: whoever comes then is told in passing.
#[tokio::test]
async fn each_of_a_crowd_hears_why_it_is_refused_though_others_stand_at_the_door() {
    let (_office, running) = start(Capacity { per_address: 1, ..Capacity::default() }).await;
    let inside = pb_client::connect(running.url()).await.expect("there is room");
    for round in 1..=3 {
        let mut door = Vec::new();
        for _ in 0..64 {
            door.push(Raw::connect(running.url()).await);
        }
        let refused = (round - 1) * 164 + 64;
        until(|| running.statistics().refused == refused, || format!("{:?}", running.statistics())).await;
        let told = (0..100).map(|_| async {
            let mut raw = Raw::greeted(running.url()).await;
            raw.read().await
        });
        for told in soon(futures::future::join_all(told)).await {
            let Some(Message::Abort(abort)) = told else { panic!("somebody hears nothing") };
            assert!(abort.reason.contains("1 connections from 127.0.0.1 are all"), "{}", abort.reason);
        }
        assert_eq!(running.statistics().refused, round * 164);
    }
    assert_eq!(soon(inside.root::<DeskRef>().number()).await, Ok(1), "those inside notice nothing");
    soon(running.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_hello_has_the_time_that_the_server_gives_it() {
    for millis in [700, 60_000] {
        let name = format!("mem://handshake-{millis}");
        let capacity = Capacity { handshake: Duration::from_millis(millis), ..Capacity::default() };
        let server = Server::new(Office::new().desk(1)).capacity(capacity).listen(&name).await;
        let running = server.expect("a name").spawn().expect("it listens");
        let address: Address = name.parse().expect("an address");
        let began = Instant::now();
        let (mut read, _write) = Stream::connect(&address).await.expect("it listens").into_split();
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).await.expect("it is told");
        let text = String::from_utf8_lossy(&bytes);
        let seconds = millis as f64 / 1000.0;
        assert!(text.ends_with(&format!("the peer sent no hello within {seconds} s")), "{text}");
        assert_eq!(began.elapsed().as_millis(), u128::from(millis));
        until(|| running.statistics().failed == 1, || format!("{:?}", running.statistics())).await;
        running.shutdown().await;
    }
}

#[tokio::test]
async fn thousands_that_never_greet_are_kept_up_to_their_share_and_honest_peers_come_in() {
    let capacity = Capacity { greeting: 50, connections: 100, per_address: 100, ..Capacity::default() };
    let (_office, running) = start(capacity).await;
    let url = running.url().to_owned();
    let (meter, most) = (running.meter(), Arc::new(AtomicUsize::new(0)));
    let watching = Arc::clone(&most);
    let watcher = tokio::spawn(async move {
        loop {
            watching.fetch_max(meter.read().greeting, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let mut silent = std::collections::VecDeque::new();
    let mut honest = Vec::new();
    for number in 0..5000 {
        silent.push_back(Raw::connect(&url).await);
        // What was sent away is let go, so that this process keeps within its descriptors.
        if silent.len() > 400 {
            silent.pop_front();
        }
        if number % 500 == 499 {
            let client = pb_client::connect(&url).await.expect("those that greet come in");
            assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(1));
            honest.push(client);
        }
    }
    // The oldest of them was told why.
    let mut oldest = silent.pop_front().expect("400 are left");
    let Abort { code, reason } = oldest.abort().await;
    assert_eq!(code, AbortCode::Limit);
    assert!(reason.contains("no room for connections without a hello"), "{reason}");
    for client in &honest {
        assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(1), "who has greeted stays");
    }
    watcher.abort();
    let most = most.load(Ordering::Relaxed);
    assert!((40..=50).contains(&most), "at most {most} were kept");
    assert!(running.statistics().open <= 100, "{:?}", running.statistics());
    drop(silent);
    soon(running.shutdown()).await;
}

/// The most urgent thing that was logged.
#[derive(Clone, Default)]
struct Loudest(Arc<Mutex<Vec<String>>>);

impl Subscriber for Loudest {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pb_")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() < Level::DEBUG {
            self.0.lock().expect("nobody panics in it").push(event.metadata().name().to_owned());
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// How far a peer gets before its connection is reset.
const STATES: [&str; 11] = [
    "connected",
    "half of the first bytes",
    "the first bytes",
    "half of a hello",
    "a hello",
    "half of a call",
    "a call that runs",
    "an answer unread",
    "an object held",
    "a call cancelled",
    "a violation",
];

async fn bring_to(state: &str, raw: &mut Raw) {
    let hello = {
        let mut bytes = Vec::new();
        pb_core::wire::frame::encode(&pb_tests::raw::hello(), &mut bytes);
        bytes
    };
    match state {
        "connected" => return,
        "half of the first bytes" => return raw.send(&MAGIC[..2]).await,
        "the first bytes" => return raw.send(&MAGIC).await,
        "half of a hello" => {
            raw.send(&MAGIC).await;
            return raw.send(&hello[..hello.len() / 2]).await;
        }
        _ => {
            raw.send(&MAGIC).await;
            raw.send(&hello).await;
        }
    }
    let hold = Message::Call(call(1, "Desk/hold", &()));
    match state {
        "half of a call" => raw.send(&[40, 2, 0, 0]).await,
        "a call that runs" => raw.message(&hold).await,
        "an answer unread" => raw.message(&Message::Call(call(1, "Desk/number", &()))).await,
        "an object held" => {
            let open = Call { reply: Reply::Reference, ..call(1, "Desk/open", &(5_u64,)) };
            raw.message(&Message::Call(open)).await;
            assert!(matches!(raw.answer().await, Some(Message::Resolve(_))));
        }
        "a call cancelled" => {
            raw.message(&hold).await;
            raw.message(&Message::Cancel(Cancel { result: ImportId(1) })).await;
        }
        "a violation" => raw.send(&hello).await,
        _ => {}
    }
}

#[tokio::test]
async fn a_reset_at_any_state_is_a_lost_connection_and_no_error_in_the_log() {
    let loudest = Loudest::default();
    let _default = tracing::subscriber::set_default(loudest.clone());
    let office = Office::new();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ends);
    let server = Server::new(office.desk(1)).on_disconnected(move |_, ended| {
        told.lock().expect("nobody panics in it").push(ended.reason.kind);
    });
    let running = server.listen("tcp://127.0.0.1:0").await.expect("a free port").spawn().expect("it listens");
    let honest = pb_client::connect(running.url()).await.expect("it listens");
    for state in STATES {
        let (before, mut raw) = (running.statistics(), Raw::connect(running.url()).await);
        let describe = || format!("{state}: {:?}", running.statistics());
        bring_to(state, &mut raw).await;
        until(|| running.statistics().accepted == before.accepted + 1, describe).await;
        raw.reset();
        let over = before.failed + before.ended + 1;
        until(|| running.statistics().failed + running.statistics().ended == over, describe).await;
        until(|| running.statistics().open == 1, describe).await;
        assert_eq!(soon(honest.root::<DeskRef>().number()).await, Ok(1), "{state}");
        until(|| office.desks() == 1, || format!("{state}: {} desks", office.desks())).await;
    }
    let lost = ends.lock().expect("nobody panics in it").clone();
    assert!(
        lost.iter().all(|kind| matches!(kind, FailureKind::Disconnected | FailureKind::Protocol)),
        "{lost:?}"
    );
    assert_eq!(*loudest.0.lock().expect("nobody panics in it"), Vec::<String>::new());
    soon(running.shutdown()).await;
}
