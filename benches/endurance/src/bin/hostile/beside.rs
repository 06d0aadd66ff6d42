//! An honest client that calls at an even pace, with twenty hostile peers beside it and without. The server's malloc is as the system has it:
//! one arena for all threads would be what they wait for.

use crate::attack::Attack;
use crate::floods;
use crate::serve::{self, Heap, Mode, Word};
use crate::victim::VictimRef;
use crate::{Options, honest};
use anyhow::{Result, ensure};
use pb_endurance::memory::Resident;
use pb_endurance::process::{self, Class, Worker};
use pb_endurance::statistics::{median, percentile};
use pb_server::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What the honest client saw in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Calls that were answered, rightly.
    pub answered: u64,
    /// Calls that failed, and how the first did.
    pub failed: u64,
    /// The first failure's words.
    pub failure: Option<String>,
    /// Milliseconds that half of the calls stayed under.
    pub p50_ms: f64,
    /// Milliseconds that 99 of 100 calls stayed under.
    pub p99_ms: f64,
    /// The five longest: milliseconds after the first call, and how long it took.
    pub longest_ms: Vec<(f64, f64)>,
}

/// Rounds with and without hostile peers, by turns.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Beside {
    /// Without them.
    pub alone: Vec<Pace>,
    /// With them.
    pub flooded: Vec<Pace>,
    /// What the hostile peers did, round by round.
    pub attacks: Vec<Vec<Attack>>,
    /// How many processors the server used meanwhile, round by round.
    pub processors: Vec<f64>,
    /// What the server weighed at most beyond its baseline.
    pub beyond: Resident,
}

impl Beside {
    /// The medians of a figure: alone, flooded.
    pub fn medians(&self, figure: fn(&Pace) -> f64) -> (f64, f64) {
        let of = |rounds: &[Pace]| median(rounds.iter().map(figure).collect());
        (of(&self.alone), of(&self.flooded))
    }

    /// Thousands of frames that the hostile peers sent in a second, and how many processors the server used: the medians.
    pub fn strength(&self, seconds: f64) -> (f64, f64) {
        let frames = |attacks: &Vec<Attack>| attacks.iter().map(|attack| attack.frames).sum::<u64>() as f64;
        let frames = self.attacks.iter().map(|attacks| frames(attacks) / seconds / 1e3).collect();
        (median(frames), median(self.processors.clone()))
    }

    /// Calls of the honest client's that failed.
    pub fn failed(&self) -> u64 {
        self.alone.iter().chain(&self.flooded).map(|round| round.failed).sum()
    }

    /// Whether the honest client was served as it must be.
    pub fn holds(&self, times: bool) -> bool {
        let (alone, flooded) = self.medians(|round| round.p99_ms);
        self.failed() == 0 && (!times || flooded <= alone * MOST_P99)
    }
}

/// Runs the rounds.
pub fn beside(options: &Options) -> Result<Beside> {
    let mut server = serve::start_as(Class::Served, Mode::Default)?;
    let url: String = server.hear()?;
    process::runtime()?.block_on(honest::warm_up(&url, Mode::Default))?;
    let _: Heap = server.ask(&Word::Mark)?;
    let base = Resident::of(server.id())?;
    let mut told = Beside::default();
    let names =
        if options.mix.is_empty() { HOSTILE.map(str::to_owned).to_vec() } else { options.mix.clone() };
    for name in &names {
        floods::find(name)?;
    }
    let names = names.join(",");
    let seconds = options.seconds.to_string();
    for round in 1..=options.rounds {
        told.alone.push(paced(&url, &seconds)?);
        let mut hostile = Worker::start_as(
            Class::Elsewhere,
            &["attack", &url, &(options.seconds + 1.0).to_string(), &names],
        )?;
        std::thread::sleep(Duration::from_millis(500));
        let sampler = Sampler::start(server.id(), base, LOOK);
        let (began, used) = (Instant::now(), server.processor_seconds()?);
        let pace = paced(&url, &seconds)?;
        told.processors.push((server.processor_seconds()? - used) / began.elapsed().as_secs_f64());
        told.attacks.push(hostile.hear()?);
        told.beyond = told.beyond.max(sampler.stop()?);
        eprintln!(
            "beside, round {round}/{}: alone {:?}; flooded {pace:?}",
            options.rounds,
            told.alone.last()
        );
        told.flooded.push(pace);
        drop(hostile);
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(told)
}

fn paced(url: &str, seconds: &str) -> Result<Pace> {
    Worker::start_as(Class::Prompt, &["pace", url, seconds])?.hear()
}

/// Looks at a process's memory now and then in a thread of its own.
pub struct Sampler {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Result<Resident>>,
}

impl Sampler {
    /// Starts looking.
    pub fn start(id: u32, base: Resident, every: Duration) -> Sampler {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut most = Resident::default();
            loop {
                most = most.max(Resident::of(id)?.beyond(base));
                if stopped.recv_timeout(every) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return Ok(most);
                }
            }
        });
        Sampler { stop, thread }
    }

    /// Stops, and says the most that was seen beyond the base.
    pub fn stop(self) -> Result<Resident> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the looking thread panicked")))
    }
}

