//! Where a call's answer arrives and its Deferred waits: the one allocation of a call on the caller's side.

mod outcome;
mod travel;

use std::cell::RefCell;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::Span;

use super::again::{self, Again, Renewal, Repeating};
use super::executor::{Stop, Timer, drop_quietly};
use super::signature::AnswerReader;
use super::terms::StubOptions;
use super::trace::{self, How};
use super::{
    Access, AnswerCodec, Called, Distant, ErrorCodec, Errors, Pledge, Promise, Reference, Source, Terms,
    Waiter, Watcher, Watchers,
};
use crate::defer::{Pending, Promising};
use crate::message::{Cause, Failure, FailureKind, ImportId, Ran};
use crate::proto::exceeded;

/// An answer as it arrived, not decoded yet.
pub enum Delivered {
    /// A value, with the references that its body names.
    Value(Vec<Reference>, AnswerBody),
    /// The one reference that was asked for.
    Reference(Reference),
    /// The method's own error, with the references that its body names.
    App(Vec<Reference>, AnswerBody),
    /// A failure of the broker.
    Failed(Failure),
}

/// An answer's body.
pub enum AnswerBody {
    /// One that nobody counts.
    Free(Bytes),
    /// One that counts against something until it is decoded or dropped. What was decoded may go on using its bytes.
    Held(Box<dyn HeldBody>),
}

/// A body that gives itself back when it is dropped.
pub trait HeldBody: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &Bytes;
}

impl AnswerBody {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        match self {
            AnswerBody::Free(bytes) => bytes,
            AnswerBody::Held(held) => held.bytes(),
        }
    }
}

/// A call of ours.
pub(super) struct Slot<R, K: Errors> {
    state: Mutex<State<R, K>>,
    method: Called,
    answer: AnswerReader<R, K>,
    /// Of the stub that was called; its promise has them, too.
    options: Option<Arc<StubOptions>>,
    /// The call's id where it was sent, of [`Origin::Distant`]; 0 before. Beside the state, so that whoever makes the call needs no lock for it.
    id: AtomicI64,
    /// Somebody has asked for the answer.
    polled: AtomicBool,
}

struct State<R, K: Errors> {
    phase: Phase<R, K>,
    origin: Origin,
    waker: Option<Waker>,
    /// The promise of a result that does not travel.
    promise: Weak<Promise>,
    /// Of a call that travels and whose result is promised.
    pledged: Option<Box<Pledged>>,
    detached: bool,
    /// The failure of calls on a reference that the method did not give, made when its error came.
    cause: Option<Box<Failure>>,
    /// What most calls do not have, until the call ends.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    /// The slot itself, so that a detached call that was not sent yet is not forgotten.
    keep: Option<Arc<dyn Waiter>>,
    /// Ends the call where no connection's tables do.
    timer: Option<Timer>,
    /// Of a call that is made again where its connection is lost.
    again: Option<Box<Again>>,
    /// Where somebody looks on. It is told things under no lock.
    span: Option<Arc<Span>>,
}

impl Rare {
    /// How often the call was lost.
    fn lost(&self) -> u32 {
        self.again.as_ref().map_or(0, |again| again.lost())
    }

    /// The call has ended. Gives what is to be dropped in turn, and at last.
    #[cold]
    fn end(self, how: How) -> (Option<Box<Again>>, Option<Arc<dyn Waiter>>) {
        if let Some(span) = self.span {
            how.record(&span);
        }
        drop(self.timer);
        (self.again, self.keep)
    }
}

/// What the promise of a travelling call's result asks its slot for.
#[derive(Default)]
struct Pledged {
    given: Option<Reference>,
    watchers: Watchers,
    /// The Deferred is gone: nobody asks for the method's own error any more.
    abandoned: bool,
    /// Where the call went before, on connections that still stood then: promises of it have those ids, and hold this.
    earlier: Vec<(Arc<dyn Distant>, ImportId)>,
}

enum Phase<R, K: Errors> {
    Waiting,
    Delivered(Delivered),
    Local(Result<R, K::Method>),
    Taken,
}

impl<R: Send + 'static, K: Errors> State<R, K> {
    /// The promise of the result while nobody else has one: before the call travels, and between two connections.
    fn promise_here(&mut self, slot: &Arc<Slot<R, K>>) -> Arc<Promise> {
        self.promise.upgrade().unwrap_or_else(|| {
            let promise = Promise::new(Some(Arc::clone(slot) as Arc<dyn Source>));
            self.promise = Arc::downgrade(&promise);
            promise
        })
    }
}

