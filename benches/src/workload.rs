//! The workloads: what is called, how, and where.

use crate::figure::Figure;
use anyhow::{Context, Result, bail};

/// One row, or a few, of work that every peer is put through.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The name on the command line and in the tables.
    pub name: String,
    /// One line for the report.
    pub what: String,
    /// What is done.
    pub work: Work,
    /// Server and client are pinned to the same processor and have current-thread runtimes.
    pub one_cpu: bool,
    /// The figures that the peers are compared by, the chief one first.
    pub figures: &'static [Figure],
}

/// What is done under a workload.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Work {
    /// `add(i64, i64)`, so many calls in flight on each of so many connections.
    Add { connections: usize, in_flight: usize },
    /// `add(i64, i64)`, begun at a steady rate, whether or not the calls before were answered.
    Paced { per_second: u64 },
    /// So many bytes there and back.
    Echo { bytes: usize, in_flight: usize },
    /// An object is made, called and dropped.
    Cycle { in_flight: usize },
    /// A call, inside which the server calls an object of the client's.
    Callback,
    /// So many objects are made, kept, and dropped.
    Hold { objects: usize },
    /// So many connections are made, and used once.
    Idle { connections: usize },
    /// A call on the result of a call, so deep, and one on its end, over a slow link.
    Chain { depth: u64 },
    /// The bytes of a call.
    Wire,
}

/// Every workload's name, in the order of the report.
pub const NAMES: &[&str] = &[
    "seq-1cpu",
    "pipe64-1cpu",
    "seq",
    "pipe64",
    "pipe512",
    "conns16x16",
    "echo64k",
    "echo1m",
    "obj",
    "objmem",
    "chain",
    "chain10",
    "idle",
    "callback",
    "wire",
];

/// The workload called `name`: one of [`NAMES`], or a point of a graph, `in-flight-8`, `connections-100`, `objects-1000` and `load-50000`.
pub fn find(name: &str) -> Result<Workload> {
    let new = |what: &str, work, figures| Workload {
        name: name.to_owned(),
        what: what.to_owned(),
        work,
        one_cpu: false,
        figures,
    };
    let one_cpu = |workload| Workload { one_cpu: true, ..workload };
    let one = Work::Add { connections: 1, in_flight: 1 };
    let pipe = |in_flight| Work::Add { connections: 1, in_flight };
    Ok(match name {
        "seq-1cpu" => one_cpu(new("add(i64, i64), one outstanding, both processes on one CPU", one, TIMED)),
        "pipe64-1cpu" => {
            one_cpu(new("64 in flight on one connection, both processes on one CPU", pipe(64), COUNTED))
        }
        "seq" => new("one outstanding, 2 workers a process (mostly the price of waking a CPU)", one, TIMED),
        "pipe64" => new("64 in flight on one connection, 2 workers a process", pipe(64), COUNTED),
        "pipe512" => new("512 in flight on one connection, 2 workers a process", pipe(512), COUNTED),
        "conns16x16" => {
            new("16 connections, 16 in flight on each", Work::Add { connections: 16, in_flight: 16 }, COUNTED)
        }
        "echo64k" => {
            new("64 KiB there and back, 8 in flight", Work::Echo { bytes: 64 << 10, in_flight: 8 }, ECHOED)
        }
        "echo1m" => {
            new("1 MiB there and back, 8 in flight", Work::Echo { bytes: 1 << 20, in_flight: 8 }, ECHOED)
        }
        "obj" => new(
            "an object is made, its reference awaited, called once, and dropped; 64 such cycles at a time",
            Work::Cycle { in_flight: 64 },
            COUNTED,
        ),
        "objmem" => new("100,000 live objects, made 64 at a time", Work::Hold { objects: 100_000 }, HELD),
        "chain" => new("root.child().child().value(), 10 ms each way", Work::Chain { depth: 2 }, CHAINED),
        "chain10" => new(
            "ten calls, each on the result of the one before, and one on the last, 10 ms each way",
            Work::Chain { depth: 10 },
            CHAINED,
        ),
        "idle" => new("2,000 connections, each used once", Work::Idle { connections: 2000 }, IDLED),
        "callback" => one_cpu(new(
            "the server calls an object of the client's inside a call, one outstanding, one CPU (the object was passed before)",
            Work::Callback,
            TIMED,
        )),
        "wire" => new(
            "TCP payload of a null call, both directions, one outstanding, after the first",
            Work::Wire,
            &[Figure::WireBytes],
        ),
        _ => new("a point of a graph", point(name)?, COUNTED),
    })
}

/// A point of a graph.
fn point(name: &str) -> Result<Work> {
    let known = || format!("no workload {name}; there are {}", NAMES.join(", "));
    let (kind, number) = name.rsplit_once('-').with_context(known)?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0).with_context(known)?;
    Ok(match kind {
        "in-flight" => Work::Add { connections: 1, in_flight: number as usize },
        "connections" => Work::Add { connections: number as usize, in_flight: 1 },
        "objects" => Work::Hold { objects: number as usize },
        "load" => Work::Paced { per_second: number.into() },
        _ => bail!(known()),
    })
}

impl Workload {
    /// Calls that are outstanding on one connection, at the most.
    pub fn in_flight(&self) -> usize {
        match self.work {
            Work::Add { in_flight, .. } | Work::Echo { in_flight, .. } | Work::Cycle { in_flight } => {
                in_flight
            }
            Work::Hold { .. } => HOLDERS,
            Work::Paced { .. } => PACED_LANES,
            Work::Callback | Work::Idle { .. } | Work::Chain { .. } | Work::Wire => 1,
        }
    }

    /// Whether objects other than the root are called, made or passed.
    #[cfg(feature = "peers")]
    pub fn has_objects(&self) -> bool {
        matches!(self.work, Work::Cycle { .. } | Work::Hold { .. } | Work::Callback)
    }
}

/// How many objects are made at a time where they are kept.
pub const HOLDERS: usize = 64;
/// Calls that may be outstanding where they are begun at a steady rate.
pub const PACED_LANES: usize = 1024;
const TIMED: &[Figure] = &[Figure::P50Micros, Figure::CpuMicros];
const COUNTED: &[Figure] = &[Figure::CallsPerSecond, Figure::CpuMicros];
const ECHOED: &[Figure] = &[Figure::MibPerSecond, Figure::CpuMicros];
const HELD: &[Figure] =
    &[Figure::ServerBytes, Figure::ClientBytes, Figure::CreateSeconds, Figure::DropSeconds];
const CHAINED: &[Figure] = &[Figure::ChainMillis, Figure::OneMillis];
const IDLED: &[Figure] = &[Figure::ServerBytes, Figure::ClientBytes];
