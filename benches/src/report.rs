//! Medians, the Markdown tables and the JSON file.

use crate::machine;
use crate::run::{ChainTimes, Entry, Measurement};
use crate::target;
use crate::workload::{Headline, Workload};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// Everything that one run measured.
pub struct Report<'a> {
    /// The peers that took part.
    pub peers: &'a [Entry],
    /// The workloads that were run.
    pub workloads: &'a [&'static Workload],
    /// Length of a measurement.
    pub seconds: f64,
    /// Measurements of each pair.
    pub rounds: usize,
    /// In the order they were taken.
    pub measurements: Vec<Measurement>,
    /// What the chain took, a round each.
    pub chains: Vec<ChainTimes>,
}

/// A peer's medians over the rounds of one workload.
pub struct Median {
    /// Answered calls a second.
    pub calls_per_second: f64,
    /// The median round's median call; NaN where more than one was outstanding.
    pub p50_us: f64,
    /// The median round's 99th percentile; NaN like `p50_us`.
    pub p99_us: f64,
    /// Processor time of both processes for one call, in microseconds.
    pub cpu_us: f64,
    /// Rounds that stayed disturbed.
    pub disturbed: usize,
}

impl Median {
    /// The figure that stands in the table.
    pub fn headline(&self, headline: Headline) -> f64 {
        match headline {
            Headline::P50Micros => self.p50_us,
            Headline::CallsPerSecond => self.calls_per_second,
        }
    }
}

