//! The parent: starts the processes of every measurement, round after round.

use crate::figure::Figure;
use crate::link::Link;
use crate::machine;
use crate::peer::Peer;
use crate::peers::{self, Visitor};
use crate::process::{Outcome, Said, Seen, Worker, shared_cpu};
use crate::report::{self, Report};
use crate::workload::{self, Work, Workload};
use crate::{Options, Place};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// One measurement of one peer under one workload.
#[derive(Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Counted from 1.
    pub round: usize,
    /// The workload's name.
    pub workload: String,
    /// The peer's name.
    pub peer: String,
    /// What was measured.
    pub figures: BTreeMap<Figure, f64>,
    /// Share of the machine that other processes and the hypervisor took meanwhile, from 0 to 1.
    pub others: Option<f64>,
}

impl Measurement {
    /// Whether others used so much of the machine that the figure is doubtful.
    pub fn disturbed(&self) -> bool {
        self.others.is_some_and(|others| others > DISTURBED)
    }
}

/// A peer as the parent sees it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The peer's name.
    pub name: &'static str,
    /// Its settings, for the report.
    pub settings: &'static str,
    /// The limits that are raised for a workload.
    pub raised: fn(&Workload) -> Option<&'static str>,
    /// Whether it takes part in a workload.
    pub takes_part: fn(&Workload) -> bool,
}

/// Runs what `options` ask for, prints the report and writes it.
pub fn everything(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no rounds were asked for");
    let peers = chosen_peers(&options.peers)?;
    let workloads = chosen_workloads(&options.workloads)?;
    let seconds = if options.quick { QUICK_SECONDS } else { options.seconds };
    let kept = if options.add { report::read(&options.out, report::JSON)? } else { Vec::new() };
    let mut measurements = Vec::new();
    for round in 1..=options.rounds {
        for workload in &workloads {
            for peer in peers.iter().filter(|peer| (peer.takes_part)(workload)) {
                let measurement = undisturbed(round, *peer, workload, seconds, options)
                    .with_context(|| format!("{} failed at {}", peer.name, workload.name))?;
                eprintln!("{}", report::progress(&measurement, options.rounds));
                measurements.push(measurement);
            }
        }
        // A run takes long: what it has is kept should it be ended.
        report::write_measurements(&options.out, report::JSON, &merged(&kept, &measurements))?;
    }
    let report = Report::new(seconds, merged(&kept, &measurements))?;
    println!("{}", report.markdown());
    report.write(&options.out)
}

/// The measurements of an earlier run, but for what was measured anew.
fn merged(kept: &[Measurement], measured: &[Measurement]) -> Vec<Measurement> {
    let anew =
        |old: &&Measurement| measured.iter().any(|new| new.workload == old.workload && new.peer == old.peer);
    let mut all: Vec<_> = kept.iter().filter(|old| !anew(old)).cloned().collect();
    all.extend_from_slice(measured);
    all
}

/// Measures, and again while others disturb it, as often as `options` say; the least disturbed counts.
pub fn undisturbed(
    round: usize,
    peer: Entry,
    workload: &Workload,
    seconds: f64,
    options: &Options,
) -> Result<Measurement> {
    let once = || {
        machine::wait_for_quiet(Duration::from_secs(options.patience));
        measure(round, peer, workload, seconds)
    };
    let mut best = once()?;
    for _ in 0..options.repeats {
        if !best.disturbed() {
            break;
        }
        let again = once()?;
        if again.others < best.others {
            best = again;
        }
    }
    Ok(best)
}

fn measure(round: usize, peer: Entry, workload: &Workload, seconds: f64) -> Result<Measurement> {
    let cpu = if workload.one_cpu { Some(shared_cpu()?) } else { None };
    let place = Place { cpu };
    let mut server = Worker::start(&["serve", peer.name, &workload.name], place)?;
    let address: SocketAddr = server.hear()?;
    let between = between(workload, address)?;
    let address = between.as_ref().map_or(address, |(_, link)| link.address);
    let (address, time) = (address.to_string(), seconds.to_string());
    let mut client =
        Worker::start(&["drive", peer.name, &workload.name, &address, "--seconds", &time], place)?;
    let mut busy_before = None;
    let outcome: Outcome = loop {
        match client.hear()? {
            Said::Warm => {
                busy_before = machine::busy_seconds();
                client.go()?;
            }
            Said::Look => {
                server.go()?;
                let carried_bytes = between.as_ref().map_or(0, |(_, link)| link.carried_bytes());
                client.tell(&Seen { server: server.hear()?, carried_bytes })?;
            }
            Said::Done(outcome) => break outcome,
        }
    };
    let busy = machine::busy_seconds().zip(busy_before).map(|(after, before)| after - before);
    // What the link itself takes is no disturbance, and nothing is timed so finely over it that one would show.
    let busy = busy.filter(|_| between.is_none());
    let others =
        busy.map(|busy| ((busy - outcome.cpu_seconds) / (outcome.seconds * machine::cpus() as f64)).max(0.0));
    let others = others.or(between.is_some().then_some(0.0));
    if outcome.figures.values().any(|value| !value.is_finite()) {
        bail!("a figure is no number: {:?}", outcome.figures);
    }
    let (workload, peer) = (workload.name.clone(), peer.name.to_owned());
    Ok(Measurement { round, workload, peer, figures: outcome.figures, others })
}

/// The link between the two processes, where there is one, with the runtime that it works on.
fn between(workload: &Workload, to: SocketAddr) -> Result<Option<(Runtime, Link)>> {
    let delay = match workload.work {
        Work::Chain { .. } => DELAY,
        Work::Wire => Duration::ZERO,
        _ => return Ok(None),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let link = runtime.block_on(Link::open(to, delay))?;
    Ok(Some((runtime, link)))
}

/// The peers of these names, in the report's order; all of them of none.
pub fn chosen_peers(names: &[String]) -> Result<Vec<Entry>> {
    for peer in names {
        peers::visit(peer, Describe)?;
    }
    let chosen = |name: &&&str| names.is_empty() || names.iter().any(|peer| peer == **name);
    peers::NAMES.iter().filter(chosen).map(|name| peers::visit(name, Describe)).collect()
}

fn chosen_workloads(names: &[String]) -> Result<Vec<Workload>> {
    if names.is_empty() {
        return workload::NAMES.iter().map(|name| workload::find(name)).collect();
    }
    names.iter().map(|name| workload::find(name)).collect()
}

struct Describe;

impl Visitor for Describe {
    type Output = Entry;

    fn visit<P: Peer>(self) -> Entry {
        Entry { name: P::NAME, settings: P::SETTINGS, raised: P::raised, takes_part: P::takes_part }
    }
}

/// What a byte takes each way where a chain is called.
const DELAY: Duration = Duration::from_millis(10);
/// What others may use of the machine before a measurement counts as disturbed.
const DISTURBED: f64 = 0.05;
/// The length of a measurement with `--quick`.
const QUICK_SECONDS: f64 = 0.3;
