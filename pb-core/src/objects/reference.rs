use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::object::Held;
use super::signature::Needed;
use super::slot::Slot;
use super::terms::StubOptions;
use super::{
    Delivered, Errors, IntoObject, Method, Object, Offer, Promise, Signature, Terms, Values, Watcher, local,
    scope,
};
use crate::defer::Deferred;
use crate::message::{CallOptions, Cause, Failure, FailureKind, ImportId, MethodText, Ran, Reply};
use crate::proto::Key;

/// A reference to an object without its type: what every stub holds.
#[derive(Clone)]
pub struct Reference(Inner);

#[derive(Clone)]
enum Inner {
    Local(Arc<dyn Object>),
    Distant(Arc<dyn Distant>),
    Promise(Arc<Promise>),
    Broken(Arc<Failure>),
}

/// Where a reference leads, for those who send calls.
pub enum Leads<'a> {
    /// To an object of this process.
    Local(&'a Arc<dyn Object>),
    /// To something of a peer's.
    Distant(&'a Arc<dyn Distant>),
    /// Nobody knows yet.
    Promise(&'a Arc<Promise>),
    /// Nowhere.
    Broken(&'a Failure),
}

/// Something of a peer's that this process holds: an object, or a call's result that is not known yet.
pub trait Distant: Send + Sync {
    /// Its id on its connection.
    fn id(&self) -> ImportId;
    /// Its connection.
    fn line(&self) -> &dyn Line;
    /// Why it is broken, if it is; else `watcher` is woken when it may be, or, for a promise, when it may have settled.
    fn broken(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure>;
    /// A promise of the result of call `id` on the same connection, which keeps `call` alive.
    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference;
    /// What it has settled to, if it was a promise and has.
    fn settled(&self) -> Option<Reference>;
    /// A cast follows: if this is the result of a call, that call runs to its end though nobody waits.
    fn expect_cast(&self);
    /// Waits until its connection has room for a call.
    fn ready(&self) -> Readiness;
}

/// Room for a call, or why there never will be.
pub type Readiness = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A call of ours on its way, as the promise of its result sees it.
pub trait Pledge: Send + Sync {
    /// The reference that it gave, if it has.
    fn given(&self) -> Option<Reference>;
    /// Lets `watcher` be woken when it ends; with a connection's end all its calls do.
    fn watch(&self, watcher: &Arc<dyn Watcher>);
}

/// A connection, as references see it. Cancel and detach are for calls that were sent; late ones change nothing.
pub trait Line: Send + Sync {
    /// The same number for the same connection while it lives.
    fn address(&self) -> usize;
    /// Sends a call; `waiter` is told the answer.
    ///
    /// # Errors
    /// Nothing was sent.
    fn call(
        &self,
        target: ImportId,
        call: Encoded<'_>,
        reply: Reply,
        waiter: Waiting,
    ) -> Result<ImportId, NotSent>;
    /// Sends a call that is never answered.
    ///
    /// # Errors
    /// Nothing was sent.
    fn cast(&self, target: ImportId, call: Encoded<'_>) -> Result<(), NotSent>;
    /// Whether calls that are passed on wait for room already: another one must go behind them.
    fn is_crowded(&self) -> bool;
    /// The place of the next call that waits for room.
    fn ticket(&self) -> u64;
    /// Lets a call that is passed on wait at its place until there is room; hands it back where it was stopped already.
    fn park(&self, ticket: u64, call: Box<dyn Onward>) -> Option<Box<dyn Onward>>;
    /// Takes a call out that waits for room.
    fn unpark(&self, ticket: u64) -> Option<Box<dyn Onward>>;
    /// Nobody wants the call any more, nor names its result.
    fn cancel(&self, id: ImportId);
    /// The caller takes the call for ended, with a failure of this kind, and may still name its result, which is broken then.
    fn give_up(&self, id: ImportId, kind: FailureKind);
    /// Nobody wants the answer any more, but the run.
    fn detach(&self, id: ImportId);
    /// What a call was answered leads to the call's own result: from now on that is broken.
    fn break_result(&self, id: ImportId, failure: Failure);
}

/// A call that is passed on, and waits for room on the connection that it goes to.
pub trait Onward: Send {
    /// Sends it; hands it back where there is no room yet.
    fn go(self: Box<Self>) -> Option<Box<dyn Onward>>;
    /// Whether its caller does not want it any more.
    fn is_stopped(&self) -> bool;
    /// Answers its caller that it was cancelled.
    fn give_up(self: Box<Self>);
}

/// A call's method and arguments, encoded.
pub struct Encoded<'a> {
    /// The method.
    pub method: &'a Arc<MethodText>,
    /// Whether its trait says that it may be called again where a call may have run; of a call that is passed on nobody knows.
    pub idempotent: bool,
    /// Deadline, limits, metadata.
    pub options: Option<Box<CallOptions>>,
    /// When it must have its answer.
    pub deadline: Option<Instant>,
    /// The references that the body names by index.
    pub references: &'a [Reference],
    /// The arguments.
    pub body: &'a [u8],
}

/// Why a call was not sent.
pub enum NotSent {
    /// It cannot be.
    Failed(Failure),
    /// What it was to be called on is settled: call this.
    Moved(Reference),
    /// Not now: the peer's grants, or this side's bytes for answers, are used up.
    Full(Failure),
}

/// Who is told a call's answer. Runs no user code but wakers.
pub trait Waiter: Send + Sync {
    /// The answer.
    fn settle(self: Arc<Self>, answer: Delivered);
    /// The answer is a reference that has come home, and `promise` settles to it when the calls that went after it have come too.
    fn settle_embargoed(self: Arc<Self>, promise: Reference) {
        self.settle(Delivered::Reference(promise));
    }
    /// Whether it goes on naming a reference result after it was told, until it cancels the call.
    fn names_result(&self) -> bool;
}

/// How a connection holds a [`Waiter`].
pub enum Waiting {
    /// By its `Deferred` alone: once that is gone nobody waits.
    Weak(std::sync::Weak<dyn Waiter>),
    /// By the connection alone.
    Strong(Arc<dyn Waiter>),
}

impl Waiting {
    /// Tells it the answer, if it still waits.
    pub fn settle(self, answer: Delivered) {
        if let Some(waiter) = self.waiter() {
            waiter.settle(answer);
        }
    }

    /// Tells it the answer that is under embargo, if it still waits.
    pub fn settle_embargoed(self, promise: Reference) {
        if let Some(waiter) = self.waiter() {
            waiter.settle_embargoed(promise);
        }
    }

    fn waiter(self) -> Option<Arc<dyn Waiter>> {
        match self {
            Waiting::Weak(waiter) => waiter.upgrade(),
            Waiting::Strong(waiter) => Some(waiter),
        }
    }
}

impl Reference {
    /// A reference to an object of this process, handed out as `first`.
    pub fn new<O: IntoObject>(object: O, first: Offer<O::Object>) -> Self {
        Self::local(Arc::new(Held::new(object.into_object(), first)))
    }

    /// A reference to an object of this process.
    pub fn local(object: Arc<dyn Object>) -> Self {
        Reference(Inner::Local(object))
    }

    /// A reference to something of a peer's.
    pub fn distant(distant: Arc<dyn Distant>) -> Self {
        Reference(Inner::Distant(distant))
    }

    /// A reference that is not known yet.
    pub fn promised(promise: Arc<Promise>) -> Self {
        Reference(Inner::Promise(promise))
    }

    /// A reference that leads nowhere.
    pub fn broken(failure: Arc<Failure>) -> Self {
        Reference(Inner::Broken(failure))
    }

    /// Where it leads.
    pub fn leads(&self) -> Leads<'_> {
        match &self.0 {
            Inner::Local(object) => Leads::Local(object),
            Inner::Distant(distant) => Leads::Distant(distant),
            Inner::Promise(promise) => Leads::Promise(promise),
            Inner::Broken(failure) => Leads::Broken(failure),
        }
    }

    /// The promise, if it is one.
    pub(super) fn as_promise(&self) -> Option<&Arc<Promise>> {
        match &self.0 {
            Inner::Promise(promise) => Some(promise),
            _ => None,
        }
    }

    /// The same reference behind the promises that have settled in this process.
    #[must_use]
    pub fn followed(&self) -> Reference {
        match &self.0 {
            Inner::Promise(promise) => promise.followed().unwrap_or_else(|| self.clone()),
            _ => self.clone(),
        }
    }

    /// The promise, if it is one.
    pub(super) fn into_promise(self) -> Option<Arc<Promise>> {
        match self.0 {
            Inner::Promise(promise) => Some(promise),
            _ => None,
        }
    }

    /// The end of the settled promises that it leads through, results of calls to peers among them; broken where they lead in a circle.
    #[must_use]
    pub fn end(&self) -> Reference {
        let mut at = self.clone();
        let mut circle = Circle::default();
        loop {
            if circle.closes_at(&at) {
                return Reference::circular();
            }
            let next = match &at.0 {
                Inner::Promise(promise) => promise.settled(),
                Inner::Distant(distant) => distant.settled().map(Ok),
                Inner::Local(_) | Inner::Broken(_) => None,
            };
            at = match next {
                None => return at,
                Some(Ok(reference)) => reference,
                Some(Err(failure)) => return Reference::broken(Arc::new(failure)),
            };
        }
    }

    /// What tells it apart from other references of this process while it lives.
    pub fn key(&self) -> Key {
        match &self.0 {
            Inner::Local(object) => object.key(),
            Inner::Distant(distant) => {
                Key { object: distant.line().address(), facet: distant.id().0 as usize }
            }
            Inner::Promise(promise) => Key { object: Arc::as_ptr(promise) as usize, facet: 0 },
            Inner::Broken(failure) => Key { object: Arc::as_ptr(failure) as usize, facet: 0 },
        }
    }

    /// Whether both are one reference, settled promises not followed.
    pub(super) fn is(&self, other: &Reference) -> bool {
        self.key() == other.key()
    }

    /// Debug text of a stub.
    #[doc(hidden)]
    pub fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Local(_) => write!(f, "{name}(local)"),
            Inner::Distant(distant) => write!(f, "{name}({})", distant.id()),
            Inner::Promise(_) => write!(f, "{name}(promise)"),
            Inner::Broken(_) => write!(f, "{name}(broken)"),
        }
    }

    /// Calls a method. The call is on its way when this returns; where it cannot be sent, the Deferred fails.
    pub(super) fn call<A: Values, R: Send + 'static, K: Errors>(
        &self,
        method: &'static Method,
        signature: Signature<A, R, K>,
        arguments: A,
        terms: Result<Terms, Failure>,
        options: Option<Arc<StubOptions>>,
    ) -> Deferred<R, K::Caller> {
        let slot = Slot::new(method, signature.ok, signature.err, options);
        match terms {
            Ok(terms) => send(self, TypedCall { method, signature, arguments, terms }, &slot),
            Err(failure) => slot.fail(failure),
        }
        Deferred::waiting_for(slot)
    }

    /// Calls a method that is never answered; what goes wrong is lost, but for a line in the log.
    pub(super) fn cast<A: Values>(
        &self,
        method: &'static Method,
        signature: Signature<A, (), super::NoError>,
        arguments: A,
        terms: Terms,
    ) {
        match &self.0 {
            Inner::Distant(distant) => {
                distant.expect_cast();
                cast(distant.as_ref(), TypedCall { method, signature, arguments, terms });
            }
            _ => self.call(method, signature, arguments, Ok(terms), None).detach(),
        }
    }
}