impl Report<'_> {
    /// The medians of a peer under a workload, None where it took no part.
    pub fn median(&self, workload: &str, peer: &str) -> Option<Median> {
        let taken: Vec<_> = self
            .measurements
            .iter()
            .filter(|taken| taken.workload == workload && taken.peer == peer)
            .collect();
        let of =
            |figure: &dyn Fn(&Measurement) -> f64| median(taken.iter().map(|taken| figure(taken)).collect());
        Some(Median {
            calls_per_second: of(&Measurement::calls_per_second)?,
            p50_us: of(&|taken| taken.outcome.p50_us.unwrap_or(f64::NAN))?,
            p99_us: of(&|taken| taken.outcome.p99_us.unwrap_or(f64::NAN))?,
            cpu_us: of(&Measurement::cpu_us)?,
            disturbed: taken.iter().filter(|taken| taken.disturbed()).count(),
        })
    }

    /// The whole report for people.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Medians of {} rounds of {} s, rounds interleaved, {} processors; in brackets the ratio to `{FLOOR}`.\n\n",
            self.rounds,
            self.seconds,
            machine::cpus()
        );
        text += &self.table(&|median, workload| median.headline(workload.headline), true);
        text += "\nProcessor time for one call, client and server, user and system, in µs:\n\n";
        text += &self.table(&|median, _| median.cpu_us, false);
        text += &self.targets();
        text += &self.chain();
        text += "\nSettings:\n\n";
        for peer in self.peers {
            text += &format!("- `{}`: {}\n", peer.name, peer.settings);
        }
        text += &self.disturbances();
        text
    }

    /// Writes `results.json` and `results.md` into `folder`, which is made if need be.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let settings: serde_json::Map<_, _> =
            self.peers.iter().map(|peer| (peer.name.to_owned(), json!(peer.settings))).collect();
        let medians: Vec<_> =
            self.pairs().filter_map(|(workload, peer)| self.median_json(workload, peer)).collect();
        let all = json!({
            "processors": machine::cpus(),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "settings": settings,
            "medians": medians,
            "chain_ms": self.chains,
            "measurements": self.measurements,
        });
        for (name, text) in
            [("results.json", serde_json::to_string_pretty(&all)?), ("results.md", self.markdown())]
        {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    fn table(&self, figure: &dyn Fn(&Median, &Workload) -> f64, unit: bool) -> String {
        let names: Vec<_> = self.peers.iter().map(|peer| peer.name).collect();
        let mut text = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        for workload in self.workloads {
            let unit = if unit { format!(" {}", workload.headline.unit()) } else { String::new() };
            let floor = self.median(workload.name, FLOOR).map(|floor| figure(&floor, workload));
            let cells = names.iter().map(|peer| match self.median(workload.name, peer) {
                None => "–".to_owned(),
                Some(median) => cell(figure(&median, workload), floor.filter(|_| *peer != FLOOR)),
            });
            text += &format!("| `{}`{unit} | {} |\n", workload.name, cells.collect::<Vec<_>>().join(" | "));
        }
        text
    }

    fn targets(&self) -> String {
        let lines: Vec<_> = target::ALL.iter().filter_map(|target| target.line(self)).collect();
        if lines.is_empty() {
            return String::new();
        }
        format!("\n| target | bound | measured | |\n|---|---|---|---|\n{}\n", lines.join("\n"))
    }

    fn chain(&self) -> String {
        let of = |at: usize| median(self.chains.iter().map(|times| times[at]).collect());
        let (Some(one), Some(chain), Some(awaited)) = (of(0), of(1), of(2)) else { return String::new() };
        let held = if chain < MOST_CHAIN_MS { "holds" } else { "MISSED" };
        format!(
            "\nOver a link with 10 ms each way, ours: one call {one:.1} ms; ten calls, each on the result of the one before, and one \
             on the last, {chain:.1} ms (under {MOST_CHAIN_MS} ms: {held}); the same, each awaited, {awaited:.1} ms.\n"
        )
    }

    fn disturbances(&self) -> String {
        if self.measurements.iter().any(|taken| taken.others.is_none()) {
            return "\nWhat other processes used of the machine could not be told.\n".to_owned();
        }
        let disturbed: Vec<_> = self
            .pairs()
            .filter_map(|(workload, peer)| {
                let rounds = self.median(workload.name, peer)?.disturbed;
                (rounds > 0).then(|| format!("{peer} at `{}` in {rounds} rounds", workload.name))
            })
            .collect();
        if disturbed.is_empty() {
            String::new()
        } else {
            format!("\nDisturbed by other processes: {}.\n", disturbed.join("; "))
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static Workload, &'static str)> {
        self.workloads.iter().flat_map(|workload| self.peers.iter().map(|peer| (*workload, peer.name)))
    }

    fn median_json(&self, workload: &Workload, peer: &str) -> Option<serde_json::Value> {
        let median = self.median(workload.name, peer)?;
        Some(json!({
            "workload": workload.name,
            "what": workload.what,
            "peer": peer,
            "calls_per_second": median.calls_per_second,
            "p50_us": median.p50_us,
            "p99_us": median.p99_us,
            "cpu_us_per_call": median.cpu_us,
            "disturbed_rounds": median.disturbed,
        }))
    }
}

/// One line while the run goes on.
pub fn progress(taken: &Measurement, rounds: usize) -> String {
    let p50 = taken.outcome.p50_us.map_or(String::new(), |p50| format!(" p50 {p50:.1} µs"));
    format!(
        "round {}/{rounds} {:12} {:10} {:>9.0} calls/s{p50} {:.2} µs CPU a call, others {:.0} %",
        taken.round,
        taken.workload,
        taken.peer,
        taken.calls_per_second(),
        taken.cpu_us(),
        taken.others.unwrap_or(f64::NAN) * 100.0,
    )
}

fn cell(value: f64, floor: Option<f64>) -> String {
    let shown = if value >= 1000.0 { thousands(value) } else { format!("{value:.2}") };
    floor.map_or(shown.clone(), |floor| format!("{shown} ({:.2})", value / floor))
}

fn thousands(value: f64) -> String {
    if value >= 1e6 { format!("{:.2} M", value / 1e6) } else { format!("{:.0} k", value / 1e3) }
}

/// The middle one, or the mean of the two in the middle; None of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// Milliseconds that a chain may take: one round trip and a half.
const MOST_CHAIN_MS: f64 = 30.0;
/// The peer that ratios are taken to.
const FLOOR: &str = "floor";
