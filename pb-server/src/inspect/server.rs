//! The inspector: read-only but for what it was granted, and with no lock of its own around anybody's code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::{Held, MethodUse, NotStopped};
use pb_core::message::{ExportId, FailureKind, Ran};
use pb_core::objects::{Leads, Reference, Shown};
use pb_core::{AnyRef, Failure, Names, Referenceable, Stub};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::api::*;
use super::events::{Watched, Watching};
use super::frames::{Recorded, Recording};
use super::grants::Grants;
use super::ids::{Ids, Name};
use super::query::{Cell, Plan, Row};
use super::rows;
use super::snapshot::{
    Entry, Flying, ROOT, count_flying, each_held, entries, entry, flying, flying_by_method, millis,
};
use super::view::View;
use crate::guests::{Guests, Resident, Viewer};
use crate::statistics::{self, Meter};

/// What looks into one server.
#[derive(Referenceable)]
#[referenceable(crate = pb_core)]
pub(crate) struct Looking {
    pub(super) guests: Arc<Guests>,
    /// The inspector's own.
    pub(super) own: Arc<Guests>,
    pub(super) names: Names,
    /// The root, where all have the same.
    pub(super) root: Option<Reference>,
    pub(super) meter: Meter,
    pub(super) grants: Grants,
    pub(super) listens: Vec<String>,
    pub(super) since: Instant,
    pub(super) ids: Arc<Ids>,
    /// Lists that are made at one time.
    pub(super) lists: Semaphore,
    /// Objects whose fields are read at one time.
    pub(super) readers: Arc<Semaphore>,
    /// Who may watch or record.
    pub(super) viewers: Arc<Semaphore>,
}

impl Looking {
    /// The connections that are looked at.
    fn residents(&self, own: bool) -> Vec<Arc<Resident>> {
        let mut all = self.guests.all();
        if own {
            all.extend(self.own.all());
        }
        all
    }

    /// Lets `viewer` look on, as long as what this returns is kept.
    pub(super) fn view<V: Viewer + 'static>(
        &self,
        viewer: Arc<V>,
        own: bool,
    ) -> Result<View<V>, InspectError> {
        let place = Arc::clone(&self.viewers).try_acquire_owned();
        let place = place.map_err(|_| InspectError::TooMany { most: super::MOST_VIEWERS as u64 })?;
        let mut of = vec![Arc::clone(&self.guests)];
        of.extend(own.then(|| Arc::clone(&self.own)));
        Ok(View::new(viewer, of, place))
    }

    fn may(&self, allowed: bool, right: &str) -> Result<(), InspectError> {
        if allowed { Ok(()) } else { Err(InspectError::NotAllowed { right: right.to_owned() }) }
    }

    fn published(&self) -> Vec<(Box<str>, Reference)> {
        let mut published = self.names.entries();
        published.extend(self.root.iter().map(|root| (ROOT.into(), root.clone())));
        published
    }

    fn number_of(&self, entry: &Entry) -> u64 {
        self.ids.number(entry.name, entry.reference.as_ref())
    }

    fn number_call(&self, call: &mut Flying) {
        let on = call.call.on.as_ref();
        call.object = on.map(|on| self.ids.number(Name::Lives(on.key()), Some(on)));
    }

    fn is_open(&self, connection: u64) -> bool {
        self.guests.find(connection).is_some() || self.own.find(connection).is_some()
    }

    /// The object with that number, also where only the inspector's own connections hold it: `own` says whether these count. `with` is called for each mention of it in the
    /// tables of those that do.
    fn find(
        &self,
        id: u64,
        own: bool,
        with: impl FnMut(&Arc<Resident>, &Held<Reference>),
    ) -> Result<Entry, InspectError> {
        let gone = InspectError::NoObject { id };
        let kept = self.ids.keep(id).ok_or_else(|| gone.clone())?;
        let found = entry(&self.residents(own), &self.published(), kept.name, with);
        let only_own = || entry(&self.own.all(), &[], kept.name, |_, _| {}).map(Entry::unheld);
        found.or_else(only_own).ok_or(gone)
    }

    /// What a local object can be called by. It tells that by itself, without its own code.
    async fn signatures(&self, entry: &Entry) -> Vec<SignatureRow> {
        let Some(reference) = entry.reference.clone().filter(|_| entry.facts().0 == "local") else {
            return Vec::new();
        };
        let object = AnyRef::from_reference(reference);
        match timeout(READING, object.remote().describe()).await {
            Ok(Ok(description)) => {
                rows::signatures(description.interfaces.iter().flat_map(|interface| &interface.methods))
            }
            _ => Vec::new(),
        }
    }

    /// What the object shows of itself, read on a thread that may wait.
    async fn fields(&self, entry: &Entry) -> Result<Vec<FieldRow>, String> {
        let shows = entry.reference.as_ref().and_then(|reference| match reference.leads() {
            Leads::Local(object) => Some(Arc::clone(object)),
            Leads::Promise(promise) => {
                match promise.lent().map(|lent| lent.end()).as_ref().map(Reference::leads) {
                    Some(Leads::Local(object)) => Some(Arc::clone(object)),
                    _ => None,
                }
            }
            _ => None,
        });
        let Some(object) = shows else { return Ok(Vec::new()) };
        let permit = Arc::clone(&self.readers).try_acquire_owned();
        let permit = permit.map_err(|_| "the fields of too many other objects are being read".to_owned())?;
        let read = tokio::task::spawn_blocking(move || {
            let mut shown = Shown::default();
            object.inspect(&mut shown);
            drop(permit);
            shown.into_fields()
        });
        match timeout(READING, read).await {
            Ok(Ok(fields)) => {
                let row = |field: pb_core::objects::ShownField| FieldRow {
                    name: field.name.to_owned(),
                    value: field.value,
                    cut: field.cut,
                };
                Ok(fields.into_iter().map(row).collect())
            }
            Ok(Err(_)) => Err("reading them failed".to_owned()),
            Err(_) => Err(format!("reading them took longer than {} s", READING.as_secs())),
        }
    }
}

