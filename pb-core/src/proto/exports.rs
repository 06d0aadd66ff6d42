use std::time::Instant;

use super::dense::Dense;
use super::limits::{CALL_BYTES, OBJECT_BYTES, RESULT_BYTES};
use super::objects::{Leads, Left, Objects};
use super::queue::Queue;
use super::timers::Timers;
use super::usage::{Clock, Methods, Use};
use super::{Cost, Garbage, Host, Key, Request, Violation};
use crate::message::{Cause, ExportId, Failure, FailureKind, Ran, Reply};

/// What the peer may call here: objects of ours that it holds, and the results of its calls.
/// Twisted: `localObjects` (spread/pb.py). Wire: `docs/protocol.md`, section 6.
pub(super) struct Exports<H: Host> {
    root: Root<H>,
    pub(super) root_used: Use,
    /// Results, by positive ids.
    pub(super) open: Dense<Export<H>>,
    pub(super) objects: Objects<H>,
    /// Id of the result that the peer's last call took.
    last_result: i64,
    /// Calls without an answer.
    running: u64,
    /// Bytes of their bodies.
    running_bytes: u64,
    /// What is charged for what they bring beside their bodies.
    running_extra: u64,
    /// How many of them are cancelled.
    cancelled: u64,
    /// How many of them are over their time.
    expired: u64,
    /// Entries that the peer asked for: objects that it was answered, and settled results with what they keep.
    charged: u64,
    /// The deadlines of those that have one.
    pub(super) due: Timers,
    pub(super) clock: Clock,
    /// The method whose answer is being made.
    pub(super) answering: u16,
    pub(super) methods: Methods,
}

/// What the peer may call without having been given it.
enum Root<H: Host> {
    None,
    Served { handle: H::Handle, watch: Option<H::Watch> },
    Broken(Cause),
}

/// The result of a call of the peer's.
pub(super) enum Export<H: Host> {
    /// It is not there yet.
    Running(RunningCall<H>),
    /// A reference result, until the peer's last word. `home`: it is the peer's own. `of`: the object's own id.
    Settled { handle: H::Handle, home: bool, of: ExportId },
    /// A rejected reference result, until the peer's last word.
    Rejected(Cause),
}

/// A call of the peer's that has no answer yet.
pub(super) struct RunningCall<H: Host> {
    pub(super) reply: Reply,
    /// What it takes, given back with the answer.
    pub(super) cost: Cost,
    /// The largest answer that the caller takes.
    pub(super) answer_bytes: u64,
    pub(super) canceller: Option<H::Canceller>,
    pub(super) cancelled: bool,
    pub(super) deadline: Option<Instant>,
    /// Its time is over: it was stopped, and says so when it ends.
    pub(super) expired: bool,
    pub(super) seen: Seen,
    /// Only of calls that others wait for, or that wait for others: the rest, which are most, are moved about the less for it.
    bonds: Option<Box<Bonds<H>>>,
}

/// What is known of a running call beside what it needs.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// What the peer called, by the id that it named.
    pub(super) target: ExportId,
    /// When it came, in microseconds of the tables' clock.
    pub(super) began: u64,
    /// The number of its method; 0 where that has none.
    pub(super) method: u16,
}

/// What ties a running call to others.
pub(super) struct Bonds<H: Host> {
    /// What was called on its result, in order.
    pub(super) queue: Queue<Request<H>>,
    /// The promise that arguments naming the result were given.
    pub(super) promise: Option<H::Handle>,
    /// The same call where it was passed on: what names the result goes there at once.
    pub(super) onward: Option<H::Handle>,
    /// The call whose result it may wait for, and the place where it does.
    pub(super) waits_for: Option<(ExportId, u64)>,
}

impl<H: Host> Default for Bonds<H> {
    fn default() -> Self {
        Bonds { queue: Queue::new(), promise: None, onward: None, waits_for: None }
    }
}

impl<H: Host> RunningCall<H> {
    /// What ties it to others, to be added to.
    pub(super) fn bonds(&mut self) -> &mut Bonds<H> {
        self.bonds.get_or_insert_default()
    }

    /// What ties it to others, if anything does.
    pub(super) fn bonds_if_any(&mut self) -> Option<&mut Bonds<H>> {
        self.bonds.as_deref_mut()
    }

