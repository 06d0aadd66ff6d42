//! The workloads: what is called, how, and where.

use anyhow::{Context, Result};

/// One column of work that every peer is put through.
pub struct Workload {
    /// The name on the command line and in the tables.
    pub name: &'static str,
    /// One line for the report.
    pub what: &'static str,
    /// How many calls are kept in flight, each by a task of its own.
    pub in_flight: usize,
    /// Server and client are pinned to the same processor and have current-thread runtimes.
    pub one_cpu: bool,
    /// The figure that the peers are compared by.
    pub headline: Headline,
}

/// The figure of a measurement that stands in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Headline {
    /// The median of all calls' times in microseconds: less is better.
    P50Micros,
    /// Calls per second: more is better.
    CallsPerSecond,
}

/// Every workload, in the order of the report.
pub const ALL: &[Workload] = &[
    Workload {
        name: "seq-1cpu",
        what: "add(i64, i64), one outstanding, both processes on one CPU",
        in_flight: 1,
        one_cpu: true,
        headline: Headline::P50Micros,
    },
    Workload {
        name: "pipe64-1cpu",
        what: "64 in flight on one connection, both processes on one CPU",
        in_flight: 64,
        one_cpu: true,
        headline: Headline::CallsPerSecond,
    },
    Workload {
        name: "seq",
        what: "one outstanding, 2 workers a process (mostly the price of waking a CPU)",
        in_flight: 1,
        one_cpu: false,
        headline: Headline::P50Micros,
    },
    Workload {
        name: "pipe64",
        what: "64 in flight on one connection, 2 workers a process",
        in_flight: 64,
        one_cpu: false,
        headline: Headline::CallsPerSecond,
    },
    Workload {
        name: "pipe512",
        what: "512 in flight on one connection, 2 workers a process",
        in_flight: 512,
        one_cpu: false,
        headline: Headline::CallsPerSecond,
    },
];

/// The workload called `name`.
pub fn find(name: &str) -> Result<&'static Workload> {
    let known = || ALL.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
    ALL.iter()
        .find(|workload| workload.name == name)
        .with_context(|| format!("no workload {name}; there are {}", known()))
}

impl Headline {
    /// The unit, for a table's row.
    pub fn unit(self) -> &'static str {
        match self {
            Headline::P50Micros => "p50 µs",
            Headline::CallsPerSecond => "calls/s",
        }
    }
}
