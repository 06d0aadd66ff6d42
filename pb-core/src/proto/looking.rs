//! What somebody who looks into a running process is shown of the tables: in pieces, each of which takes the time of so many entries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exports::{Export, Exports, RunningCall};
use super::objects::{Leads, Object};
use super::usage::{Ended, How, Kinds, TICK_MICROS, Times, Use};
use super::{Connection, Garbage, Host, Key, Outbox, Task};
use crate::message::{Cause, ExportId, Failure, FailureKind, MethodText, Reply};

/// Something of ours that the peer holds.
pub struct Held<T> {
    /// Its id on the connection; [`ExportId::ROOT`] is the root, which is never given back.
    pub id: ExportId,
    /// What it leads to, or why it is broken.
    pub handle: Result<T, Cause>,
    /// Mentions that the peer has not given back; 0 of the root.
    pub mentions: u64,
    /// Calls of the peer's on it, casts included.
    pub calls: u64,
    /// Those of them that were answered with an error or a failure.
    pub failed: u64,
    /// How long the peer has had it.
    pub age: Duration,
    /// How long ago it was called last, if it was.
    pub idle: Option<Duration>,
    /// The method that gave it, where one did and has a number.
    pub by: Option<Arc<MethodText>>,
}

/// A call of the peer's that has no answer yet.
pub struct InFlight<T> {
    /// The id of its result.
    pub id: ExportId,
    /// Its method, where that has a number.
    pub method: Option<Arc<MethodText>>,
    /// What the peer named as its target: an object, the root, or the result of another call.
    pub target: ExportId,
    /// What that leads to, where it is there.
    pub on: Option<T>,
    /// How long ago it came.
    pub age: Duration,
    /// When it must be answered.
    pub deadline: Option<Instant>,
    /// Whether it asks for a reference, on which others may be called before it has come.
    pub gives_reference: bool,
    /// The call whose result it waits for, before it can start.
    pub waits_for: Option<ExportId>,
    /// Its caller has given it up, or its time is over, and it has not stopped yet.
    pub given_up: bool,
    /// Whether it runs and can be stopped.
    pub can_stop: bool,
    /// Whether it could start and has not: its turn has not come, or the peer does not read its answers.
    pub in_line: bool,
}

/// The calls of one method of the peer's that have been answered.
#[derive(Clone)]
pub struct MethodUse {
    /// Its name; nothing stands for all those that are not counted apart.
    pub method: Option<Arc<MethodText>>,
    /// All.
    pub calls: u64,
    /// Those that ended with the method's own error.
    pub errors: u64,
    /// Those that ended with a failure of the broker.
    pub failures: u64,
    /// The longest that was measured, from when it was read.
    pub longest: Duration,
    kinds: Kinds,
    times: Times,
}

impl MethodUse {
    /// A method of which no call was answered.
    pub fn none(method: Option<Arc<MethodText>>) -> Self {
        MethodUse::of(method, &Ended::default())
    }

    fn of(method: Option<Arc<MethodText>>, ended: &Ended) -> Self {
        MethodUse {
            method,
            calls: ended.calls,
            errors: ended.errors.into(),
            failures: ended.failures.into(),
            longest: Duration::from_micros(ended.longest),
            kinds: ended.kinds(),
            times: ended.times,
        }
    }

    /// The failures by kind: those kinds that there were.
    pub fn kinds(&self) -> impl Iterator<Item = (FailureKind, u64)> {
        let all = FailureKind::ALL.into_iter().zip(self.kinds.map(u64::from));
        all.filter(|(_, count)| *count > 0)
    }

    /// Adds those of another connection.
    pub fn add(&mut self, other: &MethodUse) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.failures += other.failures;
        self.longest = self.longest.max(other.longest);
        self.times.add(&other.times);
        for (count, more) in self.kinds.iter_mut().zip(other.kinds) {
            *count = count.saturating_add(more);
        }
    }

    /// The time within which that many of a hundred were answered, from when they were read, to half as much more or less; nothing where none was measured.
    /// All calls are measured whose methods wait, and one in 64 of those that answer at once.
    pub fn quantile(&self, of_hundred: u64) -> Option<Duration> {
        self.times.quantile(of_hundred).map(|micros| Duration::from_micros(micros).min(self.longest))
    }
}

