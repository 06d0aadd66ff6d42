//! The tool `pb`: see the library of the same package.

use std::process::ExitCode;

use clap::Parser as _;
use pb_inspect::{Cli, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                eprintln!("pb: {}", error.sentence());
            }
            error.status()
        }
    }
}
