//! What builds of different age say to each other, frame by frame.

use std::sync::Arc;

use pb_core::message::{
    Call, Cap, ExportId, ImportId, Message, MethodName, MethodText, Reject, Rejection, Reply,
};
use pb_server::{FailureKind, Ran, Referenceable, remote_interface};

use super::*;

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String, #[remote(default)] cents: u64) -> AccountRef;
}

#[remote_interface]
trait Account {
    async fn cents(&self) -> u64;
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    async fn open(&self, _owner: String, cents: u64) -> AccountRef {
        AccountRef::new(MyAccount(cents))
    }
}

#[derive(Referenceable)]
struct MyAccount(u64);

impl Account for MyAccount {
    async fn cents(&self) -> u64 {
        self.0
    }
}

fn golden_call(name: &str) -> Call {
    let golden = golden::all().into_iter().find(|golden| golden.name == name).expect("there is such a file");
    match golden.decoded {
        pb_core::wire::frame::Decoded::Message(Message::Call(call)) => call,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_definition_is_sent_once_for_each_number_of_arguments_that_must_be_known() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let (mut server, client) = tokio::join!(
        async {
            let mut server = Raw::accept(&listener).await;
            server.send(&pb_core::wire::frame::MAGIC).await;
            server.message(&raw::hello()).await;
            server
        },
        pb_client::connect(&url),
    );
    let client = client.expect("it is greeted");
    let bank: BankRef = client.root();
    let calls =
        [("ada", 0), ("bob", 5), ("eve", 0), ("dan", 6)].map(|(owner, cents)| bank.open(owner.into(), cents));
    let mut seen = Vec::new();
    for _ in &calls {
        match soon(server.answer()).await {
            Some(Message::Call(call)) => seen.push(call),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen[0], golden_call("call_with_a_default"));
    assert_eq!(seen[1], golden_call("call_with_no_default"));
    assert_eq!(seen[2].method, MethodName::Known(1));
    assert_eq!(seen[3].method, MethodName::Known(2));
    assert_eq!(&seen[2].payload.body[..], b"\x03eve\x00");
}

/// What the new build answers to a call of `Bank/open` with these prints and this body.
async fn answered(
    fewest: u32,
    prints: &[u64],
    body: &'static [u8],
) -> Result<(), (FailureKind, Ran, String)> {
    let (running, _client) = served(BankRef::new(MyBank)).await;
    let mut peer = Raw::greeted(running.url()).await;
    let text = MethodText { name: "Bank/open".into(), fewest, prints: prints.into() };
    let call = raw::bytes_call(1, "Bank/open", body);
    let call = Call {
        reply: Reply::Reference,
        method: MethodName::Defined(Arc::new(text)),
        target: ImportId::ROOT,
        ..call
    };
    peer.message(&Message::Call(call)).await;
    match soon(peer.answer()).await {
        Some(Message::Resolve(_)) => Ok(()),
        Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
            Err((failure.kind, failure.ran, failure.message.to_string()))
        }
        other => panic!("{other:?}"),
    }
}

const SHORT: u64 = golden::OPEN_BY_OWNER;
const LONG: u64 = golden::OPEN_BY_OWNER_AND_CENTS;

#[tokio::test]
async fn golden_definitions_are_understood() {
    assert_eq!(answered(1, &[SHORT, LONG], b"\x03ada\x00").await, Ok(()));
    assert_eq!(answered(2, &[LONG], b"\x03bob\x05").await, Ok(()));
    assert_eq!(answered(1, &[SHORT], b"\x03ada").await, Ok(()));
}

#[tokio::test]
async fn arguments_that_only_the_caller_knows_are_not_looked_at() {
    assert_eq!(answered(1, &[SHORT, 1, 2], b"\x03ada\xff\xff\xff").await, Ok(()));
    assert_eq!(answered(1, &[SHORT, 1], b"\x03ada").await, Ok(()), "nor missed");
    assert_eq!(answered(2, &[LONG, 3], b"\x03ada\x05garbage").await, Ok(()));
}

#[tokio::test]
async fn references_in_arguments_that_only_the_caller_knows_are_released() {
    let (running, _client) = served(BankRef::new(MyBank)).await;
    let mut peer = Raw::greeted(running.url()).await;
    let text = MethodText { name: "Bank/open".into(), fewest: 1, prints: [SHORT, 1].into() };
    let call =
        raw::with_caps(raw::bytes_call(1, "Bank/open", &b"\x03ada\x00"[..]), [Cap::Mine(ExportId(-1))]);
    let method = MethodName::Defined(Arc::new(text));
    peer.message(&Message::Call(Call { reply: Reply::Reference, method, ..call })).await;
    let (mut resolved, mut released) = (false, false);
    while !(resolved && released) {
        match soon(peer.answer()).await {
            Some(Message::Resolve(resolve)) => resolved = resolve.export == ExportId(1),
            Some(Message::Release(release)) => released = release.mentions == [(ImportId(-1), 1)],
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn bytes_behind_all_that_the_caller_knows_fail_the_call() {
    for (prints, body) in [(&[SHORT][..], &b"\x03ada\x00"[..]), (&[SHORT, LONG], b"\x03ada\x00\x00")] {
        let (kind, ran, message) = answered(1, prints, body).await.expect_err("bytes are left over");
        assert_eq!((kind, ran), (FailureKind::Failed, Ran::No), "{message}");
        assert!(message.contains("1 bytes are left over"), "{message}");
    }
}

#[tokio::test]
async fn arguments_that_were_promised_and_are_not_there_fail_the_call() {
    let (kind, ran, message) = answered(1, &[SHORT, LONG], b"\x03ada").await.expect_err("cents are missing");
    assert_eq!((kind, ran), (FailureKind::Failed, Ran::No), "{message}");
}

#[tokio::test]
async fn a_print_at_another_place_is_none_in_common() {
    let odd: [(u32, &[u64]); 5] =
        [(0, &[SHORT]), (2, &[SHORT]), (1, &[LONG, SHORT]), (u32::MAX, &[SHORT, LONG]), (3, &[LONG])];
    for (fewest, prints) in odd {
        let (kind, ran, message) =
            answered(fewest, prints, b"\x03ada\x00").await.expect_err("none in common");
        assert_eq!((kind, ran), (FailureKind::Incompatible, Ran::No), "{message}");
    }
}

#[tokio::test]
async fn without_prints_the_whole_signature_is_meant() {
    assert_eq!(answered(0, &[], b"\x03ada\x05").await, Ok(()));
    let (kind, ..) = answered(0, &[], b"\x03ada").await.expect_err("cents are missing");
    assert_eq!(kind, FailureKind::Failed);
}
