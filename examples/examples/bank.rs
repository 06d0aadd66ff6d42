//! Serves the tour's bank to one client, in whatever language, and tells whether that client gave everything back.
//!
//! Prints where it listens. Each line that comes in is answered with the state of the connection's tables, once they are
//! empty or have not become so for ten seconds; but at the line `leave` it leaves in good order, for which it takes at most
//! as long.

#[path = "tour/bank.rs"]
mod bank;
#[path = "tour/say.rs"]
#[allow(dead_code, reason = "the tour says more")]
mod say;
#[path = "tour/server.rs"]
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pb_core::broker::Config;
use pb_core::reactor::Listener;
use pb_server::{Broker, Limits, Stub, TableSizes};
use tokio::io::{AsyncBufReadExt, BufReader};

use bank::BankRef;

/// Serves the tour's bank to one client, and tells whether that client gave everything back.
#[derive(Parser)]
#[command(
    after_help = "Prints where it listens. A line on standard input is answered with the state of the connection's \
    tables; the line \"leave\" makes it leave in good order; the end of the input ends it."
)]
struct Arguments {}

/// How long tables may take to become empty, in steps of [`STEP`].
const STEPS: u32 = 100;
const STEP: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bank: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut listener = Listener::bind(&"tcp://127.0.0.1:0".parse()?).await?;
    println!("listening on {}", listener.address()?);
    let root = BankRef::new(server::City::default()).as_reference().clone();
    let config = Config { root: Some(root), limits: Limits::default(), stays: true, ..Config::default() };
    let broker = Broker::open(listener.accept().await?, config).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            reason = broker.closed() => {
                broker.finished().await;
                println!("ended: {reason}");
                return Ok(());
            }
            line = lines.next_line() => match line?.as_deref() {
                Some("leave") => {
                    broker.leave(STEP * STEPS, "closing time").await;
                    println!("left");
                }
                Some(_) => println!("tables: {}", tables(&broker).await),
                None => return Ok(()),
            },
        }
    }
}

/// The tables' state once they are empty, or after the longest wait.
async fn tables(broker: &Broker) -> String {
    for _ in 0..STEPS {
        if broker.tables() == TableSizes::default() {
            return "empty".to_owned();
        }
        tokio::time::sleep(STEP).await;
    }
    format!("{:?}", broker.tables())
}
