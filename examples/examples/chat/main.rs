//! A chat for as many as want, each with `nc` or `telnet`.
//!
//! ```sh
//! chat --listen tcp://127.0.0.1:8008      # prints `listening on URL`
//! nc 127.0.0.1 8008
//! ```

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use pb_core::reactor::{Reactor, Stopped};
use pb_examples::chat::Chat;

/// A chat in lines: say a name, then whatever you like; /who tells who is there, /quit leaves.
#[derive(Parser)]
struct Arguments {
    /// Where to listen, as often as wanted: tcp://HOST:PORT or unix://PATH; port 0 takes a free one
    #[arg(long, default_value = "tcp://127.0.0.1:0")]
    listen: Vec<String>,
}

/// On one thread, as in Twisted: talk is little work, and so everybody has the same turn.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve(&Arguments::parse().listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &[String]) -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new();
    // From here on a signal is heard, whoever reads that it listens.
    let running = reactor.run();
    let chat = Arc::new(Chat::new(reactor.clone()));
    for address in listen {
        // One chat, wherever its talkers come from.
        let port = reactor.listen(address, Arc::clone(&chat)).await?;
        println!("listening on {}", port.address());
    }
    std::io::stdout().flush()?;
    match running.await {
        Stopped::Forced(_) => Err("told twice to stop: not all had left".into()),
        Stopped::Asked | Stopped::Signalled(_) => Ok(()),
    }
}
