//! What we send: calls, casts, answers, last words.

use std::sync::Arc;

use super::budget::answer_limit;
use super::exports::{Export, RunningCall};
use super::imports::{Reached, Wanted};
use super::limits::ENVELOPE_BYTES;
use super::payload::Planned;
use super::timers::{TimeLimit, exceeded};
use super::{Answer, Connection, Garbage, Host, Outbox, Start, Task};
use crate::message::{
    Call, CallOptions, Cancel, Cap, Cast, Cause, Disembargo, ExportId, Failure, FailureKind, ImportId,
    Message, MethodName, MethodText, Payload, Ran, Reject, Rejection, Reply, Resolve,
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
    pub body: &'a [u8],
}

/// Why a call was not sent. Nothing is recorded.
pub enum Refused<H: Host> {
    /// It cannot be.
    Failed(Failure),
    /// What it names is settled by now; it goes there.
    Moved(H::Handle),
    /// Not now: a grant is used up. It can be sent later, when something has ended.
    Full(Failure),
}

impl<H: Host> Connection<H> {
    /// Sends a call and returns the id that its answer will settle.
    ///
    /// # Errors
    /// [`Refused`], with the waiter that was not needed; nothing was sent or recorded.
    pub fn call(
        &mut self,
        call: OwnCall<'_, H>,
        reply: Reply,
        waiter: H::Waiter,
        out: &mut impl Outbox,
    ) -> Result<ImportId, (Refused<H>, H::Waiter)> {
        match self.prepare(&call, Some(reply)) {
            Err(refused) => Err((refused, waiter)),
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
    fn prepare(
        &mut self,
        call: &OwnCall<'_, H>,
        reply: Option<Reply>,
    ) -> Result<(MethodName, Vec<Cap>), Refused<H>> {
        if let Some(failure) = &self.ended {
            return Err(Refused::Failed(Failure { ran: Ran::No, ..failure.clone() }));
        }
        if let Some(failure) = self.unwelcome(call.target) {
            return Err(Refused::Failed(failure));
        }
        if call.within.is_some_and(|limit| limit.left_ms() == 0) {
            return Err(Refused::Failed(exceeded(Ran::No)));
        }
        match self.imports.reach(call.target) {
            Reached::Object => {}
            Reached::Asked(asked) if asked.reply == Reply::Reference => {}
            Reached::Moved(handle) => return Err(Refused::Moved(handle)),
            Reached::Dead(failure) => return Err(Refused::Failed(failure)),
            Reached::Asked(_) | Reached::Unknown => return Err(overdue()),
        }
        self.fits("call", call.body.len(), call.handles.len(), call.options.as_deref())
            .map_err(Refused::Failed)?;
        self.could_fit(call, reply).map_err(Refused::Failed)?;
        self.check_grants(call, reply).map_err(Refused::Full)?;
        let planned = self.plan(call.handles).map_err(Refused::Failed)?;
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

    /// Sends what a call of the peer's ended with, and lets go what waited for it.
    /// An answer that cannot be sent becomes a failure. After the end of the connection nothing happens.
    pub fn answer(&mut self, id: ExportId, answer: Answer<'_, H>, out: &mut impl Outbox) {
        let Some(running) = self.exports.end(id) else {
            if let Answer::Reference(handle) = answer {
                self.garbage.push(Garbage::Handle(handle));
            }
            return;
        };
        match (running.reply, answer) {
            (Reply::Value, Answer::Value(handles, body)) => {
                match self.plan_answer(&running, handles, body, out) {
                    Ok(planned) => {
                        let payload = Payload { caps: self.commit(planned, true), body };
                        out.send(Message::Resolve(Resolve { export: id, payload }));
                        self.garbage.extend(running.canceller.map(Garbage::Canceller));
                    }
                    Err(failure) => self.reject_running(id, running, failure, out),
                }
            }
            (Reply::Reference, Answer::Reference(handle)) => self.answer_reference(id, running, handle, out),
            (_, Answer::App(handles, body)) => match self.plan_answer(&running, handles, body, out) {
                Ok(planned) => {
                    let cause = Cause::of_error(body, !handles.is_empty());
                    let rejection = Rejection::App(Payload { caps: self.commit(planned, true), body });
                    out.send(Message::Reject(Reject { export: id, rejection }));
                    self.settle_rejected(id, running, cause, out);
                }
                Err(failure) => self.reject_running(id, running, failure, out),
            },
            (_, Answer::Failed(failure)) => self.reject_running(id, running, failure, out),
            (reply, answer @ (Answer::Value(..) | Answer::Reference(_))) => {
                if let (Reply::Value, Answer::Reference(handle)) = (reply, answer) {
                    self.garbage.push(Garbage::Handle(handle));
                }
                let message = "the caller and the method disagree on whether the result is a reference";
                let failure = Failure::new(FailureKind::Incompatible, Ran::Yes, message);
                self.reject_running(id, running, failure, out);
            }
        }
    }

    fn plan_answer(
        &mut self,
        running: &RunningCall<H>,
        handles: &[H::Handle],
        body: &[u8],
        out: &impl Outbox,
    ) -> Result<Vec<Planned<H::Handle>>, Failure> {
        let has_run = |failure| Failure { ran: Ran::Yes, ..failure };
        self.fits("answer", body.len(), handles.len(), None).map_err(has_run)?;
        if body.len() as u64 > running.answer_bytes {
            return Err(answer_too_big(body.len(), running.answer_bytes));
        }
        let planned = self.plan(handles).map_err(has_run)?;
        let new = planned.iter().filter(|plan| self.is_new(plan)).count() as u64;
        match self.answer_over_budget(body.len() as u64, new, out) {
            Some(failure) => Err(self.unplan(planned, failure)),
            None => Ok(planned),
        }
    }

    fn answer_reference(
        &mut self,
        id: ExportId,
        running: RunningCall<H>,
        handle: H::Handle,
        out: &mut impl Outbox,
    ) {
        let planned = match self.plan_answer(&running, std::slice::from_ref(&handle), &[], out) {
            Ok(planned) => planned,
            Err(failure) => {
                self.garbage.push(Garbage::Handle(handle));
                return self.reject_running(id, running, failure, out);
            }
        };
        let home = matches!(planned.as_slice(), [Planned::Yours(_)]);
        let caps = self.commit(planned, true);
        out.send(Message::Resolve(Resolve { export: id, payload: Payload { caps, body: &[] } }));
        for request in running.queue {
            self.tasks.push_back(Task::Start(Start { target: handle.clone(), on_root: false, request }));
        }
        if let Some(promise) = running.promise {
            self.tasks.push_back(Task::Settle(promise, Ok(handle.clone())));
        }
        self.garbage.extend(running.canceller.map(Garbage::Canceller));
        self.garbage.extend(running.onward.map(Garbage::Handle));
        if running.cancelled {
            self.garbage.push(Garbage::Handle(handle));
        } else {
            self.exports.keep(id, Export::Settled { handle, home });
        }
    }

    /// Answers a call with a failure of the broker.
    pub(super) fn reject(&mut self, id: ExportId, failure: Failure, out: &mut impl Outbox) {
        if let Some(running) = self.exports.end(id) {
            self.reject_running(id, running, failure, out);
        }
    }

    fn reject_running(
        &mut self,
        id: ExportId,
        running: RunningCall<H>,
        mut failure: Failure,
        out: &mut impl Outbox,
    ) {
        let stopped = matches!(failure.kind, FailureKind::Internal | FailureKind::Cancelled);
        if running.expired && stopped {
            failure = exceeded(failure.ran);
        } else if running.cancelled && failure.kind == FailureKind::Internal {
            // A method that is stopped cannot say what stopped it.
            failure = Failure::new(FailureKind::Cancelled, failure.ran, "cancelled by the caller");
        }
        self.send_reject(id, &failure, out);
        self.settle_rejected(id, running, Cause::Broker(failure), out);
    }

    /// Fails everything that waited for a call that was rejected, and for those calls in turn.
    fn settle_rejected(
        &mut self,
        id: ExportId,
        running: RunningCall<H>,
        cause: Cause,
        out: &mut impl Outbox,
    ) {
        let failure = Failure::broken_by(cause.clone());
        let mut work = vec![(id, running, cause)];
        while let Some((id, running, cause)) = work.pop() {
            self.garbage.extend(running.canceller.map(Garbage::Canceller));
            self.garbage.extend(running.onward.map(Garbage::Handle));
            if let Some(promise) = running.promise {
                self.tasks.push_back(Task::Settle(promise, Err(failure.clone())));
            }
            if running.reply == Reply::Reference && !running.cancelled {
                let kept = self.cause_within_budget(cause, out);
                self.exports.keep(id, Export::Rejected(kept));
            }
            for request in running.queue {
                if request.answer.is_none() {
                    self.cast_ended(request.cost);
                }
                self.garbage.push(Garbage::Handles(request.arguments.handles));
                let waiting = request.answer.and_then(|(id, _)| Some((id, self.exports.end(id)?)));
                if let Some((id, running)) = waiting {
                    self.send_reject(id, &failure, out);
                    work.push((id, running, Cause::Broker(failure.clone())));
                }
            }
        }
    }

    /// Sends a failure, without its cause and details where the peer takes no frame that large, and without a word where it does not read.
    fn send_reject(&self, id: ExportId, failure: &Failure, out: &mut impl Outbox) {
        let fits = failure.size() as u64 + ENVELOPE_BYTES <= self.granted.frame_bytes;
        let failure = match fits {
            _ if self.is_short_of_words(out) => Failure::new(failure.kind, failure.ran, ""),
            true => failure.clone(),
            false => failure.bare(),
        };
        out.send(Message::Reject(Reject { export: id, rejection: Rejection::Broker(failure) }));
    }

    /// Keeps what stops a running method, until it has ended.
    ///
    /// # Errors
    /// The canceller, where the call has ended, was cancelled already, or its time is over: the owner uses it at once.
    pub fn set_canceller(&mut self, id: ExportId, canceller: H::Canceller) -> Result<(), H::Canceller> {
        match self.exports.running(id) {
            Some(running) if !running.cancelled && !running.expired => {
                let before = running.canceller.replace(canceller);
                self.garbage.extend(before.map(Garbage::Canceller));
                Ok(())
            }
            _ => Err(canceller),
        }
    }

    /// The caller wants neither the answer nor the run.
    pub fn cancel(&mut self, id: ImportId, out: &mut impl Outbox) {
        match self.imports.reach(id) {
            Reached::Asked(asked) if asked.pinned => self.detach(id),
            Reached::Asked(asked) if asked.wanted == Wanted::Answer => {
                asked.wanted = Wanted::Nothing;
                self.garbage.extend(asked.waiter.take().map(Garbage::Waiter));
                out.send(Message::Cancel(Cancel { result: id }));
            }
            _ => self.imports.forget(id, &mut self.garbage),
        }
    }

    /// The caller wants the run, but not the answer.
    pub fn detach(&mut self, id: ImportId) {
        match self.imports.reach(id) {
            Reached::Asked(asked) if asked.wanted == Wanted::Answer => {
                asked.wanted = Wanted::Run;
                self.garbage.extend(asked.waiter.take().map(Garbage::Waiter));
            }
            _ => self.imports.forget(id, &mut self.garbage),
        }
    }

    /// A handle of the peer's object has died; `mentions` is what it had received.
    pub fn let_go(&mut self, id: ImportId, mentions: u64) {
        if self.ended.is_none() {
            let unasked = self.imports.let_go(id, &mut self.garbage);
            self.releases.push(id, mentions, unasked);
        }
    }

    /// Sends the echo that a [`Task::Echo`] asked for, now that everything before it was sent on.
    pub fn echo(&mut self, number: u64, out: &mut impl Outbox) {
        if self.ended.is_none() {
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

fn answer_too_big(bytes: usize, limit: u64) -> Failure {
    let message =
        format!("the answer has {bytes} bytes; its caller takes {limit}: ask with a larger answer limit");
    let details = vec![("answer-too-big".into(), bytes.to_string().into())];
    Failure { details, ..Failure::new(FailureKind::Overloaded, Ran::Yes, message) }
}

fn overloaded(what: &str, limit: u64) -> Failure {
    Failure::new(
        FailureKind::Overloaded,
        Ran::No,
        format!("{limit} {what}, which is all that the peer grants"),
    )
}

/// The call's options with what is left of its time.
fn timed(options: Option<Box<CallOptions>>, within: Option<TimeLimit>) -> Option<Box<CallOptions>> {
    let Some(limit) = within else { return options };
    let mut options = options.unwrap_or_default();
    options.deadline_ms = Some(limit.left_ms());
    Some(options)
}

fn overdue<H: Host>() -> Refused<H> {
    Refused::Failed(Failure::new(FailureKind::Broken, Ran::No, "the reference that was called is gone"))
}
