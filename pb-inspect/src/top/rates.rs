//! Calls a second, and how long they took, made of two looks at the methods' counters.

use std::collections::{BTreeMap, HashMap, VecDeque};

use pb_server::inspect::MethodRow;
use tokio::time::Instant;

/// What was seen over time.
#[derive(Default)]
pub(super) struct Rates {
    before: Option<(Instant, HashMap<String, Seen>)>,
    /// Of each method, since the look before.
    per_second: HashMap<String, f64>,
    /// Newest last.
    past: VecDeque<Moment>,
}

struct Seen {
    calls: u64,
    times: BTreeMap<u64, u64>,
}

/// What lies between two looks.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Moment {
    pub(super) calls_per_second: f64,
    /// Nothing where none was measured.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
}

impl Rates {
    /// Another look. What has fallen, since somebody has left, counts as nothing.
    pub(super) fn look(&mut self, rows: &[MethodRow], now: Instant) {
        let seen: HashMap<String, Seen> =
            rows.iter().map(|row| (row.method.clone(), Seen::of(row))).collect();
        let Some((then, before)) = &self.before else {
            self.before = Some((now, seen));
            return;
        };
        let seconds = (now - *then).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let (mut calls, mut times) = (0, BTreeMap::<u64, u64>::new());
        self.per_second.clear();
        for (method, now) in &seen {
            let old = before.get(method);
            let new = now.calls.saturating_sub(old.map_or(0, |old| old.calls));
            calls = u64::saturating_add(calls, new);
            self.per_second.insert(method.clone(), new as f64 / seconds);
            for (below, count) in &now.times {
                let new =
                    count.saturating_sub(old.and_then(|old| old.times.get(below)).copied().unwrap_or(0));
                let count = times.entry(*below).or_default();
                *count = count.saturating_add(new);
            }
        }
        if self.past.len() == MOST_PAST {
            self.past.pop_front();
        }
        let (p50_us, p99_us) = (quantile(&times, 50), quantile(&times, 99));
        self.past.push_back(Moment { calls_per_second: calls as f64 / seconds, p50_us, p99_us });
        self.before = Some((now, seen));
    }

    /// It is another server now, or was not seen for a while.
    pub(super) fn forget(&mut self) {
        self.before = None;
        self.per_second.clear();
    }

    pub(super) fn of(&self, method: &str) -> Option<f64> {
        self.per_second.get(method).copied()
    }

    pub(super) fn last(&self) -> Option<Moment> {
        self.past.back().copied()
    }

    /// The last `most` moments, oldest first.
    pub(super) fn past(&self, most: usize) -> impl Iterator<Item = &Moment> {
        self.past.iter().skip(self.past.len().saturating_sub(most))
    }
}

impl Seen {
    fn of(row: &MethodRow) -> Seen {
        let text = row.details.iter().find(|(key, _)| key == "times_us").map_or("", |(_, text)| text);
        let class = |word: &str| {
            let (below, count) = word.split_once(':')?;
            Some((below.parse().ok()?, count.parse().ok()?))
        };
        Seen { calls: row.calls, times: text.split(' ').filter_map(class).collect() }
    }
}

/// The middle of the class within which that many of a hundred lie.
fn quantile(times: &BTreeMap<u64, u64>, of_hundred: u64) -> Option<u64> {
    let all = times.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let wanted = (u128::from(all) * u128::from(of_hundred)).div_ceil(100).max(1);
    let mut seen = 0_u128;
    let class = times.iter().find(|(_, count)| {
        seen += u128::from(**count);
        seen >= wanted
    });
    class.map(|(below, _)| below / 4 * 3)
}

/// Moments that are kept: as many as the widest screen has columns.
const MOST_PAST: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(method: &str, calls: u64, times: &str) -> MethodRow {
        MethodRow {
            method: method.into(),
            calls,
            errors: 0,
            failures: 0,
            failed: 0,
            failures_by_kind: Default::default(),
            in_flight: 0,
            oldest_ms: None,
            p50_us: None,
            p99_us: None,
            max_us: 0,
            details: vec![("times_us".into(), times.into())],
        }
    }

    #[test]
    fn rates_and_times_are_of_what_lies_between_two_looks() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        rates.look(&[row("a", 1_000, "1048576:1000")], now);
        assert_eq!(rates.last(), None);
        rates.look(
            &[row("a", 1_100, "128:100 1048576:1000"), row("b", 50, "16:50")],
            now + Duration::from_secs(2),
        );
        let last = rates.last().expect("two looks");
        assert_eq!(last, Moment { calls_per_second: 75.0, p50_us: Some(96), p99_us: Some(96) });
        assert_eq!((rates.of("a"), rates.of("b"), rates.of("c")), (Some(50.0), Some(25.0), None));
    }

    #[test]
    fn counters_that_fall_count_as_nothing() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        rates.look(&[row("a", 1_000, "16:9")], now);
        rates.look(&[row("a", 10, "16:1 nonsense 7 :")], now + Duration::from_secs(1));
        assert_eq!(rates.last(), Some(Moment::default()));
        rates.forget();
        rates.look(&[row("a", 5_000, "")], now + Duration::from_secs(2));
        assert_eq!(rates.past(10).count(), 1, "what another server counts is no rate");
    }

    #[test]
    fn counters_of_a_server_that_lies_add_up_to_no_more_than_there_is() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        rates.look(&[row("a", 0, ""), row("b", 0, "")], now);
        let most = format!("16:{0} 16:{0}", u64::MAX);
        rates.look(&[row("a", u64::MAX, &most), row("b", u64::MAX, &most)], now + Duration::from_secs(1));
        assert!(rates.last().is_some_and(|last| last.calls_per_second >= 1e19 && last.p50_us == Some(12)));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        (0..2_000).for_each(|at| rates.look(&[row("a", at, "")], now + Duration::from_secs(at)));
        assert_eq!((rates.past(usize::MAX).count(), rates.past(3).count()), (MOST_PAST, 3));
    }
}
