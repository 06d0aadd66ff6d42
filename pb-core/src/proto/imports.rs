use std::time::Instant;

use super::casts::Casts;
use super::dense::Dense;
use super::limits::IMPORT_BYTES;
use super::pages::Pages;
use super::timers::{Timers, given_up};
use super::{Garbage, Host, Violation};
use crate::message::{Cause, ExportId, Failure, FailureKind, ImportId, Reply};

/// What the peer owns and we may call: its objects, and the results of our calls.
/// Twisted: `waitingForAnswers` and the luids we hold (spread/pb.py). Wire: `docs/protocol.md`, section 6.
pub(super) struct Imports<H: Host> {
    /// The results, by positive ids.
    open: Dense<Import<H>>,
    /// The objects, by their ids' numbers: of their own, since there may be a million of them, and a call's entry is several times as large.
    held: Pages<Held<H>>,
    /// Why the root, which has no entry, is broken.
    pub(super) root_broken: Option<Failure>,
    /// How many of the objects came unasked.
    unasked: u64,
    /// Id of the object that the peer exported last: 0, -1, -2 …
    last_object: i64,
    /// Id of the result that our last call took.
    last_result: i64,
    /// Calls without an answer, and the bytes of their bodies.
    asked: u64,
    asked_bytes: u64,
    /// How many of them ask for a reference.
    asked_references: u64,
    /// Bytes that the answers to them may have, and those of answers that have come and are not decoded yet.
    owed_bytes: u64,
    /// How often something came free that calls of ours wait for.
    freed: u64,
    /// Our casts that the peer has not given back.
    pub(super) casts: Casts,
    /// The deadlines of those that have one.
    pub(super) due: Timers,
}

/// An object of the peer's.
pub(super) struct Held<H: Host> {
    pub(super) proxy: Option<H::Proxy>,
    pub(super) broken: Option<Box<Failure>>,
    /// Handles of ours that hold it; each gives back the mentions it received as it dies. As many as 2^32 do not fit into any memory.
    handles: u32,
    /// The peer passed it, we did not ask; its budget is charged.
    unasked: bool,
}

/// The result of a call of ours.
pub(super) enum Import<H: Host> {
    /// A call of ours without an answer.
    Asked(Asked<H>),
    /// The settled result of a reference call, as long as its caller may still name the promise.
    Moved(H::Handle),
    /// The rejected result of a reference call, as long as its caller may still name the promise.
    Rejected(Failure),
}

/// A call of ours without an answer.
pub(super) struct Asked<H: Host> {
    /// Gone once the caller does not wait any more.
    pub(super) waiter: Option<H::Waiter>,
    pub(super) reply: Reply,
    pub(super) bytes: u64,
    /// The largest answer that it takes.
    pub(super) answer_bytes: u64,
    /// Calls went to the peer on this result: what they are called on may be on its way back to us.
    pub(super) piped: bool,
    pub(super) wanted: Wanted,
    /// The call on the peer's root that it stems from: itself, or by way of results that were called before they had come; else 0.
    pub(super) root_call: ImportId,
    /// A cast went down the promise: it must arrive, though nobody waits.
    pub(super) pinned: bool,
    deadline: Option<Instant>,
    /// Its caller has its end before any answer: the time is over, or the caller wanted no more.
    pub(super) over: Option<FailureKind>,
    /// The caller may still name the promise of a call that is over.
    pub(super) named: bool,
}

/// What the caller still wants of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// The answer.
    Answer,
    /// Only that the call runs.
    Run,
    /// Nothing: it was cancelled, and the peer heard our last word on it.
    Nothing,
}

/// What calling an import leads to.
pub(super) enum Reached<'a, H: Host> {
    Object,
    Asked(&'a mut Asked<H>),
    Moved(H::Handle),
    Dead(Failure),
    Unknown,
}

impl<H: Host> Imports<H> {
    pub(super) fn new() -> Self {
        Imports {
            freed: 0,
            open: Dense::new(),
            held: Pages::new(),
            root_broken: None,
            unasked: 0,
            last_object: 0,
            last_result: 0,
            asked: 0,
            asked_bytes: 0,
            asked_references: 0,
            owed_bytes: 0,
            casts: Casts::default(),
            due: Timers::default(),
        }
    }

    /// Opens the import that our next call's result will settle.
    pub(super) fn ask(
        &mut self,
        target: ImportId,
        reply: Reply,
        bytes: u64,
        answer_bytes: u64,
        deadline: Option<Instant>,
        waiter: H::Waiter,
    ) -> ImportId {
        self.last_result += 1;
        let root_call = match target {
            ImportId::ROOT => ImportId(self.last_result),
            target if target.is_result() => {
                self.asked(target).map_or(ImportId::ROOT, |asked| asked.root_call)
            }
            _ => ImportId::ROOT,
        };
        self.asked += 1;
        self.asked_bytes += bytes;
        self.asked_references += u64::from(reply == Reply::Reference);
        self.owed_bytes += answer_bytes;
        self.due.add(deadline, self.last_result);
        let asked = Asked {
            waiter: Some(waiter),
            reply,
            bytes,
            answer_bytes,
            piped: false,
            wanted: Wanted::Answer,
            root_call,
            pinned: false,
            deadline,
            over: None,
            named: false,
        };
        self.open.insert(self.last_result, Import::Asked(asked));
        ImportId(self.last_result)
    }

