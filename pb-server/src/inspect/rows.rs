//! Rows, as they go over the wire: every text bounded, and nothing in it that a terminal obeys.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use pb_core::MethodDescription;
use pb_core::broker::{Held, MethodUse};
use pb_core::objects::Reference;

use super::api::{
    Branch, CallRow, ConnectionRow, EndRow, Group, HolderRow, MethodRow, ObjectRow, SignatureRow,
};
use super::ids::Name;
use super::query::{Cell, Row, flag};
use super::snapshot::{Entry, Flying, millis, name_of};
use super::view::micros as since_1970;
use crate::departed::Departed;
use crate::guests::Resident;
use crate::statistics;

/// A text of somebody's, of which a terminal obeys nothing and which has at most 256 bytes.
pub(super) fn plain(text: &str) -> String {
    bounded(text, MOST_TEXT, char::is_control)
}

/// At most so many bytes of it and what the last character takes, without the characters that `is_odd`.
fn bounded(text: &str, most: usize, is_odd: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len().min(most));
    for char in text.chars() {
        if plain.len() >= most {
            plain.push('…');
            break;
        }
        match is_odd(char) {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}

pub(super) fn object(entry: &Entry, id: u64) -> ObjectRow {
    let (kind, type_name) = entry.facts();
    ObjectRow {
        id,
        kind: kind.to_owned(),
        type_name: plain(type_name),
        interfaces: entry.interfaces().iter().take(MOST_NAMES).map(|name| plain(name)).collect(),
        names: entry.names().iter().take(MOST_NAMES).map(|name| plain(name)).collect(),
        holders: entry.holders,
        references: entry.references,
        calls: entry.calls,
        in_flight: entry.in_flight,
        failed: entry.failed,
        age_ms: entry.age_ms,
        idle_ms: entry.idle_ms,
        suspect: entry.is_suspect(),
        broken: entry.broken().map(plain),
        details: entry.given_by().map(|method| ("given_by".to_owned(), plain(method))).into_iter().collect(),
    }
}

pub(super) fn bytes_of_object(row: &ObjectRow) -> usize {
    let texts = row.interfaces.iter().chain(&row.names).map(|text| text.len() + 4);
    let details = row.details.iter().map(|(key, text)| key.len() + text.len());
    256 + row.type_name.len()
        + texts.sum::<usize>()
        + row.broken.as_ref().map_or(0, String::len)
        + details.sum::<usize>()
}

pub(super) fn holder(resident: &Resident, held: &Held<Reference>) -> HolderRow {
    HolderRow {
        connection: resident.peer.number(),
        peer: plain(resident.peer.address()),
        export: held.id.0,
        references: held.mentions,
        age_ms: millis(held.age),
        given_by: held.by.as_ref().map(|text| plain(&text.name)),
        calls: held.calls,
        failed: held.failed,
        idle_ms: held.idle.map(millis),
        details: Vec::new(),
    }
}

pub(super) fn call(flying: &Flying) -> CallRow {
    CallRow {
        connection: flying.resident.peer.number(),
        call: flying.call.id.0,
        method: plain(&flying.method),
        object: flying.object,
        type_name: plain(flying.type_name),
        peer: plain(flying.resident.peer.address()),
        age_ms: millis(flying.call.age),
        deadline_ms: flying.deadline_ms,
        state: flying.state.to_owned(),
        waits_for: flying.call.waits_for.map(|id| id.0),
        forwarded_to: flying.forwarded_to.as_deref().map(plain),
        details: Vec::new(),
    }
}

pub(super) fn method(name: String, used: &MethodUse, in_flight: u64, oldest: Option<Duration>) -> MethodRow {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    MethodRow {
        method: plain(&name),
        calls: used.calls,
        errors: used.errors,
        failures: used.failures,
        failures_by_kind: used.kinds().map(|(kind, count)| (format!("{kind:?}"), count)).collect(),
        failed: used.errors.saturating_add(used.failures),
        in_flight,
        oldest_ms: oldest.map(millis),
        p50_us: used.quantile(50).map(micros),
        p99_us: used.quantile(99).map(micros),
        max_us: micros(used.longest),
        details: vec![("times_us".to_owned(), times(used))],
    }
}

/// What it takes on the wire, about.
pub(super) fn bytes_of_method(row: &MethodRow) -> usize {
    512 + row.method.len() + row.details.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>()
}

/// How many took less than so many microseconds, as `128:98 1048576:2`.
fn times(used: &MethodUse) -> String {
    let mut text = String::new();
    for (below, count) in used.times() {
        let space = if text.is_empty() { "" } else { " " };
        // A text takes whatever is written to it.
        let _ = write!(text, "{space}{below}:{count}");
    }
    text
}

pub(super) fn connection(resident: &Resident) -> ConnectionRow {
    let counters = resident.broker.counters();
    let backlog = resident.broker.backlog();
    let (sent, received) = (counters.sent, counters.received);
    let answered = sent.values + sent.errors + sent.failures.total();
    ConnectionRow {
        connection: resident.peer.number(),
        peer: plain(resident.peer.address()),
        listener: plain(resident.peer.listener()),
        age_ms: millis(resident.since.elapsed()),
        objects: counters.tables.exports as u64,
        imports: counters.tables.imports as u64,
        in_flight: received.calls.saturating_sub(answered),
        casts_in_flight: backlog.casts,
        calls: statistics::calls(&counters),
        errors: sent.errors,
        failures: sent.failures.total(),
        failed: statistics::failed(&counters),
        owes: sent.calls.saturating_sub(received.values + received.errors + received.failures.total()),
        bytes_in: received.bytes,
        bytes_out: sent.bytes,
        unread_bytes: backlog.unread_bytes,
        halted: backlog.halted,
        held_up: resident.broker.held_up(),
        details: [
            ("busy_waits_paid", counters.busy_waits.paid),
            ("busy_waits_in_vain", counters.busy_waits.in_vain),
        ]
        .map(|(key, count)| (key.to_owned(), count.to_string()))
        .into(),
    }
}

pub(super) fn end(departed: &Departed) -> EndRow {
    let at = departed.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    EndRow {
        connection: departed.peer.number(),
        peer: plain(departed.peer.address()),
        listener: plain(departed.peer.listener()),
        greeted: departed.greeted,
        time_us: since_1970(at),
        ago_ms: millis(departed.since.elapsed()),
        lasted_ms: millis(departed.lasted),
        objects: departed.objects,
        kind: departed.kind.name().to_owned(),
        reason: plain(&departed.reason),
        details: Vec::new(),
    }
}

/// What a connection holds, by type: of each an example with it, which has no number yet.
#[derive(Default)]
pub(super) struct Sums(HashMap<(&'static str, &'static str), (Group, Name, Option<Reference>)>);

impl Sums {
    pub(super) fn add(&mut self, held: &Held<Reference>, connection: u64) {
        let mut entry = Entry::new(name_of(held, connection), held.handle.as_ref().ok());
        entry.add(held);
        let (kind, type_name) = entry.facts();
        let sum = self.0.entry((kind, type_name)).or_insert_with(|| {
            let (kind, type_name) = (kind.to_owned(), plain(type_name));
            let group = Group { kind, type_name, objects: 0, example: 0, calls: 0, suspects: 0 };
            (group, entry.name, entry.reference.clone())
        });
        sum.0.objects += 1;
        sum.0.calls += entry.calls;
        sum.0.suspects += u64::from(entry.is_suspect());
    }

    /// Those with most objects first; `number` gives the examples theirs.
    pub(super) fn into_branch(
        self,
        resident: &Resident,
        number: impl Fn(Name, Option<&Reference>) -> u64,
    ) -> Branch {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by(|(one, ..), (other, ..)| {
            other.objects.cmp(&one.objects).then_with(|| one.type_name.cmp(&other.type_name))
        });
        groups.truncate(MOST_GROUPS);
        let groups = groups
            .into_iter()
            .map(|(group, name, reference)| Group { example: number(name, reference.as_ref()), ..group });
        let (connection, peer) = (resident.peer.number(), plain(resident.peer.address()));
        Branch { connection, peer, groups: groups.collect() }
    }
}

pub(super) fn bytes_of_branch(branch: &Branch) -> usize {
    branch.groups.iter().map(|group| 64 + group.kind.len() + group.type_name.len()).sum::<usize>()
        + branch.peer.len()
        + 32
}

/// Methods, as many as fit, with the beginnings of their doc comments.
pub(super) fn signatures<'a>(methods: impl Iterator<Item = &'a MethodDescription>) -> Vec<SignatureRow> {
    let mut left = MOST_SIGNATURES;
    let rows = methods.map(|method| SignatureRow {
        name: plain(&method.name),
        signature: bounded(&method.signature(), MOST_SIGNATURE, char::is_control),
        docs: bounded(&method.docs, MOST_DOCS, |char| char.is_control() && char != '\n'),
    });
    rows.take_while(|row| {
        let bytes = 16 + row.name.len() + row.signature.len() + row.docs.len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    })
    .collect()
}

