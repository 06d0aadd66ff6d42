//! Medians, the Markdown tables and the JSON file.

use crate::figure::Figure;
use crate::machine;
use crate::run::{self, Entry, Measurement};
use crate::target;
use crate::workload::{self, Workload};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Everything that was measured.
pub struct Report {
    seconds: f64,
    peers: Vec<Entry>,
    workloads: Vec<Workload>,
    measurements: Vec<Measurement>,
}

/// What [`read`] needs of results.json.
#[derive(Serialize, Deserialize)]
struct Kept {
    measurements: Vec<Measurement>,
}

impl Report {
    /// Of these measurements, each of so many seconds.
    pub fn new(seconds: f64, measurements: Vec<Measurement>) -> Result<Report> {
        let has = |workload: &str| measurements.iter().any(|taken| taken.workload == workload);
        let mut names: Vec<&str> = workload::NAMES.iter().copied().filter(|name| has(name)).collect();
        for taken in &measurements {
            if !names.contains(&taken.workload.as_str()) {
                names.push(&taken.workload);
            }
        }
        let workloads = names.into_iter().map(workload::find).collect::<Result<_>>()?;
        let ran = |peer: &Entry| measurements.iter().any(|taken| taken.peer == peer.name);
        let peers = run::chosen_peers(&[])?.into_iter().filter(ran).collect();
        Ok(Report { seconds, peers, workloads, measurements })
    }

    /// The median of a figure over all rounds; None where the peer took no part.
    pub fn median(&self, workload: &str, peer: &str, figure: Figure) -> Option<f64> {
        let of = self.taken(workload, peer).filter_map(|taken| taken.figures.get(&figure).copied());
        median(of.collect())
    }

