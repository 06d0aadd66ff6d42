//! A queue of jobs, workers in other processes, and those who want something done.
//!
//! ```sh
//! jobs serve --listen tcp://127.0.0.1:8791     # prints `listening on URL`
//! jobs work tcp://127.0.0.1:8791               # as often as wanted, and stopped at any time
//! jobs run tcp://127.0.0.1:8791 10000 1000000
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pb_examples::jobs::{Exchange, Job, Primes, Progress, ProgressRef, QueueRef, WorkerRef};
use pb_server::{Referenceable, Server};

/// Counts primes, in as many processes as there are workers.
#[derive(Parser)]
enum Command {
    /// Serves a queue, and prints where it listens
    Serve {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "tcp://127.0.0.1:0")]
        listen: String,
    },
    /// Works for the queue there, until that ends
    Work {
        /// Where the queue is
        url: String,
    },
    /// Has primes counted, all at once, and prints how many there are
    Run {
        /// Where the queue is
        url: String,
        /// Below which numbers
        below: Vec<u64>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Serve { listen } => serve(&listen).await,
        Command::Work { url } => work(&url).await,
        Command::Run { url, below } => run(&url, below).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobs: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str) -> Result<(), Box<dyn Error>> {
    let server = Server::new(QueueRef::new(Exchange::default())).listen(listen).await?;
    println!("listening on {}", server.urls()[0]);
    server.run_until_signal(Duration::from_secs(10)).await?;
    Ok(())
}

async fn work(url: &str) -> Result<(), Box<dyn Error>> {
    let broker = pb_client::connect(url).await?;
    let queue: QueueRef = broker.root();
    queue.join(WorkerRef::new(Primes)).await?;
    println!("working");
    // What others hold of this process does not keep its connection: the handle does.
    println!("{}", broker.closed().await);
    Ok(())
}

async fn run(url: &str, below: Vec<u64>) -> Result<(), Box<dyn Error>> {
    let broker = pb_client::connect(url).await?;
    let queue: QueueRef = broker.root();
    // All are on their way before the first is awaited.
    let jobs: Vec<_> = below
        .into_iter()
        .map(|below| (below, queue.run(Job { below }, ProgressRef::new(Bar { below }))))
        .collect();
    for (below, job) in jobs {
        println!("there are {} primes below {below}", job.await?);
    }
    Ok(())
}

/// Prints how far a job is.
#[derive(Referenceable)]
struct Bar {
    below: u64,
}

impl Progress for Bar {
    async fn reached(&self, percent: u8) {
        eprintln!("{}: {percent} %", self.below);
    }
}
