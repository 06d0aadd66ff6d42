//! Processor time: a process's own, and what everybody else on the machine used meanwhile.

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Processor time, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// In the program itself.
    pub user: Duration,
    /// In the kernel on the program's behalf.
    pub system: Duration,
}

impl Usage {
    /// What this process has used since it started, all threads together.
    pub fn of_this_process() -> Result<Usage> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).context("the kernel tells no resource usage")?;
        Ok(Usage { user: duration(usage.user_time()), system: duration(usage.system_time()) })
    }

    /// What was used between `earlier` and `self`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// Both kinds together, in seconds.
    pub fn seconds(self) -> f64 {
        (self.user + self.system).as_secs_f64()
    }
}

/// What one process has used, and what it keeps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Processor time since it started.
    pub cpu: Usage,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl State {
    /// That of the calling process.
    pub fn of_this_process() -> Result<State> {
        Ok(State { cpu: Usage::of_this_process()?, rss_bytes: rss_bytes()? })
    }
}

/// Resident memory of this process. From `smaps_rollup`, which is exact where `status` lags behind.
fn rss_bytes() -> Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").context("the kernel tells no memory")?;
    let line =
        rollup.lines().find_map(|line| line.strip_prefix("Rss:")).context("the kernel tells no Rss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("the kernel tells Rss otherwise")?;
    Ok(kib << 10)
}

/// Processor time of the whole machine, in seconds, that was used by processes or taken by the hypervisor.
/// None where /proc/stat cannot be read; then disturbances go unseen, and the report says so.
pub fn busy_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system and steal; interrupts are left out, they are the loopback's own work in part.
    let busy = [0, 1, 2, 7].iter().filter_map(|field| ticks.get(*field)).sum::<f64>();
    Some(busy / TICKS_PER_SECOND)
}

/// Waits until others leave the machine alone, at most for `patience`.
pub fn wait_for_quiet(patience: Duration) {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let before = busy_seconds();
        std::thread::sleep(LOOK);
        let (Some(before), Some(after)) = (before, busy_seconds()) else { return };
        if (after - before) / LOOK.as_secs_f64() < QUIET * cpus() as f64 {
            return;
        }
    }
}

/// How many files this process may have open, and how many the processes of a measurement are let: for two thousand connections.
pub fn descriptors() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let most = hard.min(DESCRIPTORS);
    (most > soft).then_some((soft, most))
}

/// Lets this process have as many files open as [`descriptors`] says.
pub fn raise_descriptors() -> Result<()> {
    if let Some((_, most)) = descriptors() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, hard).context("the limit of open files cannot be raised")?;
    }
    Ok(())
}

/// Processors of this machine.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs())
}

/// USER_HZ, the unit of /proc/stat: 100 on every Linux that the peers run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long the machine is looked at before it is called quiet.
const LOOK: Duration = Duration::from_millis(500);
/// The share of it that others may use then.
const QUIET: f64 = 0.05;
/// Open files that a process of a measurement is let have.
const DESCRIPTORS: u64 = 16_384;
