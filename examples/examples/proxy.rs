//! Stands in front of a counter, and logs what is called.
//!
//! ```sh
//! proxy tcp://127.0.0.1:8792 --listen tcp://127.0.0.1:8793   # prints `listening on URL`, and then each call
//! counter add tcp://127.0.0.1:8793 5
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pb_client::{Connect, Reconnect, WhileDown};
use pb_examples::counter::{CounterRef, Logging};
use pb_server::Server;

/// Passes calls on to a counter, and prints them.
#[derive(Parser)]
struct Arguments {
    /// Where the counter is; it may come and go
    to: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "tcp://127.0.0.1:0")]
    listen: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let how = Reconnect { while_down: WhileDown::Fail, ..Reconnect::default() };
    let to = Connect::to(arguments.to).reconnecting(how)?;
    // Each peer has a root of its own, which knows whose it is.
    let root = move |peer: &pb_server::Peer| {
        CounterRef::new(Logging::new(to.clone(), peer.address(), |line| println!("{line}")))
    };
    let server = Server::for_each_peer(root).listen(&arguments.listen).await?;
    println!("listening on {}", server.urls()[0]);
    server.run_until_signal(Duration::from_secs(1)).await?;
    Ok(())
}
