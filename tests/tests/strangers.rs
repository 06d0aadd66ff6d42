//! Peers that speak something else, or another version: what each end learns.

use std::time::Duration;

use pb_client::ConnectError;
use pb_core::message::{Abort, AbortCode, Grants, Hello, ImportId, Message};
use pb_core::wire::frame::{self, MAGIC};
use pb_server::{Broker, Failure, FailureKind, Limits, Referenceable, Server, Stub, remote_interface};
use pb_tests::hostile::framed;
use pb_tests::live::soon;
use pb_tests::quiet::Quiet;
use pb_tests::raw::{call, hello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[remote_interface]
trait Echo {
    async fn say(&self, text: String) -> String;
}

#[derive(Referenceable)]
struct Plain;

impl Echo for Plain {
    async fn say(&self, text: String) -> String {
        text
    }
}

/// What others say first, and what it is taken for. The last two of Twisted's are captured from its server and from its client.
const STRANGERS: [(&[u8], &str); 10] = [
    (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "HTTP"),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
    (&[0, 0, 18, 4, 0, 0, 0, 0, 0], "HTTP/2"),
    (&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], "TLS"),
    (&[0x15, 3, 1, 0, 2, 2, 70], "TLS"),
    (b"SSH-2.0-OpenSSH_9.9\r\n", "SSH"),
    (&[2, 0x80, 2, 0x82, b'p', b'b', 4, 0x82, b'n', b'o', b'n', b'e'], "Twisted's Perspective Broker"),
    (&[2, 0x82, b'p', b'b', 2, 0x80, 0x13, 0x87, 6, 0x81], "Twisted's Perspective Broker"),
    (&[0x89, b'P', b'B', 0x0b, 1], "another version of this protocol"),
];

fn root() -> Option<pb_core::objects::Reference> {
    Some(EchoRef::new(Plain).as_reference().clone())
}

/// What `connect` says about somebody who answers with `answer`, once anything came, and closes.
async fn connect_to(answer: &'static [u8]) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        let mut heard = vec![0; 4096];
        let bytes = stream.read(&mut heard).await.expect("it speaks first");
        stream.write_all(answer).await.expect("it listens");
        // Until it has hung up, which it does on its own.
        while stream.read(&mut heard[bytes..]).await.is_ok_and(|bytes| bytes > 0) {}
        heard.truncate(bytes);
        heard
    });
    let error = soon(pb_client::connect(&address)).await.expect_err("that is no broker");
    assert!(soon(server).await.expect("it does not panic").starts_with(&MAGIC));
    assert!(error.to_string().starts_with(&address), "{error}");
    error
}

