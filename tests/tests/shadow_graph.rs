//! Random programs on two to five brokers, beside plain pointers: see `pb_tests::shadow`. `PB_SEED=n` plays one run alone, `PB_SEEDS=n` so many.

use pb_tests::shadow::{hunt, play};

/// Runs of the usual test.
const SEEDS: u64 = 2000;

#[test]
fn every_call_reaches_what_the_shadow_says_and_nothing_is_left() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    if let Some(seed) = number("PB_SEED") {
        hunt(seed..seed + 1, play);
        return;
    }
    let seeds = number("PB_SEEDS").unwrap_or(SEEDS);
    let tally = hunt(1..seeds + 1, play);
    eprintln!("{seeds} runs: {tally:?}");
    if seeds >= SEEDS {
        // Runs in which little happens prove little.
        let enough =
            tally.passed_on > 1000 && tally.embargoes > 200 && tally.cancels > 1000 && tally.circles > 5;
        let new = tally.late > 200 && tally.revoked > 200;
        assert!(enough && new && tally.arrived > 20_000, "{tally:?}");
    }
}