    /// The names of those who took part.
    pub fn peers(&self) -> impl Iterator<Item = &'static str> {
        self.peers.iter().map(|peer| peer.name)
    }

    fn taken<'a>(&'a self, workload: &'a str, peer: &'a str) -> impl Iterator<Item = &'a Measurement> {
        self.measurements.iter().filter(move |taken| taken.workload == workload && taken.peer == peer)
    }

    /// The whole report for people.
    pub fn markdown(&self) -> String {
        let rounds = self.measurements.iter().map(|taken| taken.round).max().unwrap_or(0);
        let mut text = format!(
            "Medians of {rounds} rounds of {} s, rounds interleaved, {} processors; in brackets the ratio to `{FLOOR}`.\n\n",
            self.seconds,
            machine::cpus()
        );
        text += &self.table();
        text += &self.targets();
        text += "\nWorkloads:\n\n";
        for workload in &self.workloads {
            text += &format!("- `{}`: {}\n", workload.name, workload.what);
        }
        text += "\nSettings, with every limit that was raised and what it is otherwise:\n\n";
        for peer in &self.peers {
            text += &format!("- `{}`: {}\n", peer.name, peer.settings);
            text += &self.raised(peer);
        }
        if let Some((before, now)) = machine::descriptors() {
            text += &format!("- all: open files {now} ({before})\n");
        }
        text += &self.disturbances();
        text
    }

    fn table(&self) -> String {
        let names: Vec<_> = self.peers().collect();
        let mut text = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        for workload in &self.workloads {
            for figure in workload.figures {
                let floor = self.median(&workload.name, FLOOR, *figure);
                let cells = names.iter().map(|peer| match self.median(&workload.name, peer, *figure) {
                    None => "–".to_owned(),
                    Some(value) => match floor.filter(|_| *peer != FLOOR) {
                        Some(floor) => format!("{} ({:.2})", figure.shown(value), value / floor),
                        None => figure.shown(value),
                    },
                });
                let cells = cells.collect::<Vec<_>>().join(" | ");
                text += &format!("| `{}` {} | {cells} |\n", workload.name, figure.unit());
            }
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

    /// What was raised for single workloads; the same for several is told once.
    fn raised(&self, peer: &Entry) -> String {
        let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
        for workload in
            self.workloads.iter().filter(|workload| self.taken(&workload.name, peer.name).next().is_some())
        {
            let Some(raised) = (peer.raised)(workload) else { continue };
            let name = format!("`{}`", workload.name);
            match lines.iter_mut().find(|(what, _)| *what == raised) {
                Some((_, names)) => names.push(name),
                None => lines.push((raised, vec![name])),
            }
        }
        lines.iter().map(|(what, names)| format!("  - for {}: {what}\n", names.join(", "))).collect()
    }

    fn disturbances(&self) -> String {
        if self.measurements.iter().any(|taken| taken.others.is_none()) {
            return "\nWhat other processes used of the machine could not be told.\n".to_owned();
        }
        let mut disturbed = Vec::new();
        for workload in &self.workloads {
            for peer in self.peers() {
                let rounds = self.taken(&workload.name, peer).filter(|taken| taken.disturbed()).count();
                if rounds > 0 {
                    disturbed.push(format!("{peer} at `{}` in {rounds}", workload.name));
                }
            }
        }
        if disturbed.is_empty() {
            String::new()
        } else {
            format!(
                "\nRounds disturbed by other processes (over 5 % of the machine): {}.\n",
                disturbed.join("; ")
            )
        }
    }

    /// Writes results.json, with every single measurement, and results.md.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        let settings: serde_json::Map<_, _> =
            self.peers.iter().map(|peer| (peer.name.to_owned(), json!(peer.settings))).collect();
        let mut medians = Vec::new();
        for workload in &self.workloads {
            for peer in self.peers().filter(|peer| self.taken(&workload.name, peer).next().is_some()) {
                let figures: serde_json::Map<_, _> = ALL_FIGURES
                    .iter()
                    .filter_map(|figure| {
                        Some((figure.unit().to_owned(), json!(self.median(&workload.name, peer, *figure)?)))
                    })
                    .collect();
                medians.push(json!({ "workload": workload.name, "what": workload.what, "peer": peer, "figures": figures }));
            }
        }
        let all = json!({
            "processors": machine::cpus(),
            "seconds": self.seconds,
            "settings": settings,
            "medians": medians,
            "measurements": self.measurements,
        });
        for (name, text) in [(JSON, serde_json::to_string_pretty(&all)?), ("results.md", self.markdown())] {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }
}

/// The measurements of an earlier run; none where there was none.
pub fn read(folder: &Path, name: &str) -> Result<Vec<Measurement>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let kept: Kept =
        serde_json::from_slice(&text).with_context(|| format!("{} is of another kind", path.display()))?;
    Ok(kept.measurements)
}

/// Keeps measurements for [`read`].
pub fn write_measurements(folder: &Path, name: &str, measurements: &[Measurement]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let path = folder.join(name);
    let text = serde_json::to_string_pretty(&json!({ "measurements": measurements }))?;
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// One line while the run goes on.
pub fn progress(taken: &Measurement, rounds: usize) -> String {
    let figures: Vec<_> = taken
        .figures
        .iter()
        .map(|(figure, value)| format!("{} {}", figure.shown(*value), figure.unit()))
        .collect();
    format!(
        "round {}/{rounds} {:12} {:10} {}; others {:.0} %",
        taken.round,
        taken.workload,
        taken.peer,
        figures.join(", "),
        taken.others.unwrap_or(f64::NAN) * 100.0,
    )
}

/// The middle one, or the mean of the two in the middle; None of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// The peer that ratios are taken to.
const FLOOR: &str = "floor";
/// Where [`Report::write`] keeps every measurement.
pub const JSON: &str = "results.json";
const ALL_FIGURES: &[Figure] = &[
    Figure::CallsPerSecond,
    Figure::MibPerSecond,
    Figure::P50Micros,
    Figure::P99Micros,
    Figure::P999Micros,
    Figure::CpuMicros,
    Figure::ServerBytes,
    Figure::ClientBytes,
    Figure::CreateSeconds,
    Figure::DropSeconds,
    Figure::OneMillis,
    Figure::ChainMillis,
    Figure::WireBytes,
];