    /// Ends all calls of ours that have no answer, in their order.
    pub(super) fn take_asked(&mut self) -> Vec<Asked<H>> {
        let asked = self.open.iter().filter(|(_, import)| matches!(import, Import::Asked(_)));
        let mut ids: Vec<_> = asked.map(|(&id, _)| id).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.settle(ImportId(id)).ok()).collect()
    }

    /// The objects.
    pub(super) fn objects_mut(&mut self) -> impl Iterator<Item = &mut Held<H>> {
        self.held.values_mut()
    }

    /// A call of ours that has no answer.
    pub(super) fn asked(&mut self, id: ImportId) -> Option<&mut Asked<H>> {
        match self.open.get_mut(&id.0) {
            Some(Import::Asked(asked)) => Some(asked),
            _ => None,
        }
    }

    /// How the result of a call of ours may be used that has an answer of `bytes` now.
    pub(super) fn asked_reply(&self, id: ImportId, bytes: usize) -> Result<Reply, Violation> {
        match self.open.get(&id.0) {
            Some(Import::Asked(asked)) if bytes as u64 > asked.answer_bytes => {
                Err(Violation::AnswerTooBig { id: id.0, bytes, limit: asked.answer_bytes })
            }
            Some(Import::Asked(asked)) => Ok(asked.reply),
            _ => Err(Violation::AnswerNotAsked { id: id.0 }),
        }
    }

    /// Ends a call of ours whose answer has come.
    #[inline(always)]
    pub(super) fn settle(&mut self, id: ImportId) -> Result<Asked<H>, Violation> {
        match self.open.remove(&id.0) {
            Some(Import::Asked(asked)) => {
                self.due.remove(asked.deadline, id.0);
                self.asked -= 1;
                self.asked_bytes -= asked.bytes;
                self.asked_references -= u64::from(asked.reply == Reply::Reference);
                self.owed_bytes -= asked.answer_bytes;
                self.freed += 1;
                Ok(asked)
            }
            Some(other) => {
                self.open.insert(id.0, other);
                Err(Violation::AnswerNotAsked { id: id.0 })
            }
            None => Err(Violation::AnswerNotAsked { id: id.0 }),
        }
    }

    /// Keeps the settled result for its promise.
    pub(super) fn keep(&mut self, id: ImportId, settled: Import<H>) {
        self.open.insert(id.0, settled);
    }

    /// What a call on `id` reaches.
    pub(super) fn reach(&mut self, id: ImportId) -> Reached<'_, H> {
        if id == ImportId::ROOT {
            return self.root_broken.clone().map_or(Reached::Object, Reached::Dead);
        }
        if !id.is_result() {
            return match self.held.get(number_of(id)) {
                Some(Held { broken: Some(failure), .. }) => Reached::Dead(Failure::clone(failure)),
                Some(_) => Reached::Object,
                None => Reached::Unknown,
            };
        }
        match self.open.get_mut(&id.0) {
            Some(Import::Asked(asked)) => match asked.over {
                Some(kind) => Reached::Dead(Failure::broken_by(Cause::Broker(given_up(kind)))),
                None => Reached::Asked(asked),
            },
            Some(Import::Moved(handle)) => Reached::Moved(handle.clone()),
            Some(Import::Rejected(failure)) => Reached::Dead(failure.clone()),
            None => Reached::Unknown,
        }
    }

    /// A call of ours that has no answer, and is not over for its caller.
    pub(super) fn reach_asked(&mut self, id: ImportId) -> Option<&mut Asked<H>> {
        self.asked(id).filter(|asked| asked.over.is_none())
    }

    /// Takes in a mention of an object of the peer's.
    pub(super) fn mention(
        &mut self,
        host: &H,
        id: ExportId,
        limit: u64,
        unasked: bool,
    ) -> Result<H::Handle, Violation> {
        let next = self.last_object - 1;
        if id.0 < next {
            return Err(Violation::ObjectNotNext { id: id.0, next });
        }
        self.last_object = self.last_object.min(id.0);
        let number = number_of(id.turned());
        if let Some(held) = self.held.get_mut(number) {
            let (handle, made) = host.mention(id.turned(), &mut held.proxy);
            held.handles += u32::from(made);
            return Ok(handle);
        }
        if self.held.len() as u64 >= limit {
            return Err(Violation::Limit { what: "imports", limit });
        }
        self.unasked += u64::from(unasked);
        let mut proxy = None;
        let (handle, _) = host.mention(id.turned(), &mut proxy);
        self.held.insert(number, Held { proxy, broken: None, handles: 1, unasked });
        Ok(handle)
    }

    /// One of our handles of an object has died. Says whether the object came unasked, and gives what held its handles where that was the last.
    pub(super) fn let_go(&mut self, id: ImportId) -> (bool, Option<H::Proxy>) {
        let mut unasked = false;
        let gone = self.held.remove_if(number_of(id), |held| {
            unasked = held.unasked;
            held.handles -= 1;
            held.handles == 0
        });
        let Some(held) = gone else { return (unasked, None) };
        self.unasked -= u64::from(unasked);
        (unasked, held.proxy)
    }

    /// Nobody names the promise of a settled result any more. Gives what was kept for it.
    pub(super) fn forget(&mut self, id: ImportId) -> Option<Garbage<H>> {
        match self.open.get_mut(&id.0) {
            Some(Import::Moved(_) | Import::Rejected(_)) => self.open.remove(&id.0).and_then(leftover),
            Some(Import::Asked(asked)) => {
                asked.named = false;
                None
            }
            None => None,
        }
    }

    /// The object is broken from now on. Says whether it is held, and by whom.
    ///
    /// # Errors
    /// [`Violation::BrokenTwice`] where it is held, and broken already.
    pub(super) fn break_object(
        &mut self,
        id: ImportId,
        failure: &Failure,
    ) -> Result<Option<H::Proxy>, Violation> {
        match self.held.get_mut(number_of(id)) {
            Some(Held { broken: Some(_), .. }) => Err(Violation::BrokenTwice { id: id.0 }),
            Some(held) => {
                held.broken = Some(Box::new(failure.clone()));
                Ok(held.proxy.take())
            }
            None => Ok(None),
        }
    }

    /// The result that a call of ours has settled to is broken.
    pub(super) fn break_result(&mut self, id: ImportId, failure: Failure, garbage: &mut Vec<Garbage<H>>) {
        if let Some(import @ Import::Moved(_)) = self.open.get_mut(&id.0) {
            garbage.extend(leftover(std::mem::replace(import, Import::Rejected(failure))));
        }
    }

    /// Whether the peer has exported this object at some time.
    pub(super) fn was_given(&self, id: ImportId) -> bool {
        id.0 >= self.last_object && id.0 <= self.last_result
    }

    pub(super) fn asked_count(&self) -> u64 {
        self.asked
    }

    pub(super) fn asked_bytes(&self) -> u64 {
        self.asked_bytes
    }

    /// How often something came free that calls of ours wait for: answers, credit, bytes for answers, objects.
    pub(super) fn freed(&self) -> u64 {
        self.freed
    }

    /// Something has come free.
    pub(super) fn free(&mut self) {
        self.freed += 1;
    }

    /// Bytes reserved for answers.
    pub(super) fn owed_bytes(&self) -> u64 {
        self.owed_bytes
    }

    /// An answer of `bytes` has come and is kept until somebody decodes it.
    pub(super) fn hold_answer(&mut self, bytes: u64) {
        self.owed_bytes += bytes;
    }

    /// It is decoded, or dropped.
    pub(super) fn let_answer_go(&mut self, bytes: u64) {
        self.owed_bytes = self.owed_bytes.saturating_sub(bytes);
        self.freed += 1;
    }

    /// What the peer's budget is charged for what it passed us.
    pub(super) fn charged(&self) -> u64 {
        self.unasked * IMPORT_BYTES
    }

    /// What we hold of the peer's, with the references that are still to be answered.
    pub(super) fn held_count(&self) -> u64 {
        self.held.len() as u64 + self.asked_references
    }

    /// Objects, and calls with the promises that outlive them.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.held.len(), self.open.len())
    }

    /// Empties the tables: the results, and who is told that an object is broken.
    pub(super) fn clear(
        &mut self,
    ) -> (impl Iterator<Item = Import<H>> + use<H>, impl Iterator<Item = H::Proxy> + use<H>) {
        self.unasked = 0;
        self.asked = 0;
        self.asked_bytes = 0;
        self.asked_references = 0;
        self.owed_bytes = 0;
        self.casts = Casts::default();
        self.due.clear();
        (self.open.take_values(), self.held.take_values().filter_map(|held| held.proxy))
    }
}

/// Of an object.
#[inline]
fn number_of(id: ImportId) -> u64 {
    id.0.unsigned_abs()
}

fn leftover<H: Host>(import: Import<H>) -> Option<Garbage<H>> {
    match import {
        Import::Asked(asked) => asked.waiter.map(Garbage::Waiter),
        Import::Moved(handle) => Some(Garbage::Handle(handle)),
        Import::Rejected(_) => None,
    }
}
