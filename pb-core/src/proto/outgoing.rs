//! What we send of our own: calls, casts, last words.

use std::sync::Arc;

use super::budget::answer_limit;
use super::imports::{Reached, Wanted};
use super::timers::{TimeLimit, exceeded};
use super::{Connection, Garbage, Host, Outbox};
use crate::message::{
    Body, Call, CallOptions, Cancel, Cap, Cast, Disembargo, Failure, FailureKind, ImportId, Message,
    MethodName, MethodText, Payload, Ran, Reply,
};

/// A call of ours, encoded.
pub struct OwnCall<'a, H: Host> {
    /// What is called.
    pub target: ImportId,
    /// The method.
    pub method: &'a Arc<MethodText>,
    /// Deadline, limits, metadata.
    pub options: Option<Box<CallOptions>>,
    /// When it must have its answer.
    pub within: Option<TimeLimit>,
    /// The references that the body names by index.
    pub handles: &'a [H::Handle],
    /// The arguments.
    pub body: Body<'a>,
}

/// Why a call was not sent. Nothing is recorded.
pub enum Refused<H: Host> {
    /// It cannot be.
    Failed(Box<Failure>),
    /// What it names is settled by now; it goes there.
    Moved(H::Handle),
    /// Not now: a grant is used up. It can be sent later, when something has ended.
    Full(Box<Failure>),
}

/// A call that was not sent, with its waiter that was not needed.
pub type Unsent<H> = (Refused<H>, <H as Host>::Waiter);

impl<H: Host> Connection<H> {
    /// Sends a call and returns the id that its answer will settle.
    ///
    /// # Errors
    /// [`Refused`], with the waiter that was not needed; nothing was sent or recorded.
    #[inline]
    pub fn call(
        &mut self,
        call: OwnCall<'_, H>,
        reply: Reply,
        waiter: H::Waiter,
        out: &mut impl Outbox,
    ) -> Result<ImportId, Box<Unsent<H>>> {
        match self.prepare(&call, Some(reply)) {
            Err(refused) => Err(Box::new((refused, waiter))),
            Ok((method, caps)) => {
                let answer_bytes = answer_limit(call.options.as_deref());
                let deadline = call.within.map(|limit| limit.deadline);
                let bytes = call.body.len() as u64;
                let result = self.imports.ask(call.target, reply, bytes, answer_bytes, deadline, waiter);
                let payload = Payload { caps, body: call.body };
                let (target, options) = (call.target, timed(call.options, call.within));
                out.send(Message::Call(Call { target, result, reply, method, options, payload }));
                Ok(result)
            }
        }
    }

    /// Sends a call that is never answered.
    ///
    /// # Errors
    /// [`Refused`]; nothing was sent or recorded.
    pub fn cast(&mut self, call: OwnCall<'_, H>, out: &mut impl Outbox) -> Result<(), Refused<H>> {
        let (method, caps) = self.prepare(&call, None)?;
        if self.counts_casts() {
            self.imports.casts.add(call.body.len() as u64);
        }
        let payload = Payload { caps, body: call.body };
        let options = timed(call.options, call.within);
        out.send(Message::Cast(Cast { target: call.target, method, options, payload }));
        Ok(())
    }

    /// Checks everything before anything is counted. What it returns must be sent.
    #[inline(always)]
    fn prepare(
        &mut self,
        call: &OwnCall<'_, H>,
        reply: Option<Reply>,
    ) -> Result<(MethodName, Vec<Cap>), Refused<H>> {
        if let Some(failure) = &self.ended {
            return Err(failed(Failure { ran: Ran::No, ..failure.clone() }));
        }
        if let Some(failure) = self.unwelcome(call.target) {
            return Err(failed(failure));
        }
        if call.within.is_some_and(|limit| limit.left_ms() == 0) {
            return Err(failed(exceeded(Ran::No)));
        }
        match self.imports.reach(call.target) {
            Reached::Object => {}
            Reached::Asked(asked) if asked.reply == Reply::Reference => {}
            Reached::Moved(handle) => return Err(Refused::Moved(handle)),
            Reached::Dead(failure) => return Err(failed(failure)),
            Reached::Asked(_) | Reached::Unknown => return Err(overdue()),
        }
        self.fits("call", call.body.len(), call.handles.len(), call.options.as_deref()).map_err(failed)?;
        self.could_fit(call, reply).map_err(failed)?;
        self.check_grants(call, reply).map_err(|failure| Refused::Full(Box::new(failure)))?;
        let planned = self.plan(call.handles).map_err(failed)?;
        let passed_on = call.options.as_deref().is_some_and(|options| options.hops > 0);
        let method = self.names.name(call.method, self.granted.names, passed_on);
        if call.target.is_result()
            && let Reached::Asked(asked) = self.imports.reach(call.target)
        {
            asked.piped = true;
        }
        Ok((method, self.commit(planned, false)))
    }

    /// Whether the call could be sent at all, if nothing else were on its way.
    fn could_fit(&self, call: &OwnCall<'_, H>, reply: Option<Reply>) -> Result<(), Failure> {
        let (bytes, granted) = (call.body.len() as u64, self.granted.call_bytes);
        if bytes > granted && (reply.is_some() || self.counts_casts()) {
            let message =
                format!("the arguments have {bytes} bytes; the peer takes {granted} in all calls together");
            return Err(Failure::new(FailureKind::Failed, Ran::No, message));
        }
        let (answer, own) = (answer_limit(call.options.as_deref()), self.limits.answer_bytes);
        if reply.is_some() && answer > own {
            let message =
                format!("the call's answer may have {answer} bytes; this side's answer_bytes are {own}");
            return Err(Failure::new(FailureKind::Failed, Ran::No, message));
        }
        Ok(())
    }

