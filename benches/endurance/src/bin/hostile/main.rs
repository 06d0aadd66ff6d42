//! What can a hostile peer take? Floods a server of its own, one way after the other, and weighs it meanwhile; then floods it in twenty
//! ways at once beside an honest client.
//!
//! The program starts itself anew as `serve`, `attack` and `pace`, so that each is a process of its own. See README.md of the benchmarks.

mod attack;
mod beside;
mod flood;
mod floods;
mod honest;
mod peer;
mod run;
mod serve;
mod victim;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serve::Mode;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Floods a server and weighs it; exit status 1 when it took more than it may")]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What to run, and for how long.
#[derive(Args, Clone)]
pub struct Options {
    /// Seconds that each flood lasts, and each round beside the honest client.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Floods to run, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    floods: Vec<String>,
    /// What the server lets one peer use, separated by commas; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    limits: Vec<Mode>,
    /// The floods of the hostile peers beside the honest client, separated by commas; a mix of twenty by default.
    #[arg(long, value_delimiter = ',')]
    mix: Vec<String>,
    /// Leave out the honest client beside twenty hostile peers.
    #[arg(long)]
    no_beside: bool,
    /// Leave out the floods one by one.
    #[arg(long)]
    no_floods: bool,
    /// Rounds with and without the hostile peers beside the honest client, by turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave the server's malloc as the system has it for the floods one by one, too; else it has one arena there, and gives back at once what
    /// is free.
    #[arg(long)]
    default_malloc: bool,
    /// Only tell the honest client's times, and hold nobody to them: for a machine that does other work.
    #[arg(long)]
    no_times: bool,
    /// Only tell what the server weighed, and hold it to nothing: for builds that are not optimised.
    #[arg(long)]
    no_memory: bool,
    /// Folder for hostile.json and hostile.md.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../results"))]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// (internal) Serves until its standard input closes.
    #[command(hide = true)]
    Serve {
        #[arg(value_enum)]
        mode: Mode,
    },
    /// (internal) Floods a server and prints what came of it.
    #[command(hide = true)]
    Attack {
        url: String,
        seconds: f64,
        #[arg(value_delimiter = ',')]
        floods: Vec<String>,
    },
    /// (internal) Calls a server at an even pace and prints how long that took.
    #[command(hide = true)]
    Pace { url: String, seconds: f64 },
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.role {
        None => return run::everything(&cli.options),
        Some(Role::Serve { mode }) => serve::serve(mode)?,
        Some(Role::Attack { url, seconds, floods }) => attack::attack(&url, &floods, seconds)?,
        Some(Role::Pace { url, seconds }) => beside::pace(&url, seconds)?,
    }
    Ok(ExitCode::SUCCESS)
}
