//! Makes many objects, keeps them, and drops them: what each weighs on either side, and how long that takes.

use super::lane::{Does, Lane};
use super::lanes::{self, Tallies};
use super::{BothSince, Job, warm};
use crate::figure::Figure;
use crate::machine::State;
use crate::peer::{Calls, Peer};
use crate::process::{self, Outcome};
use crate::workload::HOLDERS;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) async fn run<P: Peer>(job: &Job, objects: usize) -> Result<Outcome> {
    let client = job.connect::<P>().await?;
    drop(make::<P>(&client, FEW).await?);
    all_dropped(&client).await?;
    warm()?;
    let both = BothSince::now()?;
    let (server_before, client_before) =
        (process::look()?.server.rss_bytes, State::of_this_process()?.rss_bytes);

    let began = Instant::now();
    let kept = make::<P>(&client, objects).await?;
    let create_seconds = began.elapsed().as_secs_f64();

    let grown = |before: u64, after: u64| (after as f64 - before as f64) / objects as f64;
    let server_bytes = grown(server_before, process::look()?.server.rss_bytes);
    let client_bytes = grown(client_before, State::of_this_process()?.rss_bytes);

    let began = Instant::now();
    drop(kept);
    all_dropped(&client).await?;
    let drop_seconds = began.elapsed().as_secs_f64();

    let figures = BTreeMap::from([
        (Figure::ServerBytes, server_bytes),
        (Figure::ClientBytes, client_bytes),
        (Figure::CreateSeconds, create_seconds),
        (Figure::DropSeconds, drop_seconds),
    ]);
    Ok(Outcome { figures, seconds: create_seconds + drop_seconds, cpu_seconds: both.until_now()? })
}

async fn make<P: Peer>(client: &P::Client, objects: usize) -> Result<Tallies<P>> {
    let lanes = (0..HOLDERS)
        .map(|lane| Lane {
            client: client.clone(),
            first: 0,
            does: Does::Hold(objects / HOLDERS + usize::from(lane < objects % HOLDERS)),
        })
        .map(P::start)
        .collect();
    lanes::join::<P>(lanes).await
}

/// Waits until no object is left on the server.
async fn all_dropped<C: Calls>(client: &C) -> Result<()> {
    while client.live().await? > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Objects that are made and dropped first, so that what is set up once is not counted.
const FEW: usize = 256;
