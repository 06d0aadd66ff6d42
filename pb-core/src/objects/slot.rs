//! Where a call's answer arrives and its Deferred waits: the one allocation of a call on the caller's side.

use std::cell::RefCell;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tracing::Span;

use super::again::{self, Again, Kept, Renewal, Repeating, WhyNot};
use super::executor::{Stop, Timer, drop_quietly};
use super::signature::{AnswerReader, AsReference};
use super::terms::StubOptions;
use super::trace::{self, How};
use super::{
    Access, AnswerCodec, Called, Distant, ErrorCodec, Errors, Pledge, Promise, Reference, Source, Terms,
    Waiter, Watcher, Watchers, scope,
};
use crate::defer::{Pending, Promising};
use crate::message::{Cause, Failure, FailureKind, ImportId, Ran};
use crate::proto::{Key, exceeded};
use crate::wire::body::{BodyError, Draft, Received};

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

    /// The call waits for `promise` to settle.
    pub(super) fn set_queued(&self, promise: &Arc<Promise>) {
        let origin = Origin::Promise(Arc::clone(promise));
        let before = mem::replace(&mut self.state.lock().origin, origin);
        drop(before);
    }

    /// The call, which has waited, is about to be sent. `false` where it has ended meanwhile: then it must not be.
    pub(super) fn set_going(&self) -> bool {
        self.move_on(|_| Origin::Going(0))
    }

    /// Puts another origin in the place of one, and takes the call back from where it was; unless it has ended. Where promises of it name its
    /// result there, it is taken back as this goes.
    fn move_on(&self, to: impl FnOnce(u32) -> Origin) -> bool {
        // Asked under no lock. The tables of a connection that is lost are empty.
        let stands = self.sent_to().is_some_and(|distant| !distant.line().is_lost());
        let mut cancel = stands;
        let (before, id) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) {
                return false;
            }
            let to = to(state.rare.as_ref().map_or(0, |rare| rare.lost()));
            let before = mem::replace(&mut state.origin, to);
            let id = self.id();
            if let (true, Origin::Distant(distant), Some(pledged)) = (stands, &before, &mut state.pledged) {
                // Not by what it was called on there: that may lead to its promise by now.
                let kept = distant.alone().unwrap_or_else(|| Arc::clone(distant));
                pledged.earlier.push((kept, id));
                cancel = false;
            }
            (before, id)
        };
        if let Origin::Distant(distant) = &before {
            if cancel {
                distant.line().cancel(id);
            }
            drop_in_turn(before, None);
        }
        true
    }

    /// The call, whose origin is where it was made to go and which nobody else knows yet, was sent there, as call `id`.
    #[inline]
    pub(super) fn set_sent_first(&self, id: ImportId) {
        self.id.store(id.0, Ordering::Relaxed);
        if trace::enabled()
            && let Some(span) = self.span()
        {
            span.record("id", id.0);
        }
    }

    /// It was not sent where it was made to go, and may go elsewhere.
    #[cold]
    pub(super) fn set_unsent(&self) {
        let before = mem::replace(&mut self.state.lock().origin, Origin::Nowhere);
        drop(before);
    }

    /// The call was sent to `distant`, as call `id` there. What was called on its result meanwhile follows it.
    pub(super) fn set_sent(self: &Arc<Self>, distant: &Arc<dyn Distant>, id: ImportId) {
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) && matches!(state.origin, Origin::Stopped) {
            drop(state);
            return distant.line().cancel(id);
        }
        self.set_sent_in(state, distant, id);
    }

    fn set_sent_in(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State<R, K>>,
        distant: &Arc<dyn Distant>,
        id: ImportId,
    ) {
        // A connection's tables keep the time themselves.
        let rare = state.rare.as_mut().map(|rare| (rare.timer.take(), rare.span.clone()));
        let before = mem::replace(&mut state.origin, Origin::Distant(Arc::clone(distant)));
        self.id.store(id.0, Ordering::Relaxed);
        let waiting = matches!(state.phase, Phase::Waiting);
        // Who asks for it later wants the next one.
        let promise = if waiting { mem::take(&mut state.promise).upgrade() } else { None };
        if promise.is_some() {
            state.pledged.get_or_insert_default();
        }
        let target = state.let_target_go();
        drop(state);
        drop(before);
        if let Some((_timer, Some(span))) = rare {
            span.record("id", id.0);
        }
        if let Some(target) = target {
            drop_in_turn(target, None);
        }
        if let Some(promise) = promise {
            promise.settle(Ok(distant.promise_of(id, Arc::clone(self) as Arc<dyn Pledge>)));
        }
    }

    /// The call was ended here as it was on its way to a connection, which may have taken it by now.
    #[cold]
    fn stop_going(&self, kind: FailureKind) {
        let sent = match &mut self.state.lock().origin {
            origin @ Origin::Going(_) => {
                *origin = Origin::Stopped;
                None
            }
            Origin::Distant(distant) => Some((Arc::clone(distant), self.id())),
            Origin::Nowhere | Origin::Promise(_) | Origin::Stopped | Origin::Local(_) => None,
        };
        if let Some((distant, id)) = sent {
            distant.line().give_up(id, kind);
        }
    }

    /// The method of a local call runs; `stop` stops it, where that may be. Its time may be over by now.
    pub(super) fn set_started(&self, stop: Option<Stop>) {
        let late = {
            let mut state = self.state.lock();
            match (&state.phase, stop) {
                (Phase::Waiting, stop) => {
                    state.origin = Origin::Local(stop);
                    None
                }
                (_, stop) => stop,
            }
        };
        if let Some(stop) = late {
            stop();
        }
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

    pub(super) fn fail(&self, failure: Failure) {
        self.fill(Phase::Delivered(Delivered::Failed(failure)));
    }

    pub(super) fn finish(&self, result: Result<R, K::Method>) {
        self.fill(Phase::Local(result));
    }

    /// The one place where a call ends, with [`Slot::fill_known`], and whether it did. A second end changes nothing.
    fn fill(&self, phase: Phase<R, K>) -> bool {
        // Encoding runs the user's `Serialize`, so it is done before the lock, and only where somebody may ask.
        let cause = match &phase {
            Phase::Local(Err(error)) if self.answer.reference.is_some() => {
                Some(Box::new(self.encode_cause(error)))
            }
            _ => None,
        };
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) {
            drop(state);
            drop_quietly(phase);
            return false;
        }
        if state.rare.is_some() || state.pledged.is_some() || state.promise.strong_count() > 0 {
            self.fill_known(state, phase, cause);
            return true;
        }
        state.cause = cause;
        state.phase = phase;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The same of a call that somebody but its Deferred has to do with.
    #[inline(never)]
    fn fill_known(
        &self,
        mut state: MutexGuard<'_, State<R, K>>,
        mut phase: Phase<R, K>,
        cause: Option<Box<Failure>>,
    ) {
        let rare = state.rare.take();
        if let (Some(rare), Phase::Delivered(Delivered::Failed(failure))) = (&rare, &mut phase)
            && let Some(again) = &rare.again
        {
            again.look_back(failure);
        }
        state.cause = cause;
        state.phase = phase;
        let promise = state.promise.upgrade().map(|promise| (promise, self.reference_in(&state)));
        let watchers = match state.pledged.take() {
            None => None,
            Some(mut pledged) => {
                pledged.given = self.reference_in(&state).ok();
                let watchers = mem::take(&mut pledged.watchers);
                state.pledged = Some(pledged);
                Some(watchers)
            }
        };
        let rare = rare.map(|rare| (rare, state.how()));
        let waker = state.waker.take();
        let (unheard, target) = (state.let_error_go(), state.let_target_go());
        drop(state);
        let (again, keep) = rare.map_or((None, None), |(rare, how)| rare.end(how));
        if target.is_some() || again.is_some() {
            drop_in_turn(target.unwrap_or(Origin::Nowhere), again);
        }
        if let Some(unheard) = unheard {
            drop_quietly(unheard);
        }
        if let Some((promise, result)) = promise {
            promise.settle(result);
        }
        if let Some(watchers) = watchers {
            watchers.wake();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(keep);
    }

    /// The reference that the call ended with.
    fn reference_in(&self, state: &State<R, K>) -> Result<Reference, Failure> {
        let failed = |message: &str| Failure::new(FailureKind::Broken, Ran::No, message);
        match &state.phase {
            Phase::Delivered(Delivered::Reference(reference)) => Ok(reference.clone()),
            Phase::Delivered(Delivered::Failed(failure)) => {
                Err(Failure::broken_by(Cause::Broker(failure.clone())))
            }
            Phase::Delivered(Delivered::App(references, body)) => {
                Err(Failure::broken_by(Cause::of_error(body.bytes(), !references.is_empty())))
            }
            Phase::Local(Ok(stub)) => match self.answer.reference {
                Some(reference) => Ok((reference.to)(stub)),
                None => Err(failed("the result is no reference")),
            },
            Phase::Local(Err(_)) => Err(state.cause.as_deref().cloned().unwrap_or_else(|| failed(NOT_GIVEN))),
            Phase::Delivered(Delivered::Value(..)) => Err(failed("the result is no reference")),
            Phase::Waiting | Phase::Taken => Err(failed("the result was taken before it was called")),
        }
    }

    /// Whether `reference`, which the peer has answered, leads to the promise of this call's result: the two would hold each other for good. Then
    /// the connection's tables know it, too.
    fn is_led_to_by(&self, reference: &Reference) -> bool {
        let (distant, id) = match &*self.state.lock() {
            State { origin: Origin::Distant(distant), pledged: Some(_), .. } => {
                (Arc::clone(distant), self.id())
            }
            _ => return false,
        };
        let key = Key { object: distant.line().address(), facet: id.0 as usize };
        let leads = reference.leads_to(key);
        if leads {
            distant.line().break_result(id, Failure::circular());
        }
        leads
    }

    /// Of a call that is kept, and whose promise is among its own arguments by now, nothing is kept any more: it would hold itself until it is
    /// answered, though nobody else wants it.
    fn let_circle_go(&self) {
        let (key, kept) = match &mut *self.state.lock() {
            State { origin: Origin::Distant(distant), rare: Some(rare), .. } if rare.again.is_some() => {
                let key = Key { object: distant.line().address(), facet: self.id().0 as usize };
                (key, rare.again.as_ref().map(|again| Arc::clone(&again.kept)))
            }
            _ => return,
        };
        if kept.as_ref().is_some_and(|kept| kept.leads_to(key)) {
            let again = self.state.lock().rare.as_mut().and_then(|rare| rare.again.take());
            drop_quietly(again);
        }
        drop_quietly(kept);
    }

    fn encode_cause(&self, error: &K::Method) -> Failure {
        let mut body = Draft::over(Vec::new());
        let encoded = self.answer.cause.map(|encode| scope::encode_with(|| encode(error, &mut body)));
        match encoded {
            Some((Ok(()), references)) => {
                Failure::broken_by(Cause::of_error(&body.body(), !references.is_empty()))
            }
            _ => Failure::new(FailureKind::Broken, Ran::No, NOT_GIVEN),
        }
    }

    /// Turns an answer into what the caller gets, in the form in which it is asked for, so that nothing of it is moved. Runs the user's `Deserialize`,
    /// so under no lock.
    fn open(&self, mut phase: Phase<R, K>) -> Poll<Result<R, K::Caller>> {
        match &mut phase {
            Phase::Delivered(Delivered::Value(references, body)) => {
                match decode(mem::take(references), body.bytes(), self.answer.value) {
                    Ok(value) => Poll::Ready(Ok(value)),
                    Err(message) => Poll::Ready(Err(K::failed(self.explained(undecodable(&message))))),
                }
            }
            _ => Poll::Ready(self.open_other(phase)),
        }
    }

    /// The same for all ends that are no value: `open` sees to those.
    fn open_other(&self, phase: Phase<R, K>) -> Result<R, K::Caller> {
        let failure = match phase {
            Phase::Local(Ok(value)) => return Ok(value),
            Phase::Local(Err(error)) => return Err(K::app(error)),
            Phase::Delivered(Delivered::Failed(failure)) => failure,
            Phase::Delivered(Delivered::Reference(reference)) => match self.answer.reference {
                Some(AsReference { from: Some(from), .. }) => return Ok(from(reference)),
                Some(AsReference { from: None, .. }) => {
                    // In a body of its own it would be the first of one.
                    match decode(vec![reference], &Bytes::from_static(&[0]), self.answer.value) {
                        Ok(value) => return Ok(value),
                        Err(message) => undecodable(&message),
                    }
                }
                None => undecodable("a reference came where a value was due"),
            },
            Phase::Delivered(Delivered::App(references, body)) => match self.answer.error {
                Some(error) => match decode(references, body.bytes(), error) {
                    Ok(error) => return Err(K::app(error)),
                    Err(message) => undecodable(&message),
                },
                None => {
                    undecodable("the method failed with an error of its own, which this side does not know")
                }
            },
            Phase::Waiting | Phase::Taken | Phase::Delivered(Delivered::Value(..)) => {
                unreachable!("only an end is opened, and no value here")
            }
        };
        Err(K::failed(self.explained(failure)))
    }

    /// The callee has told its signature; this side's stands beside it. Traced here, by whoever waits for the answer.
    fn explained(&self, mut failure: Failure) -> Failure {
        if failure.kind == FailureKind::Incompatible
            && let Some(ours) = self.method.signature()
        {
            failure.message = format!("{}; the caller's signature is {ours}", failure.message).into();
        }
        failure
    }
}

const NOT_GIVEN: &str = "the call that was to give the reference failed";

fn decode<T>(
    references: Vec<Reference>,
    body: &Bytes,
    decode: fn(&mut Received<'_>) -> Result<T, BodyError>,
) -> Result<T, String> {
    let mut received = Received::new(body);
    let value =
        scope::decode_with(references, || decode(&mut received)).map_err(|error| error.to_string())?;
    let left = received.rest().len();
    if left > 0 {
        drop_quietly(value);
        return Err(format!("{left} bytes are left over behind the value"));
    }
    Ok(value)
}

fn undecodable(message: &str) -> Failure {
    Failure::new(FailureKind::Incompatible, Ran::Yes, format!("the answer cannot be read: {message}"))
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

/// What was called on the result of a call follows that call, where both are made again.
impl<R: Send + 'static, K: Errors> Renewal for Slot<R, K> {
    fn stems_from(&self) -> Result<Option<Arc<dyn Renewal>>, WhyNot> {
        let kept = self.state.lock().again().map(|again| Arc::clone(&again.kept));
        match kept {
            Some(kept) => Ok(Some(Arc::clone(&kept.renewal))),
            None => Err("what it was called on came over the lost connection".into()),
        }
    }

    /// Nobody asks: it stems from another one.
    fn allow(&self, _times: u32) -> Result<(), WhyNot> {
        Ok(())
    }

    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
        let mut state = self.state.lock();
        let repeats = state.again().is_some();
        let promise = match &state.phase {
            Phase::Waiting if repeats => Ok(Reference::promised(state.promise_here(&self))),
            _ => self.reference_in(&state).map_err(|failure| failure.message.into_string().into()),
        };
        drop(state);
        promise
    }
}

impl<R: Send + 'static, K: Errors> Repeating for Slot<R, K> {
    fn begin(&self, again: Box<Again>) {
        self.state.lock().rare.get_or_insert_default().again = Some(again);
    }

    fn waits(&self) -> bool {
        self.is_waiting()
    }

    fn going(&self, distant: &Arc<dyn Distant>) -> Option<u32> {
        let mut lost = 0;
        let goes = self.move_on(|times| {
            lost = times;
            Origin::Going(times)
        });
        let _before = self.state.lock().again().and_then(|again| again.going(distant));
        goes.then_some(lost)
    }

    fn sent(self: Arc<Self>, lost: u32, distant: &Arc<dyn Distant>, id: ImportId) {
        let state = self.state.lock();
        match state.origin {
            Origin::Going(times) if times == lost => self.set_sent_in(state, distant, id),
            // It has ended, or goes elsewhere by now.
            _ => {
                drop(state);
                distant.line().cancel(id);
            }
        }
    }

    fn queued(self: Arc<Self>, promise: &Arc<Promise>, deadline: Option<Instant>) {
        if self.move_on(|_| Origin::Promise(Arc::clone(promise))) {
            self.limit(deadline);
        }
    }

    fn sent_to(&self) -> Option<Arc<dyn Distant>> {
        self.state.lock().again().and_then(|again| again.sent_to())
    }

    fn lose(&self, failure: &Failure) -> Option<(Arc<Kept>, u32)> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) || state.detached {
            return None;
        }
        let again = state.again()?;
        let times = again.lose(failure);
        Some((Arc::clone(&again.kept), times))
    }

    fn refuse(&self, failure: Failure) {
        self.fail(failure);
    }

    fn as_waiter(self: Arc<Self>) -> Weak<dyn Waiter> {
        Arc::downgrade(&self) as Weak<dyn Waiter>
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