impl MethodUse {
    /// How many took how long, shortest first: what they took less than, in microseconds, each bound twice the one before, and how many were measured.
    /// What was measured for others counts for them, too. Two of these tell how long those took that ended between them.
    pub fn times(&self) -> impl Iterator<Item = (u64, u32)> {
        self.times.classes()
    }
}

impl<H: Host> Connection<H> {
    /// Some of what the peer holds, at most `most` and the root, and from where to go on: `from` is `None` for the first. Whatever is held from the first
    /// piece to the last is in one of them, and what comes meanwhile in none.
    pub fn held(&self, from: Option<ExportId>, most: usize) -> (Vec<Held<H::Handle>>, Option<ExportId>) {
        let objects = &self.exports.objects;
        let mut found = Vec::with_capacity(most.min(objects.len()) + 1);
        if from.is_none() {
            found.extend(self.held_root());
        }
        // From the newest down: what comes meanwhile makes it no longer, and what goes moves nothing.
        let mut rest = objects.before(from.unwrap_or(ExportId(i64::MIN)));
        let mut last = from;
        for (id, object) in rest.by_ref().take(most) {
            found.push(self.tell_object(id, object));
            last = Some(id);
        }
        let next = rest.next().and(last);
        (found, next)
    }

    /// The root, if there is one.
    pub fn held_root(&self) -> Option<Held<H::Handle>> {
        let root = self.exports.served_root();
        root.map(|handle| self.tell(ExportId::ROOT, handle, 0, self.exports.root_used))
    }

    /// The object of this key, if the peer holds it; nothing of one that is broken, nor of the root.
    pub fn held_as(&self, key: Key) -> Option<Held<H::Handle>> {
        self.held_at(self.exports.objects.find(&self.host, key)?)
    }

    /// The object that the peer holds by this id, which may be broken; nothing of the root.
    pub fn held_at(&self, id: ExportId) -> Option<Held<H::Handle>> {
        let object = (!id.is_result()).then(|| self.exports.objects.get(id)).flatten();
        object.map(|object| self.tell_object(id, object))
    }

    fn tell_object(&self, id: ExportId, object: &Object<H>) -> Held<H::Handle> {
        let leads = match &object.leads {
            Leads::To(handle) => Ok(handle.clone()),
            Leads::Nowhere(cause) => Err(Cause::clone(cause)),
        };
        self.tell(id, leads, object.mentions, object.used)
    }

    fn tell(
        &self,
        id: ExportId,
        handle: Result<H::Handle, Cause>,
        mentions: u64,
        used: Use,
    ) -> Held<H::Handle> {
        let now = self.exports.clock.ticks;
        let ago = |tick: u32| Duration::from_micros(u64::from(now.saturating_sub(tick)) * TICK_MICROS);
        let Use { calls, failed, since, last, by, asked: _ } = used;
        let idle = (calls > 0).then(|| ago(last));
        let by = self.names.text(by).cloned();
        Held { id, handle, mentions, calls, failed: failed.into(), age: ago(since), idle, by }
    }

    /// Some of the peer's calls that have no answer yet, in no order, and from where to go on: `from` is `None` for the first piece. It looks at no more than `most`
    /// results, answered ones that the peer keeps among them, so a piece may have few calls, or none. A call that is in flight from the first piece to the last is in one of
    /// them; it may be in two where `most` is less than 1,024 and many others come meanwhile.
    pub fn in_flight(&self, from: Option<u64>, most: usize) -> (Vec<InFlight<H::Handle>>, Option<u64>) {
        if self.exports.running_count() == 0 {
            return (Vec::new(), None);
        }
        let (results, next) = self.exports.open.results(from.unwrap_or(0), most.max(1));
        let in_line = self.in_line();
        let calls = results.filter_map(|(id, export)| match export {
            Export::Running(running) => {
                let is_in_line = in_line.binary_search(&ExportId(id)).is_ok();
                Some(self.tell_running(ExportId(id), running, is_in_line))
            }
            _ => None,
        });
        (calls.collect(), next)
    }

    /// The calls that could start and have not, in order. There are no more than the peer's limits allow, and none for most of the time.
    fn in_line(&self) -> Vec<ExportId> {
        let starts = self.tasks.iter().filter_map(|task| match task {
            Task::Start(start) => start.request.answer.map(|(id, _)| id),
            Task::Settle(..) | Task::Echo(_) => None,
        });
        let mut in_line: Vec<_> = starts.collect();
        in_line.sort_unstable();
        in_line
    }

