use std::cell::Cell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Action, Ref, Run, Tally};

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

/// The shortest run that is found to fail still: actions are taken out, halves, then quarters, at last single ones; then those that are left
/// are made simpler, which may let others go.
pub fn shrink(run: &Run, fails: impl Fn(&Run) -> bool) -> Run {
    let mut best = run.clone();
    loop {
        let before = best.clone();
        take_out(&mut best, &fails);
        simplify(&mut best, &fails);
        if best == before {
            return best;
        }
    }
}

fn take_out(best: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut size = best.actions.len().div_ceil(2);
    while size > 0 {
        let (mut at, mut smaller) = (0, false);
        while at < best.actions.len() {
            let mut less = best.clone();
            less.actions.drain(at..(at + size).min(best.actions.len()));
            if fails(&less) {
                (*best, smaller) = (less, true);
            } else {
                at += size;
            }
        }
        // Single ones as long as any goes: what could not go before may go now.
        if size > 1 || !smaller {
            size /= 2;
        }
    }
}

/// Fewer links, and actions with fewer references and smaller numbers.
fn simplify(best: &mut Run, fails: &impl Fn(&Run) -> bool) {
    for at in (0..best.links.len()).rev() {
        let mut less = best.clone();
        less.links.remove(at);
        if !less.links.is_empty() && fails(&less) {
            *best = less;
        }
    }
    for at in 0..best.actions.len() {
        for simpler in simpler(best.actions[at], best.nodes) {
            if simpler == best.actions[at] {
                break; // The rest is no simpler.
            }
            let mut less = best.clone();
            less.actions[at] = simpler;
            if fails(&less) {
                *best = less;
                break;
            }
        }
    }
}

/// Simpler forms of an action, the simplest first, and itself last.
fn simpler(action: Action, nodes: u8) -> Vec<Action> {
    let numbers = |number: u8| [0, 1, 2, 3].into_iter().filter(move |small| *small < number);
    let mut all = Vec::new();
    match action {
        Action::Call { at, how, method, on, with } => {
            let at = at % nodes;
            let call = |on, with| Action::Call { at, how, method, on, with };
            all.extend([call(on, [None, None]), call(on, [with[0], None]), call(on, [with[1], None])]);
            all.extend(references(on).into_iter().map(|on| call(on, with)));
            for one in with[0].into_iter().flat_map(references) {
                all.push(call(on, [Some(one), with[1]]));
            }
            all.push(call(on, with));
        }
        Action::Promise { at, call } => {
            all.extend(numbers(call).map(|call| Action::Promise { at: at % nodes, call }));
            all.push(Action::Promise { at: at % nodes, call });
        }
        Action::Take { at, call } => {
            all.extend(numbers(call).map(|call| Action::Take { at: at % nodes, call }));
            all.push(Action::Take { at: at % nodes, call });
        }
        Action::Release { at, held } => {
            all.extend(numbers(held).map(|held| Action::Release { at: at % nodes, held }));
        }
        Action::Answer { at, waiting, end } => {
            all.extend(numbers(waiting).map(|waiting| Action::Answer { at: at % nodes, waiting, end }));
        }
        Action::Hurry { at, millis } => {
            all.extend(numbers(millis).map(|millis| Action::Hurry { at: at % nodes, millis }));
        }
        Action::Lend { at, held } => {
            all.extend(numbers(held).map(|held| Action::Lend { at: at % nodes, held }));
        }
        Action::Revoke { at, lent } => {
            all.extend(numbers(lent).map(|lent| Action::Revoke { at: at % nodes, lent }));
        }
        _ => {}
    }
    all.push(action);
    all
}

fn references(reference: Ref) -> Vec<Ref> {
    match reference {
        Ref::Own => vec![],
        Ref::Root(0) => vec![Ref::Own],
        Ref::Root(_) => vec![Ref::Own, Ref::Root(0)],
        Ref::Held(held) => {
            let small = [0, 1, 2, 3].into_iter().filter(|small| *small < held).map(Ref::Held);
            [Ref::Own, Ref::Root(0)].into_iter().chain(small).collect()
        }
    }
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
