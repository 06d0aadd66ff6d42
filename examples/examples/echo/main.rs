//! The first programs of every introduction to Twisted: a server that sends back what it gets, and its client.
//!
//! ```sh
//! echo serve --listen tcp://127.0.0.1:8007      # prints `listening on URL`
//! echo say URL "Hello, world!" "Bye-bye!"
//! ```

mod client;
mod server;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pb_core::reactor::{Reactor, Stopped, for_protocol};

use client::Talk;
use server::Echo;

/// A server that sends back what it gets, and its client.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send everybody's bytes back, until interrupted
    Serve {
        /// Where to listen, as often as wanted: tcp://HOST:PORT or unix://PATH; port 0 takes a free one
        #[arg(long, default_value = "tcp://127.0.0.1:0")]
        listen: Vec<String>,
    },
    /// Say some lines and print what comes back
    Say {
        /// The server, as it said after `listening on`
        url: String,
        /// The lines
        #[arg(default_values = ["Hello, world!", "What a fine day it is.", "Bye-bye!"])]
        lines: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { listen } => serve(&listen).await,
        Command::Say { url, lines } => say(&url, lines).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &[String]) -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new();
    // From here on a signal is heard, whoever reads that it listens.
    let running = reactor.run();
    for address in listen {
        let port = reactor.listen(address, for_protocol(Echo::default)).await?;
        println!("listening on {}", port.address());
    }
    std::io::stdout().flush()?;
    match running.await {
        Stopped::Forced(_) => Err("told twice to stop: not all had left".into()),
        Stopped::Asked | Stopped::Signalled(_) => Ok(()),
    }
}

async fn say(url: &str, lines: Vec<String>) -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new();
    let talk = Talk::new(reactor.clone(), lines);
    let outcome = talk.outcome();
    reactor.connect(url, talk)?;
    reactor.run().await;
    outcome.lock().expect("nobody panics with it").take().unwrap_or(Err("interrupted".to_owned()))?;
    Ok(())
}
