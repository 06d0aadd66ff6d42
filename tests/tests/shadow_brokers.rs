//! The runs of `shadow_graph` on real brokers: see `pb_tests::shadow::play_for_real`. `PB_SEED=n` plays one alone, `PB_SEEDS=n` so many.

use pb_tests::shadow::{Action::*, End::One, How::*, Method::*, Ref::*, Run, hunt, play_for_real};

/// Runs of the usual test.
const SEEDS: u64 = 300;

#[test]
fn every_call_on_real_brokers_reaches_what_the_shadow_says_and_every_object_is_freed() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    if let Some(seed) = number("PB_SEED") {
        hunt(seed..seed + 1, play_for_real);
        return;
    }
    let seeds = number("PB_SEEDS").unwrap_or(SEEDS);
    let tally = hunt(1..seeds + 1, play_for_real);
    eprintln!("{seeds} runs: {} calls, {} arrived", tally.calls, tally.arrived);
    if seeds >= SEEDS {
        assert!(tally.arrived > 5_000, "runs in which little happens prove little: {tally:?}");
    }
}

/// Found by seed 876: a promise that settled to the result of a call which waited for that very promise left the call, and what was given to
/// those behind it, in memory for good.
#[test]
fn a_call_that_waits_for_itself_in_one_process_fails_and_holds_nothing() {
    let call = |how, method, on, with| Call { at: 0, how, method, on, with };
    let actions = vec![
        call(Reference, Hold, Own, [None, None]),
        Promise { at: 0, call: 0 },
        call(Reference, Open, Held(0), [None, None]),
        Promise { at: 0, call: 1 },
        call(Value, Keep, Held(1), [Some(Own), None]),
        Settle,
        Answer { at: 0, waiting: 0, end: One(Held(1)) },
        Settle,
    ];
    let run = Run { nodes: 2, links: vec![(0, 1)], small: false, actions };
    if let Err(wrong) = play_for_real(&run) {
        panic!("{wrong}");
    }
}