/// Finds out whether a walk along settled promises has come back to where it was. Two peers can build such a circle in a moment that no
/// check of either sees.
#[derive(Default)]
pub(super) struct Circle {
    mark: Option<Reference>,
    steps: u64,
}

impl Circle {
    /// Called at each step; the mark moves on at each power of two, so that a circle behind a long way is found too.
    pub(super) fn closes_at(&mut self, at: &Reference) -> bool {
        if self.mark.as_ref().is_some_and(|mark| mark.is(at)) {
            return true;
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.mark = Some(at.clone());
        }
        false
    }
}

/// A call with its types, on its way to wherever the reference leads.
struct TypedCall<A: Values, R, K: Errors> {
    method: &'static Method,
    signature: Signature<A, R, K>,
    arguments: A,
    terms: Terms,
}

fn send<A: Values, R: Send + 'static, K: Errors>(
    to: &Reference,
    call: TypedCall<A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    match &to.0 {
        Inner::Local(object) => local::start(object, call.method, call.arguments, call.terms, slot),
        Inner::Distant(distant) => send_distant(distant, call, slot),
        Inner::Promise(promise) => {
            if let Some(callee) = promise.callee() {
                return send(&callee, call, slot);
            }
            slot.set_queued(promise);
            slot.limit(call.terms.deadline);
            let queued = Box::new(QueuedCall { call, slot: Arc::downgrade(slot) });
            if let Err((queued, result)) = promise.queue(queued) {
                queued.go(result.as_ref());
            }
        }
        Inner::Broken(failure) => slot.fail(Failure::broken_by(Cause::Broker(Failure::clone(failure)))),
    }
}

