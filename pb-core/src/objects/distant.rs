//! What floor 4 gives references that lead to peers: something of a peer's, its connection, and who is told an answer.

use std::sync::Arc;
use std::time::Instant;

use super::{Delivered, Reference, Renewal, Watcher};
use crate::message::{Body, CallOptions, Failure, FailureKind, ImportId, MethodText, Reply};

/// Something of a peer's that this process holds: an object, or a call's result that is not known yet.
pub trait Distant: Send + Sync {
    /// Its id on its connection.
    fn id(&self) -> ImportId;
    /// Its connection.
    fn line(&self) -> &dyn Carrier;
    /// Why it is broken, if it is; else `watcher` is woken when it may be, or, for a promise, when it may have settled.
    fn broken(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure>;
    /// A promise of the result of call `id` on the same connection, which keeps `call` alive.
    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference;
    /// What it has settled to, if it was a promise and has.
    fn settled(&self) -> Option<Reference>;
    /// Something of the same connection that keeps no call alive; `None` where this is such itself.
    fn alone(&self) -> Option<Arc<dyn Distant>>;
    /// A cast follows: if this is the result of a call, that call runs to its end though nobody waits.
    fn expect_cast(&self);
    /// Waits until its connection has room for a call.
    fn ready(&self) -> Readiness;
    /// Where it leads once its connection is lost, if anywhere: calls on it that are fit for it are made again there.
    fn renewal(&self) -> Option<Arc<dyn Renewal>> {
        None
    }
}

/// Room for a call, or why there never will be.
pub type Readiness = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A call of ours on its way, as the promise of its result sees it.
pub trait Pledge: Send + Sync {
    /// The reference that it gave, if it has.
    fn given(&self) -> Option<Reference>;
    /// Lets `watcher` be woken when it ends; with a connection's end all its calls do.
    fn watch(&self, watcher: &Arc<dyn Watcher>);
    /// Where its result is to be had, should the connection be lost before it is: only while the call waits, and is made again itself then.
    fn renewal(self: Arc<Self>) -> Option<Arc<dyn Renewal>> {
        None
    }
}

/// A connection, as references see it. Cancel and detach are for calls that were sent; late ones change nothing.
pub trait Carrier: Send + Sync {
    /// The same number for the same connection while it lives.
    fn address(&self) -> usize;
    /// Whether no call on it is answered any more.
    fn is_lost(&self) -> bool;
    /// Whether that is so, and for this.
    fn was_lost_by(&self, failure: &Failure) -> bool;
    /// Whether its other side is leaving: it runs no further calls on its root.
    fn is_left(&self) -> bool;
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
    /// Deadline, limits, metadata.
    pub options: Option<Box<CallOptions>>,
    /// When it must have its answer.
    pub deadline: Option<Instant>,
    /// The references that the body names by index.
    pub references: &'a [Reference],
    /// The arguments.
    pub body: Body<'a>,
}

/// Why a call was not sent.
pub enum NotSent {
    /// It cannot be.
    Failed(Box<Failure>),
    /// What it was to be called on is settled: call this.
    Moved(Reference),
    /// Not now: the peer's grants, or this side's bytes for answers, are used up.
    Full(Box<Failure>),
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
