//! The parent: starts the three, cuts what is between them, counts what is left.

use crate::Options;
use crate::census::Census;
use crate::near::{Chapter, Word};
use crate::relay::Relay;
use anyhow::{Result, ensure};
use pb_endurance::memory::Resident;
use pb_endurance::process::{self, Worker};
use pb_endurance::statistics::slope;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The three processes and what stands between them.
struct Row {
    near: Worker,
    middle: Worker,
    far: Worker,
    to_middle: Relay,
    to_far: Relay,
}

/// A look at all three.
struct Point {
    calls: u64,
    rss_kib: [u64; 3],
    heap_bytes: [usize; 3],
}

/// Everything that is added up.
#[derive(Default)]
struct Sum {
    calls: u64,
    broken: u64,
    casts_sent: u64,
    casts_come: u64,
    cuts: u64,
    faults: Vec<String>,
    points: Vec<Point>,
}

/// Runs what `options` ask for and prints what came of it.
pub fn everything(options: &Options) -> Result<ExitCode> {
    ensure!(options.chapters > 0, "no chapter was asked for");
    let seed =
        options.seed.unwrap_or_else(|| u64::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    println!("seed {seed}: {} calls in {} chapters", options.calls, options.chapters);
    let runtime = process::runtime()?;
    let mut row = Row::start(&runtime)?;
    let mut sum = Sum::default();
    let (mut dice, mut took) = (seed | 1, Duration::from_millis(100));
    let began = Instant::now();
    for number in 1..=options.chapters {
        dice = dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let cut = Cut::chosen(dice >> 33);
        let after = took.mul_f64((dice >> 40) as f64 / (1_u64 << 24) as f64);
        let word = Word::Chapter { calls: options.calls / options.chapters, seed: dice };
        row.near.tell(&word)?;
        let begun = Instant::now();
        std::thread::sleep(after);
        cut.make(&row);
        let chapter: Chapter = row.near.hear()?;
        took = begun.elapsed();
        sum.chapter(number, cut, &chapter);
        row.count(number, cut, &chapter, &mut sum)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    sum.print(seconds, options);
    Ok(if sum.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is cut in a chapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    Nothing,
    NearMiddle,
    MiddleFar,
    Both,
}

impl Cut {
    fn chosen(dice: u64) -> Cut {
        [Cut::NearMiddle, Cut::MiddleFar, Cut::Both, Cut::Nothing][(dice % 4) as usize]
    }

    fn make(self, row: &Row) {
        if matches!(self, Cut::NearMiddle | Cut::Both) {
            row.to_middle.cut();
        }
        if matches!(self, Cut::MiddleFar | Cut::Both) {
            row.to_far.cut();
        }
    }
}

impl Row {
    fn start(runtime: &tokio::runtime::Runtime) -> Result<Row> {
        let mut far = Worker::start(&["far"])?;
        let to_far = runtime.block_on(Relay::to(&far.hear::<String>()?))?;
        let mut middle = Worker::start(&["middle", to_far.url()])?;
        let to_middle = runtime.block_on(Relay::to(&middle.hear::<String>()?))?;
        let mut near = Worker::start(&["near", to_middle.url()])?;
        near.hear::<String>()?;
        Ok(Row { near, middle, far, to_middle, to_far })
    }

    /// Asks all three what is left, and weighs them.
    fn count(&mut self, number: u64, cut: Cut, chapter: &Chapter, sum: &mut Sum) -> Result<()> {
        let near: Census = self.near.ask(&Word::Count)?;
        let middle: Census = self.middle.ask(&())?;
        let far: Census = self.far.ask(&())?;
        sum.casts_come += far.casts;
        for (name, census) in [("A", &near), ("M", &middle), ("B", &far)] {
            if !census.is_clean() {
                sum.faults.push(format!("chapter {number} ({cut:?}): {name} has left {census:?}"));
            }
        }
        if cut == Cut::Nothing && far.casts != chapter.casts {
            sum.faults.push(format!(
                "chapter {number}: {} casts were sent, {} came, and nothing was cut",
                chapter.casts, far.casts
            ));
        }
        let weigh = |worker: &Worker| Resident::of(worker.id()).map(|resident| resident.rss_kib);
        sum.points.push(Point {
            calls: sum.calls,
            rss_kib: [weigh(&self.near)?, weigh(&self.middle)?, weigh(&self.far)?],
            heap_bytes: [near.heap_bytes, middle.heap_bytes, far.heap_bytes],
        });
        Ok(())
    }
}

impl Sum {
    fn chapter(&mut self, number: u64, cut: Cut, chapter: &Chapter) {
        let broken: u64 = chapter.broken.values().sum();
        self.calls += chapter.calls;
        self.broken += broken;
        self.casts_sent += chapter.casts;
        self.cuts += u64::from(cut != Cut::Nothing);
        println!(
            "chapter {number}: {} calls, cut {cut:?}, {broken} failed for it {:?}{}",
            chapter.calls,
            chapter.broken,
            chapter.first.as_ref().map_or(String::new(), |first| format!(", first {first}")),
        );
        for wrong in &chapter.wrong {
            self.faults.push(format!("chapter {number} ({cut:?}): {wrong}"));
        }
        if cut == Cut::Nothing && broken > 0 {
            self.faults.push(format!(
                "chapter {number}: {broken} calls failed and nothing was cut: {:?}",
                chapter.first
            ));
        }
    }

    fn print(&mut self, seconds: f64, options: &Options) {
        println!(
            "\n{} calls in {seconds:.1} s ({:.0} k calls/s), {} failed for {} cuts; {} casts sent, {} came.",
            self.calls,
            self.calls as f64 / seconds / 1e3,
            self.broken,
            self.cuts,
            self.casts_sent,
            self.casts_come,
        );
        println!("\n| calls | RSS KiB: A | M | B | heap KiB: A | M | B |\n|---|---|---|---|---|---|---|");
        let step = self.points.len().div_ceil(POINTS).max(1);
        for point in self.points.iter().rev().step_by(step).collect::<Vec<_>>().into_iter().rev() {
            let ([a, m, b], [heap_a, heap_m, heap_b]) =
                (point.rss_kib, point.heap_bytes.map(|bytes| bytes / 1024));
            println!("| {} | {a} | {m} | {b} | {heap_a} | {heap_m} | {heap_b} |", point.calls);
        }
        // The first fifth fills caches and pools.
        let settled = &self.points[self.points.len() / 5..];
        for (at, name) in ["A", "M", "B"].into_iter().enumerate() {
            let line = |figure: &dyn Fn(&Point) -> f64| {
                let points: Vec<_> =
                    settled.iter().map(|point| (point.calls as f64 / 1e6, figure(point))).collect();
                slope(&points)
            };
            let rss = line(&|point| point.rss_kib[at] as f64);
            let heap = line(&|point| point.heap_bytes[at] as f64 / 1024.0);
            println!(
                "{name}: RSS rises by {rss:.0} KiB and the heap by {heap:.1} KiB for each million calls"
            );
            let grown = options.calls as f64 / 1e6 * heap;
            if grown > MOST_GROWN_KIB {
                self.faults.push(format!("the heap of {name} has grown by {grown:.0} KiB"));
            }
        }
        println!(
            "\n{}",
            if self.faults.is_empty() { "Nothing is left, nothing was wrong." } else { "FAULTS:" }
        );
        self.faults.iter().for_each(|fault| println!("{fault}"));
    }
}

/// Looks that are printed.
const POINTS: usize = 10;
/// What the heap of a process may have grown by over the whole run.
const MOST_GROWN_KIB: f64 = 256.0;
