//! All objects at one time: gathered from the connections' tables piece by piece, and told apart by what they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::{Held, InFlight};
use pb_core::message::{Cause, ExportId, Failure, FailureKind, MethodText};
use pb_core::objects::{Leads, Reference};

use super::ids::Name;
use super::query::{Cell, Row, flag};
use crate::guests::Resident;

/// An object with what its holders do with it, added up. There may be a million of them at a time: what few have, or few ask for, is not in it.
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) reference: Option<Reference>,
    pub(super) holders: u64,
    pub(super) references: u64,
    pub(super) calls: u64,
    pub(super) in_flight: u64,
    pub(super) failed: u64,
    pub(super) age_ms: u64,
    pub(super) idle_ms: Option<u64>,
    /// The number, where the question was for that.
    pub(super) id: u64,
    more: Option<Box<More>>,
}

/// What is kept of few.
#[derive(Default)]
struct More {
    names: Vec<String>,
    broken: Option<String>,
    /// Of what is broken: the method whose answer gave it.
    given_by: Option<Arc<MethodText>>,
    interfaces: Vec<String>,
}

impl Entry {
    pub(super) fn new(name: Name, reference: Option<&Reference>) -> Entry {
        Entry {
            name,
            reference: reference.cloned(),
            holders: 0,
            references: 0,
            calls: 0,
            in_flight: 0,
            failed: 0,
            age_ms: 0,
            idle_ms: None,
            id: 0,
            more: None,
        }
    }

