//! Calls that are made again where their connection is lost: those of methods that are fit for it (`#[remote(idempotent)]`), on references that
//! know where they lead next. Nothing else is ever sent twice.

use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::sending::survivor;
use super::{Distant, Encoded, Leads, NotSent, Promise, Queued, Reference, Waiter, Waiting};
use crate::message::{Body, CallOptions, Cause, Failure, FailureKind, MethodText, Ran, Reply};
use crate::proto::Key;

/// Why a call is not made again, as it stands behind "it was not sent again: ".
pub type WhyNot = Cow<'static, str>;

/// Where a reference leads once its connection is lost.
pub trait Renewal: Send + Sync {
    /// What this hangs on, whose word counts in the place of its own ([`Renewal::allow`]): so chains are asked link by link, however long they are.
    ///
    /// # Errors
    /// It hangs on what is not there any more: why not.
    fn stems_from(&self) -> Result<Option<Arc<dyn Renewal>>, WhyNot> {
        Ok(None)
    }
    /// Whether a call may be made again that was lost for the `times`th time, 1 being the first. It is then.
    ///
    /// # Errors
    /// Why not.
    fn allow(&self, times: u32) -> Result<(), WhyNot>;
    /// Where it goes. May be a promise of the next connection's.
    ///
    /// # Errors
    /// Why it goes nowhere.
    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot>;
}

/// A call that is kept until it is answered, encoded: references stand in it as they are, so that each connection gets its own ids for them.
pub(super) struct Kept {
    method: Arc<MethodText>,
    options: Option<Box<CallOptions>>,
    pub(super) deadline: Option<Instant>,
    references: Box<[Reference]>,
    body: Bytes,
    reply: Reply,
    pub(super) renewal: Arc<dyn Renewal>,
}

impl Kept {
    pub(super) fn new(call: &Encoded<'_>, reply: Reply, renewal: Arc<dyn Renewal>) -> Self {
        Kept {
            method: Arc::clone(call.method),
            options: call.options.clone(),
            deadline: call.deadline,
            references: call.references.into(),
            body: call.body.to_bytes(),
            reply,
            renewal,
        }
    }

    fn encoded(&self) -> Encoded<'_> {
        Encoded {
            method: &self.method,
            options: self.options.clone(),
            deadline: self.deadline,
            references: &self.references,
            body: Body::own(&self.body),
        }
    }

    /// Whether its arguments lead to what has this key.
    pub(super) fn leads_to(&self, key: Key) -> bool {
        self.references.iter().any(|reference| reference.leads_to(key))
    }

    /// Where it goes, having been lost so often.
    fn next(&self, times: u32) -> Result<Reference, WhyNot> {
        let is_lost = |reference: &Reference| match reference.end().leads() {
            Leads::Distant(distant) => distant.line().is_lost(),
            Leads::Broken(_) => true,
            Leads::Local(_) | Leads::Promise(_) => false,
        };
        if let Some(at) = self.references.iter().position(is_lost) {
            let (at, of) = (at + 1, self.references.len());
            return Err(format!("reference {at} of {of} in its arguments came over a lost connection").into());
        }
        let mut first = Arc::clone(&self.renewal);
        while let Some(before) = first.stems_from()? {
            first = before;
        }
        first.allow(times)?;
        Arc::clone(&self.renewal).reference()
    }
}

/// What the slot of such a call has beside others.
pub(super) struct Again {
    pub(super) kept: Arc<Kept>,
    /// Where it was sent last.
    sent_to: Option<Arc<dyn Distant>>,
    /// How often it was lost. Who is told late of an earlier time knows by it.
    lost: u32,
    /// Whether it may have run, the times before.
    ran: Ran,
}

impl Again {
    pub(super) fn new(kept: Arc<Kept>) -> Box<Self> {
        Box::new(Again { kept, sent_to: None, lost: 0, ran: Ran::No })
    }

    /// It is about to be sent. Returns where it was sent before, to be dropped under no lock.
    pub(super) fn going(&mut self, distant: &Arc<dyn Distant>) -> Option<Arc<dyn Distant>> {
        self.sent_to.replace(Arc::clone(distant))
    }

    pub(super) fn sent_to(&self) -> Option<Arc<dyn Distant>> {
        self.sent_to.clone()
    }

    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// It was lost once more.
    pub(super) fn lose(&mut self, failure: &Failure) -> u32 {
        if failure.ran != Ran::No {
            self.ran = Ran::Maybe;
        }
        self.lost = self.lost.saturating_add(1);
        self.lost
    }

    /// What the last time ended with is not all: it may have run an earlier time.
    pub(super) fn look_back(&self, failure: &mut Failure) {
        if failure.ran == Ran::No {
            failure.ran = self.ran;
        }
    }
}

