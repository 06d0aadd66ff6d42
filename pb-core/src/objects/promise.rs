use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::executor::drop_quietly;
use super::queued::{Queue, Queued};
use super::reference::Circle;
use super::{Leads, Reference, Watcher, Watchers};
use crate::message::{Failure, FailureKind, Ran};

/// A reference that is not known yet and will be settled in this process: the result of a local call, an argument that names a running
/// call, a promise under embargo. Calls on it wait in their order. Or one that leads somewhere until it is taken back.
pub struct Promise {
    state: Mutex<State>,
}

/// The call of this process whose result a promise is.
pub trait Source: Send + Sync {
    /// The promise that it waits for, to be sent there.
    fn waits_for(&self) -> Option<Arc<Promise>>;
}

/// Promises that wait for each other in a row, at the most: more are taken for a circle.
const MAX_STEPS: usize = 1 << 16;

enum State {
    /// `draining` once it is settled, until everything that waited has gone.
    Waiting {
        queue: Queue,
        watchers: Watchers,
        draining: bool,
        /// What must live on for the promise to settle: the call whose result it is. That may end with the promise itself, so it is let
        /// go then.
        source: Option<Arc<dyn Source>>,
    },
    Settled(Result<Reference, Failure>),
    /// Not to be looked through: calls go to `target` until it is revoked.
    Lent {
        target: Reference,
        watchers: Leaving,
    },
}

/// Those who wait for what is lent to break. They are woken, too, when nobody holds it any more.
#[derive(Default)]
struct Leaving(Watchers);

impl Drop for Leaving {
    fn drop(&mut self) {
        mem::take(&mut self.0).wake();
    }
}

impl Promise {
    /// A promise that holds `source` until it is settled.
    pub fn new(source: Option<Arc<dyn Source>>) -> Arc<Self> {
        let state = State::Waiting {
            queue: Queue::default(),
            watchers: Watchers::default(),
            draining: false,
            source,
        };
        Arc::new(Promise { state: Mutex::new(state) })
    }

    /// A promise that leads to `target`, and is a reference of its own, until [`Promise::revoke`].
    pub(super) fn lending(target: Reference) -> Arc<Self> {
        Arc::new(Promise { state: Mutex::new(State::Lent { target, watchers: Leaving::default() }) })
    }

    /// Breaks what was lent; calls that went through it before are not touched.
    pub(super) fn revoke(&self, reason: Failure) {
        let before = match &mut *self.state.lock() {
            state @ State::Lent { .. } => mem::replace(state, State::Settled(Err(reason))),
            State::Waiting { .. } | State::Settled(_) => return,
        };
        if let State::Lent { target, watchers } = before {
            drop_quietly(target);
            drop(watchers);
        }
    }

    /// Where it leads, if it is lent and was not revoked.
    pub fn lent(&self) -> Option<Reference> {
        match &*self.state.lock() {
            State::Lent { target, .. } => Some(target.clone()),
            State::Waiting { .. } | State::Settled(_) => None,
        }
    }