impl Inspector for Looking {
    async fn about(&self) -> About {
        let (residents, seen) = self.guests.all_beside(|| self.meter.read());
        let (mut calls, mut failed) = (seen.ended_calls, seen.ended_failed);
        for resident in residents {
            let counters = resident.broker.counters();
            calls = calls.saturating_add(statistics::calls(&counters));
            failed = failed.saturating_add(statistics::failed(&counters));
        }
        let totals = [
            ("calls", calls),
            ("calls_failed", failed),
            ("ended_calls", seen.ended_calls),
            ("ended_calls_failed", seen.ended_failed),
        ];
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            uptime_ms: millis(self.since.elapsed()),
            listens: self.listens.clone(),
            open: seen.open as u64,
            accepted: seen.accepted,
            refused: seen.refused,
            failed: seen.failed,
            ended: seen.ended,
            allows: self.grants.words(),
            details: totals.map(|(key, count)| (key.to_owned(), count.to_string())).into(),
        }
    }

    async fn objects(&self, query: Query) -> Result<Objects, InspectError> {
        let plan = Plan::of::<Entry>(&query)?;
        let (by_id, by_interfaces) = (plan.names("id"), plan.names("interfaces"));
        let _turn = self.lists.acquire().await;
        self.ids.tidy(|connection| self.is_open(connection));
        let all = entries(&self.residents(query.own), self.published()).await;
        let asked = all.map(|mut entry| {
            if by_id {
                entry.id = self.number_of(&entry);
            }
            if by_interfaces {
                entry.ask_interfaces();
            }
            entry
        });
        let (mut found, total, next) = plan.page(asked.filter(|entry| plan.meets(entry)).collect());
        found.iter_mut().for_each(Entry::ask_interfaces);
        let mut rows: Vec<_> = found.iter().map(|entry| rows::object(entry, self.number_of(entry))).collect();
        let next = plan.cut(&mut rows, next, rows::bytes_of_object);
        Ok(Objects { rows, total, next })
    }

    async fn object(&self, id: u64, own: bool) -> Result<ObjectDetail, InspectError> {
        let mut holders = Vec::new();
        self.ids.tidy(|connection| self.is_open(connection));
        let mut entry = self.find(id, own, |resident, held| holders.push(rows::holder(resident, held)))?;
        count_flying(&self.residents(own), &mut entry).await;
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.references));
        holders.truncate(MOST_HOLDERS);
        let (fields, no_fields) = match self.fields(&entry).await {
            Ok(fields) => (fields, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let methods = self.signatures(&entry).await;
        let row = rows::object(&entry, id);
        Ok(ObjectDetail { row, fields, no_fields, methods, holders, details: Vec::new() })
    }

    async fn calls(&self, query: Query) -> Result<Calls, InspectError> {
        let plan = Plan::of::<Flying>(&query)?;
        let by_object = plan.names("object");
        self.ids.tidy(|connection| self.is_open(connection));
        let wanted = |call: &mut Flying| {
            if by_object {
                self.number_call(call);
            }
            plan.meets(call)
        };
        let all = flying(&self.residents(query.own), wanted).await;
        let (mut found, total, next) = plan.page(all);
        // What is not shown needs no number.
        found.iter_mut().for_each(|call| self.number_call(call));
        let mut rows: Vec<_> = found.iter().map(rows::call).collect();
        let next = plan.cut(&mut rows, next, |row| row.method.len() + row.type_name.len() + 256);
        Ok(Calls { rows, total, next })
    }

    async fn methods(&self, query: Query) -> Result<Methods, InspectError> {
        let plan = Plan::of::<MethodRow>(&query)?;
        let residents = self.residents(query.own);
        let mut all: HashMap<String, (MethodUse, u64, Option<Duration>)> = HashMap::new();
        for resident in &residents {
            for used in resident.broker.method_uses() {
                let name = used.method.as_ref().map_or(String::new(), |text| text.name.to_string());
                match all.entry(name) {
                    std::collections::hash_map::Entry::Vacant(place) => {
                        place.insert((used, 0, None));
                    }
                    std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().0.add(&used),
                }
            }
        }
        for (name, flying) in flying_by_method(&residents).await {
            let of = all.entry(name).or_insert_with(|| (MethodUse::none(flying.method), 0, None));
            (of.1, of.2) = (flying.count, Some(flying.oldest));
        }
        let tell = |(name, (used, in_flight, oldest))| rows::method(name, &used, in_flight, oldest);
        let all = all.into_iter().map(tell);
        let (mut rows, total, next) = plan.page(all.filter(|row| plan.meets(row)).collect());
        let next = plan.cut(&mut rows, next, rows::bytes_of_method);
        Ok(Methods { rows, total, next })
    }

    async fn connections(&self, query: Query) -> Result<Connections, InspectError> {
        let plan = Plan::of::<ConnectionRow>(&query)?;
        let all = self.residents(query.own).into_iter().map(|resident| rows::connection(&resident));
        let (mut rows, total, next) = plan.page(all.filter(|row| plan.meets(row)).collect());
        let next = plan.cut(&mut rows, next, |row| row.peer.len() + row.listener.len() + 256);
        Ok(Connections { rows, total, next })
    }

    async fn ended(&self, query: Query) -> Result<Endings, InspectError> {
        let plan = Plan::of::<EndRow>(&query)?;
        let all = self.guests.ends().into_iter().map(|end| rows::end(&end));
        let (mut rows, total, next) = plan.page(all.filter(|row| plan.meets(row)).collect());
        let next = plan.cut(&mut rows, next, |row| row.peer.len() + row.listener.len() + 512);
        Ok(Endings { rows, total, next })
    }

    async fn tree(&self, own: bool, offset: u64) -> Tree {
        self.ids.tidy(|connection| self.is_open(connection));
        let residents = self.residents(own);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(residents.len());
        let (mut branches, mut bytes) = (Vec::new(), 0);
        for resident in &residents[from..] {
            if bytes >= MOST_TREE {
                break;
            }
            let connection = resident.peer.number();
            let mut sums = rows::Sums::default();
            each_held(resident, |held| sums.add(&held, connection)).await;
            let branch = sums.into_branch(resident, |name, reference| self.ids.number(name, reference));
            bytes += rows::bytes_of_branch(&branch);
            branches.push(branch);
        }
        let next = from + branches.len();
        Tree { branches, next: (next < residents.len()).then_some(next as u64) }
    }

    async fn reference(&self, id: u64) -> Result<AnyRef, InspectError> {
        self.may(self.grants.call, "call")?;
        let entry = self.find(id, true, |_, _| {})?;
        entry.reference.map(AnyRef::from_reference).ok_or(InspectError::NoObject { id })
    }

    async fn number(&self, object: AnyRef) -> Result<u64, InspectError> {
        let reference = object.as_reference().followed();
        Ok(self.ids.number(Name::Lives(reference.key()), Some(&reference)))
    }

    async fn cancel(&self, connection: u64, call: i64) -> Result<(), InspectError> {
        self.may(self.grants.cancel, "cancel")?;
        let none = InspectError::NoCall { connection, call };
        let resident = self.guests.find(connection).ok_or_else(|| none.clone())?;
        let failure = Failure::new(FailureKind::Cancelled, Ran::Maybe, "an operator has stopped the call");
        match resident.broker.stop_call(ExportId(call), failure) {
            Ok(()) => Ok(()),
            Err(NotStopped::Ended) => Err(none),
            Err(NotStopped::RunsToEnd) => Err(InspectError::RunsToEnd { connection, call }),
        }
    }

    async fn watch(
        &self,
        filter: Vec<String>,
        events: Vec<String>,
        own: bool,
    ) -> Result<EventsRef, InspectError> {
        let (guests, others) = (Arc::clone(&self.guests), Arc::clone(&self.own));
        let open = move |connection| guests.find(connection).is_some() || others.find(connection).is_some();
        let watching = Watching::of(filter, &events, Arc::clone(&self.ids), open)?;
        Ok(EventsRef::new(Watched::new(self.view(Arc::new(watching), own)?)))
    }

    async fn record(&self, connections: Vec<u64>, bodies: bool) -> Result<FramesRef, InspectError> {
        if bodies {
            self.may(self.grants.bodies, "record bodies")?;
        }
        let recording = Recording::of(connections, bodies);
        Ok(FramesRef::new(Recorded::new(self.view(Arc::new(recording), false)?)))
    }

    async fn revoke(&self, id: u64, reason: String) -> Result<u64, InspectError> {
        self.may(self.grants.revoke, "revoke")?;
        let gone = InspectError::NoObject { id };
        let kept = self.ids.keep(id).ok_or_else(|| gone.clone())?;
        let mut found = Vec::new();
        let held = entry(&self.guests.all(), &self.published(), kept.name, |resident, held| {
            if held.handle.is_ok() {
                found.push((Arc::clone(resident), held.id));
            }
        });
        held.ok_or(gone)?;
        let reason: String = reason.chars().filter(|char| !char.is_control()).take(MOST_REASON).collect();
        found.iter().for_each(|(resident, export)| resident.broker.break_held(*export, &reason));
        found.dedup_by_key(|(resident, _)| resident.peer.number());
        Ok(found.len() as u64)
    }
}

