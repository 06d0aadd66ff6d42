//! How a call ends: what its answer makes of it, and what its Deferred gets.

use std::mem;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::{Delivered, Origin, Phase, Slot, State, drop_in_turn};
use crate::message::{Cause, Failure, FailureKind, Ran};
use crate::objects::executor::drop_quietly;
use crate::objects::signature::AsReference;
use crate::objects::{Errors, Reference, scope};
use crate::proto::Key;
use crate::wire::body::{BodyError, Draft, Received};

impl<R: Send + 'static, K: Errors> Slot<R, K> {
    pub(in crate::objects) fn fail(&self, failure: Failure) {
        self.fill(Phase::Delivered(Delivered::Failed(failure)));
    }

    pub(in crate::objects) fn finish(&self, result: Result<R, K::Method>) {
        self.fill(Phase::Local(result));
    }

    /// The one place where a call ends, with [`Slot::fill_known`], and whether it did. A second end changes nothing.
    pub(super) fn fill(&self, phase: Phase<R, K>) -> bool {
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
    pub(super) fn reference_in(&self, state: &State<R, K>) -> Result<Reference, Failure> {
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
    pub(super) fn is_led_to_by(&self, reference: &Reference) -> bool {
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
    pub(super) fn let_circle_go(&self) {
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
    pub(super) fn open(&self, mut phase: Phase<R, K>) -> Poll<Result<R, K::Caller>> {
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

const NOT_GIVEN: &str = "the call that was to give the reference failed";
