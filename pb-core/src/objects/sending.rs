//! A typed call on its way to wherever its reference leads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::Span;

use super::again::{self, Kept, Repeating};
use super::encoded::{EncodedCall, Payload};
use super::signature::Needed;
use super::slot::{Origin, Slot};
use super::terms::{Metadata, StubOptions};
use super::trace::{self, How};
use super::{
    Called, Codecs as _, Distant, Encoded, Errors, Leads, Method, NoError, NotSent, Object, Queued,
    Reference, Signature, Terms, Values, Waiting, local, scope, scratch,
};
use crate::defer::Deferred;
use crate::message::{Body, CallOptions, Cause, Failure, FailureKind, ImportId, Ran};
use crate::wire::body::BodyError;

impl Reference {
    /// Calls a method. The call is on its way when this returns; where it cannot be sent, the Deferred fails.
    pub(super) fn call<A: Values, R: Send + 'static, K: Errors>(
        &self,
        method: &'static Method,
        signature: Signature<A, R, K>,
        arguments: A,
        terms: Result<Terms, Failure>,
        options: Option<Arc<StubOptions>>,
    ) -> Deferred<R, K::Caller> {
        // What most lead to, without a way round.
        let direct = match self.leads() {
            Leads::Distant(distant) if !method.flags().idempotent => Some(distant),
            _ => None,
        };
        let origin = direct.map_or(Origin::Nowhere, |distant| Origin::Distant(Arc::clone(distant)));
        let slot = Slot::new(Called::Known(method), signature.ok, signature.err, options, origin);
        let terms = if trace::enabled() { slot.trace(method.name(), terms) } else { terms };
        match terms {
            Ok(terms) => {
                let call = TypedCall { method, signature: &signature, arguments, terms };
                match direct.map(|distant| (distant, transmit(distant.as_ref(), &call, &slot))) {
                    Some((_, Ok(id))) => slot.set_sent_first(id),
                    Some((distant, Err(unsent))) => {
                        slot.set_unsent();
                        detour(distant.as_ref(), unsent, call, &slot);
                    }
                    None => send(self, call, &slot),
                }
            }
            Err(failure) => slot.fail(failure),
        }
        Deferred::waiting_for(slot)
    }

    /// Calls a method that is never answered; what goes wrong is lost, but for a line in the log.
    pub(super) fn cast<A: Values>(
        &self,
        method: &'static Method,
        signature: Signature<A, (), NoError>,
        arguments: A,
        mut terms: Terms,
    ) {
        let traced = trace::enabled() && matches!(self.leads(), Leads::Distant(_));
        let span = if traced { trace::call(method.name(), Some(&mut terms)) } else { None };
        self.cast_in(span, TypedCall { method, signature: &signature, arguments, terms });
    }

    fn cast_in<A: Values>(&self, span: Option<Arc<Span>>, call: TypedCall<'_, A, (), NoError>) {
        match self.leads() {
            Leads::Distant(distant) => {
                distant.expect_cast();
                cast(distant.as_ref(), call, span);
            }
            _ => {
                let TypedCall { method, signature, arguments, terms } = call;
                self.call(method, *signature, arguments, Ok(terms), None).detach();
            }
        }
    }
}

/// A call with its types, on its way to wherever the reference leads.
struct TypedCall<'a, A: Values, R, K: Errors> {
    method: &'static Method,
    /// Large, and made anew for each call: it stays where it is made.
    signature: &'a Signature<A, R, K>,
    arguments: A,
    terms: Terms,
}

fn send<A: Values, R: Send + 'static, K: Errors>(
    to: &Reference,
    call: TypedCall<'_, A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    match to.leads() {
        Leads::Local(object) if object.takes_bytes() => send_bytes(object, &call, slot),
        Leads::Local(object) => local::start(object, call.method, call.arguments, call.terms, slot),
        Leads::Distant(distant) => send_distant(distant, call, slot),
        Leads::Promise(promise) => {
            if let Some(callee) = promise.callee() {
                return send(&callee, call, slot);
            }
            slot.set_queued(promise);
            slot.limit(call.terms.deadline);
            let TypedCall { method, signature: &signature, arguments, terms } = call;
            let queued =
                Box::new(QueuedCall { method, signature, arguments, terms, slot: Arc::downgrade(slot) });
            if let Err((queued, result)) = promise.queue(queued) {
                queued.go(result.as_ref());
            }
        }
        Leads::Broken(failure) => slot.fail(Failure::broken_by(Cause::Broker(Failure::clone(failure)))),
    }
}

