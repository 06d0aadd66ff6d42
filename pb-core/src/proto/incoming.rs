//! What each received message does.

use std::time::Instant;

use bytes::Bytes;

use super::budget::answer_limit;
use super::connection::Embargo;
use super::exports::{Seen, Target};
use super::imports::{Asked, Import, Wanted};
use super::timers::{self, exceeded, given_up, is_over};
use super::{
    Connection, Cost, Garbage, Host, Notice, Outbox, Outcome, Request, Start, TOGETHER, Task, Violation,
};
use crate::message::{
    Body, Call, Cancel, Cap, Cast, Cause, Disembargo, ExportId, Failure, FailureKind, ImportId, Message, Ran,
    Reject, Rejection, Release, Reply, Resolve,
};

impl<H: Host> Connection<H> {
    pub(super) fn on_call(
        &mut self,
        call: &mut Call,
        now: Instant,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        let id = call.result.turned();
        self.exports.take_result_id(id)?;
        // An id is given by the message that takes it, not within it.
        if call.target == call.result || call.payload.caps.contains(&Cap::Yours(call.result)) {
            return Err(Violation::NeverGiven { id: id.0 });
        }
        let seen = Seen {
            target: call.target.turned(),
            began: self.exports.clock.micros,
            method: self.names.number(&call.method),
        };
        let method = self.names.known(&call.method, self.limits.names)?;
        let arguments = self.take_in(&mut call.payload, true)?;
        let cost = Cost::new(arguments.body.len(), arguments.handles.len(), call.options.as_deref());
        let over = self.over_the_grant(cost.body, call.reply, out);
        let held_against = over.is_some();
        let late = is_over(call.options.as_deref()).then(|| exceeded(Ran::No));
        let refused = over
            .or_else(|| self.no_room_for(call.reply))
            .or(late)
            .or_else(|| self.over_budget(cost.charged(), Ran::No, out));
        let answer_bytes = answer_limit(call.options.as_deref());
        let deadline = timers::deadline(call.options.as_deref(), now);
        self.exports.begin(id, call.reply, cost, answer_bytes, deadline, seen);
        if self.watched {
            self.tell_called(Some(id), seen.target, &method.text, arguments.body.len());
        }
        let answer = Some((id, call.reply));
        let request = Request { answer, method, options: call.options.take(), deadline, arguments, cost };
        if let Some(failure) = refused {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            if held_against {
                self.strike()?;
            }
            self.reject(id, failure, out);
            return Ok(());
        }
        let waits = self.is_unread(out);
        if let Some((request, failure)) = self.deliver(call.target.turned(), request, waits)? {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            self.reject(id, failure, out);
        }
        Ok(())
    }

    /// A cast that cannot be delivered, whose time is over, or that is over a grant or the budget, has ended as it comes: nobody is told.
    pub(super) fn on_cast(
        &mut self,
        cast: &mut Cast,
        now: Instant,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        let method = self.names.known(&cast.method, self.limits.names)?;
        let arguments = self.take_in(&mut cast.payload, true)?;
        let cost = Cost::new(arguments.body.len(), arguments.handles.len(), cast.options.as_deref());
        let over = self.over_the_grant(cost.body, Reply::Value, out).is_some();
        let dropped = over
            || is_over(cast.options.as_deref())
            || self.over_budget(cost.charged(), Ran::No, out).is_some();
        if self.watched {
            self.tell_called(None, cast.target.turned(), &method.text, arguments.body.len());
        }
        self.casts.add(cost.body);
        self.casts_extra += cost.extra;
        let deadline = timers::deadline(cast.options.as_deref(), now);
        let request =
            Request { answer: None, method, options: cast.options.take(), deadline, arguments, cost };
        let left = match dropped {
            true => Some(request),
            false => {
                let waits = self.is_unread(out);
                self.deliver(cast.target.turned(), request, waits)?.map(|(request, _)| request)
            }
        };
        if let Some(request) = left {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            self.cast_ended(cost);
        }
        // Without credit nobody told the peer how many there may be.
        if over && self.credit { self.strike() } else { Ok(()) }
    }

