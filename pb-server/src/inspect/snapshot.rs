//! All objects at one time: gathered from the connections' tables piece by piece, and told apart by what they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::{Held, InFlight};
use pb_core::message::Cause;
use pb_core::objects::{Leads, Reference};

use super::ids::Name;
use super::query::{Cell, Row, flag};
use crate::guests::Resident;

/// An object with what its holders do with it, added up.
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) kind: &'static str,
    pub(super) type_name: &'static str,
    pub(super) interfaces: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) reference: Option<Reference>,
    pub(super) holders: u64,
    pub(super) references: u64,
    pub(super) calls: u64,
    pub(super) in_flight: u64,
    pub(super) failed: u64,
    pub(super) age: Duration,
    pub(super) idle: Option<Duration>,
    pub(super) broken: Option<String>,
    /// The number, where the question was for that.
    pub(super) id: u64,
}

impl Entry {
    fn new(name: Name, reference: Option<&Reference>) -> Entry {
        let (kind, type_name, interfaces) =
            reference.map_or(("broken", "", Vec::new()), |reference| facts(reference, false));
        Entry {
            name,
            kind,
            type_name,
            interfaces,
            names: Vec::new(),
            reference: reference.cloned(),
            holders: 0,
            references: 0,
            calls: 0,
            in_flight: 0,
            failed: 0,
            age: Duration::ZERO,
            idle: None,
            broken: None,
            id: 0,
        }
    }

    fn add(&mut self, held: &Held<Reference>) {
        self.holders += 1;
        self.references += held.mentions;
        self.calls += held.calls;
        self.failed += held.failed;
        self.age = self.age.max(held.age);
        self.idle = match (self.idle, held.idle) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Err(cause) = &held.handle {
            self.broken = Some(reason(cause));
        }
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.references > 0 && self.calls == 0 && self.broken.is_none() && self.age >= SUSPECT
    }
}

/// What a reference leads to, as far as this process knows.
pub(super) fn facts(reference: &Reference, lent: bool) -> (&'static str, &'static str, Vec<String>) {
    match reference.leads() {
        Leads::Local(object) => {
            (if lent { "lent" } else { "local" }, object.type_name(), object.interfaces())
        }
        Leads::Distant(_) => (if lent { "lent" } else { "forwarded" }, "", Vec::new()),
        Leads::Broken(_) => ("broken", "", Vec::new()),
        Leads::Promise(promise) if !lent => match promise.lent() {
            Some(target) => facts(&target.end(), true),
            None => ("promise", "", Vec::new()),
        },
        Leads::Promise(_) => ("lent", "", Vec::new()),
    }
}

fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Broker(failure) => failure.to_string(),
        Cause::App(_) => "its method failed".to_owned(),
    }
}

/// Goes through what one connection holds, a piece of it in a turn of its lock.
pub(super) async fn each_held(resident: &Resident, mut with: impl FnMut(Held<Reference>)) {
    let mut from = None;
    loop {
        let (piece, next) = resident.broker.held(from, PIECE);
        piece.into_iter().for_each(&mut with);
        // Others have their turn, and what was let go is dropped here, under no lock.
        tokio::task::yield_now().await;
        from = next;
        if from.is_none() {
            return;
        }
    }
}

pub(super) fn name_of(held: &Held<Reference>, connection: u64) -> Name {
    match &held.handle {
        Ok(reference) => Name::Lives(reference.key()),
        Err(_) => Name::Broken(connection, held.id.0),
    }
}

/// The objects that these connections hold and those that are published.
pub(super) async fn entries(
    residents: &[Arc<Resident>],
    published: Vec<(Box<str>, Reference)>,
) -> Vec<Entry> {
    let mut all: HashMap<Name, Entry> = HashMap::new();
    for resident in residents {
        let connection = resident.peer.number();
        each_held(resident, |held| {
            let name = name_of(&held, connection);
            let reference = held.handle.as_ref().ok();
            let entry = all.entry(name).or_insert_with(|| Entry::new(name, reference));
            entry.add(&held);
            if held.id.0 == 0 && entry.names.is_empty() {
                entry.names.push(ROOT.to_owned());
            }
        })
        .await;
        for call in resident.broker.in_flight() {
            if let Some(entry) = call.on.as_ref().and_then(|on| all.get_mut(&Name::Lives(on.key()))) {
                entry.in_flight += 1;
            }
        }
    }
    for (published, reference) in published {
        let reference = reference.followed();
        let name = Name::Lives(reference.key());
        let entry = all.entry(name).or_insert_with(|| Entry::new(name, Some(&reference)));
        if entry.names.iter().all(|name| **name != *published) {
            entry.names.push(published.into());
        }
    }
    all.into_values().collect()
}