    /// The Rust type of what it lends, where that lives in this process.
    pub(super) fn lent_type_name(&self) -> &'static str {
        match &*self.state.lock() {
            State::Lent { target, .. } => match target.leads() {
                Leads::Local(object) => object.type_name(),
                _ => "",
            },
            State::Waiting { .. } | State::Settled(_) => "",
        }
    }

    /// What it settled to, if it has.
    pub fn settled(&self) -> Option<Result<Reference, Failure>> {
        match &*self.state.lock() {
            State::Settled(result) => Some(result.clone()),
            State::Waiting { .. } | State::Lent { .. } => None,
        }
    }

    /// Where calls on it go at once, if not into its queue: along everything that has settled or is lent.
    pub fn callee(&self) -> Option<Reference> {
        let mut at = self.followed().or_else(|| self.lent())?;
        let mut circle = Circle::default();
        while let Some(promise) = at.as_promise() {
            let Some(next) = promise.followed().or_else(|| promise.lent()) else { break };
            if circle.closes_at(&at) {
                return Some(Reference::circular());
            }
            at = next;
        }
        Some(at)
    }

    /// Where a settled promise leads, through all settled ones behind it; `None` where it has not settled, or is broken. Remembers what it
    /// finds: however long a chain a peer builds, it is walked once, and what stood between is let go.
    pub fn followed(&self) -> Option<Reference> {
        let mut at = self.settled()?.ok()?;
        let (mut walked, mut circle) = (false, Circle::default());
        while let Some(Ok(next)) = at.as_promise().and_then(|promise| promise.settled()) {
            if circle.closes_at(&at) {
                return Some(Reference::circular());
            }
            (at, walked) = (next, true);
        }
        if walked {
            let before = match &mut *self.state.lock() {
                State::Settled(result) => Some(mem::replace(result, Ok(at.clone()))),
                State::Waiting { .. } | State::Lent { .. } => None,
            };
            drop(before);
        }
        Some(at)
    }

    /// Whether it is settled by what `call` ends with, or by a call that waits for that; or waits for itself in some other way. Such a call
    /// would never be made, and what waits for it would hold it for ever.
    pub(super) fn waits_for(self: &Arc<Self>, call: *const ()) -> bool {
        let mut at = Arc::clone(self);
        for _ in 0..MAX_STEPS {
            let source = match &*at.state.lock() {
                State::Waiting { source: Some(source), .. } => Arc::clone(source),
                State::Waiting { source: None, .. } | State::Lent { .. } | State::Settled(_) => return false,
            };
            if Arc::as_ptr(&source).cast::<()>() == call {
                return true;
            }
            match source.waits_for() {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }

    /// What it settled to; else `watcher` is woken when it does.
    pub fn settled_or_watch(&self, watcher: &Arc<dyn Watcher>) -> Option<Result<Reference, Failure>> {
        match &mut *self.state.lock() {
            State::Settled(result) => Some(result.clone()),
            State::Waiting { watchers, .. } | State::Lent { watchers: Leaving(watchers), .. } => {
                watchers.add(watcher);
                None
            }
        }
    }

    /// Lets `call` wait.
    ///
    /// # Errors
    /// Hands it back with where it can go at once: the promise has settled.
    #[allow(clippy::type_complexity, reason = "the call and where it goes, named where it is used")]
    pub fn queue(&self, call: Box<dyn Queued>) -> Result<(), (Box<dyn Queued>, Result<Reference, Failure>)> {
        let given_up = match &mut *self.state.lock() {
            State::Settled(result) => return Err((call, result.clone())),
            State::Lent { target, .. } => return Err((call, Ok(target.clone()))),
            State::Waiting { queue, .. } => queue.push(call),
        };
        drop_quietly(given_up);
        Ok(())
    }

    /// Settles it: what waited goes in order, then everything goes straight. A second settlement changes nothing. A promise
    /// that would lead to itself is broken.
    pub fn settle(self: &Arc<Self>, result: Result<Reference, Failure>) {
        let result = result.and_then(|reference| self.join(reference));
        match &mut *self.state.lock() {
            State::Waiting { draining, .. } if !*draining => *draining = true,
            _ => return,
        }
        in_turn(Arc::clone(self), result);
    }

    /// Lets everything go that waits, and then whoever calls go straight.
    fn drain(&self, result: &Result<Reference, Failure>) {
        loop {
            match self.next_step(result) {
                Step::Send(waiting) => waiting.into_iter().for_each(|call| call.go(result.as_ref())),
                Step::Done(watchers, source) => {
                    drop_quietly(source);
                    break watchers.wake();
                }
            }
        }
    }

    /// Where this promise leads if it settles to `reference`: to the end of the promises that have settled already.
    ///
    /// # Errors
    /// `Broken` where that is itself, or what is lent of it.
    fn join(self: &Arc<Self>, reference: Reference) -> Result<Reference, Failure> {
        let end = reference.end();
        let mut at = end.clone();
        let mut circle = Circle::default();
        while let Some(promise) = at.as_promise() {
            if Arc::ptr_eq(promise, self) || circle.closes_at(&at) {
                return Err(Failure::circular());
            }
            let Some(target) = promise.lent() else { break };
            at = target.end();
        }
        Ok(end)
    }

    /// Takes what waits; where nothing does, whoever calls from here on finds the promise settled.
    fn next_step(&self, result: &Result<Reference, Failure>) -> Step {
        let mut state = self.state.lock();
        match &mut *state {
            State::Waiting { queue, .. } if !queue.is_empty() => Step::Send(queue.take()),
            State::Waiting { watchers, source, .. } => {
                let (watchers, source) = (mem::take(watchers), source.take());
                *state = State::Settled(result.clone());
                Step::Done(watchers, source)
            }
            State::Settled(_) | State::Lent { .. } => Step::Done(Watchers::default(), None),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        State::Waiting {
            queue: Queue::default(),
            watchers: Watchers::default(),
            draining: false,
            source: None,
        }
    }
}

type Settlement = (Arc<Promise>, Result<Reference, Failure>);

thread_local! {
    /// What settles once what settles now has; `None` where nothing does.
    static SETTLING: RefCell<Option<VecDeque<Settlement>>> = const { RefCell::new(None) };
}

/// A call that goes as a promise settles may settle the promise of its own result, on which another one waits, and so on: they settle one
/// behind the other, not each within the one before.
fn in_turn(promise: Arc<Promise>, result: Result<Reference, Failure>) {
    let mut next = Some((promise, result));
    let first = SETTLING.try_with(|settling| {
        let mut settling = settling.borrow_mut();
        let first = settling.is_none();
        let queue = settling.get_or_insert_default();
        if !first {
            queue.extend(next.take());
        }
        first
    });
    // What was queued has been taken. Without the queue, as a thread ends, it settles here.
    let turn = matches!(first, Ok(true)).then(|| Turn);
    while let Some((promise, result)) = next.take() {
        promise.drain(&result);
        if turn.is_some() {
            next = SETTLING.with_borrow_mut(|settling| settling.as_mut().and_then(VecDeque::pop_front));
        }
    }
}

/// The outermost settling of a thread. Where it unwinds, what is left settles all the same.
struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        let left = SETTLING.with_borrow_mut(Option::take);
        for (promise, result) in left.into_iter().flatten() {
            promise.drain(&result);
        }
    }
}

enum Step {
    Send(Vec<Box<dyn Queued>>),
    Done(Watchers, Option<Arc<dyn Source>>),
}

impl Drop for Promise {
    /// Nobody can settle it any more, and nobody holds it: what waits fails. A chain of promises goes link by link, not each within the
    /// one before: its length is the peer's to choose.
    fn drop(&mut self) {
        let mut state = mem::take(self.state.get_mut());
        loop {
            let next = match state {
                State::Settled(Ok(reference)) | State::Lent { target: reference, .. } => {
                    reference.into_promise().and_then(Arc::into_inner)
                }
                State::Settled(Err(_)) => None,
                State::Waiting { mut queue, .. } => {
                    let failure = Failure::new(FailureKind::Broken, Ran::No, "the promise was never settled");
                    break queue.take().into_iter().for_each(|call| call.go(Err(&failure)));
                }
            };
            match next {
                Some(mut next) => state = mem::take(next.state.get_mut()),
                None => break,
            }
        }
    }
}