impl<R, K: Errors> State<R, K> {
    fn again(&mut self) -> Option<&mut Again> {
        self.rare.as_mut().and_then(|rare| rare.again.as_deref_mut())
    }

    /// How it ended.
    fn how(&self) -> How {
        match &self.phase {
            Phase::Delivered(Delivered::Failed(failure)) => How::failed(failure),
            Phase::Delivered(Delivered::App(..)) | Phase::Local(Err(_)) => How::ERROR,
            Phase::Delivered(Delivered::Value(..) | Delivered::Reference(_)) | Phase::Local(Ok(_)) => How::OK,
            Phase::Waiting | Phase::Taken => How::DROPPED,
        }
    }

    /// A call that has ended does not need what it was called on any more; and that may lead to the promise of this call by now, and would hold
    /// it, and so itself.
    fn let_target_go(&mut self) -> Option<Origin> {
        match &mut self.origin {
            Origin::Distant(distant) if self.pledged.is_some() && !matches!(self.phase, Phase::Waiting) => {
                let alone = distant.alone()?;
                Some(Origin::Distant(mem::replace(distant, alone)))
            }
            _ => None,
        }
    }

    /// Of an error that nobody asks for only what calls on the promise fail with is kept. The references in it may lead to the promise, which
    /// would hold them, and so itself.
    fn let_error_go(&mut self) -> Option<(Vec<Reference>, Phase<R, K>)> {
        let abandoned = self.pledged.as_ref().is_some_and(|pledged| pledged.abandoned);
        match &mut self.phase {
            Phase::Delivered(Delivered::App(references, body)) if abandoned => {
                let failure = Failure::broken_by(Cause::of_error(body.bytes(), !references.is_empty()));
                let references = mem::take(references);
                // The body may be somebody's who is told of its end: it goes where nothing is locked.
                let before = mem::replace(&mut self.phase, Phase::Delivered(Delivered::Failed(failure)));
                Some((references, before))
            }
            _ => None,
        }
    }
}

/// Where the call went: what stops it, and what must live as long as it does.
pub(super) enum Origin {
    Nowhere,
    Promise(Arc<Promise>),
    /// It is about to be sent, having been lost so often. Until it has an id there, whoever ends it leaves word: `Stopped`.
    Going(u32),
    /// It ended here as it was `Going`: what was sent is to be cancelled.
    Stopped,
    /// To a connection; the slot has the id.
    Distant(Arc<dyn Distant>),
    Local(Option<Stop>),
}

impl<R, K: Errors> Slot<R, K> {
    fn id(&self) -> ImportId {
        ImportId(self.id.load(Ordering::Relaxed))
    }
}

impl<R: Send + 'static, K: Errors> Slot<R, K> {
    /// `origin`: where it is about to go, if that is known; else nowhere.
    #[inline]
    pub(super) fn new(
        method: Called,
        ok: AnswerCodec<R>,
        err: ErrorCodec<K>,
        options: Option<Arc<StubOptions>>,
        origin: Origin,
    ) -> Arc<Self> {
        let state = State {
            phase: Phase::Waiting,
            origin,
            waker: None,
            promise: Weak::new(),
            pledged: None,
            detached: false,
            cause: None,
            rare: None,
        };
        let answer = AnswerReader::new(ok, err);
        let (id, polled) = (AtomicI64::new(0), AtomicBool::new(false));
        Arc::new(Slot { state: Mutex::new(state), method, answer, options, id, polled })
    }

    /// Lets those look on who want to. The call is about to be made, on these terms.
    #[cold]
    pub(super) fn trace(&self, method: &str, mut terms: Result<Terms, Failure>) -> Result<Terms, Failure> {
        self.trace_on(method, terms.as_mut().ok());
        terms
    }

    /// The same; without terms, which it does not get.
    #[cold]
    pub(super) fn trace_on(&self, method: &str, terms: Option<&mut Terms>) {
        if let Some(span) = trace::call(method, terms) {
            self.state.lock().rare.get_or_insert_default().span = Some(span);
        }
    }

    pub(super) fn span(&self) -> Option<Arc<Span>> {
        self.state.lock().rare.as_ref().and_then(|rare| rare.span.clone())
    }

    /// Whether somebody holds the promise of a result that does not travel.
    pub(super) fn is_named(&self) -> bool {
        self.state.lock().promise.strong_count() > 0
    }

    /// Whether the call is made again where its connection is lost.
    fn repeats(&self) -> bool {
        self.state.lock().again().is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Waiting)
    }

    /// Ends the call at `deadline`, unless it goes to a connection, whose tables do that.
    pub(super) fn limit(self: &Arc<Self>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.state.lock().rare.as_ref().is_some_and(|rare| rare.timer.is_some()) {
            return;
        }
        let slot = Arc::downgrade(self);
        let timer = Timer::start(deadline, move || {
            if let Some(slot) = slot.upgrade() {
                slot.expire();
            }
        });
        let left = {
            let mut state = self.state.lock();
            let waiting = matches!(state.phase, Phase::Waiting);
            if waiting { state.rare.get_or_insert_default().timer.replace(timer) } else { Some(timer) }
        };
        drop(left);
    }

    /// The time of a call that no connection knows is over.
    fn expire(&self) {
        let (ran, stop, going) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) {
                return;
            }
            match &mut state.origin {
                Origin::Local(stop) => (Ran::Maybe, stop.take(), false),
                Origin::Nowhere | Origin::Promise(_) => (Ran::No, None, false),
                Origin::Going(_) => (Ran::Maybe, None, true),
                Origin::Stopped | Origin::Distant(..) => return,
            }
        };
        let ended = self.fill(Phase::Delivered(Delivered::Failed(exceeded(ran))));
        if ended && going {
            self.stop_going(FailureKind::DeadlineExceeded);
        }
        if let Some(stop) = stop {
            stop();
        }
    }
}