#[tokio::test]
async fn a_client_names_what_answers_instead_of_a_broker() {
    for (answer, name) in STRANGERS {
        let error = connect_to(answer).await;
        assert!(
            error.to_string().ends_with(&format!("the one that its first bytes are of is {name}")),
            "{error}"
        );
        assert!(!error.to_string().contains('\r'), "nothing of theirs is repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_names_what_calls_it_instead_of_a_broker() {
    for (first, name) in STRANGERS {
        let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
        let (opened, ()) = tokio::join!(opening, quiet.send(first));
        let failure = opened.expect_err("that is no broker");
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(failure.message.ends_with(&format!("is {name}")), "{failure}");
        assert_eq!(quiet.rest().await, [], "it hears our hello and the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_waits_for_us_or_gives_up_is_known_by_its_silence() {
    // It waits, as one does whose other side is to begin.
    let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
    let from = Instant::now();
    let failure = opening.await.expect_err("nobody greets");
    assert_eq!(from.elapsed().as_secs(), 5);
    assert!(failure.message.contains("no hello within 5 s"), "{failure}");
    assert!(
        matches!(quiet.rest().await.as_slice(), [Message::Abort(abort)] if abort.code == AbortCode::Timeout)
    );
    // It gives up on what it hears, as Twisted's client does on a first byte of 0x89; at once, or in the midst of ours.
    let mut greeting = MAGIC.to_vec();
    frame::encode(&hello(), &mut greeting);
    for said in [&b""[..], &MAGIC[..2], &MAGIC, &greeting[..9]] {
        let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
        let (opened, ()) = tokio::join!(opening, async {
            quiet.send(said).await;
            quiet.end().await;
        });
        let failure = opened.expect_err("nobody greets");
        assert_eq!(failure.kind, FailureKind::Disconnected);
        assert!(failure.message.contains("before its hello"), "{failure}");
        assert_eq!(quiet.rest().await, []);
    }
}

/// The broker's end, which failed or not, and all that it said to a peer with this hello.
async fn greet_with(hello: Hello) -> (Result<Broker, Failure>, Quiet) {
    let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
    let (opened, ()) = tokio::join!(opening, async {
        quiet.send(&MAGIC).await;
        quiet.message(&Message::Hello(hello)).await;
    });
    (opened, quiet)
}

#[tokio::test(start_paused = true)]
async fn both_ends_are_told_which_versions_do_not_meet() {
    for versions in [(0, 0), (2, 2), (2, u32::MAX), (3, 1)] {
        let (opened, mut quiet) = greet_with(Hello { versions, features: 0, grants: Grants::MINIMUM }).await;
        let failure = opened.expect_err("nothing in common");
        let said = format!(
            "the peer speaks versions {} to {} of the protocol, this side speaks 1",
            versions.0, versions.1
        );
        assert!(failure.message.contains(&said), "{failure}");
        let messages = quiet.rest().await;
        let [Message::Abort(abort)] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(abort.code, AbortCode::Version);
        assert!(abort.reason.contains(&said), "{abort:?}");
    }
}

/// A peer of a later 1.x, with everything new that its hello may have.
#[tokio::test(start_paused = true)]
async fn a_newer_peer_is_understood_as_far_as_it_is_known() {
    // Versions 1 to 9, all features, and grants of which number 99 is not known here.
    let mut content = vec![1, 0, 1, 9];
    content.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    content.extend([3, 0, 0x80, 0x40, 99, 7, 1, 100]);
    let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
    let (opened, ()) = tokio::join!(opening, async {
        quiet.send(&MAGIC).await;
        quiet.send(&framed(&content)).await;
    });
    let broker = opened.expect("1 is in common");
    assert!(matches!(quiet.read().await, Some(Message::Hello(hello)) if hello.versions == (1, 1)));
    // Each type that may be new brings an object of its own, which is given back.
    for (n, message_type) in (32..=127u8).enumerate() {
        let id = -1 - n as i64;
        let mut content = vec![message_type, 1];
        uint((((id << 1) ^ (id >> 63)) as u64) << 2, &mut content);
        content.extend(*b"whatever follows");
        quiet.send(&framed(&content)).await;
    }
    quiet.message(&Message::Call(call(1, "Echo/say", &"known"))).await;
    let (mut answered, mut released) = (Vec::new(), Vec::new());
    while answered.len() + released.len() < 2 * 96 + 1 {
        match quiet.read().await {
            Some(Message::Unimplemented(unimplemented)) => answered.push(unimplemented.message_type),
            Some(Message::Release(release)) => released.extend(release.mentions),
            Some(Message::Resolve(resolve)) => {
                assert_eq!(&resolve.payload.body[..], b"\x05known");
                answered.push(0);
            }
            other => panic!("{other:?}"),
        }
    }
    answered.sort_unstable();
    released.sort_unstable();
    assert_eq!(answered, [0].into_iter().chain(32..=127).collect::<Vec<u8>>());
    let all: Vec<_> = (1..=96).rev().map(|id| (ImportId(-id), 1)).collect();
    assert_eq!(released, all);
    assert!(broker.is_idle());
}

/// What is new in any other place cannot be told from damage, and ends the connection with code 2.
#[tokio::test(start_paused = true)]
async fn everything_else_that_is_not_known_ends_the_connection() {
    let mut say = Vec::new();
    frame::encode(&Message::Call(call(1, "Echo/say", &"x")), &mut say);
    let with_flag = |flag: u8| {
        let mut frame = say.clone();
        frame[3] |= flag;
        frame
    };
    let others = [
        framed(&[15, 0]),                      // A type below 32,
        framed(&[31, 0]),                      //
        framed(&[128, 0]),                     // and over 127.
        framed(&[255, 0, 1]),                  //
        framed(&[11, 0, 7, 0]),                // A ping with one field more.
        framed(&[7, 0, 2, 1]),                 // A cancel with one more.
        with_flag(64),                         // Flags of a call.
        with_flag(128),                        //
        framed(&[5, 0, 2, 2]),                 // A reject of a third origin.
        framed(&[5, 0, 2, 1, 11, 0, 0, 0, 0]), // A failure of an unknown kind,
        framed(&[5, 0, 2, 1, 0, 3, 0, 0, 0]),  // that has run in an unknown way,
        framed(&[5, 0, 2, 1, 0, 0, 0, 0, 3]),  // with a cause of a third form.
        framed(&[8, 0, 2, 0]),                 // A disembargo of a third form.
        framed(&[3, 1, 7, 0, 0, 0, 0]),        // A capability of the fourth kind.
    ];
    for bytes in others {
        let (broker, mut quiet) = Quiet::greeted(root(), Limits::default()).await;
        quiet.send(&bytes).await;
        let messages = quiet.rest().await;
        let [Message::Abort(abort)] = messages.as_slice() else { panic!("{bytes:?}: {messages:?}") };
        assert_eq!(abort.code, AbortCode::Malformed, "{bytes:?}: {abort:?}");
        assert_eq!(broker.closed().await.kind, FailureKind::Protocol);
    }
    let mut many = vec![1, 0, 1, 1, 0];
    uint(10_000, &mut many);
    many.extend([0; 2000]);
    let (opening, mut quiet) = Quiet::connect(root(), Limits::default());
    let (opened, ()) = tokio::join!(opening, async {
        quiet.send(&MAGIC).await;
        quiet.send(&framed(&many)).await;
    });
    assert!(opened.is_err_and(|failure| failure.message.contains("10000")), "a list of 10,000 grants");
    assert!(
        matches!(quiet.rest().await.as_slice(), [Message::Abort(abort)] if abort.code == AbortCode::Malformed)
    );
}

#[tokio::test(start_paused = true)]
async fn an_abort_with_an_unknown_code_ends_the_connection_with_its_reason() {
    let (broker, mut quiet) = Quiet::greeted(root(), Limits::default()).await;
    let abort = Abort { code: AbortCode::Other(777), reason: "for reasons to come".into() };
    quiet.message(&Message::Abort(abort)).await;
    let reason = broker.closed().await;
    assert!(reason.message.contains("for reasons to come"), "{reason}");
    assert_eq!(quiet.rest().await, []);
}

/// An unsigned number as the wire has it.
fn uint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[tokio::test]
async fn a_server_lives_on_after_strangers() {
    let server = Server::new(EchoRef::new(Plain)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    for (first, _) in STRANGERS {
        let host = running.url().strip_prefix("tcp://").expect("a tcp address");
        let mut stream = tokio::net::TcpStream::connect(host).await.expect("it listens");
        stream.write_all(first).await.expect("it is there");
        let mut heard = Vec::new();
        let _ = soon(stream.read_to_end(&mut heard)).await;
    }
    let client = pb_client::connect(running.url()).await.expect("it lives");
    assert_eq!(soon(client.root::<EchoRef>().say("honest".into())).await.as_deref(), Ok("honest"));
    soon(running.drain(Duration::ZERO)).await;
}
