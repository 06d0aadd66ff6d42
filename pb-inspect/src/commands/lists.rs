//! The lists: objects, calls, connections.

use std::time::Duration;

use pb_server::inspect::{CallRow, ConnectionRow, EndRow, InspectorRef, ObjectRow, Query};
use serde::Serialize;

use super::{or_never, query, seconds};
use crate::cli::Listing;
use crate::error::Error;
use crate::link::Link;
use crate::out::{Out, bytes, many, short, time};
use crate::table::{Column, table};

/// Rows of a kind, from which list they come and how they look.
pub(crate) trait Listed: Serialize + Sized {
    const COLUMNS: &'static [Column];
    /// What stands there where there are none.
    const NONE: &'static str;
    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error>;
    fn cells(&self) -> Vec<String>;
}

pub(super) async fn objects(listing: &Listing) -> Result<(), Error> {
    list::<ObjectRow>(listing).await
}

pub(super) async fn calls(listing: &Listing) -> Result<(), Error> {
    list::<CallRow>(listing).await
}

pub(super) async fn connections(listing: &Listing) -> Result<(), Error> {
    list::<ConnectionRow>(listing).await
}

pub(super) async fn ended(listing: &Listing) -> Result<(), Error> {
    list::<EndRow>(listing).await
}

async fn list<R: Listed>(listing: &Listing) -> Result<(), Error> {
    let pause = pause(listing)?;
    let link = Link::open(&listing.common).await?;
    let out = Out::of(&listing.common);
    loop {
        let (rows, total) = gather::<R>(&link.inspector, listing).await?;
        print(&out, &rows, total, listing)?;
        if !again(&out, pause).await? {
            return Ok(());
        }
    }
}

/// How long to wait between two lists, where there is to be more than one.
///
/// # Errors
/// What was written is no time.
pub(super) fn pause(listing: &Listing) -> Result<Option<Duration>, Error> {
    let pause = listing.watch.map(|written| seconds(written, "between two lists")).transpose()?;
    Ok(pause.map(|pause| pause.clamp(SHORTEST, LONGEST)))
}

/// Waits until it is time for the next list; says whether there is one.
pub(super) async fn again(out: &Out, pause: Option<Duration>) -> Result<bool, Error> {
    let Some(pause) = pause else { return Ok(false) };
    tokio::time::sleep(pause).await;
    if !out.json {
        out.print("\n")?;
    }
    Ok(true)
}

/// As many rows as are asked for, page by page; and how many there are.
pub(super) async fn gather<R: Listed>(
    inspector: &InspectorRef,
    listing: &Listing,
) -> Result<(Vec<R>, u64), Error> {
    let most = if listing.limit == 0 { u64::MAX } else { listing.limit };
    let (mut rows, mut offset) = (Vec::new(), listing.offset);
    loop {
        let left = most - rows.len() as u64;
        let (page, total, next) = R::page(inspector, query(listing, offset, left)).await?;
        let is_more = !page.is_empty();
        rows.extend(page);
        match next {
            // Whatever a server says, a page without rows is the last.
            Some(next) if is_more && (rows.len() as u64) < most && next > offset => offset = next,
            _ => return Ok((rows, total)),
        }
    }
}

fn print<R: Listed>(out: &Out, rows: &[R], total: u64, listing: &Listing) -> Result<(), Error> {
    if out.json {
        return out.print_json(&rows);
    }
    if rows.is_empty() {
        return out.print(&format!("{}\n", R::NONE));
    }
    let mut text = table(R::COLUMNS, rows.iter().map(R::cells).collect(), out.width);
    text.push_str(&rest(rows.len(), total, listing));
    out.print(&text)
}

/// What stands below a list that there is more of.
pub(super) fn rest(shown: usize, total: u64, listing: &Listing) -> String {
    let shown = shown as u64;
    match listing.offset.saturating_add(shown) < total {
        true => format!("{shown} of {total}; -n 0 lists all\n"),
        false => String::new(),
    }
}

impl Listed for ObjectRow {
    const COLUMNS: &'static [Column] = &[
        Column::Right("ID"),
        Column::Left("TYPE"),
        Column::Left("INTERFACES"),
        Column::Right("HOLD"),
        Column::Right("REFS"),
        Column::Right("CALLS"),
        Column::Right("NOW"),
        Column::Right("FAIL"),
        Column::Right("AGE"),
        Column::Right("IDLE"),
        Column::Left("NOTE"),
    ];
    const NONE: &'static str = "no objects";

    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error> {
        let page = inspector.objects(query).await?;
        Ok((page.rows, page.total, page.next))
    }

    fn cells(&self) -> Vec<String> {
        let of = if self.type_name.is_empty() { format!("({})", self.kind) } else { short(&self.type_name) };
        vec![
            format!("@{}", self.id),
            of,
            self.interfaces.join(","),
            self.holders.to_string(),
            self.references.to_string(),
            self.calls.to_string(),
            self.in_flight.to_string(),
            self.failed.to_string(),
            time(self.age_ms),
            or_never(self.idle_ms),
            note(self),
        ]
    }
}

