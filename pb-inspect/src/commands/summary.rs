//! How often, and how fast, each method of each object was answered while somebody watched.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use pb_server::inspect::EventRow;
use serde_json::{Value as Json, json};

use crate::out::{micros, short, time};
use crate::table::{Column, table};

/// What the ends of calls come to. It keeps some kilobytes for each method of an object, of 10,000 at the most; all others are counted together.
#[derive(Default)]
pub(super) struct Summary {
    of: HashMap<Of, Ended>,
    lost: u64,
}

/// One method of one object; nothing where that is not known, or is one of too many.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
struct Of {
    object: Option<u64>,
    type_name: String,
    method: Option<String>,
}

#[derive(Default, Debug)]
struct Ended {
    calls: u64,
    errors: u64,
    failures: u64,
    max_us: u64,
    times: Times,
}

/// How many took how long, in classes that are an eighth of their times wide.
#[derive(Default, Debug)]
struct Times(BTreeMap<u32, u64>);

impl Summary {
    /// A call has ended.
    pub(super) fn add(&mut self, row: &EventRow) {
        let of = Of { object: row.object, type_name: row.type_name.clone(), method: row.method.clone() };
        let is_one_of_many = self.of.len() >= MOST && !self.of.contains_key(&of);
        let ended = self.of.entry(if is_one_of_many { Of::default() } else { of }).or_default();
        ended.calls += 1;
        match row.failure.as_deref() {
            None => {}
            Some("App") => ended.errors += 1,
            Some(_) => ended.failures += 1,
        }
        if let Some(us) = row.took_us {
            ended.max_us = ended.max_us.max(us);
            ended.times.add(us);
        }
    }

    /// So many were not told.
    pub(super) fn lose(&mut self, lost: u64) {
        self.lost = self.lost.saturating_add(lost);
    }

    /// Those with most calls first.
    fn sorted(&self) -> Vec<(&Of, &Ended)> {
        let mut all: Vec<_> = self.of.iter().collect();
        all.sort_by(|(one, of_one), (other, of_other)| {
            of_other.calls.cmp(&of_one.calls).then_with(|| one.cmp(other))
        });
        all
    }

    pub(super) fn to_json(&self, took: Duration) -> Json {
        let row = |(of, ended): (&Of, &Ended)| {
            json!({
                "object": of.object,
                "type_name": of.type_name,
                "method": of.method,
                "calls": ended.calls,
                "calls_per_second": (rate(ended.calls, took) * 10.0).round() / 10.0,
                "errors": ended.errors,
                "failures": ended.failures,
                "failed": ended.errors + ended.failures,
                "p50_us": ended.quantile(50),
                "p99_us": ended.quantile(99),
                "max_us": ended.max_us,
            })
        };
        let methods: Vec<Json> = self.sorted().into_iter().map(row).collect();
        json!({ "watched_ms": millis(took), "lost": self.lost, "methods": methods })
    }

    /// For people: those of which most can be read.
    pub(super) fn lines(&self, took: Duration, width: usize) -> String {
        let all = self.sorted();
        let mut text = match all.is_empty() {
            true => format!("no calls have ended in {}\n", time(millis(took))),
            false => {
                let rows = all.iter().take(SHOWN).map(|(of, ended)| cells(of, ended, took));
                table(COLUMNS, rows.collect(), width)
            }
        };
        if all.len() > SHOWN {
            text.push_str(&format!(
                "{SHOWN} of {}; --json prints all, -f 'object=@12' watches one\n",
                all.len()
            ));
        }
        if self.lost > 0 {
            text.push_str(&format!(
                "{} calls more are not counted: they came faster than they were told\n",
                self.lost
            ));
        }
        text
    }
}

fn cells(of: &Of, ended: &Ended, took: Duration) -> Vec<String> {
    let object = of.object.map_or_else(|| "-".to_owned(), |id| format!("@{id} {}", short(&of.type_name)));
    let or_none = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), micros);
    vec![
        object,
        of.method.clone().unwrap_or_else(|| "?".to_owned()),
        ended.calls.to_string(),
        format!("{:.1}", rate(ended.calls, took)),
        (ended.errors + ended.failures).to_string(),
        or_none(ended.quantile(50)),
        or_none(ended.quantile(99)),
        or_none(ended.quantile(50).map(|_| ended.max_us)),
    ]
}

