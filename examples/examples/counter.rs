//! A number that many change and watch.
//!
//! ```sh
//! counter serve --listen tcp://127.0.0.1:8792   # prints `listening on URL`
//! counter watch tcp://127.0.0.1:8792            # prints what it is, until it is stopped
//! counter add tcp://127.0.0.1:8792 5
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pb_examples::counter::{CounterRef, Shared, Watcher, WatcherRef};
use pb_server::{Referenceable, Server};

/// A counter that many share.
#[derive(Parser)]
enum Command {
    /// Serves a counter, and prints where it listens
    Serve {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "tcp://127.0.0.1:0")]
        listen: String,
    },
    /// Adds a number to the counter there, and prints what it is then
    Add {
        /// Where the counter is
        url: String,
        /// What to add
        #[arg(allow_negative_numbers = true)]
        n: i64,
    },
    /// Prints what the counter there is, and each change
    Watch {
        /// Where the counter is
        url: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Serve { listen } => serve(&listen).await,
        Command::Add { url, n } => add(&url, n).await,
        Command::Watch { url } => watch(&url).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counter: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str) -> Result<(), Box<dyn Error>> {
    let server = Server::new(CounterRef::new(Shared::default())).listen(listen).await?;
    println!("listening on {}", server.urls()[0]);
    server.run_until_signal(Duration::from_secs(1)).await?;
    Ok(())
}

async fn add(url: &str, n: i64) -> Result<(), Box<dyn Error>> {
    let counter: CounterRef = pb_client::connect(url).await?.root();
    println!("{}", counter.add(n).await?);
    Ok(())
}

async fn watch(url: &str) -> Result<(), Box<dyn Error>> {
    let broker = pb_client::connect(url).await?;
    let counter: CounterRef = broker.root();
    counter.watch(WatcherRef::new(Screen)).await?;
    Err(broker.closed().await.into())
}

/// Prints what it is told.
#[derive(Referenceable)]
struct Screen;

impl Watcher for Screen {
    async fn changed(&self, value: i64) {
        println!("{value}");
    }
}
