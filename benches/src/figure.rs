//! What a measurement yields: figures with a unit, and a sense in which they are better.

use serde::{Deserialize, Serialize};

/// One kind of figure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Calls, or cycles of calls, that were answered in a second.
    CallsPerSecond,
    /// Bytes there and back in a second, in MiB, counted once.
    MibPerSecond,
    /// The median of all calls' times, in microseconds.
    P50Micros,
    /// The time that 99 of 100 calls stayed under.
    P99Micros,
    /// The time that 999 of 1,000 calls stayed under.
    P999Micros,
    /// Processor time of both processes for one call, user and system, in microseconds.
    CpuMicros,
    /// Memory (RSS) of the serving process for one object or connection.
    ServerBytes,
    /// Memory (RSS) of the calling process for one object or connection.
    ClientBytes,
    /// Time to create all objects.
    CreateSeconds,
    /// Time until all of them were dropped, on the server too.
    DropSeconds,
    /// One call over the slow link.
    OneMillis,
    /// The chain over the slow link.
    ChainMillis,
    /// TCP payload of one call, both directions.
    WireBytes,
}

impl Figure {
    /// Its unit, for a table's row.
    pub fn unit(self) -> &'static str {
        match self {
            Figure::CallsPerSecond => "calls/s",
            Figure::MibPerSecond => "MiB/s",
            Figure::P50Micros => "p50 µs",
            Figure::P99Micros => "p99 µs",
            Figure::P999Micros => "p99.9 µs",
            Figure::CpuMicros => "CPU µs a call",
            Figure::ServerBytes => "bytes each, server",
            Figure::ClientBytes => "bytes each, client",
            Figure::CreateSeconds => "s to create",
            Figure::DropSeconds => "s to drop",
            Figure::OneMillis => "ms, one call",
            Figure::ChainMillis => "ms, the chain",
            Figure::WireBytes => "bytes a call",
        }
    }

    /// Whether more of it is better; of times, costs and bytes, less is.
    pub fn more_is_better(self) -> bool {
        matches!(self, Figure::CallsPerSecond | Figure::MibPerSecond)
    }

    /// It as a cell of a table.
    pub fn shown(self, value: f64) -> String {
        match self {
            Figure::CallsPerSecond if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Figure::CallsPerSecond if value >= 1e3 => format!("{:.0} k", value / 1e3),
            Figure::MibPerSecond | Figure::ServerBytes | Figure::ClientBytes => grouped(value),
            Figure::WireBytes | Figure::OneMillis | Figure::ChainMillis => format!("{value:.1}"),
            Figure::CreateSeconds | Figure::DropSeconds => format!("{value:.3}"),
            _ => format!("{value:.2}"),
        }
    }
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < -0.5 { format!("-{text}") } else { text }
}