    /// The same, to look at.
    pub(super) fn bonds_to_look_at(&self) -> Option<&Bonds<H>> {
        self.bonds.as_deref()
    }

    /// The same, of a call that ends.
    pub(super) fn take_bonds(&mut self) -> Bonds<H> {
        self.bonds.take().map(|bonds| *bonds).unwrap_or_default()
    }
}

/// What a target id leads to.
pub(super) enum Target<'a, H: Host> {
    Handle(H::Handle),
    /// The promise of a running call's result, which has come home: what was called on that waits there, and what comes now is behind it.
    Promise(H::Handle),
    Queue(&'a mut Queue<Request<H>>),
    Dead(Failure),
}

impl<H: Host> Exports<H> {
    pub(super) fn new(root: Option<H::Handle>) -> Self {
        Exports {
            root: root.map_or(Root::None, |handle| Root::Served { handle, watch: None }),
            root_used: Use::default(),
            open: Dense::new(),
            objects: Objects::new(),
            last_result: 0,
            running: 0,
            running_bytes: 0,
            running_extra: 0,
            cancelled: 0,
            expired: 0,
            charged: 0,
            due: Timers::default(),
            clock: Clock::default(),
            answering: 0,
            methods: Methods::default(),
        }
    }

    /// Takes the id that a call of the peer's chose for its result.
    pub(super) fn take_result_id(&mut self, id: ExportId) -> Result<(), Violation> {
        let next = self.last_result + 1;
        if id.0 != next {
            return Err(Violation::ResultNotNext { id: id.0, next });
        }
        self.last_result = next;
        Ok(())
    }

    /// The last call of the peer's that has come; 0 before the first.
    pub(super) fn last_result(&self) -> ExportId {
        ExportId(self.last_result)
    }

    /// Records a call that will be answered.
    pub(super) fn begin(
        &mut self,
        id: ExportId,
        reply: Reply,
        cost: Cost,
        answer_bytes: u64,
        deadline: Option<Instant>,
        seen: Seen,
    ) {
        self.running += 1;
        self.running_bytes += cost.body;
        self.running_extra += cost.extra;
        self.due.add(deadline, id.0);
        let running = RunningCall {
            reply,
            cost,
            answer_bytes,
            canceller: None,
            cancelled: false,
            deadline,
            expired: false,
            seen,
            bonds: None,
        };
        self.open.insert(id.0, Export::Running(running));
    }

    /// Ends a call that is about to be answered. `None` where it is not running: the connection has ended meanwhile.
    pub(super) fn end(&mut self, id: ExportId) -> Option<RunningCall<H>> {
        match self.open.remove(&id.0) {
            Some(Export::Running(running)) => {
                self.due.remove(running.deadline, id.0);
                self.running -= 1;
                self.running_bytes -= running.cost.body;
                self.running_extra -= running.cost.extra;
                self.cancelled -= u64::from(running.cancelled);
                self.expired -= u64::from(running.expired);
                Some(running)
            }
            Some(other) => {
                self.open.insert(id.0, other);
                None
            }
            None => None,
        }
    }

    /// The call `id` waits for the result of the call `on`, at a place of its queue.
    pub(super) fn wait(&mut self, id: ExportId, on: ExportId, place: u64) {
        if let Some(running) = self.running(id) {
            running.bonds().waits_for = Some((on, place));
        }
    }

    /// Takes a call out of the queue in which it waits for another one's result, if it does.
    pub(super) fn take_queued(&mut self, id: ExportId) -> Option<Request<H>> {
        let (on, place) = self.running(id)?.bonds_if_any()?.waits_for.take()?;
        self.running(on)?.bonds_if_any()?.queue.take(place)
    }

    /// Keeps a reference result, or its failure, until the peer's last word.
    pub(super) fn keep(&mut self, id: ExportId, settled: Export<H>) {
        self.charged += settled.cost();
        self.open.insert(id.0, settled);
    }

    pub(super) fn running(&mut self, id: ExportId) -> Option<&mut RunningCall<H>> {
        match self.open.get_mut(&id.0) {
            Some(Export::Running(running)) => Some(running),
            _ => None,
        }
    }