impl Row for Entry {
    const KEYS: &'static [&'static str] = &[
        "id",
        "kind",
        "type_name",
        "interfaces",
        "names",
        "holders",
        "references",
        "calls",
        "in_flight",
        "failed",
        "age_ms",
        "idle_ms",
        "suspect",
        "broken",
    ];
    const SORT: &'static str = "-calls";

    fn tie(&self) -> (u64, u64, &str) {
        match self.name {
            Name::Lives(key) => (key.object as u64, key.facet as u64, ""),
            Name::Broken(connection, id) => (connection, id.unsigned_abs(), "broken"),
        }
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        match key {
            "id" => Cell::Number(self.id),
            "kind" => Cell::Text(self.kind),
            "type_name" => Cell::Text(self.type_name),
            "interfaces" => Cell::Texts(&self.interfaces),
            "names" => Cell::Texts(&self.names),
            "holders" => Cell::Number(self.holders),
            "references" => Cell::Number(self.references),
            "calls" => Cell::Number(self.calls),
            "in_flight" => Cell::Number(self.in_flight),
            "failed" => Cell::Number(self.failed),
            "age_ms" => Cell::Number(millis(self.age)),
            "idle_ms" => self.idle.map_or(Cell::None, |idle| Cell::Number(millis(idle))),
            "suspect" => flag(self.is_suspect()),
            "broken" => self.broken.as_deref().map_or(Cell::None, Cell::Text),
            _ => Cell::None,
        }
    }
}

/// A call with who made it.
pub(super) struct Flying {
    pub(super) resident: Arc<Resident>,
    pub(super) call: InFlight<Reference>,
    pub(super) method: String,
    pub(super) type_name: &'static str,
    pub(super) forwarded_to: Option<String>,
    pub(super) state: &'static str,
    pub(super) deadline_ms: Option<u64>,
    /// The object's number, where it is asked for.
    pub(super) object: Option<u64>,
}

impl Row for Flying {
    const KEYS: &'static [&'static str] = &[
        "connection",
        "call",
        "method",
        "object",
        "type_name",
        "peer",
        "age_ms",
        "deadline_ms",
        "state",
        "waits_for",
        "forwarded_to",
    ];
    const SORT: &'static str = "-age_ms";

    fn tie(&self) -> (u64, u64, &str) {
        (self.resident.peer.number(), self.call.id.0.unsigned_abs(), self.resident.peer.listener())
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        match key {
            "connection" => Cell::Number(self.resident.peer.number()),
            "call" => Cell::Number(self.call.id.0.unsigned_abs()),
            "method" => Cell::Text(&self.method),
            "object" => self.object.map_or(Cell::None, Cell::Number),
            "type_name" => Cell::Text(self.type_name),
            "peer" => Cell::Text(self.resident.peer.address()),
            "age_ms" => Cell::Number(millis(self.call.age)),
            "deadline_ms" => self.deadline_ms.map_or(Cell::None, Cell::Number),
            "state" => Cell::Text(self.state),
            "waits_for" => self.call.waits_for.map_or(Cell::None, |id| Cell::Number(id.0.unsigned_abs())),
            "forwarded_to" => self.forwarded_to.as_deref().map_or(Cell::None, Cell::Text),
            _ => Cell::None,
        }
    }
}

/// All calls of these connections.
pub(super) fn flying(residents: &[Arc<Resident>]) -> Vec<Flying> {
    let mut all = Vec::new();
    for resident in residents {
        all.extend(resident.broker.in_flight().into_iter().map(|call| fly(resident, residents, call)));
    }
    all
}

fn fly(resident: &Arc<Resident>, residents: &[Arc<Resident>], call: InFlight<Reference>) -> Flying {
    let forwarded_to = call.on.as_ref().and_then(|on| forwarded(&on.end(), residents));
    let state = match () {
        () if call.given_up => "stopping",
        () if call.waits_for.is_some() => "queued",
        () if forwarded_to.is_some() => "forwarded",
        () if call.can_stop => "waiting",
        () => "starting",
    };
    let now = tokio::time::Instant::now().into_std();
    let deadline_ms = call.deadline.map(|deadline| millis(deadline.saturating_duration_since(now)));
    let type_name = call.on.as_ref().map_or("", |on| facts(on, false).1);
    let method = call.method.as_ref().map_or(String::new(), |text| text.name.to_string());
    Flying {
        resident: Arc::clone(resident),
        call,
        method,
        type_name,
        forwarded_to,
        state,
        deadline_ms,
        object: None,
    }
}

/// Where a reference leads that is another peer's.
fn forwarded(reference: &Reference, residents: &[Arc<Resident>]) -> Option<String> {
    let Leads::Distant(distant) = reference.leads() else { return None };
    let (address, id) = (distant.line().address(), distant.id().0);
    let resident = residents.iter().find(|resident| resident.broker.address() == address);
    Some(resident.map_or_else(
        || format!("object {id} of a server that this process has connected to"),
        |resident| format!("object {id} of connection {}", resident.peer.number()),
    ))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What roots are called, whatever else they are published as.
pub(super) const ROOT: &str = "root";
/// Objects that are looked at in one turn of a connection's lock: some 100 microseconds.
const PIECE: usize = 1024;
/// What has been held for so long and was never called may be forgotten.
const SUSPECT: Duration = Duration::from_secs(60);