fn send_distant<A: Values, R: Send + 'static, K: Errors>(
    distant: &Arc<dyn Distant>,
    call: TypedCall<A, R, K>,
    slot: &Arc<Slot<R, K>>,
) {
    let reply = if call.signature.ok.reference.is_some() { Reply::Reference } else { Reply::Value };
    let sent = encoded(&call, |encoded| {
        let waiter = Arc::downgrade(slot);
        distant.line().call(distant.id(), encoded, reply, Waiting::Weak(waiter))
    });
    match sent {
        Ok(id) => slot.set_sent(distant, id),
        Err(NotSent::Failed(failure) | NotSent::Full(failure)) => match survivor(distant.as_ref()) {
            Some(reference) => send(&reference, call, slot),
            None => slot.fail(failure),
        },
        Err(NotSent::Moved(reference)) => send(&reference.callee(), call, slot),
    }
}

fn cast<A: Values>(distant: &dyn Distant, call: TypedCall<A, (), super::NoError>) {
    match encoded(&call, |encoded| distant.line().cast(distant.id(), encoded)) {
        Ok(()) => {}
        Err(NotSent::Failed(failure) | NotSent::Full(failure)) => match survivor(distant) {
            Some(reference) => reference.cast(call.method, call.signature, call.arguments, call.terms),
            None => tracing::debug!(method = call.method.name(), %failure, "cast not sent"),
        },
        Err(NotSent::Moved(reference)) => {
            reference.callee().cast(call.method, call.signature, call.arguments, call.terms);
        }
    }
}

