//! Pings, and peers that say nothing, in virtual time.

use std::time::Duration;

use pb_core::message::{AbortCode, FailureKind, Message, Ping};
use pb_core::proto::Limits;
use pb_tests::net::{A, B, Net};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn times(net: &Net, text: &str) -> usize {
    net.dialogue().iter().filter(|line| line.contains(text)).count()
}

/// Limits of a side that is never the first to ask.
fn patient() -> Limits {
    Limits { ping_after: seconds(1000), dead_after: seconds(3000), ..Limits::default() }
}

#[test]
fn a_silent_peer_is_asked_after_ten_seconds_and_not_before() {
    let net = Net::with_limits(Limits::default(), patient());
    net.advance(Duration::from_millis(9_999));
    assert!(net.dialogue().is_empty());
    net.advance(Duration::from_millis(1));
    assert_eq!(net.dialogue(), ["A: ping 1"]);
    net.run();
    assert_eq!(net.dialogue(), ["A: ping 1", "B: pong 1"]);
    net.finish();
}

#[test]
fn an_idle_connection_whose_ends_live_stays() {
    let net = Net::new();
    for _ in 0..1000 {
        net.advance(seconds(1));
        net.run();
    }
    assert!(net.ended(A).is_none() && net.ended(B).is_none());
    // Whoever asks is heard by the other one, which asks no question of its own in that round.
    let pings = times(&net, "ping");
    assert!((95..=200).contains(&pings), "{pings} pings in 1,000 s");
    net.finish();
}

#[test]
fn a_peer_that_says_nothing_for_thirty_seconds_is_dead_and_every_call_fails() {
    let net = Net::with_limits(Limits::default(), patient());
    let call = net.call(A, &net.root(A), "wait", "", &[]);
    net.run();
    net.side(B).take("wait"); // B never answers, and is cut off.
    net.block(A);
    net.block(B);
    net.advance(Duration::from_millis(29_999));
    assert!(net.ended(A).is_none());
    net.advance(Duration::from_millis(1));
    let ended = net.ended(A).expect("30 s are over");
    assert_eq!(ended.kind, FailureKind::Disconnected);
    assert!(ended.message.contains("30 s"), "{ended}");
    assert_eq!(call.failure(), ended);
    assert_eq!(net.last_abort(A).map(|abort| abort.code), Some(AbortCode::Timeout));
    assert_eq!(times(&net, "A: ping"), 1, "one question is enough");
    drop(call);
    net.finish();
}

#[test]
fn any_message_of_the_peers_puts_its_death_off() {
    let net = Net::with_limits(Limits::default(), patient());
    net.block(A); // B hears no ping, but talks.
    for _ in 0..10 {
        net.advance(seconds(25));
        net.inject(B, Message::Pong(Ping { nonce: 77 }));
        net.run();
    }
    assert!(net.ended(A).is_none());
    assert_eq!(times(&net, "A: ping"), 10, "one in each silence");
    net.finish();
}

#[test]
fn a_side_that_was_held_up_asks_before_it_gives_the_peer_up() {
    let net = Net::with_limits(Limits::default(), patient());
    // Nothing ran here for a minute: nobody called `handle_timeout` at its time.
    net.sleep(seconds(60));
    assert_eq!(net.dialogue(), ["A: ping 1"]);
    net.advance(seconds(19));
    assert!(net.ended(A).is_none(), "the peer has the time for its answer all the same");
    net.run();
    net.advance(seconds(9));
    assert!(net.ended(A).is_none());
    net.finish();
}

#[test]
fn the_times_of_silence_are_settable_and_sane() {
    let quick = Limits { ping_after: seconds(1), dead_after: seconds(3), ..Limits::default() };
    let net = Net::with_limits(quick, patient());
    net.block(A);
    net.advance(Duration::from_millis(2_999));
    assert!(net.ended(A).is_none() && times(&net, "A: ping") == 1);
    net.advance(Duration::from_millis(1));
    assert!(net.ended(A).is_some_and(|ended| ended.message.contains("3 s")));
    net.finish();

    // A question that would come after death comes half-way; no time is nothing, or beyond what a clock can say.
    for (ping_after, dead_after) in
        [(seconds(10), seconds(2)), (Duration::ZERO, Duration::ZERO), (Duration::MAX, Duration::MAX)]
    {
        let odd = Limits { ping_after, dead_after, ..Limits::default() };
        let net = Net::with_limits(odd, patient());
        net.block(A);
        net.advance(seconds(2));
        assert_eq!(net.ended(A).is_some(), dead_after < Duration::MAX, "{dead_after:?}");
        assert_eq!(times(&net, "A: ping"), usize::from(dead_after < Duration::MAX));
        net.finish();
    }
}

#[test]
fn nothing_is_due_before_the_hello_and_after_the_end() {
    let net = Net::strangers(Limits::default(), Limits::default());
    net.block(A);
    net.block(B);
    net.advance(seconds(1000));
    assert_eq!(times(&net, "ping"), 0, "how long a hello may take is not the tables' to say");
    net.unblock(A);
    net.unblock(B);
    net.run();
    net.cut(A);
    net.cut(B);
    net.advance(seconds(1000));
    assert_eq!(times(&net, "ping"), 0);
    net.finish();
}

#[test]
fn a_ping_is_answered_with_its_own_nonce_whatever_others_are_on_their_way() {
    let net = Net::new();
    let (first, second) = (net.side(A).ping(), net.side(A).ping());
    net.advance(seconds(10)); // Both sides ask, too.
    net.run();
    assert_eq!(net.side(A).ponged(), [first, second, second + 1]);
    assert_eq!(net.side(B).ponged(), [1]);
    net.finish();
}
