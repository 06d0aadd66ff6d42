//! Live ends and peers that fall silent, in tokio's paused time: nothing here waits, and no machine is too slow for it.

use std::time::Duration;

use pb_core::message::{AbortCode, FailureKind, Message, Ping, Ran};
use pb_core::{Broker, Limits, Stub};
use pb_server::{Referenceable, Server, remote_interface};
use pb_tests::quiet::Quiet;
use pb_tests::raw::call;
use tokio::time::{Instant, sleep, timeout};

#[remote_interface]
trait Echo {
    async fn say(&self, text: String) -> String;
    async fn hang(&self);
}

#[derive(Referenceable)]
struct Plain;

impl Echo for Plain {
    async fn say(&self, text: String) -> String {
        text
    }
    async fn hang(&self) {
        std::future::pending().await
    }
}

fn frame(message: Message) -> Vec<u8> {
    let mut frame = Vec::new();
    pb_core::wire::frame::encode(&message, &mut frame);
    frame
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn quiet() -> (Broker, Quiet) {
    Quiet::greeted(Some(EchoRef::new(Plain).as_reference().clone()), Limits::default()).await
}

/// How long the connection lives from here.
async fn lives(broker: &Broker) -> Duration {
    let from = Instant::now();
    broker.closed().await;
    from.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_host_is_gone_is_noticed_in_thirty_seconds_and_every_call_fails_with_the_reason() {
    let (broker, mut peer) = quiet().await;
    let from = Instant::now();
    let failure = broker.root::<EchoRef>().hang().await.expect_err("nobody answers");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert!(failure.message.contains("for 30 s"), "{failure}");
    assert!((seconds(30)..seconds(31)).contains(&from.elapsed()), "{:?}", from.elapsed());
    assert_eq!(broker.closed().await, failure);
    assert!(matches!(peer.read().await, Some(Message::Hello(_))));
    assert!(matches!(peer.read().await, Some(Message::Call(_))));
    assert!(matches!(peer.read().await, Some(Message::Ping(_))), "it was asked before");
    let Some(Message::Abort(abort)) = peer.read().await else {
        panic!("it hears why, if it lives after all")
    };
    assert_eq!(abort.code, AbortCode::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_idle_for_two_hours_stays() {
    let (server, client) = pb_server::pair(EchoRef::new(Plain)).await;
    sleep(seconds(2 * 3600)).await;
    let said = client.root::<EchoRef>().say("still here".into()).await;
    assert_eq!(said.ok().as_deref(), Some("still here"));
    drop(client);
    server.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_for_two_hours_does_not_end_the_connection() {
    let (server, client) = pb_server::pair(EchoRef::new(Plain)).await;
    let root: EchoRef = client.root();
    assert!(timeout(seconds(2 * 3600), root.hang()).await.is_err(), "it hangs");
    assert_eq!(root.say("and on".into()).await.ok().as_deref(), Some("and on"));
    assert_eq!(server.held_up(), 0, "who waits blocks nobody");
}

#[tokio::test(start_paused = true)]
async fn single_bytes_of_a_slow_peer_are_no_silence() {
    let (broker, mut peer) = quiet().await;
    let frame = frame(Message::Ping(Ping { nonce: u64::MAX }));
    // Each whole frame takes 8 s, below what a started one is given; the next begins at once.
    for byte in frame.repeat(20) {
        peer.send(&[byte]).await;
        sleep(seconds(8) / frame.len() as u32).await;
    }
    assert!(timeout(seconds(5), broker.closed()).await.is_err(), "it lives");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_does_not_read_is_cut_off_over_its_budget() {
    let (broker, mut peer) = quiet().await;
    let pings: Vec<u8> = (0..4000).flat_map(|n| frame(Message::Ping(Ping { nonce: u64::MAX - n }))).collect();
    let sent = peer.flood(&pings, 64 << 20).await;
    assert!(sent < 16 << 20, "{sent} bytes of pings were taken while no answer was read");
    let reason = broker.closed().await;
    assert!(reason.message.contains("bytes kept for a peer"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_ping_says_how_long_its_answer_took() {
    let (broker, mut peer) = quiet().await;
    assert!(matches!(peer.read().await, Some(Message::Hello(_))));
    let answering = async {
        let Some(Message::Ping(ping)) = peer.read().await else { panic!("a ping is due") };
        sleep(seconds(3)).await;
        peer.message(&Message::Pong(Ping { nonce: ping.nonce + 1 })).await; // Nobody asked with this one.
        sleep(seconds(2)).await;
        peer.message(&Message::Pong(ping)).await;
    };
    let (took, ()) = tokio::join!(broker.ping(), answering);
    assert_eq!(took, Ok(seconds(5)));
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_is_dropped_changes_nothing_and_one_to_a_dead_peer_fails() {
    let (broker, _peer) = quiet().await;
    assert!(timeout(seconds(2), broker.ping()).await.is_err());
    let from = Instant::now();
    let failure = broker.ping().await.expect_err("nobody answers");
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert!(failure.message.contains("for 30 s"), "{failure}");
    assert!(from.elapsed() <= seconds(30));
    let late = broker.ping().await.expect_err("the connection has ended");
    assert_eq!((late.kind, late.message), (failure.kind, failure.message));
}

#[tokio::test(start_paused = true)]
async fn a_ping_to_a_peer_that_has_ended_its_direction_fails_at_once() {
    let (broker, mut peer) = quiet().await;
    // What is still to be answered keeps the connection.
    peer.message(&Message::Call(call(1, "Echo/hang", &()))).await;
    let from = Instant::now();
    let (waits, ()) = tokio::join!(broker.ping(), peer.end());
    let failure = waits.expect_err("nobody answers any more");
    assert_eq!(
        (failure.kind, &*failure.message),
        (FailureKind::Disconnected, "the peer closed the connection")
    );
    let late = broker.ping().await.expect_err("nobody answers any more");
    assert_eq!((late.kind, late.ran, late.message), (failure.kind, Ran::No, failure.message));
    assert_eq!(from.elapsed(), Duration::ZERO);
    assert_eq!(lives(&broker).await, seconds(10));
}

#[tokio::test(start_paused = true)]
async fn the_times_of_silence_are_the_servers_to_set() {
    let limits = Limits { ping_after: seconds(1), dead_after: seconds(3), ..Limits::default() };
    let (broker, _peer) = Quiet::greeted(None, limits).await;
    let lived = lives(&broker).await;
    assert!((seconds(3)..seconds(4)).contains(&lived), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_its_hello_byte_by_byte_is_sent_away_after_five_seconds() {
    let (opening, mut peer) = Quiet::connect(None, Limits::default());
    let mut hello = pb_core::wire::frame::MAGIC.to_vec();
    pb_core::wire::frame::encode(&pb_tests::raw::hello(), &mut hello);
    let from = Instant::now();
    let (opened, ()) = tokio::join!(opening, async {
        for byte in hello {
            peer.send(&[byte]).await;
            sleep(seconds(1)).await;
        }
    });
    assert!(opened.is_err_and(|failure| failure.message.contains("no hello within 5 s")));
    let mut last = None;
    while let Some(message) = peer.read().await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Abort(abort)) if abort.code == AbortCode::Timeout));
    assert!(from.elapsed() < seconds(60));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_byte_by_byte_ends_after_ten_seconds_and_others_are_served() {
    let server = Server::new(EchoRef::new(Plain)).listen("mem://slow-frames").await.expect("a free name");
    let running = server.spawn().expect("it listens");
    let honest = pb_client::connect(&running.urls()[0]).await.expect("it serves");
    let (broker, mut peer) = quiet().await;
    let frame = frame(Message::Call(call(1, "Echo/say", &"x".repeat(2000))));
    let slow = async {
        for byte in frame {
            peer.send(&[byte]).await;
            sleep(seconds(1)).await;
        }
    };
    let lived = tokio::select! {
        lived = lives(&broker) => lived,
        () = slow => panic!("it may go on for ever"),
    };
    assert!((seconds(10)..seconds(12)).contains(&lived), "{lived:?}");
    assert_eq!(honest.root::<EchoRef>().say("fine".into()).await.ok().as_deref(), Some("fine"));
}

/// Sends `frame`, some bytes each time, with a pause in between. How long that took, or how long the connection lived.
async fn piecemeal(frame: &[u8], bytes: usize, pause: Duration) -> Result<Duration, Duration> {
    let (broker, mut peer) = quiet().await;
    let from = Instant::now();
    let whole = async {
        for piece in frame.chunks(bytes) {
            peer.send(piece).await;
            sleep(pause).await;
        }
    };
    tokio::select! {
        lived = lives(&broker) => return Err(lived),
        () = whole => {}
    }
    let took = from.elapsed();
    loop {
        match peer.read().await {
            Some(Message::Resolve(_)) => return Ok(took),
            Some(Message::Hello(_) | Message::Ping(_)) => {}
            other => panic!("no answer, but {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_frame_has_ten_seconds_for_each_four_kibibytes_of_it_whatever_comes_meanwhile() {
    let frame = frame(Message::Call(call(1, "Echo/say", &"x".repeat(40_000))));
    // On a slow way it takes as long as it takes.
    let took = piecemeal(&frame, 4096, Duration::from_millis(9_900)).await;
    assert!(took.is_ok_and(|took| took >= seconds(90)), "{took:?}");
    let took = piecemeal(&frame, 1024, Duration::from_millis(2_400)).await;
    assert!(took.is_ok_and(|took| took >= seconds(90)), "{took:?}");
    // Less than that is too little, though bytes come all the time.
    for (bytes, pause) in [(1024, 2_600), (900, 2_500), (100, 300), (1, 3)] {
        let took = piecemeal(&frame, bytes, Duration::from_millis(pause)).await;
        let lived = took.expect_err("it is too slow");
        assert!((seconds(10)..seconds(11)).contains(&lived), "{bytes} bytes each {pause} ms: {lived:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_cut_anywhere_and_then_nothing_ends_after_ten_seconds() {
    let frame = frame(Message::Call(call(1, "Echo/say", &"hello")));
    for cut in 1..frame.len() {
        let (broker, mut peer) = quiet().await;
        peer.send(&frame[..cut]).await;
        let lived = lives(&broker).await;
        assert!((seconds(10)..seconds(11)).contains(&lived), "cut at {cut}: {lived:?}");
        assert_eq!(broker.tables(), Default::default(), "nothing was dispatched");
    }
}
