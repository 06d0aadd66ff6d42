//! The parent: one flood after the other, each against a server of its own, and the report.

use crate::attack::Attack;
use crate::beside::{self, Beside, Sampler};
use crate::flood::Flood;
use crate::serve::{self, Heap, Mode, Word};
use crate::{Options, floods, honest};
use anyhow::{Context, Result};
use clap::ValueEnum;
use pb_endurance::memory::Resident;
use pb_endurance::process::{self, Worker};
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// What one flood took.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    mode: Mode,
    what: &'static str,
    /// What the server weighed when an honest client had warmed it up and was gone.
    base: Resident,
    /// The most that it weighed beyond that during the flood.
    beyond: Resident,
    /// The most bytes of its heap in use beyond those before the flood.
    heap_bytes: usize,
    /// A second after the hostile peer was gone.
    kept: Resident,
    kept_heap_bytes: i64,
    /// Objects of the server's that nobody holds any more and that are there yet.
    made: i64,
    /// How long an honest client took for one call of each kind right after the flood; why it could not.
    probe: Result<Duration, String>,
    seconds: f64,
    attack: Attack,
}

impl Taken {
    /// Whether the server weighed no more than it may.
    fn is_light(&self) -> bool {
        self.beyond.rss_kib <= self.mode.target_kib()
    }

    /// Whether it serves on and has let go of everything.
    fn is_well(&self) -> bool {
        self.probe.is_ok() && self.made == 0
    }
}

/// Runs what `options` ask for, prints the report and writes it.
pub fn everything(options: &Options) -> Result<ExitCode> {
    let modes = if options.limits.is_empty() { Mode::value_variants() } else { &options.limits };
    let chosen: Vec<_> = match &options.floods[..] {
        [] => floods::all().collect(),
        names => names.iter().map(|name| floods::find(name)).collect::<Result<_>>()?,
    };
    let mut taken = Vec::new();
    for mode in modes.iter().filter(|_| !options.no_floods) {
        for flood in &chosen {
            let one = flooded(flood, *mode, options.seconds, options.default_malloc)
                .with_context(|| format!("{} failed", flood.name))?;
            eprintln!("{}", row(&one));
            taken.push(one);
        }
    }
    let beside = if options.no_beside { None } else { Some(beside::beside(options)?) };
    let text = markdown(options, &taken, beside.as_ref());
    println!("{text}");
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("{} cannot be made", options.out.display()))?;
    std::fs::write(options.out.join("hostile.md"), &text)?;
    let all = json!({ "seconds": options.seconds, "floods": taken, "beside": beside });
    std::fs::write(options.out.join("hostile.json"), serde_json::to_string_pretty(&all)?)?;
    let well = taken.iter().all(|one| one.is_well() && (options.no_memory || one.is_light()))
        && beside.is_none_or(|beside| beside.holds(!options.no_times));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn flooded(flood: &'static Flood, mode: Mode, seconds: f64, default_malloc: bool) -> Result<Taken> {
    let mut server = serve::start(mode, default_malloc)?;
    let url: String = server.hear()?;
    let runtime = process::runtime()?;
    runtime.block_on(honest::warm_up(&url, mode))?;
    std::thread::sleep(SETTLE);
    let before: Heap = server.ask(&Word::Mark)?;
    let base = Resident::of(server.id())?;

    let sampler = Sampler::start(server.id(), base, LOOK);
    let mut attacker = Worker::start(&["attack", &url, &seconds.to_string(), flood.name])?;
    let attacks: Vec<Attack> = attacker.hear()?;
    let beyond = sampler.stop()?;
    let heap: Heap = server.ask(&Word::Weigh)?;
    let probe = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, honest::probe(&url)).await {
            Ok(probe) => probe.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    });
    drop(attacker);
    std::thread::sleep(AFTERWARDS);
    let after: Heap = server.ask(&Word::Weigh)?;
    Ok(Taken {
        mode,
        what: flood.what,
        base,
        beyond,
        heap_bytes: heap.peak.saturating_sub(before.now),
        kept: Resident::of(server.id())?.beyond(base),
        kept_heap_bytes: after.now as i64 - before.now as i64,
        made: after.made,
        probe,
        seconds,
        attack: attacks.into_iter().next().context("the attacker told nothing")?,
    })
}

fn markdown(options: &Options, taken: &[Taken], beside: Option<&Beside>) -> String {
    let mut text = format!(
        "Each flood for {} s against a server of its own; KiB beyond what it weighed after an honest client.\n\n",
        options.seconds
    );
    if !taken.is_empty() {
        text += "| limits | flood | RSS | anonymous | heap at most | target | | kept after: RSS, heap | frames/s | MB/s | connections |\n";
        text += "|---|---|---|---|---|---|---|---|---|---|---|\n";
        for one in taken {
            text += &row(one);
            text += "\n";
        }
    }
    let Some(beside) = beside else { return text };
    let ((p50, flooded_p50), (p99, flooded_p99)) =
        (beside.medians(|round| round.p50_ms), beside.medians(|round| round.p99_ms));
    let strength = beside.strength(options.seconds + 1.0);
    text += &format!(
        "\nAn honest client with 1,000 calls/s, medians of {} rounds of {} s, by turns:\n\n\
         | | alone | beside 20 hostile peers | |\n|---|---|---|---|\n\
         | p50 ms | {p50:.2} | {flooded_p50:.2} | {:.1} × |\n| p99 ms | {p99:.2} | {flooded_p99:.2} | {:.1} × (target 5) |\n\
         | failed calls | {} | {} | {} |\n\nThe hostile peers sent {:.0} thousand frames a second; the server used {:.2} \
         processors, and {} KiB beyond its baseline at most.\n",
        options.rounds,
        options.seconds,
        flooded_p50 / p50,
        flooded_p99 / p99,
        beside.alone.iter().map(|round| round.failed).sum::<u64>(),
        beside.flooded.iter().map(|round| round.failed).sum::<u64>(),
        beside.flooded.iter().find_map(|round| round.failure.clone()).unwrap_or_default(),
        strength.0,
        strength.1,
        beside.beyond.rss_kib,
    );
    text
}

fn row(one: &Taken) -> String {
    let ends: Vec<_> =
        one.attack.ends.iter().map(|(end, count)| format!("{count} × {}", end.replace('|', "/"))).collect();
    let probe = match &one.probe {
        Ok(_) => String::new(),
        Err(why) => format!("; then an honest client: {why}"),
    };
    let made = if one.made == 0 { String::new() } else { format!("; {} objects left", one.made) };
    format!(
        "| {} | `{}` {} | {} | {} | {} | {} | {} | {}, {} | {:.0} k | {:.1} | {}{probe}{made} |",
        one.mode.name(),
        one.attack.flood,
        one.what,
        one.beyond.rss_kib,
        one.beyond.anonymous_kib,
        one.heap_bytes / 1024,
        one.mode.target_kib(),
        match (one.is_light(), one.is_well()) {
            (true, true) => "",
            (false, true) => "OVER",
            (_, false) => "FAILED",
        },
        one.kept.rss_kib,
        one.kept_heap_bytes / 1024,
        one.attack.frames as f64 / one.seconds / 1e3,
        one.attack.bytes as f64 / one.seconds / 1e6,
        ends.join(", "),
    )
}

/// Between the warm-up and the look that is the baseline.
const SETTLE: Duration = Duration::from_millis(300);
/// Between the end of a flood and the look at what is left; a connection lingers for a second after an abort.
const AFTERWARDS: Duration = Duration::from_millis(1500);
/// How long an honest client waits after a flood.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
