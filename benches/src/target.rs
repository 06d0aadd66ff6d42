//! What ours is held to: ratios to peers measured in the same run, and a few bounds of its own.

use crate::figure::Figure;
use crate::report::Report;

/// One bound on a figure of a peer's. Where more is better it is a lower one, else an upper one.
pub struct Target {
    peer: &'static str,
    workload: &'static str,
    figure: Figure,
    bound: f64,
    against: Against,
}

/// What a bound is multiplied by.
#[derive(Clone, Copy)]
enum Against {
    /// The same figure of that peer.
    Peer(&'static str),
    /// The best figure of all peers but ours and the floors.
    BestPeer,
    /// Another figure of the same peer.
    Own(&'static str, Figure),
    /// Nothing.
    Nothing,
}

use Against::{BestPeer, Nothing, Own, Peer};
use Figure::{
    CallsPerSecond, ChainMillis, ClientBytes, CpuMicros, CreateSeconds, DropSeconds, MibPerSecond, OneMillis,
    P50Micros, ServerBytes, WireBytes,
};

/// Every bound: first what makes the floor count, then what ours must reach.
pub const ALL: &[Target] = &[
    Target { peer: "floor", ..ours("pipe64", CallsPerSecond, 2.5, Peer("tarpc")) },
    Target { peer: "floor", ..ours("pipe512", CallsPerSecond, 5.0, Peer("tarpc")) },
    ours("seq-1cpu", P50Micros, 1.4, Peer("floor")),
    ours("seq-1cpu", P50Micros, 1.0, BestPeer),
    ours("pipe64-1cpu", CallsPerSecond, 0.3, Peer("floor")),
    ours("pipe64-1cpu", CallsPerSecond, 1.6, Peer("tarpc")),
    ours("seq", P50Micros, 1.08, Peer("floor")),
    ours("pipe64", CallsPerSecond, 0.5, Peer("floor")),
    ours("pipe64", CallsPerSecond, 1.5, Peer("tarpc")),
    ours("pipe512", CallsPerSecond, 0.45, Peer("floor")),
    ours("pipe512", CallsPerSecond, 2.5, Peer("tarpc")),
    ours("pipe512", CpuMicros, 2.2, Peer("floor")),
    ours("conns16x16", CallsPerSecond, 0.6, Peer("floor")),
    ours("conns16x16", CallsPerSecond, 1.2, Peer("tarpc")),
    ours("echo64k", MibPerSecond, 0.97, Peer("floor")),
    ours("echo64k", MibPerSecond, 0.97, BestPeer),
    ours("echo1m", MibPerSecond, 0.97, Peer("floor")),
    ours("echo1m", MibPerSecond, 0.97, BestPeer),
    ours("obj", CallsPerSecond, 0.45, Peer("floor")),
    ours("obj", CallsPerSecond, 3.0, Peer("capnp-rpc")),
    ours("objmem", ServerBytes, 160.0, Nothing),
    ours("objmem", ClientBytes, 160.0, Nothing),
    ours("objmem", CreateSeconds, 2.0, Peer("floor")),
    ours("objmem", DropSeconds, 2.0, Peer("floor")),
    ours("chain", ChainMillis, 1.02, Own("chain", OneMillis)),
    ours("chain10", ChainMillis, 30.0, Nothing),
    ours("idle", ServerBytes, 8192.0, Nothing),
    ours("callback", P50Micros, 2.2, Own("seq-1cpu", P50Micros)),
    ours("wire", WireBytes, 52.0, Nothing),
];

impl Target {
    /// A line of the report, or None where what it needs was not measured.
    pub fn line(&self, report: &Report) -> Option<String> {
        let value = report.median(self.workload, self.peer, self.figure)?;
        let other = self.other(report)?;
        let ratio = value / other;
        let more = self.figure.more_is_better();
        let held = if more { ratio >= self.bound } else { ratio <= self.bound };
        let sign = if more { "≥" } else { "≤" };
        let bound = match self.against {
            Nothing => format!("{}", self.bound),
            Peer(peer) => format!("{} × {peer}", self.bound),
            BestPeer => format!("{} × the best peer", self.bound),
            Own(workload, figure) => format!("{} × `{workload}` {}", self.bound, figure.unit()),
        };
        let measured = match self.against {
            Nothing => self.figure.shown(value),
            _ => format!("{ratio:.2}"),
        };
        let verdict = match (held, self.peer) {
            (true, _) => "holds",
            (false, "floor") => "MISSED: the floor does not count in this run",
            (false, _) => "MISSED",
        };
        Some(format!(
            "| `{}` {} | {} {sign} {bound} | {measured} | {verdict} |",
            self.workload,
            self.figure.unit(),
            self.peer
        ))
    }

    /// What the bound is multiplied by.
    fn other(&self, report: &Report) -> Option<f64> {
        match self.against {
            Nothing => Some(1.0),
            Peer(peer) => report.median(self.workload, peer, self.figure),
            Own(workload, figure) => report.median(workload, self.peer, figure),
            BestPeer => {
                let rivals = report.peers().filter(|peer| *peer != self.peer && !peer.starts_with("floor"));
                let values = rivals.filter_map(|peer| report.median(self.workload, peer, self.figure));
                values.reduce(if self.figure.more_is_better() { f64::max } else { f64::min })
            }
        }
    }
}

const fn ours(workload: &'static str, figure: Figure, bound: f64, against: Against) -> Target {
    Target { peer: "ours", workload, figure, bound, against }
}
