//! The calling process: keeps a workload's calls in flight for a time and tells what came of it.

use crate::Place;
use crate::machine::Usage;
use crate::peer::{Calls, Peer};
use crate::peers::{self, Visitor};
use crate::process::{self, Outcome};
use crate::workload::{self, Workload};
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One caller that always has one call outstanding.
pub struct Lane<C> {
    client: C,
    first: i64,
    until: Instant,
    timed: bool,
}

/// What a lane did.
pub struct Tally {
    calls: u64,
    nanos: Vec<u32>,
    outcome: Result<()>,
}

impl<C: Calls> Lane<C> {
    /// Calls until the time is over.
    pub async fn run(self) -> Tally {
        let nanos = Vec::with_capacity(if self.timed { TIMED_CALLS } else { 0 });
        let mut tally = Tally { calls: 0, nanos, outcome: Ok(()) };
        tally.outcome =
            if self.timed { self.timed(&mut tally).await } else { self.counted(&mut tally).await };
        tally
    }

    async fn counted(&self, tally: &mut Tally) -> Result<()> {
        while Instant::now() < self.until {
            // Looking at the clock for every call would show in the fastest peer's figures.
            for _ in 0..CALLS_PER_LOOK {
                self.call(tally.calls).await?;
                tally.calls += 1;
            }
        }
        Ok(())
    }

    async fn timed(&self, tally: &mut Tally) -> Result<()> {
        let mut before = Instant::now();
        while before < self.until {
            self.call(tally.calls).await?;
            let after = Instant::now();
            tally.nanos.push((after - before).as_nanos().try_into().unwrap_or(u32::MAX));
            tally.calls += 1;
            before = after;
        }
        Ok(())
    }

    /// One call with numbers of full width, so that no codec gains from small ones.
    async fn call(&self, number: u64) -> Result<()> {
        let a = self.first.wrapping_add_unsigned(number).wrapping_mul(SPREAD);
        let b = !a.rotate_left(17);
        let sum = self.client.add(a, b).await?;
        ensure!(sum == a.wrapping_add(b), "{a} + {b} was answered with {sum}");
        Ok(())
    }
}

/// Connects to a served peer, warms up, waits for the parent's word, measures, and prints the outcome.
pub fn drive(peer: &str, workload: &str, address: SocketAddr, seconds: f64, place: Place) -> Result<()> {
    let runtime = process::runtime(place)?;
    let job = Drive { workload: workload::find(workload)?, address, time: Duration::from_secs_f64(seconds) };
    peers::visit(peer, Runs { runtime, job })?
}

struct Drive {
    workload: &'static Workload,
    address: SocketAddr,
    time: Duration,
}

struct Runs {
    runtime: tokio::runtime::Runtime,
    job: Drive,
}

impl Visitor for Runs {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        self.runtime.block_on(async {
            let client = P::connect(self.job.address).await?;
            self.job.keep_in_flight::<P>(&client, self.job.time.mul_f64(WARM_UP)).await?;
            process::say(&"warm")?;
            process::wait_for_go()?;
            let outcome = self.job.keep_in_flight::<P>(&client, self.job.time).await?;
            process::say(&outcome)
        })
    }
}

impl Drive {
    async fn keep_in_flight<P: Peer>(&self, client: &P::Client, time: Duration) -> Result<Outcome> {
        let usage = Usage::of_this_process()?;
        let began = Instant::now();
        let lanes: Vec<_> = (0..self.workload.in_flight)
            .map(|lane| Lane {
                client: client.clone(),
                first: (lane as i64) << 40,
                until: began + time,
                timed: self.workload.in_flight == 1,
            })
            .map(P::start)
            .collect();
        let (mut calls, mut nanos) = (0, Vec::new());
        for lane in lanes {
            let tally = lane.await?;
            tally.outcome?;
            calls += tally.calls;
            nanos.extend(tally.nanos);
        }
        let seconds = began.elapsed().as_secs_f64();
        let client_cpu = Usage::of_this_process()?.since(usage);
        nanos.sort_unstable();
        let percentile = |share: f64| {
            let at = (nanos.len() as f64 * share) as usize;
            nanos.get(at).map(|nanos| f64::from(*nanos) / 1e3)
        };
        Ok(Outcome { calls, seconds, p50_us: percentile(0.5), p99_us: percentile(0.99), client_cpu })
    }
}

/// An odd number with bits all over: multiplying by it spreads a counter over 64 bits.
const SPREAD: i64 = 0x5851_F42D_4C95_7F2D;
/// Calls between two looks at the clock.
const CALLS_PER_LOOK: usize = 8;
/// Room for the times of one sequential caller: 4 million calls are 8 s at 2 µs.
const TIMED_CALLS: usize = 1 << 22;
/// The warm-up's time as a share of the measurement's.
const WARM_UP: f64 = 0.25;
