//! What happens in a server, a line an event.

use std::time::Duration;

use pb_server::inspect::{EventRow, EventsRef, Happened};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::summary::Summary;
use crate::cli::{Common, Wanted};
use crate::error::Error;
use crate::link::{Link, PATIENCE};
use crate::out::{Out, bytes, json_line, micros, plain, short, to_json};
use crate::table::cut;

/// Prints events until there were as many as are wanted, the time is over, or the server has gone; or what they sum up to.
pub(super) async fn watch(common: &Common, wanted: Wanted) -> Result<(), Error> {
    let Wanted { filter, events, own, count, seconds, summary } = wanted;
    let time = seconds.map(|written| super::seconds(written, "to watch")).transpose()?;
    let events = if summary { ENDS.map(str::to_owned).to_vec() } else { events };
    let link = Link::open(common).await?;
    let out = Out::of(common);
    let events = link.inspector.watch(filter, events, own).await?.within(PATIENCE);
    let left = if count == 0 { u64::MAX } else { count };
    if summary {
        return sum(&out, &events, left, time).await;
    }
    let printed = each(&events, left, |rows, lost, last_us| out.print(&text(&out, rows, lost, last_us)));
    match time {
        None => printed.await,
        Some(time) => tokio::time::timeout(time, printed).await.unwrap_or(Ok(())),
    }
}

/// Shows `with` the events that come, until there were so many: them, how many were lost behind them, and when the last one was.
///
/// # Errors
/// Those of `with`, or the server has gone.
async fn each(
    events: &EventsRef,
    mut left: u64,
    mut with: impl FnMut(&[EventRow], u64, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut last_us = 0;
    while left > 0 {
        let Happened { mut rows, lost } = events.next().await?;
        let whole = rows.len() as u64 <= left;
        rows.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= rows.len() as u64;
        last_us = rows.last().map_or(last_us, |row| row.time_us);
        with(&rows, if whole { lost } else { 0 }, last_us)?;
    }
    Ok(())
}

/// Adds the events up, and prints what they come to, however they end.
async fn sum(out: &Out, events: &EventsRef, left: u64, time: Option<Duration>) -> Result<(), Error> {
    let (began, mut summary) = (Instant::now(), Summary::default());
    let ended = {
        let added = each(events, left, |rows, lost, _| {
            rows.iter().for_each(|row| summary.add(row));
            summary.lose(lost);
            Ok(())
        });
        tokio::select! {
            ended = added => ended,
            () = super::ends_after(time) => Ok(()),
        }
    };
    let took = began.elapsed();
    if out.json {
        out.print_json(&summary.to_json(took))?;
    } else {
        out.print(&summary.lines(took, out.width))?;
    }
    ended
}

fn text(out: &Out, rows: &[EventRow], lost: u64, last_us: u64) -> String {
    let mut text = String::new();
    for row in rows {
        match out.json {
            true => text.push_str(&json_line(&with_lost(to_json(row), 0))),
            false => text.push_str(&line(row, out.width)),
        }
        text.push('\n');
    }
    if lost > 0 {
        match out.json {
            true => text.push_str(&json_line(&nothing_but(lost, last_us))),
            false => text.push_str(&format!(
                "{}  lost          {lost} events: they came faster than they were printed",
                time_of_day(last_us)
            )),
        }
        text.push('\n');
    }
    text
}

/// Every line of JSON has the same fields.
fn with_lost(mut row: Json, lost: u64) -> Json {
    if let Some(fields) = row.as_object_mut() {
        fields.insert("lost".to_owned(), json!(lost));
    }
    row
}

fn nothing_but(lost: u64, time_us: u64) -> Json {
    let mut row = json!({"event": "lost", "time_us": time_us, "lost": lost});
    for key in [
        "connection",
        "peer",
        "call",
        "method",
        "object",
        "type_name",
        "export",
        "bytes",
        "took_us",
        "failure",
        "reason",
    ] {
        row[key] = Json::Null;
    }
    row
}

/// One event, for people.
fn line(row: &EventRow, width: usize) -> String {
    let place = match row.call {
        Some(call) => format!("{}/{call}", row.connection),
        None => row.connection.to_string(),
    };
    let mut words = Vec::new();
    match row.event.as_str() {
        "connected" | "disconnected" => words.push(row.peer.clone()),
        "exported" | "released" | "revoked" => {
            words.extend(object(row));
            words.extend(row.method.as_ref().map(|method| format!("by {method}")));
        }
        _ => {
            words.push(row.method.clone().unwrap_or_else(|| "?".to_owned()));
            words.extend(object(row));
        }
    }
    words.extend(row.took_us.map(micros));
    words.extend(row.bytes.map(bytes));
    let said = match (row.failure.as_deref(), &row.reason) {
        (Some("App"), None) => Some("its own error".to_owned()),
        (Some(failure), Some(reason)) => Some(format!("{failure}: {reason}")),
        (Some(failure), None) => Some(failure.to_owned()),
        (None, reason) => reason.clone(),
    };
    words.extend(said);
    let line = format!("{}  {:<12}  {place:<8}  {}", time_of_day(row.time_us), row.event, words.join("  "));
    cut(&plain(&line), width)
}

fn object(row: &EventRow) -> Option<String> {
    let id = row.object?;
    let of = short(&row.type_name);
    Some(if of.is_empty() { format!("@{id}") } else { format!("@{id} {of}") })
}

/// Hours, minutes and seconds of a time since 1970 began, as in Greenwich.
pub(super) fn time_of_day(us: u64) -> String {
    let (seconds, ms) = (us / 1_000_000, us / 1000 % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// How calls end: what is summed up.
const ENDS: [&str; 2] = ["answered", "failed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_has_the_same_fields_as_an_event() {
        let row = EventRow {
            time_us: 1,
            event: "called".into(),
            connection: 1,
            peer: "p".into(),
            call: None,
            method: None,
            object: None,
            type_name: String::new(),
            export: None,
            bytes: None,
            took_us: None,
            failure: None,
            reason: None,
            details: Vec::new(),
        };
        let keys = |json: &Json| json.as_object().expect("a row").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&with_lost(to_json(&row), 0)), keys(&nothing_but(7, 1)));
    }

    #[test]
    fn times_are_of_the_day() {
        assert_eq!(time_of_day(1_700_000_000_123_456), "22:13:20.123");
    }
}