    fn tell_running(&self, id: ExportId, running: &RunningCall<H>, in_line: bool) -> InFlight<H::Handle> {
        let seen = running.seen;
        let bonds = running.bonds_to_look_at();
        InFlight {
            id,
            method: self.names.text(seen.method).cloned(),
            target: seen.target,
            on: self.exports.leads_to(seen.target),
            age: Duration::from_micros(self.exports.clock.micros.saturating_sub(seen.began)),
            deadline: running.deadline,
            gives_reference: running.reply == Reply::Reference,
            waits_for: bonds.and_then(|bonds| bonds.waits_for).map(|(on, _)| on),
            given_up: running.cancelled || running.expired,
            can_stop: running.canceller.is_some(),
            in_line,
        }
    }

    /// The peer's calls that have been answered, by method.
    pub fn method_uses(&self) -> Vec<MethodUse> {
        let tell = |(number, ended): (u16, &Ended)| MethodUse::of(self.names.text(number).cloned(), ended);
        self.exports.methods.iter().map(tell).collect()
    }

    /// One-way calls of the peer's that have not ended.
    pub fn casts(&self) -> u64 {
        self.casts.count
    }

    /// Lets the tables know what time it is, so that what they tell is as old as it is.
    pub fn look_at(&mut self, now: Instant) {
        self.exports.clock.set(now);
    }

    /// Answers a call of the peer's with `failure`, whatever it is at. Gives what stops its method, to be used under no lock.
    ///
    /// # Errors
    /// Nothing happens where it is not running, or its method cannot be stopped.
    pub fn stop(
        &mut self,
        id: ExportId,
        failure: Failure,
        out: &mut impl Outbox,
    ) -> Result<Option<H::Canceller>, NotStopped> {
        if let Some(request) = self.exports.take_queued(id) {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            self.reject(id, failure, out);
            return Ok(None);
        }
        let running = self.exports.running(id).ok_or(NotStopped::Ended)?;
        let canceller = running.canceller.take().ok_or(NotStopped::RunsToEnd)?;
        self.reject(id, failure, out);
        Ok(Some(canceller))
    }
}

/// Why a call was not stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotStopped {
    /// There is no such call any more, or there never was.
    Ended,
    /// It is about to start, or its method runs to its end whatever happens.
    RunsToEnd,
}

impl<H: Host> Exports<H> {
    /// A call of the peer's is about to be answered.
    #[inline]
    pub(super) fn ended(&mut self, running: &RunningCall<H>, how: How, out: &impl Outbox) {
        let ended = self.methods.of(running.seen.method);
        if let Some((now, weight)) = out.now(ended.is_due()) {
            self.clock.set(now);
            ended.measure(self.clock.micros.saturating_sub(running.seen.began), weight);
        }
        ended.count(how);
        if how != How::Well {
            self.failed_on(running.seen.target);
        }
    }

    #[cold]
    fn failed_on(&mut self, target: ExportId) {
        if let Some(used) = self.used(target) {
            used.failed = used.failed.saturating_add(1);
        }
    }

    /// Counts calls on an object that the peer did not name by its own id.
    pub(super) fn count_on(&mut self, id: ExportId, calls: u64) {
        let clock = self.clock;
        if let Some(used) = self.used(id) {
            used.count(calls, clock);
        }
    }

    fn used(&mut self, id: ExportId) -> Option<&mut Use> {
        if id == ExportId::ROOT {
            return Some(&mut self.root_used);
        }
        let of = match self.open.get(&id.0) {
            Some(Export::Settled { of, .. }) => *of,
            _ => id,
        };
        if of.is_result() { None } else { self.objects.get_mut(of).map(|object| &mut object.used) }
    }

    pub(super) fn leads_to(&self, id: ExportId) -> Option<H::Handle> {
        if id == ExportId::ROOT {
            return self.served_root().and_then(Result::ok);
        }
        if !id.is_result() {
            return self.objects.get(id).and_then(Object::handle).cloned();
        }
        match self.open.get(&id.0) {
            Some(Export::Settled { handle, .. }) => Some(handle.clone()),
            _ => None,
        }
    }
}
