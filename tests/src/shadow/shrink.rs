use std::cell::Cell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Run, Tally};

/// What plays a run: on tables ([`play`](super::play)) or on brokers ([`play_for_real`](super::play_for_real)).
pub type Player = fn(&Run) -> Result<Tally, String>;

/// What is wrong with a run, panics included.
pub fn fault(run: &Run, player: Player) -> Option<String> {
    try_play(run, player).err()
}

fn try_play(run: &Run, player: Player) -> Result<Tally, String> {
    let played = quietly(|| panic::catch_unwind(AssertUnwindSafe(|| player(run))));
    match played {
        Ok(played) => played,
        Err(panicked) => {
            let text = panicked.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panicked.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        }
    }
}

/// The shortest run that is found to fail still, by taking out actions and links: halves, then quarters, at last single ones.
pub fn shrink(run: &Run, fails: impl Fn(&Run) -> bool) -> Run {
    let mut best = run.clone();
    let mut size = best.actions.len().div_ceil(2);
    while size > 0 {
        let (mut at, mut smaller) = (0, false);
        while at < best.actions.len() {
            let mut less = best.clone();
            less.actions.drain(at..(at + size).min(best.actions.len()));
            if fails(&less) {
                (best, smaller) = (less, true);
            } else {
                at += size;
            }
        }
        // Single ones as long as any goes: what could not go before may go now.
        if size > 1 || !smaller {
            size /= 2;
        }
    }
    best
}

/// Plays the runs of many seeds, on all processors, and says what happened in them.
///
/// # Panics
/// When one fails: with its seed, what was wrong, and the shrunk run as a test.
pub fn hunt(seeds: Range<u64>, player: Player) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    let found = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..workers).map(|_| scope.spawn(|| search(&next, seeds.end, player))).collect();
        let mut found = None;
        for worker in workers {
            match worker.join().expect("faults are caught") {
                Ok(counted) => tally.add(&counted),
                Err(seed) => found = found.min(Some(seed)).or(Some(seed)),
            }
        }
        found
    });
    if let Some(seed) = found {
        let run = Run::random(seed);
        let shrunk = shrink(&run, |run| fault(run, player).is_some());
        let wrong = fault(&shrunk, player).unwrap_or_else(|| "nothing: it does not fail always".to_owned());
        panic!(
            "this was PB_SEED={seed}; as a test:\n\n#[test]\nfn found_by_seed_{seed}() {{\n{shrunk}    \
             plays(&run);\n}}\n\n{wrong}"
        );
    }
    tally
}

/// Plays seeds until they are used up, or one fails, which is returned as the error.
fn search(next: &AtomicU64, end: u64, player: Player) -> Result<Tally, u64> {
    let mut tally = Tally::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return Ok(tally);
        }
        match try_play(&Run::random(seed), player) {
            Ok(counted) => tally.add(&counted),
            Err(_) => {
                next.store(end, Ordering::Relaxed);
                return Err(seed);
            }
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` without a word about its panics.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let done = work();
    QUIET.set(false);
    done
}
