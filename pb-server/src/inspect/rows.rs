//! Rows, as they go over the wire: every text bounded, and nothing in it that a terminal obeys.

use std::collections::HashMap;

use pb_core::broker::{Held, MethodUse};
use pb_core::objects::Reference;

use super::api::{Branch, CallRow, ConnectionRow, Group, HolderRow, MethodRow, ObjectRow};
use super::query::{Cell, Row, flag};
use super::snapshot::{Entry, Flying, millis};
use crate::guests::Resident;

/// A text of somebody's, of which a terminal obeys nothing and which has at most 256 bytes.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len().min(MOST_TEXT));
    for char in text.chars() {
        if plain.len() >= MOST_TEXT {
            plain.push('…');
            break;
        }
        match char.is_control() {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}

pub(super) fn object(entry: &Entry, id: u64) -> ObjectRow {
    ObjectRow {
        id,
        kind: entry.kind.to_owned(),
        type_name: plain(entry.type_name),
        interfaces: entry.interfaces.iter().take(MOST_NAMES).map(|name| plain(name)).collect(),
        names: entry.names.iter().take(MOST_NAMES).map(|name| plain(name)).collect(),
        holders: entry.holders,
        references: entry.references,
        calls: entry.calls,
        in_flight: entry.in_flight,
        failed: entry.failed,
        age_ms: millis(entry.age),
        idle_ms: entry.idle.map(millis),
        suspect: entry.is_suspect(),
        broken: entry.broken.as_deref().map(plain),
        details: Vec::new(),
    }
}

pub(super) fn bytes_of_object(row: &ObjectRow) -> usize {
    let texts = row.interfaces.iter().chain(&row.names).map(|text| text.len() + 4);
    256 + row.type_name.len() + texts.sum::<usize>() + row.broken.as_ref().map_or(0, String::len)
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

pub(super) fn method(name: String, used: &MethodUse, in_flight: u64) -> MethodRow {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    MethodRow {
        method: plain(&name),
        calls: used.calls,
        errors: used.errors,
        failures: used.failures,
        in_flight,
        p50_us: used.quantile(50).map(micros),
        p99_us: used.quantile(99).map(micros),
        max_us: micros(used.longest),
        details: Vec::new(),
    }
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
        calls: received.calls + received.casts,
        errors: sent.errors,
        failures: sent.failures.total(),
        bytes_in: received.bytes,
        bytes_out: sent.bytes,
        unread_bytes: backlog.unread_bytes,
        halted: backlog.halted,
        held_up: resident.broker.held_up(),
        details: Vec::new(),
    }
}

pub(super) fn branch(resident: &Resident, all: &[Entry], number: impl Fn(&Entry) -> u64) -> Branch {
    let mut groups: HashMap<(&str, &str), (Group, &Entry)> = HashMap::new();
    for entry in all {
        let known = groups.entry((entry.kind, entry.type_name)).or_insert_with(|| {
            let (kind, type_name) = (entry.kind.to_owned(), plain(entry.type_name));
            (Group { kind, type_name, objects: 0, example: 0, calls: 0, suspects: 0 }, entry)
        });
        known.0.objects += 1;
        known.0.calls += entry.calls;
        known.0.suspects += u64::from(entry.is_suspect());
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|(one, _), (other, _)| {
        other.objects.cmp(&one.objects).then_with(|| one.type_name.cmp(&other.type_name))
    });
    groups.truncate(MOST_GROUPS);
    let groups = groups.into_iter().map(|(group, entry)| Group { example: number(entry), ..group }).collect();
    Branch { connection: resident.peer.number(), peer: plain(resident.peer.address()), groups }
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
            "bytes_in" => Cell::Number(self.bytes_in),
            "bytes_out" => Cell::Number(self.bytes_out),
            "unread_bytes" => Cell::Number(self.unread_bytes),
            "halted" => flag(self.halted),
            "held_up" => Cell::Number(self.held_up),
            _ => Cell::None,
        }
    }
}

const MOST_TEXT: usize = 256;
const MOST_NAMES: usize = 16;
const MOST_GROUPS: usize = 32;
