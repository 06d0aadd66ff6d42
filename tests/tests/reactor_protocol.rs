//! A protocol and its transport: what it hears, in which order, and that every connection ends once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pb_core::reactor::{Lost, Protocol, Reactor, Settings, Stream, Transport, Written, for_protocol};
use pb_tests::live::{soon, until};
use pb_tests::protocols::{Heard, Tellers, Wire, addresses, connected};

fn lost(text: &str) -> [Heard; 2] {
    [Heard::Lost(text.to_owned()), Heard::Dropped]
}

/// Bytes that differ from their neighbours.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 + n / 251) as u8).collect()
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// One connection of `tellers`, the bytes at its other end, and what is told.
async fn one(address: &str, tellers: Tellers) -> (Transport, Wire) {
    let (server, client) = connected(address).await;
    let transport = Reactor::new().adopt(server, &tellers).expect("not refused");
    (transport, Wire::new(client))
}

fn pair(tellers: &Tellers) -> (Transport, Wire) {
    let (server, client) = Stream::pair();
    (Reactor::new().adopt(server, tellers).expect("not refused"), Wire::new(client))
}

#[tokio::test]
async fn one_protocol_runs_over_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let reactor = Reactor::new();
        let port = reactor.listen(&address, for_protocol(|| Echo)).await.expect("it listens");
        let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
        let bytes = pattern(300_000);
        for piece in bytes.chunks(10_007) {
            wire.send(piece).await;
            assert_eq!(wire.receive(piece.len()).await, piece, "{address}");
        }
        wire.finish().await;
        assert_eq!(wire.rest().await.expect("closed in good order"), b"");
        soon(port.stop_listening()).await;
    }
}

#[tokio::test]
async fn a_boxed_protocol_is_one() {
    let made: fn() -> Box<dyn Protocol> = || Box::new(Echo);
    let (server, client) = Stream::pair();
    let _transport = Reactor::new().adopt(server, &for_protocol(made)).expect("not refused");
    let mut wire = Wire::new(client);
    wire.send(b"in a box").await;
    assert_eq!(wire.receive(8).await, b"in a box");
}

/// How a connection ends, and what its protocol must have heard.
struct End {
    name: &'static str,
    /// At the protocol's end.
    react: fn(&Heard, &Transport),
    /// At the other.
    act: Act,
    heard: &'static [Heard],
    lost: &'static str,
}

#[derive(Clone, Copy)]
enum Act {
    Nothing,
    Say,
    Finish,
    SayAndFinish,
    Close,
}

const ENDS: [End; 11] = [
    End {
        name: "the other side closes",
        react: |heard, transport| {
            if *heard == Heard::End {
                transport.lose_connection()
            }
        },
        act: Act::Close,
        heard: &[Heard::End],
        lost: "the other side closed the connection",
    },
    End {
        name: "the other side ends its direction",
        react: |heard, transport| {
            if *heard == Heard::End {
                transport.lose_connection()
            }
        },
        act: Act::SayAndFinish,
        heard: &[Heard::Data(Vec::new()), Heard::End],
        lost: "the other side closed the connection",
    },
    End {
        name: "both sides end their directions",
        react: |heard, transport| {
            if *heard == Heard::Made {
                transport.lose_write_connection()
            }
        },
        act: Act::Finish,
        heard: &[Heard::End],
        lost: "the other side closed the connection",
    },
    End {
        name: "it closes at once",
        react: |heard, transport| {
            if *heard == Heard::Made {
                transport.lose_connection()
            }
        },
        act: Act::Nothing,
        heard: &[],
        lost: "this side closed the connection",
    },
    End {
        name: "it closes twice, and aborts",
        react: |heard, transport| {
            if matches!(heard, Heard::Data(_)) {
                transport.lose_connection();
                transport.lose_connection();
                transport.abort();
                transport.abort();
            }
        },
        act: Act::Say,
        heard: &[Heard::Data(Vec::new())],
        lost: "this side aborted the connection",
    },
    End {
        name: "it aborts",
        react: |heard, transport| {
            if matches!(heard, Heard::Data(_)) {
                transport.abort()
            }
        },
        act: Act::Say,
        heard: &[Heard::Data(Vec::new())],
        lost: "this side aborted the connection",
    },
    End {
        name: "it fails, for the first reason it has",
        react: |heard, transport| {
            if matches!(heard, Heard::Data(_)) {
                transport.fail("no such word");
                transport.fail("no such word either");
                transport.lose_connection();
            }
        },
        act: Act::Say,
        heard: &[Heard::Data(Vec::new())],
        lost: "no such word",
    },
    End {
        name: "it panics as it begins",
        react: |heard, _| assert!(*heard != Heard::Made, "planted"),
        act: Act::Nothing,
        heard: &[],
        lost: "the protocol of the connection panicked",
    },
    End {
        name: "it panics at bytes",
        react: |heard, _| assert!(!matches!(heard, Heard::Data(_)), "planted"),
        act: Act::Say,
        heard: &[Heard::Data(Vec::new())],
        lost: "the protocol of the connection panicked",
    },
    End {
        name: "it panics at the other side's last word",
        react: |heard, _| assert!(*heard != Heard::End, "planted"),
        act: Act::Finish,
        heard: &[Heard::End],
        lost: "the protocol of the connection panicked",
    },
    End {
        name: "it panics as it is told that too much waits",
        react: |heard, transport| match heard {
            Heard::Made => drop(transport.write(&vec![0; 4 << 20])),
            Heard::Full => panic!("planted"),
            _ => {}
        },
        act: Act::Nothing,
        heard: &[Heard::Full],
        lost: "the protocol of the connection panicked",
    },
];

