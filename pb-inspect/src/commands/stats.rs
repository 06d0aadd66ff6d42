//! The server's counters, and its methods with their rates.

use std::collections::HashMap;
use std::time::Duration;

use pb_server::inspect::{About, EndRow, InspectorRef, MethodRow, Query};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::lists::{Listed, again, gather, pause, rest, why};
use super::seconds;
use crate::cli::Listing;
use crate::error::Error;
use crate::link::Link;
use crate::out::{Out, many, micros, plain, time, to_json};
use crate::table::{Column, cut, table};

pub(super) async fn stats(listing: &Listing, over: f64) -> Result<(), Error> {
    let (over, pause) = (seconds(over, "to measure over")?.min(LONGEST), pause(listing)?);
    let link = Link::open(&listing.common).await?;
    let out = Out::of(&listing.common);
    loop {
        look(&out, &link, listing, over).await?;
        if !again(&out, pause).await? {
            return Ok(());
        }
    }
}

/// Prints what the server has done, and what of it in so long.
async fn look(out: &Out, link: &Link, listing: &Listing, over: Duration) -> Result<(), Error> {
    let all = Listing { limit: 0, offset: 0, ..listing.clone() };
    let before = match over.is_zero() {
        true => Vec::new(),
        false => gather::<MethodRow>(&link.inspector, &all).await?.0,
    };
    let began = Instant::now();
    tokio::time::sleep(over).await;
    let (rows, total) = gather::<MethodRow>(&link.inspector, listing).await?;
    let seconds = began.elapsed().as_secs_f64();
    let before: HashMap<_, _> = before.into_iter().map(|row| (row.method, row.calls)).collect();
    let rate = |row: &MethodRow| {
        let new = row.calls.saturating_sub(before.get(&row.method).copied().unwrap_or(0));
        if over.is_zero() { 0.0 } else { new as f64 / seconds }
    };
    let about = link.inspector.about().await?;
    let last = link.inspector.ended(Query { limit: 1, ..Query::default() }).await?.rows.into_iter().next();
    if out.json {
        let methods: Vec<_> = rows.iter().map(|row| with_rate(row, rate(row))).collect();
        return out.print_json(
            &json!({ "server": server(&about), "methods": methods, "last_ended": to_json(&last) }),
        );
    }
    let mut text = head(&about);
    text.extend(last.iter().map(|row| ending(row, out.width)));
    if rows.is_empty() {
        text.push_str(&format!("{}\n", MethodRow::NONE));
    } else {
        let cells = rows.iter().map(|row| {
            let mut cells = row.cells();
            cells.insert(2, format!("{:.1}", rate(row)));
            cells
        });
        text.push_str(&table(COLUMNS, cells.collect(), out.width));
        text.push_str(&rest(rows.len(), total, listing));
    }
    out.print(&text)
}

fn with_rate(row: &MethodRow, rate: f64) -> Json {
    let mut json = to_json(row);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("calls_per_second".to_owned(), json!((rate * 10.0).round() / 10.0));
    }
    json
}

/// As JSON, in which counts are numbers.
fn server(about: &About) -> Json {
    let mut json = to_json(about);
    for key in TOTALS {
        if let Some(count) = total(about, key) {
            json[key] = count.into();
        }
    }
    json
}

fn total(about: &About, key: &str) -> Option<u64> {
    let (_, text) = about.details.iter().find(|(known, _)| known == key)?;
    text.parse().ok()
}

/// Calls from when the server began, which the methods below do not have of those who have gone. An older server does not tell.
fn totals(about: &About) -> String {
    match TOTALS.map(|key| total(about, key)) {
        [Some(calls), Some(failed), Some(gone), Some(gone_failed)] => format!(
            "calls: {calls} so far, {failed} failed; {gone} of them, {gone_failed} failed, by clients that have gone\n"
        ),
        _ => String::new(),
    }
}

fn head(about: &About) -> String {
    let allows = if about.allows.is_empty() {
        "look".to_owned()
    } else {
        format!("look, {}", plain(&about.allows.join(", ")))
    };
    format!(
        "process {} at {}, pb-server {}, up {}; you may {allows}\nconnections: {} open, {} accepted, {} refused, {} without a hello, {} ended\n{}",
        about.process,
        plain(&about.listens.join(" ")),
        plain(&about.version),
        time(about.uptime_ms),
        about.open,
        about.accepted,
        about.refused,
        about.failed,
        about.ended,
        totals(about)
    )
}

/// What a server says of the calls that it has got: all, those that failed, and the same of clients that have gone.
const TOTALS: [&str; 4] = ["calls", "calls_failed", "ended_calls", "ended_calls_failed"];
/// How long rates are measured at the most.
const LONGEST: Duration = Duration::from_secs(3600);
/// The end of a connection in a line.
fn ending(row: &EndRow, width: usize) -> String {
    let (ago, lasted) = (time(row.ago_ms), time(row.lasted_ms));
    let held = many(row.objects, "object");
    let words = format!(
        "last ended: {} from {}, {ago} ago, after {lasted}, holding {held}: {}",
        row.connection,
        row.peer,
        why(row)
    );
    format!("{}\n", cut(&plain(&words), width))
}

const COLUMNS: &[Column] = &[
    Column::Left("METHOD"),
    Column::Right("CALLS"),
    Column::Right("PER S"),
    Column::Right("NOW"),
    Column::Right("OLDEST"),
    Column::Right("FAIL"),
    Column::Right("P50"),
    Column::Right("P99"),
    Column::Right("MAX"),
    Column::Left("FAILED AS"),
];

impl Listed for MethodRow {
    const COLUMNS: &'static [Column] = COLUMNS;
    const NONE: &'static str = "no calls by who is connected now";

    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error> {
        let page = inspector.methods(query).await?;
        Ok((page.rows, page.total, page.next))
    }

    fn cells(&self) -> Vec<String> {
        let own = (self.errors > 0).then(|| format!("App {}", self.errors));
        let kinds = self.failures_by_kind.iter().map(|(kind, count)| format!("{} {count}", plain(kind)));
        let kinds: Vec<_> = own.into_iter().chain(kinds).collect();
        let or_none = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), micros);
        vec![
            if self.method.is_empty() { "(others)".to_owned() } else { self.method.clone() },
            self.calls.to_string(),
            self.in_flight.to_string(),
            self.oldest_ms.map_or_else(|| "-".to_owned(), time),
            self.failed.to_string(),
            or_none(self.p50_us),
            or_none(self.p99_us),
            // 0 is no time where none was measured.
            or_none(self.p50_us.map(|_| self.max_us)),
            kinds.join(", "),
        ]
    }
}
