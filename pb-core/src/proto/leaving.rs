//! The end of a connection in good order (`docs/protocol.md`, section 13): `goaway` of either side, the end of what the peer sends, and
//! when nothing is left to wait for.

use std::mem;
use std::time::{Duration, Instant};

use super::casts::Casts;
use super::limits::LONGEST_TIME;
use super::timers::earlier;
use super::{Connection, Garbage, Host, Notice, Outbox, Outcome, TableSizes, Task, Violation};
use crate::message::{
    Abort, AbortCode, ExportId, Failure, FailureKind, Goaway, ImportId, MAX_TEXT_BYTES, Message, Ran,
};

/// What both sides have said about leaving, and what is left to wait for. Each is on the heap: it comes once, at the end.
#[derive(Default)]
pub(super) struct Departure {
    /// This side leaves.
    ours: Option<Box<Leave>>,
    /// The peer leaves.
    theirs: Option<Box<Farewell>>,
    /// The peer sends nothing more; what it asked for before is still answered.
    mute: Option<Box<Mute>>,
    /// The time that one of them had is over.
    overdue: bool,
}

/// That this side leaves.
struct Leave {
    /// The last call of the peer's that had come.
    last: ExportId,
    reason: Box<str>,
    until: Instant,
}

/// That the peer leaves: it runs no further calls on its root, and closes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// The last call of ours that had come to the peer. Later ones on its root do not run, and neither do calls on their results.
    pub last: ImportId,
    /// When the peer closes, by its own word; it may be earlier, when nothing is left to wait for.
    pub until: Instant,
    /// For people; at most 1,024 bytes.
    pub reason: Box<str>,
}

/// That the peer sends nothing more.
struct Mute {
    reason: Failure,
    until: Instant,
}

impl<H: Host> Connection<H> {
    /// This side leaves: the peer's later calls on our root do not run, everything else goes on until `time` is over or nothing is left to
    /// wait for. Then [`Connection::close_if_done`] closes. A second call can only shorten the time; more than 49 days count as that.
    pub fn leave(&mut self, reason: &str, time: Duration, now: Instant, out: &mut impl Outbox) {
        if self.ended().is_some() {
            return;
        }
        let until = now + time.min(LONGEST_TIME);
        match &mut self.leaving.ours {
            Some(leave) if leave.until <= until => return,
            Some(leave) => leave.until = until,
            None => {
                let reason = reason[..reason.floor_char_boundary(MAX_TEXT_BYTES)].into();
                let leave = Leave { last: self.exports.last_result(), reason, until };
                self.leaving.ours = Some(Box::new(leave));
            }
        }
        self.say_goaway(now, out);
    }

    /// Tells the peer that this side leaves, if it does and the peer understands that.
    pub(super) fn say_goaway(&self, now: Instant, out: &mut impl Outbox) {
        let Some(leave) = &self.leaving.ours else { return };
        if self.drain {
            let drain_ms = leave.until.saturating_duration_since(now).as_millis() as u64;
            out.send(Message::Goaway(Goaway { last: leave.last, drain_ms, reason: leave.reason.clone() }));
        }
    }

    /// Why a call or cast of the peer's on `target` does not run, where this side leaves and it is the root.
    pub(super) fn refusal(&self, target: ExportId) -> Option<Failure> {
        let leave = self.leaving.ours.as_ref().filter(|_| target == ExportId::ROOT)?;
        let message = format!("the other side is leaving and runs no further calls: {}", leave.reason);
        Some(Failure::new(FailureKind::Disconnected, Ran::No, message))
    }

    /// Why a call or cast of ours on `target` is not sent, where the peer sends nothing more, or leaves and it is its root.
    pub(super) fn unwelcome(&self, target: ImportId) -> Option<Failure> {
        if let Some(mute) = &self.leaving.mute {
            return Some(Failure { ran: Ran::No, ..mute.reason.clone() });
        }
        let farewell = self.leaving.theirs.as_ref().filter(|_| target == ImportId::ROOT)?;
        let message = format!("the peer is leaving and runs no further calls: {}", farewell.reason);
        Some(Failure::new(FailureKind::Disconnected, Ran::No, message))
    }

    pub(super) fn on_goaway(&mut self, goaway: &mut Goaway, now: Instant) -> Result<(), Violation> {
        let last = goaway.last.turned();
        if last != ImportId::ROOT && !self.imports.was_given(last) {
            return Err(Violation::NeverGiven { id: last.0 });
        }
        if let Some(before) = self.leaving.theirs.as_ref().filter(|before| before.last != last) {
            return Err(Violation::GoawayChanged { last: last.0, before: before.last.0 });
        }
        let until = now + Duration::from_millis(goaway.drain_ms).min(LONGEST_TIME);
        self.leaving.theirs = Some(Box::new(Farewell { last, until, reason: mem::take(&mut goaway.reason) }));
        Ok(())
    }

    /// What the peer said when it began to leave, if it did.
    pub fn farewell(&self) -> Option<&Farewell> {
        self.leaving.theirs.as_deref()
    }

    /// Whether a call of ours that stems from the call `root_call` on the peer's root is known not to have run, by the peer's `goaway`.
    pub(super) fn did_not_run(&self, root_call: ImportId) -> bool {
        self.leaving.theirs.as_ref().is_some_and(|farewell| root_call > farewell.last)
    }

