//! The runs of `shadow_graph` on real brokers: see `pb_tests::shadow::play_for_real`. `PB_SEED=n` plays one alone, `PB_SEEDS=n` so many.

use pb_tests::shadow::{Action, Action::*, End::*, How::*, Method::*, Ref::*, Run, hunt, play_for_real};

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
    plays(actions);
}

/// Of one client and one server.
fn plays(actions: Vec<Action>) {
    let run = Run { nodes: 2, links: vec![(0, 1)], small: false, actions };
    if let Err(wrong) = play_for_real(&run) {
        panic!("{wrong}");
    }
}

/// The references in an error were kept as long as somebody held the promise of the call's result, and that promise could be one of them: then
/// for good. Found by seed 251361 of the runs on tables.
#[test]
fn an_error_that_leads_to_its_own_calls_promise_is_let_go_with_the_deferred() {
    for (before, after) in [(false, false), (true, false), (false, true)] {
        let hold = |at, with| Call { at, how: Reference, method: Hold, on: Root(0), with: [with, None] };
        let mut actions = vec![
            hold(1, None),
            hold(0, None),
            Settle,
            Promise { at: 1, call: 0 },
            Promise { at: 0, call: 0 },
            // 0 learns only in the end that its first call gave what 1 has called for …
            Block { way: 1 },
            Answer { at: 1, waiting: 0, end: One(Held(0)) },
            hold(0, Some(Held(0))),
            Promise { at: 0, call: 1 },
            Settle,
            // … and 1 that this is the result of the second call, which fails with what it was given: that very reference.
            Block { way: 0 },
            Answer { at: 0, waiting: 0, end: One(Held(1)) },
            Answer { at: 1, waiting: 0, end: Error },
        ];
        if before {
            actions.push(Detach { at: 0, call: 1 });
        }
        actions.extend([Unblock { way: 0 }, Unblock { way: 1 }, Settle]);
        if after {
            actions.push(Cancel { at: 0, call: 1 });
        }
        plays(actions);
    }
}

/// A call that has ended kept what it was called on, which may lead to the call's own promise: as its caller has it, and as a middleman that
/// passed it on. Found by seed 4196.
#[test]
fn a_call_on_what_leads_to_its_own_result_fails_and_holds_nothing() {
    let hold = |at, on| Call { at, how: Reference, method: Hold, on, with: [None, None] };
    for (middle, method) in [(false, Open), (false, Hold), (true, Open), (true, Hold)] {
        let mut actions = vec![
            hold(1, Root(0)),
            Promise { at: 1, call: 0 },
            hold(0, Root(0)),
            Promise { at: 0, call: 0 },
            Call { at: 0, how: Reference, method, on: Held(0), with: [None, None] },
            Promise { at: 0, call: 1 },
            Settle,
            Block { way: 0 },
            Answer { at: 1, waiting: 0, end: One(Held(0)) },
            Answer { at: 0, waiting: 0, end: One(Held(1)) },
        ];
        if middle {
            actions.push(Block { way: 1 });
        }
        actions.extend([Unblock { way: 0 }, Settle]);
        plays(actions);
    }
}
