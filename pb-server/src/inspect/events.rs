//! What happens, as it happens, for those who watch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pb_core::broker::{End, Happening, Onlooker, Witness};
use pb_core::message::MethodText;
use pb_core::objects::Reference;
use pb_core::{Failure, Referenceable};

use super::api::{EventRow, Events, Happened, InspectError, Query};
use super::ids::{Ids, Name};
use super::query::{Cell, Plan, Row};
use super::rows::plain;
use super::view::{Clock, View, micros};
use crate::guests::Viewer;
use crate::peer::Peer;

/// What one who watches wants to see, and what has happened of it that he has not asked for.
pub(super) struct Watching {
    kinds: [bool; KINDS.len()],
    plan: Plan,
    ids: Arc<Ids>,
    /// Whether a connection of that number is open.
    open: Box<dyn Fn(u64) -> bool + Send + Sync>,
    clock: Clock,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    lost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connected,
    Disconnected,
    Called,
    Answered,
    Failed,
    Exported,
    Released,
    Revoked,
}

/// In the order of their declaration.
const KINDS: [&str; 8] =
    ["connected", "disconnected", "called", "answered", "failed", "exported", "released", "revoked"];

/// An event before it is told.
struct Event {
    time_us: u64,
    kind: Kind,
    peer: Peer,
    call: Option<i64>,
    method: Option<Arc<MethodText>>,
    object: Option<u64>,
    type_name: &'static str,
    export: Option<i64>,
    bytes: Option<u64>,
    took_us: Option<u64>,
    failure: Option<&'static str>,
    reason: Option<Box<str>>,
}

impl Watching {
    /// # Errors
    /// A condition that is none, or a kind of event that there is not.
    pub(super) fn of(
        filter: Vec<String>,
        events: &[String],
        ids: Arc<Ids>,
        open: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Result<Watching, InspectError> {
        let plan = Plan::of::<Event>(&Query { filter, ..Query::default() })?;
        let mut kinds = [events.is_empty(); KINDS.len()];
        for text in events {
            let wrong = || InspectError::Event { text: text.clone(), events: KINDS.join(", ") };
            let at = KINDS.iter().position(|kind| kind == text).ok_or_else(wrong)?;
            kinds[at] = true;
        }
        Ok(Watching { kinds, plan, ids, open: Box::new(open), clock: Clock::start(), ring: Mutex::default() })
    }

    /// Keeps an event, if it is wanted and there is room. `of` leads to its object.
    fn take(&self, mut event: Event, of: Option<&Reference>) {
        let number = || of.map(|of| self.ids.number(Name::Lives(of.key()), Some(of)));
        if self.plan.names("object") {
            event.object = number();
        }
        if !self.plan.meets(&event) {
            return;
        }
        let mut ring = self.lock();
        if ring.events.len() >= MOST_EVENTS || ring.lost > 0 {
            // Those behind are told when it is known how many are missing.
            ring.lost += 1;
            return;
        }
        event.object = event.object.or_else(number);
        ring.events.push_back(event);
    }

    /// What has happened, up to where something was lost.
    fn drain(&self) -> Option<Happened> {
        // What was told of has a number, and its memory is kept for that.
        self.ids.tidy(&self.open);
        let mut ring = self.lock();
        let count = ring.events.len().min(MOST_ROWS);
        let events: Vec<_> = ring.events.drain(..count).collect();
        let lost = if ring.events.is_empty() { std::mem::take(&mut ring.lost) } else { 0 };
        drop(ring);
        let rows: Vec<_> = events.into_iter().map(Event::row).collect();
        (!rows.is_empty() || lost > 0).then_some(Happened { rows, lost })
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, kind: Kind) -> bool {
        self.kinds[kind as usize]
    }

    fn event(&self, kind: Kind, peer: &Peer) -> Event {
        Event {
            time_us: self.clock.now_us(),
            kind,
            peer: peer.clone(),
            call: None,
            method: None,
            object: None,
            type_name: "",
            export: None,
            bytes: None,
            took_us: None,
            failure: None,
            reason: None,
        }
    }
}

impl Viewer for Watching {
    fn seat(self: Arc<Self>, peer: &Peer) -> Option<Onlooker> {
        let within =
            [Kind::Called, Kind::Answered, Kind::Failed, Kind::Exported, Kind::Released, Kind::Revoked];
        let wanted = within.into_iter().any(|kind| self.wants(kind));
        wanted.then(|| Onlooker::Witness(Arc::new(Seat { peer: peer.clone(), watching: self })))
    }

    fn arrived(&self, peer: &Peer) {
        if self.wants(Kind::Connected) {
            self.take(self.event(Kind::Connected, peer), None);
        }
    }

    fn left(&self, peer: &Peer, reason: Option<&Failure>) {
        if self.wants(Kind::Disconnected) {
            let reason = reason.map(|failure| failure.message.clone());
            self.take(Event { reason, ..self.event(Kind::Disconnected, peer) }, None);
        }
    }
}

/// What looks at one connection for one who watches.
struct Seat {
    peer: Peer,
    watching: Arc<Watching>,
}

impl Witness for Seat {
    fn saw(&self, happening: &Happening<'_, Reference>) {
        let kind = Kind::of(happening);
        if !self.watching.wants(kind) {
            return;
        }
        let event = self.watching.event(kind, &self.peer);
        let (event, of) = event.with(happening);
        self.watching.take(event, of);
    }
}

impl Kind {
    fn of(happening: &Happening<'_, Reference>) -> Kind {
        match happening {
            Happening::Called { .. } => Kind::Called,
            Happening::Ended { end: End::Well { .. }, .. } => Kind::Answered,
            Happening::Ended { .. } => Kind::Failed,
            Happening::Exported { .. } => Kind::Exported,
            Happening::Released { .. } => Kind::Released,
            Happening::Broken { .. } => Kind::Revoked,
        }
    }