impl Row for MethodRow {
    const KEYS: &'static [&'static str] = &[
        "method",
        "calls",
        "errors",
        "failures",
        "failed",
        "in_flight",
        "oldest_ms",
        "p50_us",
        "p99_us",
        "max_us",
    ];
    const SORT: &'static str = "-calls";

    fn tie(&self) -> (u64, u64, &str) {
        (0, 0, &self.method)
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        match key {
            "method" => Cell::Text(&self.method),
            "calls" => Cell::Number(self.calls),
            "errors" => Cell::Number(self.errors),
            "failures" => Cell::Number(self.failures),
            "in_flight" => Cell::Number(self.in_flight),
            "failed" => Cell::Number(self.failed),
            "oldest_ms" => self.oldest_ms.map_or(Cell::None, Cell::Number),
            "p50_us" => self.p50_us.map_or(Cell::None, Cell::Number),
            "p99_us" => self.p99_us.map_or(Cell::None, Cell::Number),
            "max_us" => Cell::Number(self.max_us),
            _ => Cell::None,
        }
    }
}

/// How long the fields of one object may take to be read.
const READING: Duration = Duration::from_secs(2);
const MOST_HOLDERS: usize = 200;
/// Bytes of a tree, but for the last branch's.
const MOST_TREE: usize = 512 << 10;
/// Characters of the reason that holders of what was revoked are told.
const MOST_REASON: usize = 160;