    /// What the peer means by a target, or by a capability of ours. `calls`: how many calls on it are to be
    /// counted, where it is no result.
    // A handle that goes through a large result is moved as soon as it is written, which takes longer than all else here.
    #[inline(always)]
    pub(super) fn target(&mut self, id: ExportId, calls: u64) -> Result<Target<'_, H>, Violation> {
        let clock = self.clock;
        if id == ExportId::ROOT {
            if calls > 0 {
                self.root_used.count(calls, clock);
            }
            return Ok(match &self.root {
                Root::Served { handle, .. } => Target::Handle(handle.clone()),
                Root::Broken(cause) => Target::Dead(Failure::broken_by(cause.clone())),
                Root::None => Target::Dead(failure(FailureKind::Refused, "this side serves no root object")),
            });
        }
        if !id.is_result() {
            return self.object_target(id, calls);
        }
        let given = self.was_given(id);
        match self.open.get_mut(&id.0) {
            Some(Export::Settled { handle, .. }) => Ok(Target::Handle(handle.clone())),
            Some(Export::Running(running)) if running.reply == Reply::Reference => match running.bonds() {
                Bonds { onward: Some(onward), .. } => Ok(Target::Handle(onward.clone())),
                Bonds { promise: Some(promise), .. } => Ok(Target::Promise(promise.clone())),
                Bonds { queue, .. } => Ok(Target::Queue(queue)),
            },
            Some(Export::Running(_)) => Err(Violation::NotAReference { id: id.0 }),
            Some(Export::Rejected(cause)) => Ok(Target::Dead(Failure::broken_by(cause.clone()))),
            None => gone(id, given),
        }
    }

    fn object_target(&mut self, id: ExportId, calls: u64) -> Result<Target<'_, H>, Violation> {
        let (clock, given) = (self.clock, self.was_given(id));
        let Some(object) = self.objects.get_mut(id) else { return gone(id, given) };
        match &object.leads {
            Leads::To(handle) => {
                if calls > 0 {
                    object.used.count(calls, clock);
                }
                Ok(Target::Handle(handle.clone()))
            }
            Leads::Nowhere(cause) => Ok(Target::Dead(Failure::broken_by(Cause::clone(cause)))),
        }
    }

    /// The handle behind a capability of ours that came home; a promise made by `make` where it is not settled yet.
    pub(super) fn come_home(
        &mut self,
        id: ExportId,
        make: impl Fn() -> H::Handle,
    ) -> Result<Result<H::Handle, Failure>, Violation> {
        if let Some(running) = self.running(id).filter(|running| running.reply == Reply::Reference)
            && let Bonds { promise, onward: None, .. } = running.bonds()
        {
            return Ok(Ok(promise.get_or_insert_with(make).clone()));
        }
        match self.target(id, 0)? {
            Target::Handle(handle) | Target::Promise(handle) => Ok(Ok(handle)),
            Target::Dead(failure) => Ok(Err(failure)),
            Target::Queue(_) => Err(Violation::NotAReference { id: id.0 }),
        }
    }

    /// Counts one mention of the object of this key and returns its id, where the peer holds it and it is not broken.
    pub(super) fn mention_again(&mut self, host: &H, key: Key) -> Option<ExportId> {
        let id = self.objects.find(host, key)?;
        self.objects.get_mut(id)?.mentions += 1;
        Some(id)
    }

    /// Exports an object that the peer does not hold, with one mention. `asked`: that is part of an answer.
    pub(super) fn export(&mut self, host: &H, handle: H::Handle, asked: bool) -> ExportId {
        let used = Use { since: self.clock.ticks, by: self.answering, asked, ..Use::default() };
        self.charged += charge(asked);
        self.objects.export(host, handle, used)
    }

    /// What the peer may call without having been given it, or why that is broken.
    pub(super) fn served_root(&self) -> Option<Result<H::Handle, Cause>> {
        match &self.root {
            Root::None => None,
            Root::Served { handle, .. } => Some(Ok(handle.clone())),
            Root::Broken(cause) => Some(Err(cause.clone())),
        }
    }

    /// Whether mentioning an object of this key would take a new entry.
    pub(super) fn is_new(&self, host: &H, key: Key) -> bool {
        self.objects.find(host, key).is_none()
    }

    /// Gives back `count` mentions.
    pub(super) fn release(
        &mut self,
        host: &H,
        id: ExportId,
        count: u64,
        garbage: &mut Vec<Garbage<H>>,
    ) -> Result<(), Violation> {
        let held = if id.is_result() {
            match self.open.get(&id.0) {
                Some(Export::Settled { .. } | Export::Rejected(_)) => 1,
                Some(Export::Running(_)) | None => 0,
            }
        } else {
            let mut held = 0;
            let gone = self.objects.remove_if(host, id, |object| {
                held = object.mentions;
                if held > count {
                    object.mentions -= count;
                }
                held == count
            });
            if let Some((used, left)) = gone {
                self.charged -= charge(used.asked);
                scrap(left, garbage);
                return Ok(());
            }
            if held > count {
                return Ok(());
            }
            held
        };
        if held != count {
            return Err(Violation::ReleasedTooMany { id: id.0, held, released: count });
        }
        if id.is_result() {
            self.discard(id, garbage);
        }
        Ok(())
    }

    /// The caller's last word on a settled result.
    pub(super) fn discard(&mut self, id: ExportId, garbage: &mut Vec<Garbage<H>>) {
        let export = self.open.remove(&id.0);
        self.charged -= export.as_ref().map_or(0, Export::cost);
        match export {
            Some(Export::Settled { handle, .. }) => garbage.push(Garbage::Handle(handle)),
            Some(Export::Rejected(_)) | None => {}
            Some(running @ Export::Running(_)) => {
                self.open.insert(id.0, running);
            }
        }
    }

    /// An object is broken from now on: mentioned again it is a new export. Says whether the peer holds it and has not been told.
    pub(super) fn break_object(
        &mut self,
        host: &H,
        id: ExportId,
        cause: &Failure,
        garbage: &mut Vec<Garbage<H>>,
    ) -> bool {
        if id == ExportId::ROOT {
            return self.break_root(cause, garbage);
        }
        let left = self.objects.break_with(host, id, Cause::Broker(cause.clone()));
        let broken = left.is_some();
        left.into_iter().for_each(|left| scrap(left, garbage));
        broken
    }

    fn break_root(&mut self, cause: &Failure, garbage: &mut Vec<Garbage<H>>) -> bool {
        let Root::Served { .. } = self.root else { return false };
        if let Root::Served { handle, watch } =
            std::mem::replace(&mut self.root, Root::Broken(Cause::Broker(cause.clone())))
        {
            garbage.push(Garbage::Handle(handle));
            garbage.extend(watch.map(Garbage::Watch));
        }
        true
    }

    /// Keeps what watches an export, as long as that is open.
    pub(super) fn set_watch(&mut self, id: ExportId, watched: H::Watch) -> Result<(), H::Watch> {
        let before = match &mut self.root {
            Root::Served { watch, .. } if id == ExportId::ROOT => watch.replace(watched),
            _ => self.objects.watch(id, watched)?,
        };
        before.map_or(Ok(()), Err)
    }

    /// Whether the result is settled and is the peer's own.
    pub(super) fn is_home(&self, id: ExportId) -> bool {
        matches!(self.open.get(&id.0), Some(Export::Settled { home: true, .. }))
    }

    /// Whether something stands under `id`.
    pub(super) fn is_open(&self, id: ExportId) -> bool {
        if id.is_result() { self.open.get(&id.0).is_some() } else { self.objects.get(id).is_some() }
    }

    /// Whether `id` was given at some time, open or not.
    pub(super) fn was_given(&self, id: ExportId) -> bool {
        id >= self.objects.last() && id.0 <= self.last_result
    }

    /// The caller does not want the call any more. Gives what stops it, if it runs and can be stopped; `None` where it is not running.
    pub(super) fn cancel(&mut self, id: ExportId) -> Option<Option<H::Canceller>> {
        let running = match self.open.get_mut(&id.0) {
            Some(Export::Running(running)) => running,
            _ => return None,
        };
        self.cancelled += u64::from(!running.cancelled);
        running.cancelled = true;
        Some(running.canceller.take())
    }

    /// Whether the call was cancelled, or is gone.
    pub(super) fn is_cancelled(&self, id: ExportId) -> bool {
        self.cancelled > 0
            && !matches!(self.open.get(&id.0), Some(Export::Running(RunningCall { cancelled: false, .. })))
    }

    /// The time of a call that runs is over. Gives what stops it, if it can be stopped.
    pub(super) fn expire(&mut self, id: ExportId) -> Option<H::Canceller> {
        let running = match self.open.get_mut(&id.0) {
            Some(Export::Running(running)) => running,
            _ => return None,
        };
        self.expired += u64::from(!running.expired);
        running.expired = true;
        running.canceller.take()
    }

    /// Whether no call is cancelled, or over its time: all of those that have not started are to be started.
    #[inline]
    pub(super) fn are_all_wanted(&self) -> bool {
        self.cancelled + self.expired == 0
    }

    pub(super) fn running_count(&self) -> u64 {
        self.running
    }

    pub(super) fn running_bytes(&self) -> u64 {
        self.running_bytes
    }

    /// What the peer's budget is charged for its calls and what they left here.
    pub(super) fn charged(&self) -> u64 {
        let calls = self.running * CALL_BYTES + self.running_extra;
        calls + self.running_bytes + self.charged
    }

    /// Everything that the peer may name, but for the root.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        (self.open.len() + self.objects.len()) as u64
    }

    /// Objects that the peer holds.
    pub(super) fn held_count(&self) -> u64 {
        self.objects.len() as u64
    }

    /// Settled reference results without the peer's last word.
    pub(super) fn settled_count(&self) -> u64 {
        self.open.len() as u64 - self.running
    }

    /// Objects, and everything under a positive id.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.objects.len(), self.open.len())
    }

    /// Empties the table; the root goes too. Returns what stops the running calls, and the promises of their results.
    pub(super) fn clear(&mut self, garbage: &mut Vec<Garbage<H>>) -> (Vec<H::Canceller>, Vec<H::Handle>) {
        let (mut cancellers, mut promises) = (Vec::new(), Vec::new());
        if let Root::Served { handle, watch } = std::mem::replace(&mut self.root, Root::None) {
            garbage.push(Garbage::Handle(handle));
            garbage.extend(watch.map(Garbage::Watch));
        }
        for export in self.open.take_values() {
            match export {
                Export::Settled { handle, .. } => garbage.push(Garbage::Handle(handle)),
                Export::Rejected(_) => {}
                Export::Running(mut running) => {
                    let Bonds { queue, promise, onward, .. } = running.take_bonds();
                    promises.extend(promise);
                    garbage.extend(onward.map(Garbage::Handle));
                    garbage
                        .extend(queue.into_iter().map(|request| Garbage::Handles(request.arguments.handles)));
                    cancellers.extend(running.canceller);
                }
            }
        }
        self.objects.take().for_each(|left| scrap(left, garbage));
        self.running = 0;
        self.running_bytes = 0;
        self.running_extra = 0;
        self.cancelled = 0;
        self.expired = 0;
        self.charged = 0;
        self.due.clear();
        (cancellers, promises)
    }
}