    /// The peer's stream has ended in good order, and ours has not: what it asked for runs on and is answered, for at most `time`; what we
    /// asked for never will be, and fails with `reason`, as do references to the peer's objects.
    pub fn hear_no_more(&mut self, reason: Failure, time: Duration, now: Instant) {
        if self.ended().is_some() || self.leaving.mute.is_some() {
            return;
        }
        self.silence.stop();
        self.fail_calls(&reason);
        for held in self.imports.objects_mut() {
            // The entry stays: answers may still name the peer's own objects.
            if held.broken.is_none()
                && let Some(proxy) = held.proxy.take()
            {
                self.notices.push_back(Notice::Broken(proxy, reason.clone()));
            }
        }
        self.fail_embargoes(&reason);
        // Nobody gives them back any more.
        self.imports.casts = Casts::default();
        self.leaving.mute = Some(Box::new(Mute { reason, until: now + time }));
    }

    /// Fails all calls of ours that have no answer.
    pub(super) fn fail_calls(&mut self, reason: &Failure) {
        for asked in self.imports.take_asked() {
            let ran = if self.did_not_run(asked.root_call) { Ran::No } else { reason.ran };
            let failed = Outcome::Failed(Failure { ran, ..reason.clone() });
            self.notices.extend(asked.waiter.map(|waiter| Notice::Settled(waiter, failed)));
        }
    }

    /// Calls that went down an embargoed path are lost; what waits behind them must not overtake them.
    pub(super) fn fail_embargoes(&mut self, reason: &Failure) {
        for (_, embargo) in self.embargoes.drain() {
            self.garbage.push(Garbage::Handle(embargo.home));
            self.tasks.push_back(Task::Settle(embargo.promise, Err(reason.clone())));
        }
    }

    /// When the connection closes at the latest, where that is decided.
    pub(super) fn leaving_deadline(&self) -> Option<Instant> {
        let ours = self.leaving.ours.as_ref().map(|leave| leave.until);
        let mute = self.leaving.mute.as_ref().map(|mute| mute.until);
        earlier(ours, mute).filter(|_| !self.leaving.overdue)
    }

    /// The time of leaving is over, if it is.
    pub(super) fn check_leaving(&mut self, now: Instant) {
        self.leaving.overdue |= self.leaving_deadline().is_some_and(|deadline| deadline <= now);
    }

    /// Why no call of ours can be answered any more, if so: the connection has ended, or the peer's stream has.
    pub fn lost(&self) -> Option<&Failure> {
        self.ended().or(self.leaving.mute.as_ref().map(|mute| &mute.reason))
    }

    /// Whether this side leaves or the peer sends nothing more, so that [`Connection::close_if_done`] is to be asked after each change.
    pub fn is_leaving(&self) -> bool {
        self.leaving.ours.is_some() || self.leaving.mute.is_some()
    }

    /// Closes the connection, if this side leaves or the peer sends nothing more, and nothing is left to wait for or the time is over.
    /// Says why it has ended then; the abort is sent.
    #[inline]
    pub fn close_if_done(&mut self, out: &mut impl Outbox) -> Option<Failure> {
        if self.is_leaving() { self.close_if_drained(out) } else { None }
    }

    fn close_if_drained(&mut self, out: &mut impl Outbox) -> Option<Failure> {
        if self.ended().is_some() || !(self.leaving.overdue || self.is_drained()) {
            return None;
        }
        let (reason, abort) = match (&self.leaving.mute, &self.leaving.ours) {
            // A peer that was told all it asked for needs no more than the end of our stream.
            (Some(mute), _) if self.is_drained() => (mute.reason.clone(), None),
            (Some(mute), _) => {
                let said = "not all calls were answered in time after the end of your stream";
                (mute.reason.clone(), Some((AbortCode::Timeout, said.into())))
            }
            (None, ours) => {
                let said = ours.as_ref().map(|leave| leave.reason.clone()).unwrap_or_default();
                let message = format!("this side has left: {said}");
                let reason = Failure::new(FailureKind::Disconnected, Ran::Maybe, message);
                (reason, Some((AbortCode::Closing, said)))
            }
        };
        self.flush(out);
        if let Some((code, reason)) = abort {
            out.send(Message::Abort(Abort { code, reason }));
        }
        self.end(reason.clone());
        Some(reason)
    }

    /// Whether nobody can ask for anything any more, and all that was asked for is answered. What the peer still holds of ours it may
    /// call, unless it sends nothing more.
    fn is_drained(&self) -> bool {
        let nothing_runs =
            self.exports.running_count() == 0 && self.tasks.is_empty() && self.notices.is_empty();
        // Casts run on after the end: who leaves waits for them, who is not heard any more need not be waited for.
        let nothing_comes = self.leaving.mute.is_some()
            || (self.exports.sizes() == (0, 0)
                && self.casts.count == 0
                && self.imports.asked_count() == 0
                && self.embargoes.is_empty());
        nothing_runs && nothing_comes
    }

    /// Whether nothing remains on either side: no object, no call, no cast that was not given back, no result without its last word, no
    /// promise that waits for an echo, and nothing that is still to be done, told or sent about them. The two roots need no entry, so stubs
    /// of them don't count; nor do casts of ours to a peer that does not give them back.
    pub fn is_idle(&self) -> bool {
        self.ended().is_some() || self.has_nothing()
    }

    fn has_nothing(&self) -> bool {
        self.sizes() == TableSizes::default()
            && self.casts.count + self.imports.casts.count == 0
            && self.tasks.is_empty()
            && self.notices.is_empty()
            && !self.has_last_words()
    }
}