    fn word(self) -> &'static str {
        KINDS[self as usize]
    }
}

impl Event {
    /// It, with what is to be said of it, and what leads to its object.
    fn with<'a>(self, happening: &Happening<'a, Reference>) -> (Event, Option<&'a Reference>) {
        let (event, of) = match *happening {
            Happening::Called { id, on, method, bytes } => {
                let (call, method) = (id.map(|id| id.0), Some(Arc::clone(method)));
                (Event { call, method, bytes: Some(bytes as u64), ..self }, on)
            }
            Happening::Ended { id, on, method, took, end } => {
                let (bytes, failure, reason) = match end {
                    End::Well { bytes } => (Some(bytes as u64), None, None),
                    End::Error { bytes } => (Some(bytes as u64), Some(OWN_ERROR), None),
                    End::Failure(failure) => (None, Some(failure.kind.name()), Some(failure.message.clone())),
                };
                let (call, method, took_us) = (Some(id.0), method.cloned(), Some(micros(took)));
                (Event { call, method, took_us, bytes, failure, reason, ..self }, on)
            }
            Happening::Exported { id, handle, by } => {
                (Event { export: Some(id.0), method: by.cloned(), ..self }, Some(handle))
            }
            Happening::Released { id, handle } => (Event { export: Some(id.0), ..self }, handle),
            Happening::Broken { id, handle, failure } => {
                let first = failure.chain().last().unwrap_or(failure);
                let (failure, reason) = (Some(first.kind.name()), Some(first.message.clone()));
                (Event { export: Some(id.0), failure, reason, ..self }, handle)
            }
        };
        (Event { type_name: of.map_or("", Reference::type_name), ..event }, of)
    }

    fn row(self) -> EventRow {
        EventRow {
            time_us: self.time_us,
            event: self.kind.word().to_owned(),
            connection: self.peer.number(),
            peer: plain(self.peer.address()),
            call: self.call,
            method: self.method.map(|text| plain(&text.name)),
            object: self.object,
            type_name: plain(self.type_name),
            export: self.export,
            bytes: self.bytes,
            took_us: self.took_us,
            failure: self.failure.map(str::to_owned),
            reason: self.reason.map(|reason| plain(&reason)),
            details: Vec::new(),
        }
    }
}

impl Row for Event {
    const KEYS: &'static [&'static str] = &[
        "time_us",
        "event",
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
    ];
    const SORT: &'static str = "time_us";

    fn tie(&self) -> (u64, u64, &str) {
        (self.time_us, self.peer.number(), "")
    }

    fn cell(&self, key: &str) -> Cell<'_> {
        let or_none = |number: Option<u64>| number.map_or(Cell::None, Cell::Number);
        match key {
            "time_us" => Cell::Number(self.time_us),
            "event" => Cell::Text(self.kind.word()),
            "connection" => Cell::Number(self.peer.number()),
            "peer" => Cell::Text(self.peer.address()),
            "call" => or_none(self.call.map(i64::unsigned_abs)),
            "method" => said(self.method.as_ref().map(|text| &*text.name)),
            "object" => or_none(self.object),
            "type_name" => Cell::Type(self.type_name),
            "export" => or_none(self.export.map(i64::unsigned_abs)),
            "bytes" => or_none(self.bytes),
            "took_us" => or_none(self.took_us),
            "failure" => said(self.failure),
            "reason" => said(self.reason.as_deref()),
            _ => Cell::None,
        }
    }
}

fn said(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::None, Cell::Text)
}

/// What his client holds.
#[derive(Referenceable)]
#[referenceable(crate = pb_core)]
pub(super) struct Watched {
    view: View<Watching>,
}

impl Watched {
    pub(super) fn new(view: View<Watching>) -> Watched {
        Watched { view }
    }
}

impl Events for Watched {
    async fn next(&self) -> Happened {
        self.view.wait(Watching::drain).await.unwrap_or(Happened { rows: Vec::new(), lost: 0 })
    }
}

/// What stands for the kind of a failure where a method's own error is meant.
const OWN_ERROR: &str = "App";
/// Events that are kept for one who does not ask: more are counted.
const MOST_EVENTS: usize = 8192;
/// Events of one answer: each takes less than a kilobyte.
const MOST_ROWS: usize = 1000;

#[cfg(test)]
mod tests {
    use pb_core::objects::Reference;
    use pb_core::{Bytes, Stub as _};
    use tokio::time::advance;

    use super::*;
    use crate::inspect::{Frames, FramesRef};

    #[derive(Referenceable)]
    #[referenceable(crate = pb_core)]
    struct Large;

    impl Frames for Large {
        async fn next(&self) -> Bytes {
            Bytes::new()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_what_was_told_of_and_has_gone_goes_a_minute_later_though_nobody_lists() {
        let ids = Arc::<Ids>::default();
        let watching = Watching::of(Vec::new(), &[], Arc::clone(&ids), |_| true).expect("it is sound");
        assert!(watching.drain().is_none());
        let reference: Reference = FramesRef::new(Large).as_reference().clone();
        let peer = Peer::new(1, "mem://a", &"mem://a".into());
        watching.take(watching.event(Kind::Exported, &peer), Some(&reference));
        assert!(watching.drain().is_some_and(|told| told.rows[0].object.is_some()));
        drop(reference);
        assert_eq!(ids.count(), 1);
        advance(std::time::Duration::from_secs(61)).await;
        assert!(watching.drain().is_none());
        assert_eq!(ids.count(), 0);
    }
}