#[tokio::test]
async fn connection_lost_comes_once_in_every_ending() {
    let dir = tempfile::tempdir().unwrap();
    for end in ENDS {
        for address in addresses(dir.path()) {
            let (tellers, told) = Tellers::new(end.react);
            let (transport, wire) = one(&address, tellers).await;
            let mut ends = Some(wire);
            let wire = ends.as_mut().expect("it is there");
            match end.act {
                Act::Nothing => {}
                Act::Say => wire.send(b"some word").await,
                Act::Finish => wire.finish().await,
                Act::SayAndFinish => {
                    wire.send(b"some word").await;
                    wire.finish().await;
                }
                Act::Close => drop(ends.take()),
            }
            // Else this side would wait a second for it to close.
            let reading = tokio::spawn(async move {
                if let Some(mut wire) = ends {
                    let _ = wire.rest().await;
                }
            });
            let reason = soon(transport.closed()).await;
            soon(reading).await.expect("no panic");
            let expected: Vec<Heard> = [Heard::Made]
                .into_iter()
                .chain(end.heard.iter().cloned())
                .map(|heard| match heard {
                    Heard::Data(_) => Heard::Data(b"some word".to_vec()),
                    heard => heard,
                })
                .chain(lost(end.lost))
                .collect();
            assert_eq!(told.all().await, expected, "{} over {address}", end.name);
            assert_eq!(reason.to_string(), end.lost);
            assert_eq!(transport.write(b"too late"), Written::Closed);
            assert!(transport.is_closing() && transport.lost().is_some());
            assert_eq!(transport.waiting_bytes(), 0);
        }
    }
}

#[tokio::test]
async fn a_panic_in_connection_lost_is_the_last_of_it() {
    struct Loser;
    impl Protocol for Loser {
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}

        fn connection_lost(&mut self, _: &Lost) {
            panic!("planted");
        }
    }
    impl Drop for Loser {
        fn drop(&mut self) {
            panic!("planted, too");
        }
    }
    let (server, client) = Stream::pair();
    let reactor = Reactor::new();
    let transport = reactor.adopt(server, &for_protocol(|| Loser)).expect("not refused");
    drop(client);
    assert!(matches!(soon(transport.closed()).await, Lost::Closed));
    until(|| reactor.connections() == 0, || "it is still open".to_owned()).await;
}