    /// Lets a call start, or wait for the promise that it names. Hands it back where it can do neither. `waits`: none starts now.
    #[inline(always)]
    fn deliver(
        &mut self,
        target: ExportId,
        request: Request<H>,
        waits: bool,
    ) -> Result<Option<(Request<H>, Failure)>, Violation> {
        // In parts, and put together where it goes: as a whole it would be copied on its way there.
        let Request { answer, method, options, deadline, mut arguments, cost } = request;
        if let Some(failure) = self.refusal(target) {
            return Ok(Some((Request { answer, method, options, deadline, arguments, cost }, failure)));
        }
        let (target, on_root) = match self.exports.target(target, 1) {
            Ok(Target::Handle(handle)) => {
                if waits {
                    unpin(&mut arguments.body);
                }
                if target.is_result() {
                    self.exports.count_on(target, 1);
                }
                (handle, target == ExportId::ROOT)
            }
            Ok(Target::Promise(promised)) => {
                unpin(&mut arguments.body);
                (promised, false)
            }
            Ok(Target::Queue(queue)) => {
                unpin(&mut arguments.body);
                let place = queue.push(Request { answer, method, options, deadline, arguments, cost });
                if let Some((id, _)) = answer {
                    self.exports.wait(id, target, place);
                }
                return Ok(None);
            }
            Ok(Target::Dead(failure)) => {
                return Ok(Some((Request { answer, method, options, deadline, arguments, cost }, failure)));
            }
            Err(violation) => {
                self.garbage.push(Garbage::Handles(arguments.handles));
                return Err(violation);
            }
        };
        if self.tasks.capacity() == 0 {
            // A place is large, and many peers have no more than one call at a time.
            self.tasks.reserve_exact(1);
        }
        let request = Request { answer, method, options, deadline, arguments, cost };
        self.tasks.push_back(Task::Start(Start { target, on_root, request }));
        Ok(None)
    }

    fn over_the_grant(&mut self, bytes: u64, reply: Reply, out: &impl Outbox) -> Option<Failure> {
        let running = self.exports.running_count() + self.casts.count;
        let running_bytes = self.exports.running_bytes() + self.casts.bytes + self.lagging.bytes(out);
        let message = if running >= self.limits.calls {
            format!("{running} calls and casts have not ended yet; {} are granted", self.limits.calls)
        } else if running_bytes + bytes > self.limits.call_bytes {
            format!(
                "{} bytes of calls and casts have not ended yet; {} are granted",
                running_bytes + bytes,
                self.limits.call_bytes
            )
        } else if reply == Reply::Reference && self.exports.settled_count() >= self.limits.exports {
            format!(
                "{} results are not released; {} are granted",
                self.exports.settled_count(),
                self.limits.exports
            )
        } else {
            return None;
        };
        Some(Failure::new(FailureKind::Overloaded, Ran::No, message))
    }

    /// A reference call that finds the exports full is refused, but not held against a caller who may not have read yet what filled them.
    fn no_room_for(&self, reply: Reply) -> Option<Failure> {
        let (held, granted) = (self.exports.held_count(), self.limits.exports);
        (reply == Reply::Reference && held >= granted).then(|| {
            let message = format!("{held} objects are held; {granted} are granted");
            Failure::new(FailureKind::Overloaded, Ran::No, message)
        })
    }

    /// A call over the grant is answered; persisting ends the connection.
    fn strike(&mut self) -> Result<(), Violation> {
        self.strikes += 1;
        if self.strikes > self.limits.strikes {
            return Err(Violation::Limit { what: "calls over the grant", limit: self.limits.strikes });
        }
        Ok(())
    }

    pub(super) fn on_resolve(
        &mut self,
        resolve: &mut Resolve,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        let id = resolve.export.turned();
        if !id.is_result() {
            return Err(match id.0 {
                0 => Violation::RootResolved,
                _ => Violation::NotOffered { feature: "promises as capabilities" },
            });
        }
        // Until the answer is known to be good the call stays open, so that the end of the connection answers it.
        if self.imports.asked_reply(id, resolve.payload.body.len())? == Reply::Reference {
            let ([cap], true) = (resolve.payload.caps.as_slice(), resolve.payload.body.is_empty()) else {
                let (caps, bytes) = (resolve.payload.caps.len(), resolve.payload.body.len());
                return Err(Violation::NotOneReference { id: id.0, caps, bytes });
            };
            return self.on_reference(id, *cap, out);
        }
        let carried = self.take_in(&mut resolve.payload, false)?;
        let asked = self.imports.settle(id)?;
        match asked.waiter {
            Some(waiter) => self.notices.push_back(Notice::Settled(waiter, Outcome::Value(carried))),
            None => self.garbage.push(Garbage::Handles(carried.handles)),
        }
        Ok(())
    }

