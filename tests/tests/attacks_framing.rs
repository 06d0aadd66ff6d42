//! Rows A1 to A4 of `attacks.md` where `hostile_peers` and `hostile_frames` leave something: what lengths and numbers cost.

use bytes::{Bytes, BytesMut};
use pb_core::message::{AbortCode, Cap, ExportId, Message, Payload, Resolve};
use pb_core::wire::frame::{self, Decoded, Malformed};
use pb_server::{FailureKind, Referenceable, Server, TableSizes, remote_interface};
use pb_tests::golden;
use pb_tests::raw::{Raw, hello};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const LIMIT: u64 = 1 << 20;

#[remote_interface]
trait Idle {
    async fn idle(&self);
    async fn other(&self) -> IdleRef;
}

#[derive(Referenceable)]
struct Nothing;

impl Idle for Nothing {
    async fn idle(&self) {}
    async fn other(&self) -> IdleRef {
        IdleRef::new(Nothing)
    }
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn a_length_allocates_nothing_whether_it_is_refused_or_waited_for() {
    for length in [LIMIT, LIMIT + 1, 1 << 31, u64::from(u32::MAX), u64::MAX] {
        let mut buffer = BytesMut::from(&number(length)[..]);
        let mut split = None;
        let counted = allocation_counter::measure(|| split = Some(frame::split(&mut buffer, LIMIT)));
        match split.expect("it was measured") {
            Ok(None) => assert_eq!(length, LIMIT),
            Err(Malformed::TooLong { limit, .. }) => assert_eq!(limit, LIMIT),
            other => panic!("{length}: {other:?}"),
        }
        assert_eq!(counted.count_total, 0, "{length}");
    }
}

/// Server and peer share the test's thread, so that everything they allocate is counted.
#[test]
fn a_connection_keeps_nothing_for_a_length_that_it_refuses() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let running = runtime.block_on(async {
        let server = Server::new(IdleRef::new(Nothing)).listen("tcp://127.0.0.1:0").await;
        server.expect("a free port").spawn().expect("it listens")
    });
    for length in [LIMIT + 1, 1 << 31, u64::from(u32::MAX)] {
        let mut raw = runtime.block_on(Raw::greeted(running.url()));
        let counted = allocation_counter::measure(|| {
            let abort = runtime.block_on(async {
                raw.send(&number(length)).await;
                raw.abort().await
            });
            assert_eq!(abort.code, AbortCode::Malformed);
        });
        // The buffers that both ends read into, and no more.
        assert!(counted.bytes_max < 512 << 10, "{} bytes for a length of {length}", counted.bytes_max);
    }
}

#[test]
fn a_number_of_more_bytes_than_it_needs_is_refused_wherever_it_stands() {
    let mut refused = 0;
    for golden in golden::all() {
        let content = frame::split(&mut BytesMut::from(&golden.frame[..]), u64::MAX);
        let content = content.expect("a good length").expect("a whole frame");
        for at in (0..content.len()).filter(|at| content[*at] < 0x80) {
            let longer = [&content[..at], &[content[at] | 0x80, 0], &content[at + 1..]].concat();
            match frame::decode(Bytes::from(longer.clone())) {
                Err(_) => refused += 1,
                // The byte was no number's: it is read as what it is now.
                Ok(Decoded::Message(message)) => {
                    let mut again = Vec::new();
                    frame::encode(&message, &mut again);
                    let again = frame::split(&mut BytesMut::from(&again[..]), u64::MAX);
                    assert_eq!(
                        again.expect("a good length").expect("whole"),
                        longer,
                        "{} at {at}",
                        golden.name
                    );
                    assert!(!matches!(message, Message::Hello(_)), "a hello is all numbers: {at}");
                }
                Ok(Decoded::Unknown { .. }) => assert!(at >= 3, "{} at {at}", golden.name),
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn a_number_has_at_most_ten_bytes_and_64_bits() {
    let ping = |nonce: &[u8]| frame::decode(Bytes::from([&[11, 0][..], nonce].concat()));
    let ten = |last: u8| [&[0xff; 9][..], &[last]].concat();
    assert!(ping(&ten(1)).is_ok());
    for wrong in [
        ten(0),
        ten(2),
        ten(0x7f),
        ten(0x81),
        [&ten(0x81)[..], &[0]].concat(),
        vec![0x80; 64],
        vec![0xff; 11],
    ] {
        assert!(matches!(ping(&wrong), Err(Malformed::Number { at: 2 })), "{wrong:02x?}: {:?}", ping(&wrong));
    }
}

#[tokio::test]
async fn a_server_that_leaves_in_the_middle_of_any_frame_fails_each_call_once_and_does_none_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let caps = vec![Cap::Mine(ExportId(-1))];
    let payload = Payload { caps, body: Bytes::new() };
    let mut answer = Vec::new();
    frame::encode(&Message::Resolve(Resolve { export: ExportId(1), payload }), &mut answer);
    for cut in 0..answer.len() {
        let (raw, client) = tokio::join!(
            async {
                let mut raw = Raw::accept(&listener).await;
                raw.send(&frame::MAGIC).await;
                raw.message(&hello()).await;
                raw
            },
            pb_client::connect(&url)
        );
        let (mut raw, client) = (raw, client.expect("it is greeted"));
        let root: IdleRef = client.root();
        let other = root.other();
        let (on_it, beside) = (other.idle(), root.idle());
        let rest = async {
            // All three calls have come before the end.
            for _ in 0..3 {
                assert!(matches!(raw.answer().await, Some(Message::Call(_))));
            }
            raw.send(&answer[..cut]).await;
            raw.finish().await
        };
        let (failures, _) = tokio::join!(
            async {
                [other.await.map(drop), on_it.await, beside.await].map(|call| call.expect_err("it is lost"))
            },
            rest
        );
        for failure in failures {
            let lost = matches!(failure.kind, FailureKind::Disconnected | FailureKind::Broken);
            assert!(lost, "cut at {cut}: {failure:?}");
        }
        assert_eq!(client.tables(), TableSizes::default(), "cut at {cut}");
    }
}
