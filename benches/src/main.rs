//! Runs every peer through every workload in one go and reports medians with ratios to the floor.
//!
//! The program starts itself anew as `serve PEER` and `drive PEER WORKLOAD ADDRESS`, so that server and client are
//! processes of their own with processor time of their own. See README.md beside it.

mod figure;
mod graphs;
mod link;
mod machine;
mod peer;
mod peers;
mod process;
mod report;
mod run;
mod serve;
mod solo;
mod target;
mod work;
mod workload;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Runs every peer through every workload; rounds interleaved, medians reported")]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What to run, how often and for how long.
#[derive(Args, Clone)]
pub struct Options {
    /// Peers to run, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Workloads to run, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Rounds; medians are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that one measurement lasts, after its warm-up.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Short rounds: 0.3 seconds each. For a look, not for figures to quote.
    #[arg(long)]
    quick: bool,
    /// How often a measurement that other processes disturbed is repeated.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Seconds to wait before each measurement for other processes to leave the machine alone.
    #[arg(long, default_value_t = 20)]
    patience: u64,
    /// Keep what an earlier run left in the folder, but for what is measured anew.
    #[arg(long)]
    add: bool,
    /// Folder for results.json and results.md.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// Measures cost as work grows, and draws a graph of each.
    Graphs(graphs::Which),
    /// Both ends in one process, on one thread, for a fixed number of calls: to be run under callgrind.
    Solo {
        peer: String,
        #[arg(long, default_value_t = 10_000)]
        calls: u64,
        #[arg(long, default_value_t = 1)]
        in_flight: u64,
        /// Each makes an object, calls it and drops it, in the place of a call.
        #[arg(long)]
        objects: bool,
    },
    /// (internal) Serves a peer until its standard input closes.
    #[command(hide = true)]
    Serve {
        peer: String,
        workload: String,
        #[command(flatten)]
        place: Place,
    },
    /// (internal) Calls a served peer and prints what came of it.
    #[command(hide = true)]
    Drive {
        peer: String,
        workload: String,
        address: SocketAddr,
        #[arg(long)]
        seconds: f64,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a process of a measurement runs.
#[derive(Args, Clone, Copy)]
pub struct Place {
    /// The one processor to run on, with a current-thread runtime; without it, two worker threads on any.
    #[arg(long)]
    cpu: Option<usize>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        None => run::everything(&cli.options),
        Some(Role::Graphs(which)) => graphs::run(&cli.options, &which),
        Some(Role::Solo { peer, calls, in_flight, objects }) => solo::solo(&peer, calls, in_flight, objects),
        Some(Role::Serve { peer, workload, place }) => {
            machine::raise_descriptors()?;
            serve::serve(&peer, &workload, place)
        }
        Some(Role::Drive { peer, workload, address, seconds, place }) => {
            machine::raise_descriptors()?;
            work::drive(&peer, &workload, address, seconds, place)
        }
    }
}
