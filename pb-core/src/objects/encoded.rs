//! A call whose arguments were encoded before it is known where it goes: a call by name, or of an object that has no types.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::again::{self, Kept, Repeating};
use super::slot::{AnswerBody, Slot};
use super::{
    Answerer, Delivered, Distant, Encoded, Errors, Leads, NotSent, Queued, Reference, Terms, Waiter, Waiting,
    WireAnswer, local, scope, scratch, sending, survivor, trace,
};
use crate::message::{Body, CallOptions, Cause, ExportId, Failure, FailureKind, MethodText, Ran, Reply};
use crate::wire::body::{BodyError, Draft};

/// A call on its way to wherever a reference leads.
pub(super) struct EncodedCall {
    pub(super) method: Arc<MethodText>,
    /// Whether it is made again where its connection is lost.
    pub(super) idempotent: bool,
    /// Bytes of the largest answer; 0: as many as calls take that say nothing.
    pub(super) answer_bytes: u64,
    pub(super) arguments: Payload,
    pub(super) reply: Reply,
    pub(super) terms: Terms,
}

/// A body, and the references that it names.
pub(super) struct Payload {
    pub(super) references: Vec<Reference>,
    pub(super) body: Bytes,
}

impl Payload {
    /// What `encode` writes. Runs the user's `Serialize`, under no lock.
    pub(super) fn encode(
        encode: impl FnOnce(&mut Draft) -> Result<(), BodyError>,
    ) -> Result<Self, BodyError> {
        scratch::with_scratch(|out| {
            let (encoded, references) = scope::encode_with(|| encode(out));
            encoded?;
            Ok(Payload { references, body: out.to_bytes() })
        })
    }
}

impl EncodedCall {
    /// Makes a call for the first time, if it can be made; `slot` is told the answer.
    pub(super) fn begin<R: Send + 'static, K: Errors>(
        call: Result<Self, Failure>,
        to: &Reference,
        slot: &Arc<Slot<R, K>>,
    ) {
        match call {
            Ok(mut call) => {
                if trace::enabled() {
                    slot.trace_on(&call.method.name, Some(&mut call.terms));
                }
                call.send(to, slot);
            }
            Err(failure) => slot.fail(failure),
        }
    }

    /// Sends it; `slot` is told the answer.
    fn send<R: Send + 'static, K: Errors>(self, to: &Reference, slot: &Arc<Slot<R, K>>) {
        match to.leads() {
            Leads::Local(object) => local::start_encoded(object, self, slot),
            Leads::Distant(distant) => self.send_distant(distant, slot),
            Leads::Promise(promise) => {
                if let Some(callee) = promise.callee() {
                    return self.send(&callee, slot);
                }
                slot.set_queued(promise);
                slot.limit(self.terms.deadline);
                let queued = Box::new(Waits { call: self, slot: Arc::downgrade(slot) });
                if let Err((queued, result)) = promise.queue(queued) {
                    queued.go(result.as_ref());
                }
            }
            Leads::Broken(failure) => {
                slot.fail(Failure::broken_by(Cause::Broker(Failure::clone(failure))));
            }
        }
    }

    fn send_distant<R: Send + 'static, K: Errors>(self, distant: &Arc<dyn Distant>, slot: &Arc<Slot<R, K>>) {
        if self.idempotent
            && let Some(renewal) = distant.renewal()
        {
            let kept = Kept::new(&self.encoded(), self.reply, renewal);
            return again::start(distant, kept, &(Arc::clone(slot) as Arc<dyn Repeating>));
        }
        let waiter = Arc::downgrade(slot);
        match distant.line().call(distant.id(), self.encoded(), self.reply, Waiting::Weak(waiter)) {
            Ok(id) => slot.set_sent(distant, id),
            Err(NotSent::Failed(failure) | NotSent::Full(failure)) => match survivor(distant.as_ref()) {
                Some(reference) => self.send(&reference, slot),
                None => slot.fail(*failure),
            },
            Err(NotSent::Moved(reference)) => self.send(&reference.callee(), slot),
        }
    }

    fn encoded(&self) -> Encoded<'_> {
        let answer_bytes = (self.answer_bytes > 0).then_some(self.answer_bytes);
        let metadata = self.terms.metadata.as_deref().cloned().unwrap_or_default();
        let options = CallOptions { answer_bytes, metadata, ..CallOptions::default() };
        Encoded {
            method: &self.method,
            options: options.boxed(),
            deadline: self.terms.deadline,
            references: &self.arguments.references,
            body: Body::of(&self.arguments.body),
        }
    }
}

/// A call that waits for a promise. Its Deferred owns it: once that is gone there is nothing to send.
struct Waits<R, K: Errors> {
    call: EncodedCall,
    slot: Weak<Slot<R, K>>,
}

impl<R: Send + 'static, K: Errors> Queued for Waits<R, K> {
    fn is_given_up(&self) -> bool {
        self.slot.strong_count() == 0
    }

    fn go(self: Box<Self>, to: Result<&Reference, &Failure>) {
        let Some(slot) = self.slot.upgrade().filter(|slot| slot.is_waiting()) else { return };
        match to {
            Err(failure) => slot.fail(Failure::broken_by(Cause::Broker(failure.clone()))),
            Ok(reference) if slot.is_named() && sending::leads_back(reference, &slot) => {
                slot.fail(Failure::circular());
            }
            Ok(reference) if sending::leads_away(reference) && !slot.set_going() => {}
            Ok(reference) => self.call.send(reference, &slot),
        }
    }
}

/// Brings the answer of an object of this process to the call, as if it had travelled.
pub(super) struct Here {
    waiter: Weak<dyn Waiter>,
    reply: Reply,
}

impl Here {
    pub(super) fn new(waiter: Weak<dyn Waiter>, reply: Reply) -> Arc<Self> {
        Arc::new(Here { waiter, reply })
    }
}

impl Answerer for Here {
    fn answer(&self, _: ExportId, answer: WireAnswer<'_>) {
        let Some(waiter) = self.waiter.upgrade() else { return };
        waiter.settle(match (self.reply, answer) {
            (Reply::Value, WireAnswer::Value(references, body)) => {
                Delivered::Value(references.to_vec(), AnswerBody::Free(body.to_bytes()))
            }
            (Reply::Reference, WireAnswer::Reference(reference)) => Delivered::Reference(reference),
            (_, WireAnswer::App(references, body)) => {
                Delivered::App(references.to_vec(), AnswerBody::Free(body.to_bytes()))
            }
            (_, WireAnswer::Failed(failure)) => Delivered::Failed(*failure),
            (_, WireAnswer::Value(..) | WireAnswer::Reference(_)) => {
                Delivered::Failed(Failure::new(FailureKind::Incompatible, Ran::Yes, Failure::OTHER_REPLY))
            }
        });
    }

    fn peer(&self) -> &str {
        ""
    }
}