#[tokio::test]
async fn a_reset_is_a_lost_connection() {
    let (tellers, told) = Tellers::silent();
    let reactor = Reactor::new();
    let port = reactor.listen("tcp://127.0.0.1:0", tellers).await.expect("it listens");
    let host = port.address().to_string();
    let stream =
        tokio::net::TcpStream::connect(host.strip_prefix("tcp://").unwrap()).await.expect("connected");
    stream.set_zero_linger().expect("it is a socket");
    until(|| reactor.connections() == 1, || "not accepted".to_owned()).await;
    drop(stream);
    port.stop_listening().await;
    let all = told.all().await;
    let [Heard::Made, Heard::Lost(text), Heard::Dropped] = &all[..] else { panic!("{all:?}") };
    assert!(text.starts_with("the connection was lost: "), "{text}");
}

#[tokio::test]
async fn an_abort_is_a_reset_to_the_other_side() {
    let (tellers, _told) = Tellers::new(|heard, transport| {
        if *heard == Heard::Made {
            transport.abort()
        }
    });
    let (_transport, mut wire) = one("tcp://127.0.0.1:0", tellers).await;
    assert_eq!(wire.rest().await.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_runtime_that_ends_ends_its_connections_once() {
    let (tellers, mut told) = Tellers::silent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (transport, wire) = runtime.block_on(async {
        let (transport, wire) = pair(&tellers);
        assert_eq!(told.next().await, Heard::Made);
        (transport, wire)
    });
    drop((runtime, wire, tellers));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = runtime.block_on(told.all());
    assert_eq!(all, lost("this side is shutting down"));
    assert!(matches!(transport.lost(), Some(Lost::Shutdown)));
}

#[test]
fn a_connection_that_never_began_is_lost_without_a_word() {
    let (tellers, told) = Tellers::silent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (transport, wire) = runtime.block_on(async { pair(&tellers) });
    drop((runtime, wire, tellers));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(told.all()), [Heard::Dropped]);
    assert!(matches!(transport.lost(), Some(Lost::Shutdown)));
}

#[tokio::test]
async fn what_was_written_before_it_closes_arrives() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let bytes = pattern(4 << 20);
        let written = bytes.clone();
        let (tellers, told) = Tellers::new(move |heard, transport| {
            if *heard == Heard::Made {
                assert_eq!(transport.write(&written), Written::Full);
                transport.lose_connection();
                assert_eq!(transport.write(b"and more"), Written::Closed);
            }
        });
        let (transport, mut wire) = one(&address, tellers).await;
        // What it does not read must not take back what it has written.
        wire.send(&pattern(100_000)).await;
        assert!(wire.rest().await.expect("closed in good order") == bytes, "{address}");
        drop(wire);
        assert!(matches!(soon(transport.closed()).await, Lost::Done));
        assert_eq!(told.all().await.len(), 3, "made, lost and dropped");
    }
}

#[tokio::test]
async fn bytes_that_come_after_it_closes_are_not_delivered() {
    let (tellers, told) = Tellers::new(|heard, transport| {
        if matches!(heard, Heard::Data(_)) {
            transport.lose_connection();
        }
    });
    let (transport, mut wire) = pair(&tellers);
    wire.send(b"one").await;
    until(|| transport.is_closing(), || "open".to_owned()).await;
    wire.send(b"two").await;
    wire.finish().await;
    soon(transport.closed()).await;
    drop(tellers);
    let [made, data, lost] =
        [Heard::Made, Heard::Data(b"one".to_vec()), lost("this side closed the connection")[0].clone()];
    assert_eq!(told.all().await, [made, data, lost, Heard::Dropped]);
}

#[tokio::test]
async fn who_has_heard_the_last_word_may_go_on_writing() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (tellers, told) = Tellers::silent();
        let (transport, mut wire) = one(&address, tellers).await;
        wire.send(b"question").await;
        wire.finish().await;
        let mut told = told;
        assert_eq!(told.next().await, Heard::Made);
        assert_eq!(told.data(8).await, b"question");
        assert_eq!(told.next().await, Heard::End);
        assert_eq!(transport.write(b"answer"), Written::Taken);
        assert_eq!(wire.receive(6).await, b"answer");
        transport.lose_connection();
        assert_eq!(wire.rest().await.expect("closed in good order"), b"");
        assert_eq!(told.all().await, lost("the other side closed the connection"));
    }
}