/// Where a promise has led whose connection takes no calls any more. It may be elsewhere, and outlive it.
pub fn survivor(distant: &dyn Distant) -> Option<Reference> {
    distant.settled().map(|settled| settled.callee()).filter(|end| !matches!(end.leads(), Leads::Broken(_)))
}

/// Encodes the arguments into this thread's scratch buffer and hands them to `send`.
fn encoded<A: Values, R, K: Errors, T>(
    call: &TypedCall<A, R, K>,
    send: impl FnOnce(Encoded<'_>) -> Result<T, NotSent>,
) -> Result<T, NotSent> {
    use super::Codecs as _;
    let codecs = &call.signature.arguments;
    let defaults = match codecs.optional() {
        0 => &[],
        _ => call.method.defaults(|| codecs.defaults()),
    };
    super::scratch::with_scratch(|body| {
        let mut needed = Needed::new(A::Codecs::COUNT, defaults);
        let (result, references) = scope::encode_with(|| codecs.encode(&call.arguments, body, &mut needed));
        if let Err(error) = result {
            let message = format!("the arguments of {} cannot be sent: {error}", call.method.name());
            return Err(NotSent::Failed(Failure::new(FailureKind::Failed, Ran::No, message)));
        }
        let mut options = call.method.flags().answer_options();
        if let Some(metadata) = &call.terms.metadata {
            options.get_or_insert_default().metadata.clone_from(metadata);
        }
        let method = call.method.text_for(needed.optional());
        let deadline = call.terms.deadline;
        let idempotent = call.method.flags().idempotent;
        send(Encoded { method, idempotent, options, deadline, references: &references, body })
    })
}

/// A call that waits for a promise. Its Deferred owns it: once that is gone there is nothing to send.
struct QueuedCall<A: Values, R, K: Errors> {
    call: TypedCall<A, R, K>,
    slot: std::sync::Weak<Slot<R, K>>,
}

impl<A: Values, R: Send + 'static, K: Errors> super::Queued for QueuedCall<A, R, K> {
    fn go(self: Box<Self>, to: Result<&Reference, &Failure>) {
        // Where its time was over while it waited, there is nothing to send either.
        let Some(slot) = self.slot.upgrade().filter(|slot| slot.is_waiting()) else { return };
        match to {
            Err(failure) => slot.fail(Failure::broken_by(Cause::Broker(failure.clone()))),
            // Only a call that has waited, whose result others may wait for, can close a circle.
            Ok(reference) if slot.is_named() && leads_back(reference, &slot) => {
                slot.fail(Failure::circular())
            }
            Ok(reference) => {
                // Nobody is on this stack whose panic it would be: the user's `Serialize` panicked long after the call was made.
                let sent = catch_unwind(AssertUnwindSafe(|| send(reference, self.call, &slot)));
                if sent.is_err() {
                    let message = "encoding the arguments panicked";
                    slot.fail(Failure::new(FailureKind::Failed, Ran::No, message));
                }
            }
        }
    }
}

/// Whether the call of `slot` would wait for itself on `reference`.
fn leads_back<R: Send + 'static, K: Errors>(reference: &Reference, slot: &Arc<Slot<R, K>>) -> bool {
    match &reference.callee().0 {
        Inner::Promise(promise) => promise.waits_for(Arc::as_ptr(slot).cast()),
        _ => false,
    }
}
