//! Keeps so many calls in flight for a time: by how many were answered, and what each took, peers are compared.

use super::lane::{Does, Lane, Tally};
use super::{BothSince, Job, WARM_UP, percentile_micros, warm};
use crate::figure::Figure;
use crate::peer::{Calls, Peer};
use crate::process::Outcome;
use crate::workload::Work;
use anyhow::Result;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) async fn run<P: Peer>(job: &Job, connections: usize) -> Result<Outcome> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = job.connect::<P>().await?;
        if job.workload.work == Work::Callback {
            client.watch().await?;
        }
        clients.push(client);
    }
    keep_in_flight::<P>(job, &clients, job.time.mul_f64(WARM_UP)).await?;
    warm()?;
    let both = BothSince::now()?;
    let (tallies, seconds) = keep_in_flight::<P>(job, &clients, job.time).await?;
    let cpu_seconds = both.until_now()?;
    Ok(outcome(job, tallies, seconds, cpu_seconds))
}

/// The tallies of all lanes, none of which failed, and the seconds that it took.
async fn keep_in_flight<P: Peer>(
    job: &Job,
    clients: &[P::Client],
    time: Duration,
) -> Result<(Tallies<P>, f64)> {
    let began = Instant::now();
    let in_flight = job.workload.in_flight();
    let lanes = clients.iter().flat_map(|client| std::iter::repeat_n(client, in_flight)).zip(0_i64..);
    let body = match job.workload.work {
        Work::Echo { bytes, .. } => Bytes::from_iter((0..bytes).map(|at| (at % 251) as u8)),
        _ => Bytes::new(),
    };
    let lanes: Vec<_> = lanes
        .map(|(client, number)| Lane {
            client: client.clone(),
            first: number << 40,
            does: does(job.workload.work, in_flight, began + time, &body),
        })
        .map(P::start)
        .collect();
    let tallies = join::<P>(lanes).await?;
    Ok((tallies, began.elapsed().as_secs_f64()))
}

fn does(work: Work, in_flight: usize, until: Instant, body: &Bytes) -> Does {
    match work {
        Work::Echo { .. } => Does::Echo(until, body.clone()),
        Work::Cycle { .. } => Does::Cycle(until),
        Work::Callback => Does::TimedCallback(until),
        _ if in_flight == 1 => Does::TimedAdd(until),
        _ => Does::Add(until),
    }
}

/// Waits for all lanes; fails with the first that failed.
pub(super) async fn join<P: Peer>(
    lanes: Vec<tokio::task::JoinHandle<Tally<P::Client>>>,
) -> Result<Tallies<P>> {
    let mut tallies = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let mut tally = lane.await?;
        std::mem::replace(&mut tally.outcome, Ok(()))?;
        tallies.push(tally);
    }
    Ok(tallies)
}

fn outcome<C: Calls>(job: &Job, tallies: Vec<Tally<C>>, seconds: f64, cpu_seconds: f64) -> Outcome {
    let calls = tallies.iter().map(|tally| tally.calls).sum::<u64>() as f64;
    let mut nanos: Vec<u32> = tallies.into_iter().flat_map(|tally| tally.nanos).collect();
    nanos.sort_unstable();
    let mut figures = BTreeMap::from([
        (Figure::CallsPerSecond, calls / seconds),
        (Figure::CpuMicros, cpu_seconds * 1e6 / calls),
    ]);
    for (figure, share) in [(Figure::P50Micros, 0.5), (Figure::P99Micros, 0.99), (Figure::P999Micros, 0.999)]
    {
        figures.extend(percentile_micros(&nanos, share).map(|micros| (figure, micros)));
    }
    if let Work::Echo { bytes, .. } = job.workload.work {
        figures.insert(Figure::MibPerSecond, calls * bytes as f64 / seconds / f64::from(1 << 20));
    }
    Outcome { figures, seconds, cpu_seconds }
}

/// What all lanes of a peer did.
pub(super) type Tallies<P> = Vec<Tally<<P as Peer>::Client>>;
