//! Counts the bytes of calls, on a link that carries them.

use super::{BothSince, Job, warm};
use crate::figure::Figure;
use crate::peer::{Calls, Peer};
use crate::process::{self, Outcome};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) async fn run<P: Peer>(job: &Job) -> Result<Outcome> {
    let client = job.connect::<P>().await?;
    calls(&client, CALLS / 10).await?;
    warm()?;
    let both = BothSince::now()?;
    let began = Instant::now();
    let before = carried().await?;
    calls(&client, CALLS).await?;
    let carried = carried().await? - before;
    let figures = BTreeMap::from([(Figure::WireBytes, carried as f64 / f64::from(CALLS))]);
    Ok(Outcome { figures, seconds: began.elapsed().as_secs_f64(), cpu_seconds: both.until_now()? })
}

/// What the link has carried, once all that is on its way has come.
async fn carried() -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    Ok(process::look()?.carried_bytes)
}

async fn calls<C: Calls>(client: &C, calls: u32) -> Result<()> {
    // Splitmix, from a fixed seed: every peer adds the same numbers, of full width.
    let mut state = 1_u64;
    let mut number = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).cast_signed()
    };
    for _ in 0..calls {
        let (a, b) = (number(), number());
        ensure!(client.add(a, b).await? == a.wrapping_add(b), "{a} + {b} was answered otherwise");
    }
    Ok(())
}

/// Calls whose bytes are counted.
const CALLS: u32 = 2000;
/// What follows the last answer gets this long to be sent.
const SETTLE: Duration = Duration::from_millis(100);
