//! Floods that ask for much to be answered, or fail at much length.

use super::{FIRST, bytes, largest, number};
use crate::flood::{DEAF, Flood, POLITE};
use crate::peer::Peer;
use pb_core::message::{
    Call, CallOptions, Cause, Disembargo, ExportId, Failure, FailureKind, ImportId, Message, Payload, Ran,
    Reject, Rejection, Reply, Resolve,
};

/// See the names.
pub const ALL: &[Flood] = &[
    Flood { name: "large-answers", what: "the largest answers, read", fill: large, ..POLITE },
    Flood { name: "large-answers-deaf", what: "the largest answers, not read", fill: large, ..DEAF },
    Flood { name: "echoes-deaf", what: "32 KiB there and back, not read", fill: echoes, ..DEAF },
    Flood { name: "echoes-large", what: "the largest bodies there and back", fill: large_echoes, ..POLITE },
    Flood { name: "disembargoes", what: "asks for echoes, which are read", fill: disembargoes, ..POLITE },
    Flood {
        name: "disembargoes-deaf",
        what: "asks for echoes, which are not read",
        fill: disembargoes,
        ..DEAF
    },
    Flood {
        name: "errors-kept",
        what: "rejected results of 3.5 KiB, never released",
        fill: errors,
        ..POLITE
    },
    Flood {
        name: "errors-repeated",
        what: "calls on one of them: the error comes each time",
        fill: repeated,
        ..POLITE
    },
    Flood { name: "errors-repeated-deaf", what: "the same, answers not read", fill: repeated, ..DEAF },
    Flood {
        name: "callbacks-silent",
        what: "methods that call back and are not answered",
        fill: callbacks,
        ..POLITE
    },
    Flood {
        name: "callbacks-failed",
        what: "callbacks that fail with eight long causes",
        fill: callbacks,
        reply: Some(fail),
        ..POLITE
    },
    Flood {
        name: "callbacks-large",
        what: "callbacks that are answered with 1 MiB",
        fill: callbacks,
        reply: Some(answer),
        ..POLITE
    },
    Flood { name: "callbacks-deaf", what: "callbacks that are not read", fill: callbacks, ..DEAF },
];

fn large(peer: &mut Peer) {
    let most = largest(peer);
    for _ in 0..8 {
        let options = CallOptions { answer_bytes: Some(1 << 26), ..CallOptions::default() };
        peer.full_call(
            ImportId::ROOT,
            Reply::Value,
            "Victim/large",
            Vec::new(),
            &number(most),
            options.boxed(),
        );
    }
}

fn echoes(peer: &mut Peer) {
    let body = bytes(largest(peer).min(32 << 10));
    for _ in 0..4 {
        peer.call("Victim/echo", &body);
    }
}

fn large_echoes(peer: &mut Peer) {
    let body = bytes(largest(peer));
    let options = CallOptions { answer_bytes: Some(1 << 26), ..CallOptions::default() };
    peer.full_call(ImportId::ROOT, Reply::Value, "Victim/echo", Vec::new(), &body, options.boxed());
}

fn disembargoes(peer: &mut Peer) {
    if peer.round == 0 {
        // A promise that resolves to an object of this side's.
        let object = peer.object();
        peer.reference("Victim/mirror", vec![object], FIRST);
    }
    for number in 1..=1024 {
        let number = peer.round * 1024 + number;
        peer.message::<&[u8]>(&Message::Disembargo(Disembargo::Ask { target: ImportId(1), number }));
    }
}

fn errors(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        peer.reference("Victim/refuse", Vec::new(), &number(3500));
    }
}

fn repeated(peer: &mut Peer) {
    if peer.round == 0 {
        peer.reference("Victim/refuse", Vec::new(), &number(3500));
    }
    for _ in 0..peer.batch() {
        peer.full_call(ImportId(1), Reply::Value, "Thing/poke", Vec::new(), &[], None);
    }
}

fn callbacks(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let object = peer.object();
        peer.call_with("Victim/ask", vec![object], FIRST);
    }
}

fn fail(call: &Call) -> Message {
    let mut failure = long_failure();
    for _ in 0..7 {
        failure = long_failure().caused_by(Cause::Broker(failure));
    }
    Message::Reject(Reject { export: ExportId(call.result.0), rejection: Rejection::Broker(failure) })
}

fn long_failure() -> Failure {
    let mut failure = Failure::new(FailureKind::Failed, Ran::Yes, "m".repeat(1024));
    failure.details = (0..16).map(|_| ("k".repeat(1024).into(), "v".repeat(1024).into())).collect();
    failure
}

fn answer(call: &Call) -> Message {
    let payload = Payload { caps: Vec::new(), body: bytes((1 << 20) - 1024).into() };
    Message::Resolve(Resolve { export: ExportId(call.result.0), payload })
}