    /// The answer to a call of ours begins to come, and will have a body of `bytes`.
    ///
    /// # Errors
    /// Those that the whole message would lead to: nobody asked, or it is too large.
    pub fn expect_answer(&self, id: ExportId, bytes: usize) -> Result<(), Violation> {
        let id = id.turned();
        if id.is_result() { self.imports.asked_reply(id, bytes).map(drop) } else { Ok(()) }
    }

    fn on_reference(&mut self, id: ImportId, cap: Cap, out: &mut impl Outbox) -> Result<(), Violation> {
        let handle = self.take_in_cap(cap, false)?;
        let circle = matches!(cap, Cap::Yours(_)) && self.leads_to(&handle, id);
        let asked = self.imports.settle(id)?;
        if circle {
            self.garbage.push(Garbage::Handle(handle));
            self.settle_failed(
                id,
                asked,
                Cause::Broker(Failure::circular()),
                Outcome::Failed(Failure::circular()),
            );
            return Ok(());
        }
        // Whether calls went down the old path and the form of the resolution decide; not what the id is by now.
        let embargoed = asked.piped && matches!(cap, Cap::Yours(_)) && asked.wanted != Wanted::Nothing;
        let to = if embargoed { self.embargo(id, handle, out) } else { handle };
        if !embargoed && asked.wanted != Wanted::Nothing {
            self.releases.push(id, 1, false);
        }
        match (asked.waiter, asked.wanted) {
            (Some(waiter), Wanted::Answer) => {
                if self.host.names_result(&waiter) {
                    self.imports.keep(id, Import::Moved(to.clone()));
                }
                let outcome = if embargoed { Outcome::Embargoed(to) } else { Outcome::Reference(to) };
                self.notices.push_back(Notice::Settled(waiter, outcome));
            }
            (waiter, _) => {
                self.keep_broken(id, asked.over.filter(|_| asked.named));
                self.garbage.extend(waiter.map(Garbage::Waiter));
                self.garbage.push(Garbage::Handle(to));
            }
        }
        Ok(())
    }

    /// Asks for the echo, and makes the promise that later calls wait on.
    fn embargo(&mut self, result: ImportId, home: H::Handle, out: &mut impl Outbox) -> H::Handle {
        self.last_embargo += 1;
        let number = self.last_embargo;
        out.send(Message::Disembargo(Disembargo::Ask { target: result, number }));
        let promise = self.host.promise();
        self.embargoes.insert(number, Embargo { result, promise: promise.clone(), home });
        promise
    }

    pub(super) fn on_reject(&mut self, reject: &mut Reject) -> Result<(), Violation> {
        let id = reject.export.turned();
        if !id.is_result() {
            return self.on_break(id, reject.rejection.take());
        }
        self.imports.asked_reply(id, reject.rejection.body_len())?;
        let (cause, outcome) = match reject.rejection.take() {
            Rejection::App(mut payload) => {
                let carried = self.take_in(&mut payload, false)?;
                (Cause::of_error(&carried.body, !carried.handles.is_empty()), Outcome::App(carried))
            }
            Rejection::Broker(failure) => (Cause::Broker(failure.clone()), Outcome::Failed(failure)),
        };
        let asked = self.imports.settle(id)?;
        self.settle_failed(id, asked, cause, outcome);
        Ok(())
    }

    /// Tells whoever waits, and keeps the failure for who names the result.
    fn settle_failed(&mut self, id: ImportId, asked: Asked<H>, cause: Cause, outcome: Outcome<H>) {
        if asked.reply == Reply::Reference && asked.wanted != Wanted::Nothing {
            self.releases.push(id, 1, false);
        }
        match (asked.waiter, asked.wanted) {
            (Some(waiter), Wanted::Answer) => {
                if asked.reply == Reply::Reference && self.host.names_result(&waiter) {
                    self.imports.keep(id, Import::Rejected(Failure::broken_by(cause)));
                }
                self.notices.push_back(Notice::Settled(waiter, outcome));
            }
            (waiter, _) => {
                self.keep_broken(id, asked.over.filter(|_| asked.named));
                self.garbage.extend(waiter.map(Garbage::Waiter));
                if let Outcome::App(carried) = outcome {
                    self.garbage.push(Garbage::Handles(carried.handles));
                }
            }
        }
    }

