//! Floods of calls: unread, without end, cancelled, on what never comes, with names and metadata.

use super::{bytes, largest};
use crate::flood::{DEAF, Flood, POLITE, Window};
use crate::peer::Peer;
use pb_core::message::{CallOptions, Cancel, Cap, ImportId, Message, MethodName, MethodText, Reply};
use std::sync::Arc;

/// See the names.
pub const ALL: &[Flood] = &[
    Flood { name: "calls", what: "null calls, answers read", fill: nulls, ..POLITE },
    Flood { name: "calls-deaf", what: "null calls, answers not read", fill: nulls, ..DEAF },
    Flood { name: "calls-large", what: "calls with the largest bodies", fill: swallows, ..POLITE },
    Flood {
        name: "never-ending",
        what: "calls that never end, up to the grant",
        fill: holds,
        window: Window::Granted,
        ..POLITE
    },
    Flood {
        name: "never-ending-large",
        what: "the same, their bodies filling the grant of bytes",
        fill: large_holds,
        ..POLITE
    },
    Flood {
        name: "never-ending-over",
        what: "the same beyond the grant",
        fill: holds,
        window: Window::Any,
        ..POLITE
    },
    Flood { name: "casts", what: "casts of 1 KiB", fill: casts, window: Window::Any, ..POLITE },
    Flood {
        name: "casts-waiting",
        what: "casts that never end",
        fill: lingers,
        window: Window::Any,
        ..POLITE
    },
    Flood {
        name: "casts-behind",
        what: "casts behind answers that are not read",
        fill: casts_behind,
        ..DEAF
    },
    Flood { name: "pipelined", what: "calls on a promise that never settles", fill: pipelined, ..POLITE },
    Flood {
        name: "pipelined-over",
        what: "the same beyond the grant",
        fill: pipelined,
        window: Window::Any,
        ..POLITE
    },
    Flood { name: "pipelined-large", what: "the same with large bodies", fill: pipelined_large, ..POLITE },
    Flood {
        name: "pipelined-casts",
        what: "casts on a promise that never settles",
        fill: pipelined_casts,
        window: Window::Any,
        ..POLITE
    },
    Flood {
        name: "pinning",
        what: "small calls on such a promise, each in one read with a large frame",
        fill: pinning,
        ..POLITE
    },
    Flood { name: "promises", what: "results that never settle, sent on", fill: promises, ..POLITE },
    Flood {
        name: "rapid-reset",
        what: "calls that never end, cancelled at once",
        fill: resets,
        window: Window::Any,
        ..POLITE
    },
    Flood { name: "rapid-reset-deaf", what: "the same, answers not read", fill: resets, ..DEAF },
    Flood {
        name: "names",
        what: "methods that do not exist, of the longest names with 16 prints",
        fill: names,
        ..POLITE
    },
    Flood { name: "names-over", what: "the same beyond the grant", fill: names_over, ..POLITE },
    Flood { name: "names-once", what: "the same, defined for one call each", fill: names_once, ..POLITE },
    Flood { name: "metadata", what: "calls that never end with 8 KiB of metadata", fill: metadata, ..POLITE },
    Flood {
        name: "pipelined-metadata",
        what: "calls on such a promise with 8 KiB of metadata",
        fill: pipelined_metadata,
        ..POLITE
    },
    Flood { name: "false-lengths", what: "bodies that claim 2^40 elements", fill: false_lengths, ..POLITE },
];

fn nulls(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        peer.call("Victim/null", &[]);
    }
}

fn swallows(peer: &mut Peer) {
    let body = bytes(largest(peer));
    peer.call("Victim/swallow", &body);
}

fn holds(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        peer.call("Victim/hold", &bytes(8));
    }
}

fn large_holds(peer: &mut Peer) {
    // 32 calls take all of the grant of bytes; then there is nothing more to do.
    if peer.round < 32 {
        let body = bytes((peer.grants.call_bytes as usize / 32 - 16).min(largest(peer)));
        peer.call("Victim/hold", &body);
    }
}

fn casts(peer: &mut Peer) {
    let body = bytes(1024);
    for _ in 0..peer.batch() {
        peer.cast(ImportId::ROOT, "Victim/note", &body);
    }
}