impl<H: Host> Export<H> {
    /// Bytes that the peer's budget is charged as long as it is kept; running calls are charged apart.
    fn cost(&self) -> u64 {
        match self {
            Export::Running(_) => 0,
            Export::Settled { .. } => RESULT_BYTES,
            Export::Rejected(Cause::Broker(failure)) => RESULT_BYTES + failure.size() as u64,
            Export::Rejected(Cause::App(cause)) => RESULT_BYTES + cause.body.len() as u64,
        }
    }
}

/// What the peer's budget is charged for an object. That it broke is not the peer's doing, and changes nothing.
fn charge(asked: bool) -> u64 {
    if asked { OBJECT_BYTES } else { 0 }
}

fn scrap<H: Host>((handle, watch): Left<H>, garbage: &mut Vec<Garbage<H>>) {
    garbage.extend(handle.map(Garbage::Handle));
    garbage.extend(watch.map(Garbage::Watch));
}

/// What a target leads to that is not there. `given`: it was at some time.
fn gone<'a, H: Host>(id: ExportId, given: bool) -> Result<Target<'a, H>, Violation> {
    if !given {
        return Err(Violation::NeverGiven { id: id.0 });
    }
    Ok(Target::Dead(failure(FailureKind::Broken, "the reference was released before this call arrived")))
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure::new(kind, Ran::No, message)
}