/// To an object of this process that has no types.
fn send_bytes<A: Values, R: Send + 'static, K: Errors>(
    object: &Arc<dyn Object>,
    call: &TypedCall<'_, A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    let reply = call.signature.reply();
    let bytes = encoded(call, |encoded| {
        let arguments = Payload { references: encoded.references.to_vec(), body: encoded.body.to_bytes() };
        let (method, terms) = (Arc::clone(encoded.method), call.terms.clone());
        Ok(EncodedCall { method, idempotent: false, answer_bytes: 0, arguments, reply, terms })
    });
    match bytes {
        Ok(call) => local::start_encoded(object, call, slot),
        Err(NotSent::Failed(failure) | NotSent::Full(failure)) => slot.fail(*failure),
        Err(NotSent::Moved(_)) => unreachable!("encoding sends nothing"),
    }
}

fn send_distant<A: Values, R: Send + 'static, K: Errors>(
    distant: &Arc<dyn Distant>,
    call: TypedCall<'_, A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    if call.method.flags().idempotent
        && let Some(renewal) = distant.renewal()
    {
        return match encoded(&call, |encoded| Ok(Kept::new(&encoded, call.signature.reply(), renewal))) {
            Ok(kept) => again::start(distant, kept, &(Arc::clone(slot) as Arc<dyn Repeating>)),
            Err(NotSent::Failed(failure) | NotSent::Full(failure)) => slot.fail(*failure),
            Err(NotSent::Moved(_)) => unreachable!("encoding sends nothing"),
        };
    }
    match transmit(distant.as_ref(), &call, slot) {
        Ok(id) => slot.set_sent(distant, id),
        Err(unsent) => detour(distant.as_ref(), unsent, call, slot),
    }
}

/// Sends it there, and nowhere else. Gives its id.
#[inline]
fn transmit<A: Values, R: Send + 'static, K: Errors>(
    distant: &dyn Distant,
    call: &TypedCall<'_, A, R, K>,
    slot: &Arc<Slot<R, K>>,
) -> Result<ImportId, NotSent> {
    encoded(call, |encoded| {
        let waiter = Arc::downgrade(slot);
        distant.line().call(distant.id(), encoded, call.signature.reply(), Waiting::Weak(waiter))
    })
}

/// Brings a call that could not be sent there to where that has led.
#[cold]
fn detour<A: Values, R: Send + 'static, K: Errors>(
    distant: &dyn Distant,
    unsent: NotSent,
    call: TypedCall<'_, A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    match unsent {
        NotSent::Failed(failure) | NotSent::Full(failure) => match survivor(distant) {
            Some(reference) => send(&reference, call, slot),
            None => slot.fail(*failure),
        },
        NotSent::Moved(reference) => send(&reference.callee(), call, slot),
    }
}

fn cast<A: Values>(distant: &dyn Distant, call: TypedCall<'_, A, (), NoError>, span: Option<Arc<Span>>) {
    let how = match encoded(&call, |encoded| distant.line().cast(distant.id(), encoded)) {
        Ok(()) => How::SENT,
        Err(NotSent::Failed(failure) | NotSent::Full(failure)) => match survivor(distant) {
            Some(reference) => return reference.cast_in(span, call),
            None => {
                tracing::debug!(method = call.method.name(), %failure, "cast not sent");
                How::failed(&failure)
            }
        },
        Err(NotSent::Moved(reference)) => return reference.callee().cast_in(span, call),
    };
    if let Some(span) = span {
        how.record(&span);
    }
}

/// Where a promise has led whose connection takes no calls any more. It may be elsewhere, and outlive it.
pub fn survivor(distant: &dyn Distant) -> Option<Reference> {
    distant.settled().map(|settled| settled.callee()).filter(|end| !matches!(end.leads(), Leads::Broken(_)))
}