/// The slot of a call that is kept, without its types.
pub(super) trait Repeating: Waiter {
    fn begin(&self, again: Box<Again>);
    fn waits(&self) -> bool;
    /// It is about to be sent; says how often it was lost before. `None` where it has ended: then it must not be.
    fn going(&self, distant: &Arc<dyn Distant>) -> Option<u32>;
    /// It was sent, having been lost so often before. Where it has ended since, or been lost again, it is cancelled there.
    fn sent(self: Arc<Self>, lost: u32, distant: &Arc<dyn Distant>, id: crate::message::ImportId);
    fn queued(self: Arc<Self>, promise: &Arc<Promise>, deadline: Option<Instant>);
    /// Where it was sent last.
    fn sent_to(&self) -> Option<Arc<dyn Distant>>;
    /// It was lost; says how often by now. `None` where it has ended.
    fn lose(&self, failure: &Failure) -> Option<(Arc<Kept>, u32)>;
    fn refuse(&self, failure: Failure);
    fn as_waiter(self: Arc<Self>) -> Weak<dyn Waiter>;
}

/// Sends a call that is kept to where it leads first.
pub(super) fn start(distant: &Arc<dyn Distant>, kept: Kept, slot: &Arc<dyn Repeating>) {
    let kept = Arc::new(kept);
    slot.begin(Again::new(Arc::clone(&kept)));
    send(distant, &kept, slot);
}

/// The call has failed. Where its connection was lost, and it may, it is made again.
pub(super) fn fail(slot: &Arc<dyn Repeating>, failure: Failure) {
    let lost = slot.sent_to().is_some_and(|distant| is_about_a_loss(&failure, distant.as_ref()));
    let Some((kept, times)) = lost.then(|| slot.lose(&failure)).flatten() else {
        return slot.refuse(failure);
    };
    match kept.next(times) {
        Ok(reference) => go(&reference, &kept, slot),
        Err(why) => {
            let message = format!("{}; it was not sent again: {why}", failure.message);
            slot.refuse(Failure { message: message.into(), ..failure });
        }
    }
}

fn go(to: &Reference, kept: &Arc<Kept>, slot: &Arc<dyn Repeating>) {
    match to.leads() {
        Leads::Distant(distant) => send(distant, kept, slot),
        Leads::Promise(promise) => {
            if let Some(callee) = promise.callee() {
                return go(&callee, kept, slot);
            }
            Arc::clone(slot).queued(promise, kept.deadline);
            let queued = Box::new(QueuedAgain { kept: Arc::clone(kept), slot: Arc::downgrade(slot) });
            if let Err((queued, result)) = promise.queue(queued) {
                queued.go(result.as_ref());
            }
        }
        Leads::Broken(failure) => slot.refuse(Failure::broken_by(Cause::Broker(failure.clone()))),
        Leads::Local(_) => {
            let message = "its connection was lost, and what it was called on is an object of this process by now: call that";
            slot.refuse(Failure::new(FailureKind::Disconnected, Ran::No, message));
        }
    }
}

fn send(distant: &Arc<dyn Distant>, kept: &Arc<Kept>, slot: &Arc<dyn Repeating>) {
    let Some(lost) = slot.going(distant) else { return };
    let waiter = Waiting::Weak(Arc::clone(slot).as_waiter());
    match distant.line().call(distant.id(), kept.encoded(), kept.reply, waiter) {
        Ok(id) => Arc::clone(slot).sent(lost, distant, id),
        Err(NotSent::Failed(failure) | NotSent::Full(failure)) => match survivor(distant.as_ref()) {
            Some(reference) => go(&reference, kept, slot),
            None => fail(slot, *failure),
        },
        Err(NotSent::Moved(reference)) => go(&reference.callee(), kept, slot),
    }
}

/// Whether a failure stems from the end of the connection that the call was sent to, or from its other side's leaving before the call ran. That
/// some other connection was lost may be an answer like any.
fn is_about_a_loss(failure: &Failure, sent_to: &dyn Distant) -> bool {
    let left = failure.ran == Ran::No && sent_to.line().is_left();
    failure.chain().any(|failure| {
        failure.kind == FailureKind::Disconnected && (left || sent_to.line().was_lost_by(failure))
    })
}

/// A call that waits for where it goes next.
struct QueuedAgain {
    kept: Arc<Kept>,
    slot: Weak<dyn Repeating>,
}

impl Queued for QueuedAgain {
    fn is_given_up(&self) -> bool {
        self.slot.strong_count() == 0
    }

    fn go(self: Box<Self>, to: Result<&Reference, &Failure>) {
        // Where its time was over while it waited, there is nothing to send.
        let Some(slot) = self.slot.upgrade().filter(|slot| slot.waits()) else { return };
        match to {
            Ok(reference) => go(reference, &self.kept, &slot),
            Err(failure) => slot.refuse(Failure::broken_by(Cause::Broker(failure.clone()))),
        }
    }
}
