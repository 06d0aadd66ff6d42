//! The parent: starts the processes of every measurement, round after round.

use crate::machine::{self, Usage};
use crate::peer::Peer;
use crate::peers::{self, Visitor};
use crate::process::{self, Outcome, Worker};
use crate::report::{self, Report};
use crate::workload::{self, Workload};
use crate::{Options, Place};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// One measurement of one peer under one workload.
#[derive(Clone, Serialize)]
pub struct Measurement {
    /// Counted from 1.
    pub round: usize,
    /// The workload's name.
    pub workload: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// What the caller saw.
    pub outcome: Outcome,
    /// Processor time of the serving process meanwhile.
    pub server_cpu: Usage,
    /// Share of the machine that other processes and the hypervisor took meanwhile, from 0 to 1.
    pub others: Option<f64>,
}

impl Measurement {
    /// Answered calls a second.
    pub fn calls_per_second(&self) -> f64 {
        self.outcome.calls as f64 / self.outcome.seconds
    }

    /// Processor time of both processes for one call, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        (self.outcome.client_cpu.seconds() + self.server_cpu.seconds()) * 1e6 / self.outcome.calls as f64
    }

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
    takes_part: fn(&Workload) -> bool,
}

/// Runs what `options` ask for, prints the report and writes it.
pub fn everything(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no rounds were asked for");
    let peers = chosen_peers(options)?;
    let workloads = chosen_workloads(options)?;
    let seconds = if options.quick { QUICK_SECONDS } else { options.seconds };
    let (mut measurements, mut chains) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        for workload in &workloads {
            for peer in peers.iter().filter(|peer| (peer.takes_part)(workload)) {
                let measurement = undisturbed(round, *peer, workload, seconds, options)
                    .with_context(|| format!("{} failed at {}", peer.name, workload.name))?;
                eprintln!("{}", report::progress(&measurement, options.rounds));
                measurements.push(measurement);
            }
        }
        if chosen_chain(options) {
            chains.extend(chain(round, options)?);
        }
    }
    let rounds = options.rounds;
    let report = Report { peers: &peers, workloads: &workloads, seconds, rounds, measurements, chains };
    println!("{}", report.markdown());
    report.write(&options.out)
}

/// Measures, and again while others disturb it, as often as `options` say; the least disturbed counts.
fn undisturbed(
    round: usize,
    peer: Entry,
    workload: &'static Workload,
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

fn measure(round: usize, peer: Entry, workload: &'static Workload, seconds: f64) -> Result<Measurement> {
    let cpu = if workload.one_cpu { Some(process::shared_cpu()?) } else { None };
    let place = Place { cpu };
    let mut server = Worker::start(&["serve", peer.name], place)?;
    let address: SocketAddr = server.hear()?;
    let (address, time) = (address.to_string(), seconds.to_string());
    let mut client =
        Worker::start(&["drive", peer.name, workload.name, &address, "--seconds", &time], place)?;
    let _warm: String = client.hear()?;

    server.go()?;
    let server_before: Usage = server.hear()?;
    let busy_before = machine::busy_seconds();
    client.go()?;
    let outcome: Outcome = client.hear()?;
    let busy = machine::busy_seconds().zip(busy_before).map(|(after, before)| after - before);
    server.go()?;
    let server_cpu = server.hear::<Usage>()?.since(server_before);

    let ours = outcome.client_cpu.seconds() + server_cpu.seconds();
    let others = busy.map(|busy| ((busy - ours) / (outcome.seconds * machine::cpus() as f64)).max(0.0));
    Ok(Measurement { round, workload: workload.name, peer: peer.name, outcome, server_cpu, others })
}

/// Whether the chain is to be measured: it is a workload of ours only.
fn chosen_chain(options: &Options) -> bool {
    let among = |names: &[String], name| names.is_empty() || names.iter().any(|one| one == name);
    among(&options.peers, "ours") && among(&options.workloads, CHAIN)
}

#[cfg(feature = "ours")]
fn chain(round: usize, options: &Options) -> Result<Option<ChainTimes>> {
    machine::wait_for_quiet(Duration::from_secs(options.patience));
    let taken = crate::chain::measure(if options.quick { 5 } else { 20 }).context("the chain failed")?;
    eprintln!("round {round}/{} {CHAIN:12} {taken:?}", options.rounds);
    Ok(Some([taken.one_ms, taken.chain_ms, taken.awaited_ms]))
}

#[cfg(not(feature = "ours"))]
fn chain(_round: usize, _options: &Options) -> Result<Option<ChainTimes>> {
    Ok(None)
}

fn chosen_peers(options: &Options) -> Result<Vec<Entry>> {
    let chosen = |name: &&&str| options.peers.is_empty() || options.peers.iter().any(|peer| peer == **name);
    for peer in &options.peers {
        peers::visit(peer, Describe)?;
    }
    peers::NAMES.iter().filter(chosen).map(|name| peers::visit(name, Describe)).collect()
}

fn chosen_workloads(options: &Options) -> Result<Vec<&'static Workload>> {
    if options.workloads.is_empty() {
        return Ok(workload::ALL.iter().collect());
    }
    options.workloads.iter().filter(|name| *name != CHAIN).map(|name| workload::find(name)).collect()
}

struct Describe;

impl Visitor for Describe {
    type Output = Entry;

    fn visit<P: Peer>(self) -> Entry {
        Entry { name: P::NAME, settings: P::SETTINGS, takes_part: P::takes_part }
    }
}

/// What a chain took in one round, medians in milliseconds: one call, the chain, its calls one by one.
pub type ChainTimes = [f64; 3];
/// The chain's name among the workloads.
const CHAIN: &str = "chain";
/// What others may use of the machine before a measurement counts as disturbed.
const DISTURBED: f64 = 0.05;
/// The length of a measurement with `--quick`.
const QUICK_SECONDS: f64 = 0.3;
