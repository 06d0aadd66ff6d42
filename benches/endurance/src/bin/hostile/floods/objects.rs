//! Floods of objects: the server's that are never released, and this side's that it is made to hold.

use super::FIRST;
use crate::flood::{DEAF, Flood, POLITE, Window};
use crate::peer::Peer;
use pb_core::message::{Cap, ExportId, ImportId, Message, Release, Reply};

/// See the names.
pub const ALL: &[Flood] = &[
    Flood { name: "objects-made", what: "new objects of the server's, never released", fill: made, ..POLITE },
    Flood { name: "objects-made-deaf", what: "the same, answers not read", fill: made, ..DEAF },
    Flood {
        name: "objects-churned",
        what: "new objects, released at once",
        fill: churned,
        window: Window::Answered,
        ..POLITE
    },
    Flood {
        name: "results-kept",
        what: "results that are one object, never released",
        fill: results,
        ..POLITE
    },
    Flood { name: "late-targets", what: "calls on what was released", fill: late, ..POLITE },
    Flood { name: "objects-dropped", what: "objects as arguments, dropped there", fill: dropped, ..POLITE },
    Flood { name: "objects-dropped-deaf", what: "the same, releases not read", fill: dropped, ..DEAF },
    Flood { name: "objects-kept", what: "objects as arguments, kept there", fill: kept, ..POLITE },
    Flood {
        name: "objects-many",
        what: "1,024 objects in each call, one of them kept",
        fill: many,
        ..POLITE
    },
    Flood { name: "one-object-often", what: "one object 1,024 times in each call", fill: often, ..POLITE },
    Flood {
        name: "objects-waiting",
        what: "1,024 objects in each call that never ends",
        fill: waiting,
        ..POLITE
    },
];

fn made(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        peer.call("Victim/make", &[]);
    }
}

fn churned(peer: &mut Peer) {
    let batch = peer.batch() as i64;
    if peer.round > 0 {
        // All is answered: the n-th object that the server has made has the id -n.
        let last = peer.round as i64 * batch;
        let mentions = (last - batch + 1..=last).map(|number| (ImportId(-number), 1)).collect();
        peer.message::<&[u8]>(&Message::Release(Release { mentions }));
    }
    made(peer);
}

fn results(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        peer.reference("Victim/mirror", vec![Cap::Yours(ImportId::ROOT)], FIRST);
    }
}

fn late(peer: &mut Peer) {
    if peer.round == 0 {
        let result = peer.reference("Victim/mirror", vec![Cap::Yours(ImportId::ROOT)], FIRST);
        peer.message::<&[u8]>(&Message::Cancel(pb_core::message::Cancel { result }));
    }
    for _ in 0..peer.batch() {
        peer.full_call(ImportId(1), Reply::Value, "Thing/poke", Vec::new(), &[], None);
    }
}

fn dropped(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let object = peer.object();
        peer.call_with("Victim/let_go", vec![object], FIRST);
    }
}

fn kept(peer: &mut Peer) {
    for _ in 0..peer.batch() {
        let object = peer.object();
        peer.call_with("Victim/keep", vec![object], FIRST);
    }
}

fn many(peer: &mut Peer) {
    let most = (peer.grants.imports as usize).min(1024);
    let caps = (0..most).map(|_| peer.object()).collect();
    peer.call_with("Victim/keep", caps, FIRST);
}

fn often(peer: &mut Peer) {
    let object = if peer.round == 0 { peer.object() } else { Cap::Mine(ExportId(-1)) };
    peer.call_with("Victim/keep", vec![object; 1024], FIRST);
}

fn waiting(peer: &mut Peer) {
    if peer.round == 0 {
        peer.reference("Victim/never", Vec::new(), &[]);
    }
    let most = (peer.grants.imports as usize).min(1024);
    let caps = (0..most).map(|_| peer.object()).collect();
    peer.full_call(ImportId(1), Reply::Value, "Thing/poke", caps, FIRST, None);
}