/// In a child: makes 1,000 calls a second for `seconds` and prints what came of it. A call's time is from when it was made.
pub fn pace(url: &str, seconds: f64) -> Result<()> {
    process::runtime()?.block_on(async {
        let broker = pb_client::connect(url).await?;
        let victim: VictimRef = broker.root();
        let mut calls = JoinSet::new();
        let began = Instant::now();
        let count = (seconds * CALLS_PER_SECOND) as u64;
        for number in 0..count {
            sleep_until(began + Duration::from_secs_f64(number as f64 / CALLS_PER_SECOND)).await;
            let victim = victim.clone();
            calls.spawn(async move {
                let called = Instant::now();
                let outcome = one(&victim, number).await;
                let at = (called - began).as_secs_f64() * 1e3;
                (at, called.elapsed().as_secs_f64() * 1e3, outcome)
            });
        }
        let (mut times, mut failed, mut failure) = (Vec::new(), 0, None);
        while let Some(done) = calls.join_next().await {
            match done? {
                (at, time, Ok(())) => times.push((at, time)),
                (_, _, Err(error)) => {
                    failed += 1;
                    failure.get_or_insert(error.to_string());
                }
            }
        }
        times.sort_by(|one, other| f64::total_cmp(&other.1, &one.1));
        let longest_ms = times.iter().copied().take(5).collect();
        let mut times: Vec<f64> = times.into_iter().map(|(_, time)| time).collect();
        times.sort_by(f64::total_cmp);
        let (p50_ms, p99_ms) = (percentile(&times, 0.5), percentile(&times, 0.99));
        process::say(&Pace { answered: times.len() as u64, failed, failure, p50_ms, p99_ms, longest_ms })
    })
}

async fn one(victim: &VictimRef, number: u64) -> Result<()> {
    match number % 4 {
        0 => ensure!(victim.make().poke().await? == b"made"[..], "a made object answers otherwise"),
        1 => {
            let bytes = Bytes::from(vec![number as u8; 256]);
            ensure!(victim.echo(bytes.clone()).await? == bytes, "other bytes came back");
        }
        _ => victim.null().await?,
    }
    Ok(())
}

/// The floods of the twenty hostile peers.
const HOSTILE: [&str; 20] = [
    "oversized",
    "pings",
    "pings-deaf",
    "calls",
    "calls-deaf",
    "never-ending",
    "never-ending-over",
    "casts",
    "casts-waiting",
    "pipelined",
    "rapid-reset",
    "names",
    "metadata",
    "large-answers-deaf",
    "echoes-large",
    "errors-kept",
    "callbacks-failed",
    "objects-made",
    "objects-dropped",
    "reconnects",
];
/// How many times its p99 the honest client may wait beside them.
const MOST_P99: f64 = 5.0;
/// The honest client's pace.
const CALLS_PER_SECOND: f64 = 1000.0;
/// How often the memory is looked at: a look takes milliseconds of a processor that the server needs.
const LOOK: Duration = Duration::from_secs(1);