impl Row for ConnectionRow {
    const KEYS: &'static [&'static str] = &[
        "connection",
        "peer",
        "listener",
        "age_ms",
        "objects",
        "imports",
        "in_flight",
        "casts_in_flight",
        "calls",
        "errors",
        "failures",
        "failed",
        "owes",
        "bytes_in",
        "bytes_out",
        "unread_bytes",
        "halted",
        "held_up",
    ];
    const SORT: &'static str = "connection";

    fn tie(&self) -> (u64, u64, &str) {
        (self.connection, 0, &self.listener)
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        match key {
            "connection" => Cell::Number(self.connection),
            "peer" => Cell::Text(&self.peer),
            "listener" => Cell::Text(&self.listener),
            "age_ms" => Cell::Number(self.age_ms),
            "objects" => Cell::Number(self.objects),
            "imports" => Cell::Number(self.imports),
            "in_flight" => Cell::Number(self.in_flight),
            "casts_in_flight" => Cell::Number(self.casts_in_flight),
            "calls" => Cell::Number(self.calls),
            "errors" => Cell::Number(self.errors),
            "failures" => Cell::Number(self.failures),
            "failed" => Cell::Number(self.failed),
            "owes" => Cell::Number(self.owes),
            "bytes_in" => Cell::Number(self.bytes_in),
            "bytes_out" => Cell::Number(self.bytes_out),
            "unread_bytes" => Cell::Number(self.unread_bytes),
            "halted" => flag(self.halted),
            "held_up" => Cell::Number(self.held_up),
            _ => Cell::None,
        }
    }
}

