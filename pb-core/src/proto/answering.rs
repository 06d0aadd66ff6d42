//! What we answer: results, errors and failures of the peer's calls, and what waits for them.

use super::exports::{Bonds, Export, RunningCall};
use super::limits::ENVELOPE_BYTES;
use super::payload::{Planned, new_entries};
use super::timers::exceeded;
use super::watching::End;
use super::{Answer, Connection, Garbage, Host, Outbox, Start, Task};
use crate::message::{
    Body, Cap, Cause, ExportId, Failure, FailureKind, Message, Payload, Ran, Reject, Rejection, Reply,
    Resolve,
};

impl<H: Host> Connection<H> {
    /// Sends what a call of the peer's ended with, and lets go what waited for it.
    /// An answer that cannot be sent becomes a failure. After the end of the connection nothing happens.
    pub fn answer(&mut self, id: ExportId, answer: Answer<'_, H::Handle>, out: &mut impl Outbox) {
        let Some(running) = self.exports.end(id) else {
            if let Answer::Reference(handle) = answer {
                self.garbage.push(Garbage::Handle(handle));
            }
            return;
        };
        self.lagging.add(running.cost.body, out);
        self.exports.answering = running.seen.method;
        match (running.reply, answer) {
            (Reply::Value, Answer::Value(handles, body)) => {
                match self.plan_answer(&running, handles, body.len(), out) {
                    Ok(planned) => {
                        self.call_ended(id, &running, End::well(&body), out);
                        let payload = Payload { caps: self.commit(planned, true), body };
                        out.send(Message::Resolve(Resolve { export: id, payload }));
                        self.garbage.extend(running.canceller.map(Garbage::Canceller));
                    }
                    Err(failure) => self.reject_running(id, running, failure, out),
                }
            }
            (Reply::Reference, Answer::Reference(handle)) => self.answer_reference(id, running, handle, out),
            (_, Answer::App(handles, body)) => match self.plan_answer(&running, handles, body.len(), out) {
                Ok(planned) => {
                    self.call_ended(id, &running, End::Error { bytes: body.len() }, out);
                    let cause = Cause::of_error(&body, !handles.is_empty());
                    let rejection = Rejection::App(Payload { caps: self.commit(planned, true), body });
                    out.send(Message::Reject(Reject { export: id, rejection }));
                    self.settle_rejected(id, running, cause, out);
                }
                Err(failure) => self.reject_running(id, running, failure, out),
            },
            (_, Answer::Failed(failure)) => self.reject_running(id, running, *failure, out),
            (reply, answer @ (Answer::Value(..) | Answer::Reference(_))) => {
                if let (Reply::Value, Answer::Reference(handle)) = (reply, answer) {
                    self.garbage.push(Garbage::Handle(handle));
                }
                let failure = Failure::new(FailureKind::Incompatible, Ran::Yes, Failure::OTHER_REPLY);
                self.reject_running(id, running, failure, out);
            }
        }
        self.exports.answering = 0;
    }

    // Nothing is what is mostly planned.
    #[inline(always)]
    fn plan_answer(
        &mut self,
        running: &RunningCall<H>,
        handles: &[H::Handle],
        bytes: usize,
        out: &impl Outbox,
    ) -> Result<Vec<Planned<H::Handle>>, Failure> {
        let has_run = |failure| Failure { ran: Ran::Yes, ..failure };
        self.fits("answer", bytes, handles.len(), None).map_err(has_run)?;
        if bytes as u64 > running.answer_bytes {
            return Err(answer_too_big(bytes, running.answer_bytes));
        }
        let planned = self.plan(handles).map_err(has_run)?;
        match self.answer_over_budget(bytes as u64, new_entries(&planned), out) {
            Some(failure) => Err(self.unplan(planned, failure)),
            None => Ok(planned),
        }
    }

    fn answer_reference(
        &mut self,
        id: ExportId,
        mut running: RunningCall<H>,
        handle: H::Handle,
        out: &mut impl Outbox,
    ) {
        let planned = match self.plan_answer(&running, std::slice::from_ref(&handle), 0, out) {
            Ok(planned) => planned,
            Err(failure) => {
                self.garbage.push(Garbage::Handle(handle));
                return self.reject_running(id, running, failure, out);
            }
        };
        self.call_ended(id, &running, End::Well { bytes: 0 }, out);
        let home = matches!(planned.as_slice(), [Planned::Yours(_)]);
        let caps = self.commit(planned, true);
        let of = caps.iter().find_map(|cap| if let Cap::Mine(id) = cap { Some(*id) } else { None });
        let of = of.unwrap_or(id);
        out.send(Message::Resolve(Resolve { export: id, payload: Payload { caps, body: Body::EMPTY } }));
        let Bonds { queue, promise, onward, .. } = running.take_bonds();
        for request in queue {
            self.exports.count_on(of, 1);
            self.tasks.push_back(Task::Start(Start { target: handle.clone(), on_root: false, request }));
        }
        if let Some(promise) = promise {
            self.tasks.push_back(Task::Settle(promise, Ok(handle.clone())));
        }
        self.garbage.extend(running.canceller.map(Garbage::Canceller));
        self.garbage.extend(onward.map(Garbage::Handle));
        if running.cancelled {
            self.garbage.push(Garbage::Handle(handle));
        } else {
            self.exports.keep(id, Export::Settled { handle, home, of });
        }
    }

    /// Answers a call with a failure of the broker.
    pub(super) fn reject(&mut self, id: ExportId, failure: Failure, out: &mut impl Outbox) {
        if let Some(running) = self.exports.end(id) {
            self.lagging.add(running.cost.body, out);
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
        self.call_ended(id, &running, End::Failure(&failure), out);
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
        while let Some((id, mut running, cause)) = work.pop() {
            let Bonds { queue, promise, onward, .. } = running.take_bonds();
            self.garbage.extend(running.canceller.map(Garbage::Canceller));
            self.garbage.extend(onward.map(Garbage::Handle));
            if let Some(promise) = promise {
                self.tasks.push_back(Task::Settle(promise, Err(failure.clone())));
            }
            if running.reply == Reply::Reference && !running.cancelled {
                let kept = self.cause_within_budget(cause, out);
                self.exports.keep(id, Export::Rejected(kept));
            }
            for request in queue {
                if request.answer.is_none() {
                    self.cast_ended(request.cost);
                }
                self.garbage.push(Garbage::Handles(request.arguments.handles));
                let waiting = request.answer.and_then(|(id, _)| Some((id, self.exports.end(id)?)));
                if let Some((id, running)) = waiting {
                    self.call_ended(id, &running, End::Failure(&failure), out);
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
}

fn answer_too_big(bytes: usize, limit: u64) -> Failure {
    let message = format!(
        "the answer has {bytes} bytes; its caller takes {limit}: its method asks for more with #[remote(answer_bytes = …)], a call without its trait by `with_answer_bytes`"
    );
    let details = vec![("answer-too-big".into(), bytes.to_string().into())];
    Failure { details, ..Failure::new(FailureKind::Overloaded, Ran::Yes, message) }
}
