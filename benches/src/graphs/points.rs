//! Which graphs there are, and where they are measured.

use crate::figure::Figure;

/// One graph, or a few over the same points.
pub struct Graph {
    /// The name on the command line.
    pub name: &'static str,
    /// What grows.
    pub title: &'static str,
    /// Where it is measured.
    pub xs: &'static [u64],
    /// What is drawn.
    pub kind: Kind,
}

/// What is drawn.
pub enum Kind {
    /// A picture for each of these figures, with its name and title.
    Lines(&'static [(Figure, &'static str, &'static str)]),
    /// Latencies at these shares, in percent, of the highest throughput.
    Load,
}

impl Graph {
    /// The name of a point, which but for [`Kind::Load`] is a workload's.
    pub fn point(&self, x: u64) -> String {
        format!("{}-{x}", self.name)
    }

    /// The largest point that a peer is measured at.
    pub fn most(&self, peer: &str) -> u64 {
        match (self.name, peer) {
            // An object of its takes 15 KiB on each side.
            ("objects", "remoc") => 10_000,
            _ => u64::MAX,
        }
    }
}

/// Calls in flight.
pub const IN_FLIGHT: Graph = Graph {
    name: "in-flight",
    title: "calls in flight on one connection",
    xs: &[1, 4, 16, 64, 256, 1024, 4096],
    kind: Kind::Lines(&[
        (Figure::CallsPerSecond, "in-flight", "Throughput over calls in flight"),
        (Figure::CpuMicros, "in-flight-cpu", "Processor time of both ends over calls in flight"),
    ]),
};

/// All of them.
pub const ALL: &[Graph] = &[
    IN_FLIGHT,
    Graph {
        name: "connections",
        title: "connections, one call in flight on each",
        xs: &[1, 10, 100, 1000],
        kind: Kind::Lines(&[(Figure::CallsPerSecond, "connections", "Throughput over connections")]),
    },
    Graph {
        name: "objects",
        title: "live objects",
        xs: &[100, 1000, 10_000, 100_000, 1_000_000],
        kind: Kind::Lines(&[
            (Figure::ServerBytes, "objects-server", "Memory of the server for each live object"),
            (Figure::ClientBytes, "objects-client", "Memory of the client for each live object"),
            (Figure::CreateSeconds, "objects-create", "Time to create all objects"),
            (Figure::DropSeconds, "objects-drop", "Time to drop all objects"),
        ]),
    },
    Graph { name: "load", title: "share of the highest throughput, in %", xs: &[50, 80], kind: Kind::Load },
];
