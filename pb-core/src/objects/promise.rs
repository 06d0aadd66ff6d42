use std::any::Any;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Reference;
use crate::message::{Failure, FailureKind, Ran};

/// A reference that is not known yet and will be settled in this process: the result of a local call, an argument that names a running
/// call, a promise under embargo. Calls on it wait in their order.
pub struct Promise {
    state: Mutex<State>,
    /// What must live on for the promise to settle: the call whose result it is.
    _source: Option<Arc<dyn Any + Send + Sync>>,
}

/// A call that waits for a promise.
pub trait Queued: Send {
    /// Goes where the promise leads. Runs on the thread that settles it, under no lock.
    fn go(self: Box<Self>, to: Result<&Reference, &Failure>);
}

enum State {
    /// `draining` once it is settled, until everything that waited has gone.
    Waiting {
        queue: Vec<Box<dyn Queued>>,
        wakers: Vec<Waker>,
        draining: bool,
    },
    Settled(Result<Reference, Failure>),
}

impl Promise {
    /// A promise that holds `source` as long as it lives.
    pub fn new(source: Option<Arc<dyn Any + Send + Sync>>) -> Arc<Self> {
        let state = State::Waiting { queue: Vec::new(), wakers: Vec::new(), draining: false };
        Arc::new(Promise { state: Mutex::new(state), _source: source })
    }

    /// What it settled to, if it has.
    pub fn settled(&self) -> Option<Result<Reference, Failure>> {
        match &*self.state.lock() {
            State::Settled(result) => Some(result.clone()),
            State::Waiting { .. } => None,
        }
    }

    /// Waits for it to settle.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<Reference, Failure>> {
        match &mut *self.state.lock() {
            State::Settled(result) => Poll::Ready(result.clone()),
            State::Waiting { wakers, .. } => {
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Lets `call` wait.
    ///
    /// # Errors
    /// Hands it back with where it can go at once: the promise has settled.
    #[allow(clippy::type_complexity, reason = "the call and where it goes, named where it is used")]
    pub fn queue(&self, call: Box<dyn Queued>) -> Result<(), (Box<dyn Queued>, Result<Reference, Failure>)> {
        match &mut *self.state.lock() {
            State::Settled(result) => Err((call, result.clone())),
            State::Waiting { queue, .. } => {
                queue.push(call);
                Ok(())
            }
        }
    }

    /// Settles it: what waited goes in order, then everything goes straight. A second settlement changes nothing. A promise
    /// that would lead to itself is broken.
    pub fn settle(self: &Arc<Self>, result: Result<Reference, Failure>) {
        let result = match result {
            Ok(reference) if leads_to(&reference, self) => {
                Err(Failure::new(FailureKind::Broken, Ran::No, "the promise was resolved to itself"))
            }
            result => result,
        };
        match &mut *self.state.lock() {
            State::Waiting { draining, .. } if !*draining => *draining = true,
            _ => return,
        }
        loop {
            match self.next_step(&result) {
                Step::Send(waiting) => waiting.into_iter().for_each(|call| call.go(result.as_ref())),
                Step::Done(wakers) => break wakers.into_iter().for_each(Waker::wake),
            }
        }
    }

    /// Takes what waits; where nothing does, whoever calls from here on finds the promise settled.
    fn next_step(&self, result: &Result<Reference, Failure>) -> Step {
        let mut state = self.state.lock();
        match &mut *state {
            State::Waiting { queue, .. } if !queue.is_empty() => Step::Send(mem::take(queue)),
            State::Waiting { wakers, .. } => {
                let wakers = mem::take(wakers);
                *state = State::Settled(result.clone());
                Step::Done(wakers)
            }
            State::Settled(_) => Step::Done(Vec::new()),
        }
    }
}

enum Step {
    Send(Vec<Box<dyn Queued>>),
    Done(Vec<Waker>),
}

impl Drop for Promise {
    /// Nobody can settle it any more, and nobody holds it: what waits fails.
    fn drop(&mut self) {
        if let State::Waiting { queue, .. } = self.state.get_mut() {
            let failure = Failure::new(FailureKind::Broken, Ran::No, "the promise was never settled");
            for call in mem::take(queue) {
                call.go(Err(&failure));
            }
        }
    }
}

/// Whether following settled promises from `reference` ends at `promise`.
fn leads_to(reference: &Reference, promise: &Arc<Promise>) -> bool {
    let mut at = reference.clone();
    loop {
        let Some(next) = at.as_promise() else { return false };
        if Arc::ptr_eq(next, promise) {
            return true;
        }
        match next.settled() {
            Some(Ok(reference)) => at = reference,
            _ => return false,
        }
    }
}