    pub(super) fn add(&mut self, held: &Held<Reference>) {
        self.holders += 1;
        self.references += held.mentions;
        self.calls += held.calls;
        self.failed += held.failed;
        self.age_ms = self.age_ms.max(millis(held.age));
        self.idle_ms = match (self.idle_ms, held.idle.map(millis)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Err(cause) = &held.handle {
            let more = self.more();
            more.broken = Some(reason(cause));
            more.given_by.clone_from(&held.by);
        }
        if held.id.0 == 0 {
            self.call_it(ROOT);
        }
    }

    /// Forgets who holds it, and what these have done with it.
    pub(super) fn unheld(self) -> Entry {
        Entry { holders: 0, references: 0, calls: 0, failed: 0, age_ms: 0, idle_ms: None, ..self }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn call_it(&mut self, name: &str) {
        let names = &mut self.more().names;
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }

    /// Asks the object for its interfaces, which are not known before.
    pub(super) fn ask_interfaces(&mut self) {
        if let Some(all) = self.reference.as_ref().map(interfaces)
            && !all.is_empty()
        {
            self.more().interfaces = all;
        }
    }

    pub(super) fn interfaces(&self) -> &[String] {
        self.more.as_ref().map_or(&[], |more| &more.interfaces)
    }

    pub(super) fn names(&self) -> &[String] {
        self.more.as_ref().map_or(&[], |more| &more.names)
    }

    pub(super) fn broken(&self) -> Option<&str> {
        self.more.as_ref()?.broken.as_deref()
    }

    /// The method whose answer gave it, of what is broken, since nothing else is left of that.
    pub(super) fn given_by(&self) -> Option<&str> {
        Some(&self.more.as_ref()?.given_by.as_ref()?.name)
    }

    /// What it is, and its Rust type.
    pub(super) fn facts(&self) -> (&'static str, &'static str) {
        self.reference.as_ref().map_or(("broken", ""), |reference| facts(reference, false))
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.references > 0
            && self.calls == 0
            && u128::from(self.age_ms) >= SUSPECT.as_millis()
            && self.broken().is_none()
    }
}

/// What a reference leads to, as far as this process knows: what that is, and its Rust type.
pub(super) fn facts(reference: &Reference, lent: bool) -> (&'static str, &'static str) {
    match reference.leads() {
        Leads::Local(object) => (if lent { "lent" } else { "local" }, object.type_name()),
        Leads::Distant(_) => (if lent { "lent" } else { "forwarded" }, ""),
        Leads::Broken(_) => ("broken", ""),
        Leads::Promise(promise) if !lent => match promise.lent() {
            Some(target) => facts(&target.end(), true),
            None => ("promise", ""),
        },
        Leads::Promise(_) => ("lent", ""),
    }
}

fn interfaces(reference: &Reference) -> Vec<String> {
    match reference.leads() {
        Leads::Local(object) => object.interfaces(),
        Leads::Promise(promise) => match promise.lent().map(|target| target.end()) {
            Some(end) => match end.leads() {
                Leads::Local(object) => object.interfaces(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        Leads::Distant(_) | Leads::Broken(_) => Vec::new(),
    }
}

/// What broke it in the first place: that the reference is broken is known.
fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Broker(Failure { kind: FailureKind::Broken, cause: Some(first), .. }) => reason(first),
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

/// Goes through the calls of one connection, in the same way. The ring that they mostly are in is one piece, so each is there once.
async fn each_flying(resident: &Resident, mut with: impl FnMut(InFlight<Reference>)) {
    let mut from = None;
    loop {
        let (piece, next) = resident.broker.in_flight(from, PIECE);
        let is_any = !piece.is_empty();
        piece.into_iter().for_each(&mut with);
        from = next;
        if is_any || from.is_some() {
            tokio::task::yield_now().await;
        }
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
) -> impl Iterator<Item = Entry> + use<> {
    let mut all: HashMap<Name, Entry> = HashMap::new();
    for resident in residents {
        let connection = resident.peer.number();
        each_held(resident, |held| {
            let name = name_of(&held, connection);
            all.entry(name).or_insert_with(|| Entry::new(name, held.handle.as_ref().ok())).add(&held);
        })
        .await;
        each_flying(resident, |call| {
            if let Some(entry) = call.on.as_ref().and_then(|on| all.get_mut(&Name::Lives(on.key()))) {
                entry.in_flight += 1;
            }
        })
        .await;
    }
    for (published, reference) in published {
        let reference = reference.followed();
        let name = Name::Lives(reference.key());
        all.entry(name).or_insert_with(|| Entry::new(name, Some(&reference))).call_it(&published);
    }
    all.into_values()
}

/// One of them, found without looking through the others, nor through the calls: [`count_flying`] does. `with` is called for each mention of it.
/// Nothing where nobody holds it and it is not published.
pub(super) fn entry(
    residents: &[Arc<Resident>],
    published: &[(Box<str>, Reference)],
    name: Name,
    mut with: impl FnMut(&Arc<Resident>, &Held<Reference>),
) -> Option<Entry> {
    let mut found: Option<Entry> = None;
    for resident in residents {
        for held in held_by(resident, name) {
            found.get_or_insert_with(|| Entry::new(name, held.handle.as_ref().ok())).add(&held);
            with(resident, &held);
        }
    }
    for (published, reference) in published {
        let reference = reference.followed();
        if Name::Lives(reference.key()) == name {
            found.get_or_insert_with(|| Entry::new(name, Some(&reference))).call_it(published);
        }
    }
    let mut found = found?;
    found.ask_interfaces();
    Some(found)
}

/// Counts the calls that are in flight on one object.
pub(super) async fn count_flying(residents: &[Arc<Resident>], entry: &mut Entry) {
    let name = entry.name;
    let on_it = |on: &Reference| Name::Lives(on.key()) == name;
    for resident in residents {
        each_flying(resident, |call| entry.in_flight += u64::from(call.on.as_ref().is_some_and(on_it))).await;
    }
}

fn held_by(resident: &Resident, name: Name) -> Vec<Held<Reference>> {
    match name {
        Name::Lives(key) => resident.broker.held_as(key),
        Name::Broken(connection, id) if connection == resident.peer.number() => {
            resident.broker.held_at(ExportId(id)).into_iter().collect()
        }
        Name::Broken(..) => Vec::new(),
    }
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
        "given_by",
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
            "kind" => Cell::Text(self.facts().0),
            "type_name" => Cell::Type(self.facts().1),
            "interfaces" => Cell::Texts(self.interfaces()),
            "names" => Cell::Texts(self.names()),
            "holders" => Cell::Number(self.holders),
            "references" => Cell::Number(self.references),
            "calls" => Cell::Number(self.calls),
            "in_flight" => Cell::Number(self.in_flight),
            "failed" => Cell::Number(self.failed),
            "age_ms" => Cell::Number(self.age_ms),
            "idle_ms" => self.idle_ms.map_or(Cell::None, Cell::Number),
            "suspect" => flag(self.is_suspect()),
            "given_by" => self.given_by().map_or(Cell::None, Cell::Text),
            "broken" => self.broken().map_or(Cell::None, Cell::Text),
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
            "type_name" => Cell::Type(self.type_name),
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

/// The calls of these connections that are `wanted`.
pub(super) async fn flying(
    residents: &[Arc<Resident>],
    mut wanted: impl FnMut(&mut Flying) -> bool,
) -> Vec<Flying> {
    let mut all = Vec::new();
    for resident in residents {
        let halted = resident.broker.backlog().halted;
        each_flying(resident, |call| {
            let mut call = fly(resident, residents, call, halted);
            if wanted(&mut call) {
                all.push(call);
            }
        })
        .await;
    }
    all
}

/// How many calls of each method there are; an empty name stands for those that have no number.
pub(super) async fn flying_by_method(residents: &[Arc<Resident>]) -> HashMap<String, InFlightOf> {
    let mut all: HashMap<String, InFlightOf> = HashMap::new();
    for resident in residents {
        each_flying(resident, |call| {
            let name = call.method.as_ref().map_or("", |text| &*text.name);
            match all.get_mut(name) {
                Some(of) => {
                    of.count += 1;
                    of.oldest = of.oldest.max(call.age);
                }
                None => {
                    let of = InFlightOf { count: 1, oldest: call.age, method: call.method };
                    all.insert(of.method.as_ref().map_or(String::new(), |text| text.name.to_string()), of);
                }
            }
        })
        .await;
    }
    all
}

/// Calls of one method.
pub(super) struct InFlightOf {
    pub(super) count: u64,
    pub(super) oldest: Duration,
    pub(super) method: Option<Arc<MethodText>>,
}

/// `halted`: who calls does not read, so that none of its calls is started.
fn fly(
    resident: &Arc<Resident>,
    residents: &[Arc<Resident>],
    call: InFlight<Reference>,
    halted: bool,
) -> Flying {
    let held_back = call.in_line && halted;
    // What has not started is not passed on either.
    let target = call.on.as_ref().filter(|_| !held_back);
    let forwarded_to = target.and_then(|on| forwarded(&on.end(), residents));
    let state = match () {
        () if call.given_up => "stopping",
        () if call.waits_for.is_some() => "queued",
        () if held_back => "held back",
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
/// Objects, or places of calls, that are looked at in one turn of a connection's lock: some 100 microseconds.
const PIECE: usize = 1024;
/// What has been held for so long and was never called may be forgotten.
const SUSPECT: Duration = Duration::from_secs(60);
