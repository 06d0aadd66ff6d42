//! What a peer makes us keep, and what casts have used of a grant (`docs/protocol.md`, sections 12.1 to 12.3).

use super::casts::{Casts, Cost};
use super::limits::{CONNECTION_BYTES, DEFAULT_ANSWER_BYTES, OBJECT_BYTES, RESULT_BYTES};
use super::{Connection, Host, Outbox, Violation};
use crate::message::{CallOptions, Cause, Credit, Failure, FailureKind, Message, Ran};

/// What a peer's budget is charged for an echo that waits behind calls.
const ECHO_BYTES: u64 = 256;
/// What refusing a call takes: its rejected result, until that is released, the failure without a word, and the last words for what it brought.
const REFUSAL_BYTES: u64 = RESULT_BYTES + 64;
/// Places for exports of which the last ones are given one at a time.
const LAST_EXPORTS: u64 = 64;
/// An answer that takes no more than the failure that would stand for it is sent whatever the budget.
const SMALL_ANSWER: u64 = 256;

impl<H: Host> Connection<H> {
    /// Bytes that the peer makes us keep.
    pub(super) fn charged(&self, out: &impl Outbox) -> u64 {
        CONNECTION_BYTES
            + self.exports.charged()
            + self.imports.charged()
            + self.names.charged()
            + self.casts.charged()
            + self.casts_extra
            + self.releases.charged()
            + self.echoes * ECHO_BYTES
            + out.unread()
    }

    /// A failure for what would take `more` bytes beyond the peer's budget.
    pub(super) fn over_budget(&self, more: u64, ran: Ran, out: &impl Outbox) -> Option<Failure> {
        let (charged, budget) = (self.charged(out), self.limits.budget);
        (charged + more > budget).then(|| {
            let message =
                format!("the peer makes this side keep {charged} bytes; {more} more would pass {budget}");
            Failure::new(FailureKind::Overloaded, ran, message)
        })
    }

    /// The same for an answer with a body of `bytes` and `objects` that the peer does not hold yet.
    pub(super) fn answer_over_budget(&self, bytes: u64, objects: u64, out: &impl Outbox) -> Option<Failure> {
        if bytes <= SMALL_ANSWER && objects == 0 {
            return None;
        }
        self.over_budget(bytes + objects * OBJECT_BYTES, Ran::Yes, out)
    }

    /// What is kept of the cause of a rejected result: a sentence where the peer's budget has no room for more.
    pub(super) fn cause_within_budget(&self, cause: Cause, out: &impl Outbox) -> Cause {
        let bytes = match &cause {
            Cause::App(cause) => cause.body.len(),
            Cause::Broker(failure) => failure.size(),
        };
        match self.over_budget(RESULT_BYTES + bytes as u64, Ran::Yes, out) {
            None => cause,
            Some(_) => {
                let message = "the call that was to give the reference failed";
                Cause::Broker(Failure::new(FailureKind::Failed, Ran::Yes, message))
            }
        }
    }

    /// Ends the connection with a peer whose budget is passed by what cannot be refused.
    pub(super) fn check_budget(&self, out: &impl Outbox) -> Result<(), Violation> {
        // Small answers and refusals go over the budget: room for those of all calls that may be under way.
        let limit = self.limits.budget + self.limits.budget / 16 + self.limits.calls * REFUSAL_BYTES;
        if self.charged(out) > limit {
            return Err(Violation::Limit { what: "bytes kept for a peer", limit });
        }
        Ok(())
    }

    /// How large a further message may be that is taken in before what the last one leads to has counted: a larger one might be refused that would
    /// have had room then, or its answer might have none. 0 where the peer's budget or its exports are used up so far that none may be.
    pub fn slack(&self, out: &impl Outbox) -> u64 {
        let exports = self.granted.imports.min(self.limits.exports);
        if self.exports.len() + LAST_EXPORTS > exports {
            return 0;
        }
        (self.limits.budget / 2).saturating_sub(self.charged(out))
    }

    /// Whether a failure should go without its words: the peer does not read them, or has no room left for them.
    pub(super) fn is_short_of_words(&self, out: &impl Outbox) -> bool {
        self.is_unread(out) || self.charged(out) > self.limits.budget
    }

