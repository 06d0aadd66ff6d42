//! The runs of `shadow_graph` on real brokers: see `pb_tests::shadow::play_for_real`. `PB_SEED=n` plays one alone, `PB_SEEDS=n` so many.

use pb_tests::shadow::{hunt, play_for_real};

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
