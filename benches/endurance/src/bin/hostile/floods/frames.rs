//! Floods of frames: lengths, greetings, pings, types that nobody knows.

use super::{FIRST, largest};
use crate::flood::{DEAF, Flood, Greeting, POLITE, Then, Window};
use crate::peer::Peer;
use pb_core::message::{Abort, AbortCode, Cap, ExportId, ImportId, Message, Payload, Ping, Release, Resolve};
use std::time::Duration;

/// See the names.
pub const ALL: &[Flood] = &[
    Flood { name: "oversized", what: "a frame longer than is granted", fill: oversized, ..POLITE },
    Flood { name: "empty", what: "frames of length 0", fill: empty, ..POLITE },
    Flood { name: "garbage", what: "frames of an illegal type", fill: garbage, ..POLITE },
    Flood {
        name: "strangers",
        what: "HTTP instead of the magic, connection after connection",
        fill: stranger,
        then: Then::Pause(SHORT),
        greeting: Greeting::None,
        ..POLITE
    },
    Flood { name: "second-hello", what: "a second hello", fill: second_hello, ..POLITE },
    Flood {
        name: "reconnects",
        what: "a hello, a call, a close, over and over",
        fill: one_call,
        then: Then::HangUp,
        ..POLITE
    },
    Flood {
        name: "hangs-up-silent",
        what: "connections that close without a byte",
        fill: |_| {},
        then: Then::HangUp,
        greeting: Greeting::None,
        ..POLITE
    },
    Flood {
        name: "leaves-objects",
        what: "1,024 objects kept by the server, a close, over and over",
        fill: leave_objects,
        then: Then::HangUp,
        ..POLITE
    },
    Flood {
        name: "slow-hello",
        what: "a hello of which a byte comes each 100 ms",
        fill: slow_hello,
        then: Then::Pause(SHORT),
        greeting: Greeting::None,
        ..POLITE
    },
    Flood {
        name: "half-frame",
        what: "a frame of the largest size without its last bytes",
        fill: half_frame,
        then: Then::Pause(SHORT),
        ..POLITE
    },
    Flood {
        name: "slow-frame",
        what: "the same, in steps that just keep it alive",
        fill: slow_frame,
        then: Then::Pause(SHORT),
        ..POLITE
    },
    Flood { name: "pings", what: "pings, pongs read", fill: pings, window: Window::Any, ..POLITE },
    Flood { name: "pings-deaf", what: "pings, pongs not read", fill: pings, ..DEAF },
    Flood {
        name: "unknown-types",
        what: "types of newer versions with 1,024 objects each",
        fill: unknown_types,
        ..POLITE
    },
    Flood { name: "unknown-types-deaf", what: "the same, answers not read", fill: unknown_types, ..DEAF },
    Flood {
        name: "unknown-padding",
        what: "types of newer versions of the largest size",
        fill: unknown_padding,
        ..DEAF
    },
    Flood {
        name: "forged-release",
        what: "releases of what was never given",
        fill: forged_release,
        ..POLITE
    },
    Flood { name: "forged-target", what: "calls on what was never given", fill: forged_target, ..POLITE },
    Flood { name: "forged-answer", what: "answers nobody asked for", fill: forged_answer, ..POLITE },
    Flood { name: "aborts", what: "aborts with the longest reason", fill: aborts, ..POLITE },
];

fn oversized(peer: &mut Peer) {
    let mut length = peer.grants.frame_bytes + 1;
    let mut frame = Vec::new();
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.resize(4096, 2);
    peer.raw(&frame);
}

fn empty(peer: &mut Peer) {
    for _ in 0..4096 {
        peer.raw(&[0]);
    }
}

fn garbage(peer: &mut Peer) {
    peer.raw(&[3, 31, 0, 0]);
}

fn stranger(peer: &mut Peer) {
    peer.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

fn second_hello(peer: &mut Peer) {
    let grants = peer.grants;
    let hello = pb_core::message::Hello { versions: (1, 1), features: 0, grants };
    peer.message::<&[u8]>(&Message::Hello(hello));
}

fn one_call(peer: &mut Peer) {
    peer.call("Victim/null", &[]);
}

fn leave_objects(peer: &mut Peer) {
    for _ in 0..16 {
        for _ in 0..64 {
            let object = peer.object();
            peer.call_with("Victim/keep", vec![object], FIRST);
        }
    }
}

fn slow_hello(peer: &mut Peer) {
    // The magic, then a hello that claims some bytes which never come whole.
    let hello = [0x89, b'P', b'B', b'\n', 0x80, 0x1f, 1, 0];
    let next = *hello.get(peer.round as usize).unwrap_or(&0x80);
    peer.raw(&[next]);
}

fn half_frame(peer: &mut Peer) {
    if peer.round == 0 {
        let frame = claimed(peer);
        peer.raw(&frame[..frame.len() - 16]);
    }
}

fn slow_frame(peer: &mut Peer) {
    let frame = claimed(peer);
    // A step of 4,096 bytes each 5 s, after most of it at once.
    let first = frame.len().saturating_sub(20_000).max(64);
    match peer.round {
        0 => peer.raw(&frame[..first]),
        round if round.is_multiple_of(50) => {
            let at = (first + (round as usize / 50 - 1) * 4096).min(frame.len() - 1);
            peer.raw(&frame[at..(at + 4096).min(frame.len() - 1)]);
        }
        _ => {}
    }
}

/// A frame of the largest size, of a type that is skipped.
fn claimed(peer: &Peer) -> Vec<u8> {
    let mut length = peer.grants.frame_bytes;
    let mut frame = Vec::new();
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(&[100, 0]);
    frame.resize(frame.len() + peer.grants.frame_bytes as usize - 2, 0);
    frame
}

fn pings(peer: &mut Peer) {
    for nonce in 0..1024 {
        peer.message::<&[u8]>(&Message::Ping(Ping { nonce }));
    }
}

fn unknown_types(peer: &mut Peer) {
    // A cast carries the same capabilities; only its type is another one.
    let most = (peer.grants.imports as usize).min(1024);
    let caps: Vec<Cap> = (0..most).map(|_| peer.object()).collect();
    let mut frame = Vec::new();
    let payload = Payload { caps, body: &[][..] };
    let resolve = Message::Resolve(Resolve { export: ExportId(1), payload });
    pb_core::wire::frame::encode(&resolve, &mut frame);
    let head = frame.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    frame[head] = 100;
    peer.raw(&frame);
}

fn unknown_padding(peer: &mut Peer) {
    let frame = claimed(peer);
    peer.raw(&frame);
}

fn forged_release(peer: &mut Peer) {
    peer.message::<&[u8]>(&Message::Release(Release { mentions: vec![(ImportId(-7), 1)] }));
}

fn forged_target(peer: &mut Peer) {
    let reply = pb_core::message::Reply::Value;
    peer.full_call(ImportId(-1_000_000), reply, "Thing/poke", Vec::new(), &[], None);
}

fn forged_answer(peer: &mut Peer) {
    let body = vec![0; largest(peer)];
    let payload = Payload { caps: Vec::new(), body: &body[..] };
    peer.message(&Message::Resolve(Resolve { export: ExportId(9), payload }));
}

fn aborts(peer: &mut Peer) {
    let reason = "r".repeat(1024).into();
    peer.message::<&[u8]>(&Message::Abort(Abort { code: AbortCode::Limit, reason }));
}

const SHORT: Duration = Duration::from_millis(100);
