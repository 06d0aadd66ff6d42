//! A chain of calls, each on the result of the one before, over a link that delays every byte: how many round trips it takes.

use super::{BothSince, Job, warm};
use crate::figure::Figure;
use crate::peer::{Calls, Peer};
use crate::process::Outcome;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::time::Instant;

pub(super) async fn run<P: Peer>(job: &Job, depth: u64) -> Result<Outcome> {
    let client = job.connect::<P>().await?;
    // The first time defines the methods' names, where they are defined once.
    client.chain(depth).await?;
    warm()?;
    let both = BothSince::now()?;
    let began = Instant::now();
    let (mut one, mut chain) = (Vec::new(), Vec::new());
    while one.len() < FEWEST || began.elapsed() < job.time {
        let called = Instant::now();
        ensure!(client.add(1, 2).await? == 3, "1 + 2 is not 3");
        one.push(called.elapsed());
        let called = Instant::now();
        ensure!(client.chain(depth).await? == depth, "the chain leads elsewhere");
        chain.push(called.elapsed());
    }
    let median_millis = |mut times: Vec<std::time::Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let figures = BTreeMap::from([
        (Figure::ChainMillis, median_millis(chain)),
        (Figure::OneMillis, median_millis(one)),
    ]);
    Ok(Outcome { figures, seconds: began.elapsed().as_secs_f64(), cpu_seconds: both.until_now()? })
}

/// Chains that are timed at the least.
const FEWEST: usize = 5;
