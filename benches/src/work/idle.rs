//! Many connections, each used once and then left alone: what one weighs.

use super::{BothSince, Job, warm};
use crate::figure::Figure;
use crate::machine::State;
use crate::peer::{Calls, Peer};
use crate::process::{self, Outcome};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) async fn run<P: Peer>(job: &Job, connections: usize) -> Result<Outcome> {
    let mut first = Vec::new();
    for _ in 0..FEW {
        first.push(used_once::<P>(job).await?);
    }
    warm()?;
    let both = BothSince::now()?;
    let (server_before, client_before) =
        (process::look()?.server.rss_bytes, State::of_this_process()?.rss_bytes);
    let began = Instant::now();
    let mut idle = Vec::with_capacity(connections);
    for _ in 0..connections {
        idle.push(used_once::<P>(job).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let grown = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
    let server_bytes = grown(server_before, process::look()?.server.rss_bytes);
    let client_bytes = grown(client_before, State::of_this_process()?.rss_bytes);
    let figures = BTreeMap::from([(Figure::ServerBytes, server_bytes), (Figure::ClientBytes, client_bytes)]);
    Ok(Outcome { figures, seconds: began.elapsed().as_secs_f64(), cpu_seconds: both.until_now()? })
}

async fn used_once<P: Peer>(job: &Job) -> Result<P::Client> {
    let client = job.connect::<P>().await?;
    ensure!(client.add(1, 2).await? == 3, "1 + 2 is not 3");
    Ok(client)
}

/// Connections that are made before memory is looked at, so that what is set up once is not counted.
const FEW: usize = 20;
/// What is still being done after the last answer gets this long to end.
const SETTLE: Duration = Duration::from_millis(200);