fn lingers(peer: &mut Peer) {
    let body = bytes(1024);
    for _ in 0..peer.batch() {
        peer.cast(ImportId::ROOT, "Victim/linger", &body);
    }
}

fn casts_behind(peer: &mut Peer) {
    if peer.round == 0 {
        let answer = super::number(largest(peer).min(1 << 20));
        for _ in 0..16 {
            peer.call("Victim/large", &answer);
        }
    }
    casts(peer);
}

fn pipelined(peer: &mut Peer) {
    let promise = promise(peer);
    for _ in 0..peer.batch() {
        on(peer, promise, &[]);
    }
}

fn pipelined_large(peer: &mut Peer) {
    let promise = promise(peer);
    if peer.round < 32 {
        let body = bytes((peer.grants.call_bytes as usize / 32 - 16).min(largest(peer)));
        on(peer, promise, &body);
    }
}

fn pipelined_casts(peer: &mut Peer) {
    let promise = promise(peer);
    let body = bytes(1024);
    for _ in 0..peer.batch() {
        peer.cast(promise, "Thing/poke", &body);
    }
}

fn pinning(peer: &mut Peer) {
    let promise = promise(peer);
    // Only so many calls may wait, but what came with them may be longer.
    if peer.in_flight() + 1 < peer.grants.calls {
        on(peer, promise, &[7; 16]);
        peer.cast(ImportId::ROOT, "Victim/note", &bytes(largest(peer)));
    }
}

fn promises(peer: &mut Peer) {
    let promise = peer.reference("Victim/never", Vec::new(), &[]);
    peer.reference("Victim/mirror", vec![Cap::Yours(promise)], super::FIRST);
}

fn resets(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let result = peer.call("Victim/hold", &bytes(8));
        peer.message::<&[u8]>(&Message::Cancel(Cancel { result }));
    }
}

fn names(peer: &mut Peer) {
    // Kept within what is granted; then there is nothing more to do.
    let left = peer.grants.names.saturating_sub(peer.round * peer.batch() as u64);
    for _ in 0..left.min(peer.batch() as u64) {
        let name = MethodName::Defined(Arc::new(long_name(peer.frames)));
        peer.named_call(ImportId::ROOT, Reply::Value, name, Vec::new(), &[], None);
    }
}

fn names_over(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let name = MethodName::Defined(Arc::new(long_name(peer.frames)));
        peer.named_call(ImportId::ROOT, Reply::Value, name, Vec::new(), &[], None);
    }
}

fn names_once(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let name = MethodName::Once(Arc::new(long_name(peer.frames)));
        peer.named_call(ImportId::ROOT, Reply::Value, name, Vec::new(), &[], None);
    }
}

fn metadata(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let options = long_metadata();
        peer.full_call(ImportId::ROOT, Reply::Value, "Victim/hold", Vec::new(), &bytes(8), options);
    }
}

fn pipelined_metadata(peer: &mut Peer) {
    let promise = promise(peer);
    for _ in 0..peer.batch() {
        peer.full_call(promise, Reply::Value, "Thing/poke", Vec::new(), &[], long_metadata());
    }
}

fn long_metadata() -> Option<Box<CallOptions>> {
    let entry = |number: u64| {
        let key = format!("{number:0>256}").into_boxed_str();
        (key, vec![b'm'; 256].into())
    };
    CallOptions { metadata: (0..16).map(entry).collect(), ..CallOptions::default() }.boxed()
}

fn false_lengths(peer: &mut Peer) {
    let claims = [&[253][..], &(1_u64 << 40).to_le_bytes()].concat();
    for _ in 0..peer.batch() {
        peer.call("Victim/swallow", &claims);
    }
}

/// A result that never settles: the connection's first call.
fn promise(peer: &mut Peer) -> ImportId {
    if peer.round == 0 { peer.reference("Victim/never", Vec::new(), &[]) } else { ImportId(1) }
}

fn on(peer: &mut Peer, promise: ImportId, body: &[u8]) {
    peer.full_call(promise, Reply::Value, "Thing/poke", Vec::new(), body, None);
}

fn long_name(number: u64) -> MethodText {
    MethodText {
        name: format!("Victim/{number:0>249}").into(),
        fewest: 0,
        prints: (0..16).map(|print| print ^ number).collect(),
    }
}
