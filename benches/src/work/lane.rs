//! One caller that always has one call outstanding.

use super::paced::Schedule;
use crate::peer::Calls;
use anyhow::{Result, ensure};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// One caller.
pub struct Lane<C> {
    pub(super) client: C,
    pub(super) first: i64,
    pub(super) does: Does,
}

/// What a lane does, and until when.
pub(super) enum Does {
    /// Calls and is timed, each call.
    TimedAdd(Instant),
    TimedCallback(Instant),
    /// Calls and is counted.
    Add(Instant),
    Echo(Instant, Bytes),
    Cycle(Instant),
    /// Makes so many objects and keeps them.
    Hold(usize),
    /// Calls when it is time to.
    Paced(Arc<Schedule>),
}

/// What a lane did.
pub struct Tally<C: Calls> {
    pub(super) calls: u64,
    pub(super) nanos: Vec<u32>,
    pub(super) kept: Vec<C::Object>,
    pub(super) outcome: Result<()>,
}

impl<C: Calls> Lane<C> {
    /// Does it to its end.
    pub async fn run(self) -> Tally<C> {
        let mut tally = Tally { calls: 0, nanos: Vec::new(), kept: Vec::new(), outcome: Ok(()) };
        tally.outcome = match &self.does {
            Does::TimedAdd(until) => self.timed_add(*until, &mut tally).await,
            Does::TimedCallback(until) => self.timed_callback(*until, &mut tally).await,
            Does::Add(until) => self.counted(*until, &mut tally).await,
            Does::Echo(until, body) => self.echoed(*until, body, &mut tally).await,
            Does::Cycle(until) => self.cycled(*until, &mut tally).await,
            Does::Hold(objects) => self.held(*objects, &mut tally).await,
            Does::Paced(schedule) => self.paced(schedule, &mut tally).await,
        };
        tally
    }

    async fn counted(&self, until: Instant, tally: &mut Tally<C>) -> Result<()> {
        while Instant::now() < until {
            // Looking at the clock for every call would show in the fastest peer's figures.
            for _ in 0..CALLS_PER_LOOK {
                self.add(tally.calls).await?;
                tally.calls += 1;
            }
        }
        Ok(())
    }

    async fn timed_add(&self, until: Instant, tally: &mut Tally<C>) -> Result<()> {
        tally.nanos.reserve(TIMED_CALLS);
        let mut before = Instant::now();
        while before < until {
            self.add(tally.calls).await?;
            before = tally.timed(before);
        }
        Ok(())
    }

    async fn timed_callback(&self, until: Instant, tally: &mut Tally<C>) -> Result<()> {
        tally.nanos.reserve(TIMED_CALLS);
        let mut before = Instant::now();
        while before < until {
            let (number, _) = self.numbers(tally.calls);
            let answer = self.client.callback(number).await?;
            ensure!(answer == number.wrapping_add(1), "{number} was called back and answered with {answer}");
            before = tally.timed(before);
        }
        Ok(())
    }

    async fn echoed(&self, until: Instant, body: &Bytes, tally: &mut Tally<C>) -> Result<()> {
        while Instant::now() < until {
            let back = self.client.echo(body.clone()).await?;
            let length = back.len();
            ensure!(
                length == body.len() && back.last() == body.last(),
                "an echo of {length} bytes is not what was sent"
            );
            tally.calls += 1;
        }
        Ok(())
    }

    async fn cycled(&self, until: Instant, tally: &mut Tally<C>) -> Result<()> {
        while Instant::now() < until {
            let (first, number) = self.numbers(tally.calls);
            let object = self.client.make(first).await?;
            let sum = C::poke(&object, number).await?;
            ensure!(sum == first.wrapping_add(number), "an object answered with {sum}");
            tally.calls += 1;
        }
        Ok(())
    }

    async fn held(&self, objects: usize, tally: &mut Tally<C>) -> Result<()> {
        tally.kept.reserve_exact(objects);
        for number in 0..objects {
            tally.kept.push(self.client.make(number as i64).await?);
            tally.calls += 1;
        }
        Ok(())
    }

    async fn paced(&self, schedule: &Schedule, tally: &mut Tally<C>) -> Result<()> {
        while let Some(due) = schedule.next().await {
            self.add(tally.calls).await?;
            tally.timed(due);
        }
        Ok(())
    }

    /// One call with numbers of full width, so that no codec gains from small ones.
    async fn add(&self, call: u64) -> Result<()> {
        let (a, b) = self.numbers(call);
        let sum = self.client.add(a, b).await?;
        ensure!(sum == a.wrapping_add(b), "{a} + {b} was answered with {sum}");
        Ok(())
    }

    fn numbers(&self, call: u64) -> (i64, i64) {
        let a = self.first.wrapping_add_unsigned(call).wrapping_mul(SPREAD);
        (a, !a.rotate_left(17))
    }
}

impl<C: Calls> Tally<C> {
    /// Notes a call that was begun then, and says what time it is.
    fn timed(&mut self, begun: Instant) -> Instant {
        let now = Instant::now();
        self.nanos.push((now - begun).as_nanos().try_into().unwrap_or(u32::MAX));
        self.calls += 1;
        now
    }
}

/// An odd number with bits all over: multiplying by it spreads a counter over 64 bits.
const SPREAD: i64 = 0x5851_F42D_4C95_7F2D;
/// Calls between two looks at the clock.
const CALLS_PER_LOOK: usize = 8;
/// Room for the times of one sequential caller: 1 million calls are 4 s at 4 µs.
const TIMED_CALLS: usize = 1 << 20;