#[tokio::test]
async fn who_has_said_the_last_word_goes_on_hearing() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (tellers, mut told) = Tellers::silent();
        let (transport, mut wire) = one(&address, tellers).await;
        assert_eq!(told.next().await, Heard::Made);
        transport.write(b"last word");
        transport.lose_write_connection();
        assert_eq!(transport.write(b"none"), Written::Closed);
        assert_eq!(wire.rest().await.expect("closed in good order"), b"last word");
        wire.send(b"heard").await;
        assert_eq!(told.data(5).await, b"heard");
        assert!(!transport.is_closing());
        wire.finish().await;
        assert_eq!(told.next().await, Heard::End);
        assert_eq!(told.all().await, lost("the other side closed the connection"));
    }
}

#[tokio::test]
async fn a_protocol_that_pauses_holds_up_the_other_side() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (tellers, mut told) = Tellers::new(|heard, transport| {
            if *heard == Heard::Made {
                transport.pause();
            }
        });
        let (transport, wire) = one(&address, tellers).await;
        assert_eq!(told.next().await, Heard::Made);
        assert!(transport.is_paused());
        let bytes = pattern(32 << 20); // More than any socket holds.
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = tokio::spawn({
            let (bytes, sent, mut wire) = (bytes.clone(), Arc::clone(&sent), wire);
            async move {
                for piece in bytes.chunks(64 << 10) {
                    wire.send(piece).await;
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
                wire
            }
        });
        // It is held up once nothing has moved for a while; where it never is, this ends with everything sent.
        let mut before = usize::MAX;
        while before != sent.load(Ordering::Relaxed) {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(before < bytes.len(), "{before} bytes went to nobody over {address}");
        transport.resume();
        assert_eq!(told.next().await, Heard::Resumed);
        assert!(told.data(bytes.len()).await == bytes, "{address}");
        drop(sending.await.expect("no panic"));
    }
}

#[tokio::test]
async fn a_producer_learns_when_to_stop_and_when_to_go_on() {
    let (mut tellers, mut told) = Tellers::silent();
    tellers.settings = Settings::default().high_bytes(1 << 20).low_bytes(1 << 10).limit_bytes(8 << 20);
    let (transport, mut wire) = pair(&tellers);
    assert_eq!(told.next().await, Heard::Made);
    let piece = pattern(400_000);
    assert_eq!(transport.write(&piece), Written::Taken);
    assert_eq!(transport.write(&piece), Written::Taken);
    assert_eq!(transport.write(&piece), Written::Full);
    assert_eq!(transport.write(&piece), Written::Full);
    assert_eq!(transport.waiting_bytes(), 1_600_000);
    assert_eq!(told.next().await, Heard::Full);
    let draining = transport.clone();
    let draining = tokio::spawn(async move { draining.drained().await });
    tokio::task::yield_now().await;
    assert!(!draining.is_finished());
    assert_eq!(wire.receive(1_600_000).await, piece.repeat(4));
    assert_eq!(told.next().await, Heard::Drained);
    assert!(soon(draining).await.expect("no panic").is_ok());
    assert_eq!(transport.write(&piece), Written::Taken);
    transport.drained().await.expect("there is room");
    assert_eq!(wire.receive(400_000).await, piece);
    drop(wire);
    assert_eq!(told.next().await, Heard::End);
}