    /// The promise of a call that was over before its answer stays broken for that reason, whatever the answer was.
    fn keep_broken(&mut self, id: ImportId, over: Option<FailureKind>) {
        if let Some(kind) = over {
            self.imports.keep(id, Import::Rejected(Failure::broken_by(Cause::Broker(given_up(kind)))));
        }
    }

    /// An object of the peer's, or its root, is broken from now on.
    fn on_break(&mut self, id: ImportId, rejection: Rejection) -> Result<(), Violation> {
        if !self.imports.was_given(id) {
            return Err(Violation::NeverGiven { id: id.0 });
        }
        let cause = match rejection {
            Rejection::App(mut payload) => {
                let carried = self.take_in(&mut payload, true)?;
                let cause = Cause::of_error(&carried.body, !carried.handles.is_empty());
                self.garbage.push(Garbage::Handles(carried.handles));
                cause
            }
            Rejection::Broker(failure) => Cause::Broker(failure),
        };
        let failure = Failure::broken_by(cause);
        if id == ImportId::ROOT {
            if self.imports.root_broken.is_some() {
                return Err(Violation::BrokenTwice { id: id.0 });
            }
            self.imports.root_broken = Some(failure);
            self.notices.push_back(Notice::RootBroken);
            return Ok(());
        }
        if let Some(proxy) = self.imports.break_object(id, &failure)? {
            self.notices.push_back(Notice::Broken(proxy, failure));
        }
        Ok(())
    }

    pub(super) fn on_release(&mut self, release: &Release) -> Result<(), Violation> {
        let (some, rest) = release.mentions.as_chunks::<TOGETHER>();
        some.iter().try_for_each(|some| {
            self.exports.objects.bring(&self.host, some.map(|(id, _)| id.turned()));
            self.give_back(some)
        })?;
        self.give_back(rest)
    }

    fn give_back(&mut self, mentions: &[(ImportId, u64)]) -> Result<(), Violation> {
        mentions.iter().try_for_each(|(id, count)| match self.watched {
            false => self.exports.release(&self.host, id.turned(), *count, &mut self.garbage),
            true => self.release_watched(id.turned(), *count),
        })
    }

    pub(super) fn on_cancel(&mut self, cancel: Cancel, out: &mut impl Outbox) -> Result<(), Violation> {
        let id = cancel.result.turned();
        if !self.exports.was_given(id) {
            return Err(Violation::NeverGiven { id: id.0 });
        }
        match self.exports.cancel(id) {
            Some(canceller) => self.notices.extend(canceller.map(Notice::Cancel)),
            None => self.exports.discard(id, &mut self.garbage),
        }
        // The caller names the result no more, so nobody does.
        let onward = self.exports.running(id).and_then(|running| running.bonds_if_any()?.onward.take());
        self.garbage.extend(onward.map(Garbage::Handle));
        // What waits for a result that may never come must not hold its arguments until then.
        if let Some(request) = self.exports.take_queued(id) {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            self.reject(id, Failure::cancelled_early(), out);
        }
        Ok(())
    }

    pub(super) fn on_disembargo(&mut self, disembargo: Disembargo) -> Result<(), Violation> {
        match disembargo {
            Disembargo::Ask { target, .. } if !self.exports.is_home(target.turned()) => {
                Err(Violation::NotEmbargoed { id: target.0 })
            }
            Disembargo::Ask { number, .. } => {
                self.echoes += 1;
                self.tasks.push_back(Task::Echo(number));
                Ok(())
            }
            Disembargo::Echo { number } => {
                let embargo = self.embargoes.remove(&number).ok_or(Violation::EchoNotAsked { number })?;
                self.releases.push(embargo.result, 1, false);
                self.tasks.push_back(Task::Settle(embargo.promise, Ok(embargo.home)));
                Ok(())
            }
        }
    }
}

/// A call that waits must not hold the buffer that it was read into. A large body has one of its own.
#[cold]
#[inline]
pub(super) fn unpin(body: &mut Bytes) {
    if body.len() < Body::OWN_BUFFER_BYTES {
        *body = Bytes::copy_from_slice(body);
    }
}