/// Encodes the arguments into this thread's scratch buffer and hands them to `send`.
fn encoded<A: Values, R, K: Errors, T>(
    call: &TypedCall<'_, A, R, K>,
    send: impl FnOnce(Encoded<'_>) -> Result<T, NotSent>,
) -> Result<T, NotSent> {
    let codecs = &call.signature.arguments;
    let defaults = match codecs.optional() {
        0 => &[],
        _ => call.method.defaults(|| codecs.defaults()),
    };
    scratch::with_scratch(|body| {
        let mut needed = Needed::new(A::Codecs::COUNT, defaults);
        let mut references = Vec::new();
        let encode = || codecs.encode(&call.arguments, body, &mut needed).map_err(Box::new);
        if let Err(error) = scope::encode_into(&mut references, encode) {
            return Err(NotSent::Failed(Box::new(cannot_be_sent(call.method, &error))));
        }
        let options = options(call.method, &call.terms);
        let method = call.method.text_for(needed.optional());
        let deadline = call.terms.deadline;
        let own = body.take_large();
        let body = own.as_ref().map_or_else(|| body.body(), Body::own);
        send(Encoded { method, options, deadline, references: &references, body })
    })
}

/// What a call says beside its arguments. For all methods one, as what follows: the above is compiled for each.
#[inline]
fn options(method: &Method, terms: &Terms) -> Option<Box<CallOptions>> {
    match &terms.metadata {
        None => method.flags().answer_options(),
        Some(metadata) => Some(options_with(method, metadata)),
    }
}

#[cold]
fn options_with(method: &Method, metadata: &Metadata) -> Box<CallOptions> {
    let mut options = method.flags().answer_options().unwrap_or_default();
    options.metadata.clone_from(metadata);
    options
}

#[cold]
fn cannot_be_sent(method: &Method, error: &BodyError) -> Failure {
    let message = format!("the arguments of {} cannot be sent: {error}", method.name());
    Failure::new(FailureKind::Failed, Ran::No, message)
}

/// A call that waits for a promise. Its Deferred owns it: once that is gone there is nothing to send.
struct QueuedCall<A: Values, R, K: Errors> {
    method: &'static Method,
    signature: Signature<A, R, K>,
    arguments: A,
    terms: Terms,
    slot: std::sync::Weak<Slot<R, K>>,
}

impl<A: Values, R: Send + 'static, K: Errors> Queued for QueuedCall<A, R, K> {
    fn is_given_up(&self) -> bool {
        self.slot.strong_count() == 0
    }

    fn go(self: Box<Self>, to: Result<&Reference, &Failure>) {
        // Where its time was over while it waited, there is nothing to send either.
        let Some(slot) = self.slot.upgrade().filter(|slot| slot.is_waiting()) else { return };
        match to {
            Err(failure) => slot.fail(Failure::broken_by(Cause::Broker(failure.clone()))),
            // Only a call that has waited, whose result others may wait for, can close a circle.
            Ok(reference) if slot.is_named() && leads_back(reference, &slot) => {
                slot.fail(Failure::circular())
            }
            Ok(reference) if leads_away(reference) && !slot.set_going() => {}
            Ok(reference) => {
                // Nobody is on this stack whose panic it would be: the user's `Serialize` panicked long after the call was made.
                let QueuedCall { method, signature, arguments, terms, .. } = *self;
                let call = TypedCall { method, signature: &signature, arguments, terms };
                let sent = catch_unwind(AssertUnwindSafe(|| send(reference, call, &slot)));
                if sent.is_err() {
                    let message = "encoding the arguments panicked";
                    slot.fail(Failure::new(FailureKind::Failed, Ran::No, message));
                }
            }
        }
    }
}

/// Whether a call on it is sent to a connection.
pub(super) fn leads_away(reference: &Reference) -> bool {
    matches!(reference.callee().leads(), Leads::Distant(_))
}

/// Whether the call of `slot` would wait for itself on `reference`.
pub(super) fn leads_back<R: Send + 'static, K: Errors>(
    reference: &Reference,
    slot: &Arc<Slot<R, K>>,
) -> bool {
    match reference.callee().leads() {
        Leads::Promise(promise) => promise.waits_for(Arc::as_ptr(slot).cast()),
        _ => false,
    }
}