impl<R: Send + 'static, K: Errors> Pending<R, K::Caller> for Slot<R, K> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<R, K::Caller>> {
        // A waker may be anybody's code: it is cloned and dropped under no lock. Who asks first mostly has to wait, and locks once then.
        let first = !self.polled.load(Ordering::Relaxed);
        let mut waker = first.then(|| {
            self.polled.store(true, Ordering::Relaxed);
            cx.waker().clone()
        });
        loop {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Waiting if state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) => {
                    return Poll::Pending;
                }
                Phase::Waiting if waker.is_some() => {
                    let before = mem::replace(&mut state.waker, waker);
                    drop(state);
                    drop(before);
                    return Poll::Pending;
                }
                Phase::Waiting => {
                    drop(state);
                    waker = Some(cx.waker().clone());
                }
                Phase::Taken => {
                    drop(state);
                    panic!("a Deferred was polled after it had answered")
                }
                Phase::Delivered(_) | Phase::Local(_) => {
                    let phase = mem::replace(&mut state.phase, Phase::Taken);
                    drop(state);
                    return self.open(phase);
                }
            }
        }
    }

    fn detach(self: Arc<Self>) {
        let mut state = self.state.lock();
        state.detached = true;
        if matches!(state.phase, Phase::Waiting) && !matches!(state.origin, Origin::Distant(..)) {
            state.rare.get_or_insert_default().keep = Some(Arc::clone(&self) as Arc<dyn Waiter>);
        }
    }

    fn abandon(&self) {
        let (unheard, rare) = {
            let mut state = self.state.lock();
            if let Some(pledged) = &mut state.pledged {
                pledged.abandoned = true;
            }
            (state.let_error_go(), state.rare.is_some())
        };
        drop(unheard);
        if rare {
            self.let_circle_go();
        }
    }

    /// Whoever waits, or has called on the result, has its end at once, as when the call's time is over.
    fn cancel(self: Arc<Self>, why: Failure) -> bool {
        let (mut distant, mut stop, mut going) = (None, None, false);
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) {
                return false;
            }
            match &mut state.origin {
                Origin::Distant(to) => distant = Some((Arc::clone(to), self.id())),
                Origin::Local(stops) => stop = stops.take(),
                Origin::Going(_) => going = true,
                Origin::Nowhere | Origin::Promise(_) | Origin::Stopped => {}
            }
        }
        let kind = why.kind;
        if let Some((distant, id)) = distant {
            distant.line().give_up(id, kind);
        }
        let ended = self.fill(Phase::Delivered(Delivered::Failed(why)));
        if ended && going {
            self.stop_going(kind);
        }
        if let Some(stop) = stop {
            stop();
        }
        true
    }

    fn promise(self: Arc<Self>) -> Promising<R> {
        let options = self.options.clone();
        let mut state = self.state.lock();
        let reference = match (&state.phase, &state.origin) {
            (Phase::Waiting, Origin::Distant(distant)) => {
                let (distant, id) = (Arc::clone(distant), self.id());
                state.pledged.get_or_insert_default();
                drop(state);
                distant.promise_of(id, self)
            }
            (Phase::Waiting, _) => {
                let promise = state.promise_here(&self);
                drop(state);
                Reference::promised(promise)
            }
            _ => {
                let reference = self.reference_in(&state);
                drop(state);
                reference.unwrap_or_else(|failure| Reference::broken(Arc::new(failure)))
            }
        };
        Promising::Made(Box::new(Access::with_options(reference, options)))
    }
}

