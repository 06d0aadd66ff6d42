//! Calls that are begun at a steady rate, whether or not those before were answered: what each takes from the moment it was due.
//!
//! The clock ticks once a millisecond, as the runtime's timers do; what falls due between two ticks begins at the second, at once.

use super::lane::{Does, Lane};
use super::lanes;
use super::{BothSince, Job, WARM_UP, percentile_micros, warm};
use crate::figure::Figure;
use crate::peer::Peer;
use crate::process::Outcome;
use crate::workload::PACED_LANES;
use anyhow::{Result, ensure};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

/// The calls that are due and that no lane has taken yet.
pub struct Schedule {
    due: Mutex<VecDeque<Instant>>,
    ready: Semaphore,
}

impl Schedule {
    /// Waits for the next call to begin; None once the time is over.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.ready.acquire().await.ok()?.forget();
        self.due.lock().pop_front()
    }

    /// Lets calls fall due for a time.
    async fn tick(&self, per_second: u64, time: Duration) {
        let began = Instant::now();
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut begun = 0;
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let elapsed = (now - began).min(time);
            let until_now = (elapsed.as_secs_f64() * per_second as f64) as u64;
            let count = (until_now - begun) as usize;
            begun = until_now;
            self.due.lock().extend(std::iter::repeat_n(now, count));
            self.ready.add_permits(count);
            if elapsed == time {
                break;
            }
        }
        while !self.due.lock().is_empty() {
            ticks.tick().await;
        }
        self.ready.close();
    }
}

pub(super) async fn run<P: Peer>(job: &Job, per_second: u64) -> Result<Outcome> {
    let client = job.connect::<P>().await?;
    paced::<P>(&client, per_second, job.time.mul_f64(WARM_UP)).await?;
    warm()?;
    let both = BothSince::now()?;
    let began = Instant::now();
    let mut nanos = paced::<P>(&client, per_second, job.time).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = both.until_now()?;
    ensure!(!nanos.is_empty(), "no call was begun");
    nanos.sort_unstable();
    let calls = nanos.len() as f64;
    let mut figures = BTreeMap::from([
        (Figure::CallsPerSecond, calls / seconds),
        (Figure::CpuMicros, cpu_seconds * 1e6 / calls),
    ]);
    for (figure, share) in [(Figure::P50Micros, 0.5), (Figure::P99Micros, 0.99), (Figure::P999Micros, 0.999)]
    {
        figures.extend(percentile_micros(&nanos, share).map(|micros| (figure, micros)));
    }
    Ok(Outcome { figures, seconds, cpu_seconds })
}

/// What each call took.
async fn paced<P: Peer>(client: &P::Client, per_second: u64, time: Duration) -> Result<Vec<u32>> {
    let schedule = Arc::new(Schedule { due: Mutex::default(), ready: Semaphore::new(0) });
    let lanes = (0..PACED_LANES as i64)
        .map(|lane| Lane {
            client: client.clone(),
            first: lane << 40,
            does: Does::Paced(Arc::clone(&schedule)),
        })
        .map(P::start)
        .collect();
    schedule.tick(per_second, time).await;
    let tallies = lanes::join::<P>(lanes).await?;
    Ok(tallies.into_iter().flat_map(|tally| tally.nanos).collect())
}