#[tokio::test]
async fn whoever_is_told_to_stop_is_told_to_go_on() {
    let (mut tellers, mut told) = Tellers::silent();
    tellers.settings = Settings::default().high_bytes(10).low_bytes(0);
    let (transport, mut wire) = pair(&tellers);
    assert_eq!(told.next().await, Heard::Made);
    for _ in 0..100 {
        // It has left before the protocol's task has looked.
        assert_eq!(transport.write(&[7; 11]), Written::Full);
        assert_eq!(told.next().await, Heard::Full);
        assert_eq!(told.next().await, Heard::Drained);
        assert_eq!(wire.receive(11).await, [7; 11]);
    }
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_connection() {
    let (tellers, _told) = Tellers::silent();
    let (transport, wire) = pair(&tellers);
    assert_eq!(transport.write(&vec![0; 1 << 20]), Written::Full);
    let draining = tokio::spawn({
        let transport = transport.clone();
        async move { transport.drained().await }
    });
    tokio::task::yield_now().await;
    transport.abort();
    assert!(matches!(soon(draining).await.expect("no panic"), Err(Lost::Aborted)));
    drop(wire);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped_and_its_bytes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (mut tellers, told) = Tellers::silent();
        let limit = 256 << 10;
        tellers.settings = Settings::default().limit_bytes(limit);
        let (transport, wire) = one(&address, tellers).await;
        let piece = pattern(10_000);
        let mut most = 0;
        while transport.write(&piece) != Written::Closed {
            most = most.max(transport.waiting_bytes());
            tokio::task::yield_now().await;
        }
        assert!(most > limit && most <= limit + piece.len(), "{most} bytes waited");
        assert!(
            matches!(soon(transport.closed()).await, Lost::Unread { limit_bytes, .. } if limit_bytes == limit)
        );
        assert_eq!(transport.waiting_bytes(), 0);
        let all = told.all().await;
        let lost =
            all.iter().filter(|heard| matches!(heard, Heard::Lost(text) if text.contains("does not read")));
        assert_eq!(lost.count(), 1, "{all:?}");
        drop(wire);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_cannot_hold_up_the_end() {
    let (mut tellers, _told) = Tellers::silent();
    tellers.settings = Settings::default().close_time(Duration::from_secs(3));
    let (transport, wire) = pair(&tellers);
    transport.write(&vec![0; 1 << 20]);
    let began = tokio::time::Instant::now();
    transport.lose_connection();
    let lost = transport.closed().await;
    // What the pipe between both holds has left.
    assert!(
        matches!(lost, Lost::Stalled { waiting_bytes, .. } if waiting_bytes == (1 << 20) - (256 << 10)),
        "{lost}"
    );
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(lost.to_string(), "the other side took none of the last 786432 bytes for 3 s");
    drop(wire);
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_that_takes_something_is_not_cut_off() {
    let (tellers, _told) = Tellers::silent();
    let (transport, mut wire) = pair(&tellers);
    let bytes = pattern(1 << 20);
    transport.write(&bytes);
    transport.lose_connection();
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        tokio::time::sleep(Duration::from_secs(9)).await;
        got.extend(wire.receive(32 << 10).await);
    }
    assert!(got == bytes);
    drop(wire);
    assert!(matches!(transport.closed().await, Lost::Done));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_closes_cannot_hold_up_the_end_either() {
    let (tellers, _told) = Tellers::silent();
    let (transport, mut wire) = pair(&tellers);
    let began = tokio::time::Instant::now();
    transport.lose_connection();
    // It talks on for ever, to nobody.
    let talking = tokio::spawn(async move {
        loop {
            wire.send(b"and another thing").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(matches!(transport.closed().await, Lost::Done));
    assert!(began.elapsed() <= Duration::from_millis(1100), "{:?}", began.elapsed());
    talking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_of_one_write_stay_together() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (mut tellers, _told) = Tellers::silent();
        tellers.settings = Settings::default().limit_bytes(usize::MAX);
        let (transport, mut wire) = one(&address, tellers).await;
        let writing: Vec<_> = (0..8u8)
            .map(|n| {
                let transport = transport.clone();
                tokio::spawn(async move {
                    for round in 0..2000u16 {
                        transport.write_sequence(&[&[n], &round.to_be_bytes(), &[n; 397]]);
                    }
                })
            })
            .collect();
        let mut rounds = [0u16; 8];
        for _ in 0..8 * 2000 {
            let piece = wire.receive(400).await;
            let n = piece[0];
            assert_eq!(piece[1..3], rounds[n as usize].to_be_bytes(), "in the order of its thread");
            assert!(piece[3..] == [n; 397]);
            rounds[n as usize] += 1;
        }
        for writing in writing {
            writing.await.expect("no panic");
        }
    }
}

#[tokio::test]
async fn handles_of_one_connection_are_the_same() {
    let (tellers, _told) = Tellers::silent();
    let ((one, _wire), (other, _other_wire)) = (pair(&tellers), pair(&tellers));
    assert!(one == one.clone() && one != other);
    assert_eq!(one.peer(), "mem://pair");
}
