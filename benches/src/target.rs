//! What ours is held to: ratios to peers measured in the same run.

use crate::report::Report;
use crate::workload::Headline;

/// One bound. Where the figure is a time or a cost, it is an upper one; where it is a rate, a lower one.
pub struct Target {
    workload: &'static str,
    peer: &'static str,
    against: &'static str,
    figure: Figure,
    bound: f64,
}

#[derive(Clone, Copy)]
enum Figure {
    Headline,
    Cpu,
}

/// Every bound: first what makes the floor count, then what ours must reach.
pub const ALL: &[Target] = &[
    headline("floor", "pipe64", "tarpc", 2.5),
    headline("floor", "pipe512", "tarpc", 5.0),
    headline("ours", "seq-1cpu", "floor", 1.4),
    headline("ours", "pipe64-1cpu", "floor", 0.3),
    headline("ours", "pipe64-1cpu", "tarpc", 1.6),
    headline("ours", "seq", "floor", 1.08),
    headline("ours", "pipe64", "floor", 0.5),
    headline("ours", "pipe64", "tarpc", 1.5),
    headline("ours", "pipe512", "floor", 0.45),
    headline("ours", "pipe512", "tarpc", 2.5),
    Target { workload: "pipe512", peer: "ours", against: "floor", figure: Figure::Cpu, bound: 2.2 },
];

impl Target {
    /// A line of the report, or None where the run lacks one of the two peers.
    pub fn line(&self, report: &Report<'_>) -> Option<String> {
        let workload = report.workloads.iter().find(|workload| workload.name == self.workload)?;
        let of = |peer: &str| {
            let median = report.median(workload.name, peer)?;
            Some(match self.figure {
                Figure::Headline => median.headline(workload.headline),
                Figure::Cpu => median.cpu_us,
            })
        };
        let ratio = of(self.peer)? / of(self.against)?;
        let upper = matches!(self.figure, Figure::Cpu) || workload.headline == Headline::P50Micros;
        let held = if upper { ratio <= self.bound } else { ratio >= self.bound };
        let unit = match self.figure {
            Figure::Headline => workload.headline.unit(),
            Figure::Cpu => "CPU µs a call",
        };
        let (sign, verdict) = (if upper { "≤" } else { "≥" }, if held { "holds" } else { "MISSED" });
        let floor_is_no_floor =
            if self.peer == "floor" && !held { ": the floor does not count in this run" } else { "" };
        Some(format!(
            "| `{}` {unit} | {} {sign} {} × {} | {ratio:.2} | {verdict}{floor_is_no_floor} |",
            self.workload, self.peer, self.bound, self.against
        ))
    }
}

const fn headline(peer: &'static str, workload: &'static str, against: &'static str, bound: f64) -> Target {
    Target { workload, peer, against, figure: Figure::Headline, bound }
}