    fn check_grants(&self, call: &OwnCall<'_, H>, reply: Option<Reply>) -> Result<(), Failure> {
        let (calls, bytes) = self.unanswered();
        if reply.is_none() && !self.counts_casts() {
            return Ok(());
        }
        if calls >= self.granted.calls {
            return Err(overloaded("calls and casts have not ended", self.granted.calls));
        }
        if bytes + call.body.len() as u64 > self.granted.call_bytes {
            return Err(overloaded("bytes of calls and casts have not ended", self.granted.call_bytes));
        }
        let Some(reply) = reply else { return Ok(()) };
        let answer_bytes = answer_limit(call.options.as_deref());
        if self.imports.owed_bytes() + answer_bytes > self.limits.answer_bytes {
            let message = format!(
                "answers of {} bytes are awaited or not decoded; {answer_bytes} more would pass the {} of this side's answer_bytes",
                self.imports.owed_bytes(),
                self.limits.answer_bytes
            );
            return Err(Failure::new(FailureKind::Overloaded, Ran::No, message));
        }
        if reply == Reply::Reference && self.held_with_untold() >= self.granted.exports {
            return Err(overloaded("objects of the peer's are held", self.granted.exports));
        }
        Ok(())
    }

    /// The caller wants neither the answer nor the run. Gives back, as other garbage, what is dropped for it: a list is not made for that, since this is how
    /// most calls end that were answered with a reference.
    #[must_use]
    pub fn cancel(&mut self, id: ImportId, out: &mut impl Outbox) -> Option<Garbage<H>> {
        match self.imports.reach_asked(id) {
            Some(asked) if asked.pinned => self.detach(id),
            Some(asked) if asked.wanted == Wanted::Answer => {
                asked.wanted = Wanted::Nothing;
                let waiter = asked.waiter.take();
                out.send(Message::Cancel(Cancel { result: id }));
                waiter.map(Garbage::Waiter)
            }
            _ => self.imports.forget(id),
        }
    }

    /// The caller wants the run, but not the answer. Gives back, as other garbage, what is dropped for it.
    #[must_use]
    pub fn detach(&mut self, id: ImportId) -> Option<Garbage<H>> {
        match self.imports.reach_asked(id) {
            Some(asked) if asked.wanted == Wanted::Answer => {
                asked.wanted = Wanted::Run;
                asked.waiter.take().map(Garbage::Waiter)
            }
            _ => self.imports.forget(id),
        }
    }

    /// A handle of the peer's object has died; `mentions` is what it had received. Gives back, as other garbage, the hold on the handles of an object
    /// of which that was the last one: a list is not made for it, since objects are let go of one by one, and often many.
    #[must_use]
    pub fn let_go(&mut self, id: ImportId, mentions: u64) -> Option<H::Proxy> {
        if self.ended.is_some() {
            return None;
        }
        let (unasked, left) = self.imports.let_go(id);
        self.releases.push(id, mentions, unasked);
        left
    }

    /// Sends the echo that a [`Task::Echo`](super::Task::Echo) asked for, now that everything before it was sent on.
    pub fn echo(&mut self, number: u64, out: &mut impl Outbox) {
        if self.ended.is_none() {
            self.echoes = self.echoes.saturating_sub(1);
            out.send(Message::Disembargo(Disembargo::Echo { number }));
        }
    }

    /// A cast goes down this promise: cancelling it only detaches from here on.
    pub fn want_run(&mut self, id: ImportId) {
        if let Reached::Asked(asked) = self.imports.reach(id) {
            asked.pinned = true;
        }
    }

    /// What the result of a call of ours has settled to, as long as its promise is kept.
    pub fn settled(&mut self, id: ImportId) -> Option<Result<H::Handle, Failure>> {
        match self.imports.reach(id) {
            Reached::Moved(handle) => Some(Ok(handle)),
            Reached::Dead(failure) => Some(Err(failure)),
            Reached::Object | Reached::Asked(_) | Reached::Unknown => None,
        }
    }
}

fn overloaded(what: &str, limit: u64) -> Failure {
    Failure::new(
        FailureKind::Overloaded,
        Ran::No,
        format!("{limit} {what}, which is all that the peer grants; remote().ready() waits for room"),
    )
}

/// The call's options with what is left of its time.
fn timed(options: Option<Box<CallOptions>>, within: Option<TimeLimit>) -> Option<Box<CallOptions>> {
    let Some(limit) = within else { return options };
    let mut options = options.unwrap_or_default();
    options.deadline_ms = Some(limit.left_ms());
    Some(options)
}

/// What is rare is on the heap: what is not need not make way for it.
fn failed<H: Host>(failure: Failure) -> Refused<H> {
    Refused::Failed(Box::new(failure))
}

fn overdue<H: Host>() -> Refused<H> {
    failed(Failure::new(FailureKind::Broken, Ran::No, "the reference that was called is gone"))
}