    /// Whether so many answers wait for the peer to read them that none of its calls should start.
    pub fn is_unread(&self, out: &impl Outbox) -> bool {
        out.unread() >= self.limits.budget / 4
    }

    /// A cast of the peer's that takes `cost` has ended: its method has, or it never started. The owner calls this once for each
    /// [`Task::Start`](super::Task::Start) without an answer.
    pub fn cast_ended(&mut self, cost: Cost) {
        self.casts_extra = self.casts_extra.saturating_sub(cost.extra);
        if self.casts.take(1, cost.body) && self.credit && self.ended().is_none() {
            self.ended_casts.add(cost.body);
        }
    }

    /// Whether credit is due: half of a grant is used up by what has ended, or nothing of the peer's runs that would end later.
    pub(super) fn owes_credit(&self) -> bool {
        let Casts { count, bytes } = self.ended_casts;
        count > 0
            && (count >= self.limits.calls / 2
                || bytes >= self.limits.call_bytes / 2
                || self.casts.count + self.exports.running_count() == 0)
    }

    pub(super) fn give_credit(&mut self, out: &mut impl Outbox) {
        if self.owes_credit() && !self.is_unread(out) {
            let Casts { count, bytes } = std::mem::take(&mut self.ended_casts);
            out.send(Message::Credit(Credit { casts: count, bytes }));
        }
    }

    pub(super) fn on_credit(&mut self, credit: Credit) -> Result<(), Violation> {
        let Credit { casts, bytes } = credit;
        if !self.credit {
            return Err(Violation::NotOffered { feature: "credit" });
        }
        let Casts { count: sent, bytes: sent_bytes } = self.imports.casts;
        if casts == 0 || !self.imports.casts.take(casts, bytes) {
            return Err(Violation::CreditTooMuch { casts, bytes, sent, sent_bytes });
        }
        self.imports.free();
        Ok(())
    }

    /// An answer of `bytes` has come and is kept until somebody decodes or drops it: it goes on counting against
    /// [`Limits::answer_bytes`](super::Limits::answer_bytes).
    pub fn hold_answer(&mut self, bytes: usize) {
        if self.ended().is_none() {
            self.imports.hold_answer(bytes as u64);
        }
    }

    /// An answer that was held is decoded, or dropped.
    pub fn let_answer_go(&mut self, bytes: usize) {
        self.imports.let_answer_go(bytes as u64);
    }

    /// Whether a call can be sent now whose arguments have at most half of the bytes that the peer grants, and which takes a default answer.
    pub fn has_room(&self) -> bool {
        let (calls, bytes) = self.unanswered();
        calls < self.granted.calls
            && bytes <= self.granted.call_bytes / 2
            && self.imports.owed_bytes() + DEFAULT_ANSWER_BYTES <= self.limits.answer_bytes
            && self.held_with_untold() < self.granted.exports
    }

    /// How often something came free that calls of ours wait for; a call that found no room need not be tried again before this moves.
    pub fn freed(&self) -> u64 {
        self.imports.freed()
    }

    /// Objects of the peer's that it takes us to hold: what is released counts until the peer has been told.
    pub(super) fn held_with_untold(&self) -> u64 {
        self.imports.held_count() + (self.releases.len() + self.embargoes.len()) as u64
    }

    /// Calls and casts that count against the peer's grants, and their bytes.
    pub(super) fn unanswered(&self) -> (u64, u64) {
        let casts = self.imports.casts;
        (self.imports.asked_count() + casts.count, self.imports.asked_bytes() + casts.bytes)
    }

    /// Calls of both sides that have no answer, and casts of ours that the peer has not given back.
    pub fn under_way(&self) -> u64 {
        self.unanswered().0 + self.exports.running_count()
    }

    /// Whether our casts count: before the peer's hello nobody knows.
    pub(super) fn counts_casts(&self) -> bool {
        self.credit || !self.is_greeted()
    }
}

/// The largest answer that a call takes.
pub(super) fn answer_limit(options: Option<&CallOptions>) -> u64 {
    options.and_then(|options| options.answer_bytes).unwrap_or(DEFAULT_ANSWER_BYTES)
}
