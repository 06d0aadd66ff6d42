//! Three processes in a row: A calls objects of B through references that it got from M, a million times and in every way; the connections
//! are cut at random. At the end, and after each cut, all tables must be empty, no object alive, and memory flat.
//!
//! The program starts itself anew as `near` (A), `middle` (M) and `far` (B), and stands between their connections, so that it can cut them.

mod api;
mod census;
mod far;
mod kinds;
mod middle;
mod near;
mod relay;
mod run;
mod serving;

use anyhow::Result;
use cap::Cap;
use clap::{Args, Parser, Subcommand};
use std::alloc::System;
use std::process::ExitCode;

/// Counts every byte that the process has asked for and not given back.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

#[derive(Parser)]
#[command(
    about = "Sends calls through a middleman while connections are cut; exit status 1 when anything is left or wrong"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What to run.
#[derive(Args, Clone)]
pub struct Options {
    /// Calls that A makes, about.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Chapters that they are made in; after each everything is let go of, and counted. Most have one cut.
    #[arg(long, default_value_t = 50)]
    chapters: u64,
    /// What the mix and the cuts are made from; told at the start.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Role {
    /// (internal) A.
    #[command(hide = true)]
    Near { middle: String },
    /// (internal) M.
    #[command(hide = true)]
    Middle { far: String },
    /// (internal) B.
    #[command(hide = true)]
    Far,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.role {
        None => return run::everything(&cli.options),
        Some(Role::Near { middle }) => near::near(&middle)?,
        Some(Role::Middle { far }) => middle::middle(&far)?,
        Some(Role::Far) => far::far()?,
    }
    Ok(ExitCode::SUCCESS)
}