/// What is to be said of an object beside its numbers.
pub(super) fn note(row: &ObjectRow) -> String {
    // What broke it comes first: the rest may not be seen.
    let mut notes: Vec<String> = row.broken.iter().cloned().collect();
    if let Some((_, method)) = row.details.iter().find(|(key, _)| key == "given_by") {
        notes.push(format!("given by {method}"));
    }
    notes.extend(row.names.iter().cloned());
    if row.suspect {
        notes.push("never called".to_owned());
    }
    if row.kind != "local" && row.kind != "broken" && !row.type_name.is_empty() {
        notes.push(row.kind.clone());
    }
    notes.join(", ")
}

impl Listed for CallRow {
    const COLUMNS: &'static [Column] = &[
        Column::Left("CALL"),
        Column::Left("METHOD"),
        Column::Left("OBJECT"),
        Column::Left("STATE"),
        Column::Right("AGE"),
        Column::Right("LEFT"),
        Column::Left("CALLER"),
    ];
    const NONE: &'static str = "no calls in flight";

    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error> {
        let page = inspector.calls(query).await?;
        Ok((page.rows, page.total, page.next))
    }

    fn cells(&self) -> Vec<String> {
        let object = self.object.map_or_else(String::new, |id| format!("@{id} {}", short(&self.type_name)));
        let state = match (&self.waits_for, &self.forwarded_to) {
            (Some(call), _) => format!("queued behind {}/{call}", self.connection),
            (None, Some(to)) => format!("forwarded to {to}"),
            (None, None) => self.state.clone(),
        };
        vec![
            format!("{}/{}", self.connection, self.call),
            if self.method.is_empty() { "?".to_owned() } else { self.method.clone() },
            object.trim_end().to_owned(),
            state,
            time(self.age_ms),
            self.deadline_ms.map_or_else(|| "-".to_owned(), time),
            self.peer.clone(),
        ]
    }
}

impl Listed for ConnectionRow {
    const COLUMNS: &'static [Column] = &[
        Column::Right("CONN"),
        Column::Left("PEER"),
        Column::Right("AGE"),
        Column::Right("OBJECTS"),
        Column::Right("CALLS"),
        Column::Right("NOW"),
        Column::Right("FAIL"),
        Column::Right("IN"),
        Column::Right("OUT"),
        Column::Right("UNREAD"),
        Column::Left("NOTE"),
    ];
    const NONE: &'static str = "no connections";

    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error> {
        let page = inspector.connections(query).await?;
        Ok((page.rows, page.total, page.next))
    }

    fn cells(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.halted {
            notes.push("does not read".to_owned());
        }
        if self.owes > 0 {
            notes.push(format!("owes {}", many(self.owes, "answer")));
        }
        if self.held_up > 0 {
            notes.push(format!("held up {}x", self.held_up));
        }
        vec![
            self.connection.to_string(),
            self.peer.clone(),
            time(self.age_ms),
            self.objects.to_string(),
            self.calls.to_string(),
            self.in_flight.to_string(),
            self.failed.to_string(),
            bytes(self.bytes_in),
            bytes(self.bytes_out),
            bytes(self.unread_bytes),
            notes.join(", "),
        ]
    }
}

impl Listed for EndRow {
    const COLUMNS: &'static [Column] = &[
        Column::Right("CONN"),
        Column::Left("PEER"),
        Column::Right("ENDED"),
        Column::Right("LASTED"),
        Column::Right("OBJECTS"),
        Column::Left("WHY"),
    ];
    const NONE: &'static str = "no connection has ended since the server began";

    async fn page(inspector: &InspectorRef, query: Query) -> Result<(Vec<Self>, u64, Option<u64>), Error> {
        let page = inspector.ended(query).await?;
        Ok((page.rows, page.total, page.next))
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.connection.to_string(),
            self.peer.clone(),
            format!("{} ago", time(self.ago_ms)),
            time(self.lasted_ms),
            self.objects.to_string(),
            why(self),
        ]
    }
}

/// What has ended a connection, in words.
pub(super) fn why(row: &EndRow) -> String {
    let before = if row.greeted { "" } else { "before its hello: " };
    format!("{before}{}", row.reason)
}

/// Bounds of the pause between two lists.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(86_400);