fn rate(calls: u64, took: Duration) -> f64 {
    if took.is_zero() { 0.0 } else { calls as f64 / took.as_secs_f64() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Ended {
    /// No longer than the longest, whose class may go further.
    fn quantile(&self, of_hundred: u64) -> Option<u64> {
        self.times.quantile(of_hundred).map(|us| us.min(self.max_us))
    }
}

impl Times {
    fn add(&mut self, us: u64) {
        *self.0.entry(class(us)).or_default() += 1;
    }

    /// What so many of a hundred took at the most, to an eighth more.
    fn quantile(&self, of_hundred: u64) -> Option<u64> {
        let all: u64 = self.0.values().sum();
        let wanted = (u128::from(all) * u128::from(of_hundred)).div_ceil(100).max(1);
        let mut seen = 0_u128;
        let found = self.0.iter().find(|(_, count)| {
            seen += u128::from(**count);
            seen >= wanted
        });
        found.map(|(class, _)| longest(*class))
    }
}

/// Up to 16 each time has its class, and between two powers of two above there are eight.
fn class(us: u64) -> u32 {
    match us.checked_ilog2() {
        Some(power @ 4..) => 16 + (power - 4) * 8 + ((us >> (power - 3)) & 7) as u32,
        _ => us as u32,
    }
}

/// The longest time of a class.
fn longest(class: u32) -> u64 {
    match class.checked_sub(16) {
        None => class.into(),
        Some(above) => {
            let longest = (u128::from(9 + above % 8) << (above / 8 + 1)) - 1;
            u64::try_from(longest).unwrap_or(u64::MAX)
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::Left("OBJECT"),
    Column::Left("METHOD"),
    Column::Right("CALLS"),
    Column::Right("PER S"),
    Column::Right("FAIL"),
    Column::Right("P50"),
    Column::Right("P99"),
    Column::Right("MAX"),
];
/// Methods of objects that are counted apart.
const MOST: usize = 10_000;
/// Lines of a table.
const SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(object: u64, method: &str, took_us: u64, failure: Option<&str>) -> EventRow {
        EventRow {
            time_us: 1,
            event: if failure.is_some() { "failed" } else { "answered" }.into(),
            connection: 1,
            peer: "p".into(),
            call: Some(1),
            method: Some(method.into()),
            object: Some(object),
            type_name: "bank::Account".into(),
            export: None,
            bytes: None,
            took_us: Some(took_us),
            failure: failure.map(str::to_owned),
            reason: None,
            details: Vec::new(),
        }
    }

    #[test]
    fn classes_follow_each_other_and_are_an_eighth_wide() {
        let ends =
            (0..64).flat_map(|power| [1_u64 << power, (1 << power) - 1, (1 << power) + (1 << power) / 3]);
        for us in (0..5_000).chain(ends).chain([u64::MAX]) {
            let class = class(us);
            assert!(
                longest(class) >= us && longest(class) - us <= us / 8,
                "{us} is in a class up to {}",
                longest(class)
            );
            assert!(class == 0 || longest(class - 1) < us, "{us} is not in the class before");
        }
    }

    #[test]
    fn each_object_has_its_times_and_what_failed() {
        let mut summary = Summary::default();
        (1..=100).for_each(|us| summary.add(&ended(12, "Account/deposit", us * 1000, None)));
        summary.add(&ended(13, "Account/deposit", 7, Some("App")));
        summary.add(&ended(13, "Account/deposit", 9, Some("Cancelled")));
        summary.lose(5);
        let json = summary.to_json(Duration::from_secs(10));
        assert_eq!((&json["watched_ms"], &json["lost"]), (&json!(10_000), &json!(5)));
        let [slow, other] = json["methods"].as_array().expect("a list").as_slice() else { panic!("{json}") };
        let us = |row: &Json, key: &str| row[key].as_u64().expect("a time");
        assert!((50_000..=56_250).contains(&us(slow, "p50_us")), "{slow}");
        assert!((99_000..=100_000).contains(&us(slow, "p99_us")), "no more than the longest: {slow}");
        assert_eq!(
            (us(slow, "max_us"), &slow["calls_per_second"], &slow["object"]),
            (100_000, &json!(10.0), &json!(12))
        );
        assert_eq!(
            (&other["calls"], &other["errors"], &other["failures"]),
            (&json!(2), &json!(1), &json!(1))
        );
        let lines = summary.lines(Duration::from_secs(10), 80);
        assert!(lines.contains("@12 Account") && lines.contains("5 calls more are not counted"), "{lines}");
        assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    }

    #[test]
    fn of_too_many_objects_those_beyond_are_counted_together() {
        let mut summary = Summary::default();
        (0..2 * MOST as u64).for_each(|id| summary.add(&ended(id, "Account/deposit", 1, None)));
        assert_eq!(summary.of.len(), MOST + 1);
        assert_eq!(summary.of[&Of::default()].calls, MOST as u64);
        let lines = summary.lines(Duration::from_secs(1), usize::MAX);
        assert_eq!(lines.lines().count(), 1 + SHOWN + 1, "{lines}");
    }
}