impl Row for EndRow {
    const KEYS: &'static [&'static str] = &[
        "connection",
        "peer",
        "listener",
        "greeted",
        "time_us",
        "ago_ms",
        "lasted_ms",
        "objects",
        "kind",
        "reason",
    ];
    const SORT: &'static str = "ago_ms";

    fn tie(&self) -> (u64, u64, &str) {
        (u64::MAX - self.connection, 0, &self.listener)
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        match key {
            "connection" => Cell::Number(self.connection),
            "peer" => Cell::Text(&self.peer),
            "listener" => Cell::Text(&self.listener),
            "greeted" => flag(self.greeted),
            "time_us" => Cell::Number(self.time_us),
            "ago_ms" => Cell::Number(self.ago_ms),
            "lasted_ms" => Cell::Number(self.lasted_ms),
            "objects" => Cell::Number(self.objects),
            "kind" => Cell::Text(&self.kind),
            "reason" => Cell::Text(&self.reason),
            _ => Cell::None,
        }
    }
}

const MOST_TEXT: usize = 256;
const MOST_SIGNATURE: usize = 4096;
const MOST_DOCS: usize = 4096;
/// Bytes of the signatures and doc comments of one object.
const MOST_SIGNATURES: usize = 256 << 10;
const MOST_NAMES: usize = 16;
const MOST_GROUPS: usize = 32;

#[cfg(test)]
mod tests {
    use pb_core::wire::shape::{Plain, Shape};

    use super::*;

    #[test]
    fn texts_are_bounded_and_hold_nothing_that_a_terminal_obeys() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        let long = plain(&"x".repeat(10_000));
        assert!(long.len() < MOST_TEXT + 8 && long.ends_with('…'), "{} bytes", long.len());
    }

    #[test]
    fn methods_are_listed_as_far_as_they_fit_with_the_beginnings_of_their_comments() {
        let method =
            |docs: String| MethodDescription::new("Shop/open", Shape::Plain(Plain::Unit)).documented(docs);
        let listed = signatures([method("one\ntwo\u{7}".into()), method("y".repeat(100_000))].iter());
        assert_eq!(listed[0].docs, "one\ntwo\\u{7}");
        assert!(listed[1].docs.len() < MOST_DOCS + 8);
        let many: Vec<_> = (0..1000).map(|_| method("z".repeat(4000))).collect();
        let listed = signatures(many.iter());
        let bytes: usize =
            listed.iter().map(|row| row.name.len() + row.signature.len() + row.docs.len()).sum();
        assert!(bytes <= MOST_SIGNATURES && listed.len() > 60, "{} rows, {bytes} bytes", listed.len());
    }
}