impl<R: Send + 'static, K: Errors> Source for Slot<R, K> {
    fn waits_for(&self) -> Option<Arc<Promise>> {
        match &self.state.lock().origin {
            Origin::Promise(promise) => Some(Arc::clone(promise)),
            _ => None,
        }
    }
}

impl<R: Send + 'static, K: Errors> Pledge for Slot<R, K> {
    fn given(&self) -> Option<Reference> {
        self.state.lock().pledged.as_ref().and_then(|pledged| pledged.given.clone())
    }

    fn watch(&self, watcher: &Arc<dyn Watcher>) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Waiting) {
            state.pledged.get_or_insert_default().watchers.add(watcher);
        }
    }

    fn renewal(self: Arc<Self>) -> Option<Arc<dyn Renewal>> {
        let repeats = self.repeats();
        if repeats { Some(self) } else { None }
    }
}

impl<R: Send + 'static, K: Errors> Waiter for Slot<R, K> {
    fn settle(self: Arc<Self>, answer: Delivered) {
        match answer {
            Delivered::Reference(reference) if self.is_led_to_by(&reference) => {
                self.fail(Failure::circular());
                drop_quietly(reference);
            }
            Delivered::Failed(failure) if self.repeats() => {
                again::fail(&(self as Arc<dyn Repeating>), failure);
            }
            answer => _ = self.fill(Phase::Delivered(answer)),
        }
    }

    fn names_result(&self) -> bool {
        self.answer.reference.is_some()
    }
}

impl<R, K: Errors> Drop for Slot<R, K> {
    /// Nobody waits for the answer, and nobody names the result.
    fn drop(&mut self) {
        let id = self.id();
        let state = self.state.get_mut();
        if let Some(pledged) = &mut state.pledged {
            for (distant, id) in mem::take(&mut pledged.earlier) {
                distant.line().cancel(id);
            }
        }
        let waiting = matches!(state.phase, Phase::Waiting);
        let origin = mem::replace(&mut state.origin, Origin::Nowhere);
        let again = state.rare.take().and_then(|rare| rare.end(How::DROPPED).0);
        match &origin {
            // A value's entry is gone with its answer; a reference's stays for its promise. Without an id nothing was sent.
            Origin::Distant(distant) if id.is_result() && (waiting || self.answer.reference.is_some()) => {
                if state.detached {
                    distant.line().detach(id);
                } else {
                    distant.line().cancel(id);
                }
            }
            _ => {}
        }
        match origin {
            Origin::Local(Some(stop)) if waiting && !state.detached => stop(),
            Origin::Distant(..) | Origin::Promise(_) => drop_in_turn(origin, again),
            Origin::Local(_) | Origin::Nowhere | Origin::Going(_) | Origin::Stopped => {}
        }
    }
}

/// What a call was made on, and what was kept of it.
type Fallen = (Origin, Option<Box<Again>>);

thread_local! {
    /// What is to be dropped once what is being dropped is gone; `None` where nothing is.
    static FALLING: RefCell<Option<Vec<Fallen>>> = const { RefCell::new(None) };
}

/// Drops what a call was made on, and what was kept of it. That may be the promise of a call that was made on a promise, and so on: they go link
/// by link, not each within the one before.
fn drop_in_turn(origin: Origin, again: Option<Box<Again>>) {
    if let (Origin::Distant(distant), None) = (&origin, &again)
        && Arc::strong_count(distant) > 1
    {
        // Somebody else holds it, so that nothing falls with it.
        return drop_quietly(origin);
    }
    let mut origin = Some((origin, again));
    let first = FALLING.try_with(|falling| {
        let mut falling = falling.borrow_mut();
        let first = falling.is_none();
        let queue = falling.get_or_insert_default();
        if !first {
            queue.extend(origin.take());
        }
        first
    });
    // What was queued has been taken. Without the queue, as a thread ends, it is dropped here.
    if !matches!(first, Ok(true)) {
        return;
    }
    while let Some(next) = origin.take() {
        drop_quietly(next);
        origin = FALLING.with(|falling| {
            let mut falling = falling.borrow_mut();
            let next = falling.as_mut().and_then(Vec::pop);
            if next.is_none() {
                *falling = None;
            }
            next
        });
    }
}
