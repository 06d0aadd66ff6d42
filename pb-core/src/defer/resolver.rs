//! [`Resolver`]: what fires a Deferred that a program made. Twisted: `Deferred.callback`, `Deferred.errback` (internet/defer.py).

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Deferred;
use super::depth::{drop_quietly, wake_quietly};
use super::flow::{Next, Work};
use crate::message::{Failure, FailureKind, Ran};

/// What settles a [`Deferred`] that [`Deferred::new`] made, once: each way to do so takes the Resolver itself, so that doing it twice does not
/// compile (Twisted: `AlreadyCalledError`).
///
/// Dropped without a word it fails its Deferred: `Internal`, since whoever was to give the result has forgotten it. (Twisted's would stay silent
/// for ever.)
///
/// ```
/// use pb_core::Deferred;
/// # futures::executor::block_on(async {
/// let (resolver, deferred) = Deferred::<u32>::new();
/// std::thread::spawn(move || resolver.resolve(42));
/// assert_eq!(deferred.await, Ok(42));
///
/// let (resolver, deferred) = Deferred::<u32>::new();
/// drop(resolver);
/// assert_eq!(deferred.await.unwrap_err().kind, pb_core::FailureKind::Internal);
/// # });
/// ```
#[must_use = "dropping a Resolver fails its Deferred"]
pub struct Resolver<T, E = Failure> {
    /// `None` once it has settled it.
    cell: Option<Arc<Cell<T, E>>>,
}

/// What became of what a [`Resolver`] was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement<V> {
    /// The Deferred has it.
    Settled,
    /// It comes too late: the Deferred was cancelled, or dropped, before. It is given back.
    Late(V),
}

/// Ends what a Deferred waits for. What it returns is the result; `None` is the failure that it was cancelled with.
pub(super) type Canceller<T, E> = Box<dyn FnOnce() -> Option<Result<T, E>> + Send>;

struct Cell<T, E> {
    state: Mutex<State<T, E>>,
    /// Makes the error of a failure.
    failed: fn(Failure) -> E,
}

struct State<T, E> {
    phase: Phase<T, E>,
    /// Of whoever polls the Deferred.
    waker: Option<Waker>,
    canceller: Option<Canceller<T, E>>,
    /// Nobody wants what the Resolver gives any more.
    cancelled: bool,
    /// Of whoever waits for that.
    listener: Option<Waker>,
}

enum Phase<T, E> {
    Waiting,
    Settled(Result<T, E>),
    Following(Deferred<T, E>),
    Over,
}

/// What a cancel met.
enum GivenUp<T, E> {
    /// It has ended before.
    Ended,
    /// A canceller that fires.
    Fired(Result<T, E>),
    /// One that does not fire, or has had the Resolver do so.
    Silent,
    /// None.
    Alone,
}

/// The Deferred's end.
pub(super) struct Handle<T, E>(Arc<Cell<T, E>>);

/// A Resolver and what it resolves.
pub(super) fn pair<T, E: From<Failure>>(
    canceller: Option<Canceller<T, E>>,
) -> (Resolver<T, E>, Handle<T, E>) {
    let state = State { phase: Phase::Waiting, waker: None, canceller, cancelled: false, listener: None };
    let cell = Arc::new(Cell { state: Mutex::new(state), failed: E::from });
    (Resolver { cell: Some(Arc::clone(&cell)) }, Handle(cell))
}

impl<T, E> Resolver<T, E> {
    /// Gives the Deferred its value. Twisted: `Deferred.callback`.
    ///
    /// Wakes whoever awaits it; where it was detached its callbacks run here, before this returns, so it is to be called under no lock that they
    /// take.
    pub fn resolve(self, value: T) -> Settlement<T> {
        match self.settle(Ok(value)) {
            Settlement::Late(Ok(value)) => Settlement::Late(value),
            Settlement::Late(Err(_)) | Settlement::Settled => Settlement::Settled,
        }
    }

    /// Fails the Deferred. Twisted: `Deferred.errback`. Otherwise as [`resolve`](Resolver::resolve).
    pub fn reject(self, error: E) -> Settlement<E> {
        match self.settle(Err(error)) {
            Settlement::Late(Err(error)) => Settlement::Late(error),
            Settlement::Late(Ok(_)) | Settlement::Settled => Settlement::Settled,
        }
    }

    /// Gives the Deferred its result, whichever it is. Otherwise as [`resolve`](Resolver::resolve).
    pub fn settle(self, result: Result<T, E>) -> Settlement<Result<T, E>> {
        match self.end(Phase::Settled(result)) {
            Settlement::Late(Phase::Settled(result)) => Settlement::Late(result),
            Settlement::Late(_) | Settlement::Settled => Settlement::Settled,
        }
    }

    /// Lets the Deferred have the result of another one, when it comes; cancelling the one cancels the other. Twisted:
    /// `Deferred.chainDeferred`, where nothing is cancelled backwards.
    ///
    /// A chain of these may be of any length. One that leads back to itself is a mistake that nobody sees: each Deferred of the circle has been
    /// given away, so nobody waits; what they hold is held for ever.
    ///
    /// ```
    /// # use pb_core::Deferred;
    /// # futures::executor::block_on(async {
    /// let (resolver, deferred) = Deferred::<u32>::new();
    /// let (inner, result) = Deferred::new();
    /// resolver.follow(result);
    /// inner.resolve(7);
    /// assert_eq!(deferred.await, Ok(7));
    /// # });
    /// ```
    pub fn follow(self, deferred: Deferred<T, E>) -> Settlement<Deferred<T, E>> {
        match self.end(Phase::Following(deferred)) {
            Settlement::Late(Phase::Following(deferred)) => Settlement::Late(deferred),
            Settlement::Late(_) | Settlement::Settled => Settlement::Settled,
        }
    }

    /// Whether nobody wants the result any more: the Deferred was cancelled, or dropped.
    pub fn is_cancelled(&self) -> bool {
        self.cell.as_ref().is_none_or(|cell| cell.state.lock().cancelled)
    }

    /// Waits until nobody wants the result any more, to stop working for it. Never ends where the Deferred was
    /// [detached](Deferred::detach).
    ///
    /// ```
    /// # use pb_core::Deferred;
    /// # futures::executor::block_on(async {
    /// let (mut resolver, deferred) = Deferred::<u32>::new();
    /// drop(deferred);
    /// resolver.cancelled().await;
    /// assert_eq!(resolver.resolve(42), pb_core::defer::Settlement::Late(42));
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; a new one still learns it.
    pub async fn cancelled(&mut self) {
        poll_fn(|cx| match &self.cell {
            Some(cell) => cell.listen(cx),
            None => Poll::Ready(()),
        })
        .await;
    }

    fn end(mut self, phase: Phase<T, E>) -> Settlement<Phase<T, E>> {
        match self.cell.take() {
            Some(cell) => cell.end(phase),
            None => Settlement::Late(phase),
        }
    }
}

impl<T, E> Drop for Resolver<T, E> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if !cell.state.lock().cancelled {
            let message = "whoever was to give the result has dropped the Resolver";
            cell.fail(Failure::new(FailureKind::Internal, Ran::Maybe, message));
        }
    }
}

impl<T, E> fmt::Debug for Resolver<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl<T, E> Cell<T, E> {
    /// The one place where it ends. A second end changes nothing.
    fn end(&self, phase: Phase<T, E>) -> Settlement<Phase<T, E>> {
        let (waker, listener, canceller) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) {
                return Settlement::Late(phase);
            }
            state.phase = phase;
            (state.waker.take(), state.listener.take(), state.canceller.take())
        };
        drop_quietly((canceller, listener));
        wake_quietly(waker);
        Settlement::Settled
    }

    /// Whether that ended it.
    fn fail(&self, failure: Failure) -> bool {
        let phase = match catch_unwind(AssertUnwindSafe(|| (self.failed)(failure))) {
            Ok(error) => Phase::Settled(Err(error)),
            Err(panic) => {
                drop_quietly(panic);
                Phase::Over
            }
        };
        match self.end(phase) {
            Settlement::Settled => true,
            Settlement::Late(phase) => {
                drop_quietly(phase);
                false
            }
        }
    }

    fn listen(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A waker is its executor's code, so it is neither made nor dropped under the lock.
        let fresh = cx.waker().clone();
        let before = {
            let mut state = self.state.lock();
            if state.cancelled {
                return Poll::Ready(());
            }
            state.listener.replace(fresh)
        };
        drop(before);
        Poll::Pending
    }

    /// The Deferred does not want the result any more.
    fn give_up(&self, phase: Phase<T, E>) -> GivenUp<T, E> {
        let (canceller, listener) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) || state.cancelled {
                return GivenUp::Ended;
            }
            state.cancelled = true;
            state.phase = phase;
            (state.canceller.take(), state.listener.take())
        };
        let given = match canceller.map(|canceller| catch_unwind(AssertUnwindSafe(canceller))) {
            Some(Ok(Some(result))) => GivenUp::Fired(result),
            Some(Ok(None)) => GivenUp::Silent,
            None => GivenUp::Alone,
            Some(Err(panic)) => {
                drop_quietly(panic);
                GivenUp::Silent
            }
        };
        wake_quietly(listener);
        given
    }
}

impl<T: Send + 'static, E: Send + 'static> Work<T, E> for Handle<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        let mut fresh = None;
        loop {
            let mut state = self.0.state.lock();
            match mem::replace(&mut state.phase, Phase::Over) {
                Phase::Settled(result) => return Poll::Ready(Next::Result(result)),
                Phase::Following(deferred) => return Poll::Ready(Next::Deferred(deferred)),
                Phase::Over => {
                    drop(state);
                    panic!("a failure could not be made the error of a Deferred: its `From` panicked")
                }
                Phase::Waiting => state.phase = Phase::Waiting,
            }
            if state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if let Some(fresh) = fresh.take() {
                let before = state.waker.replace(fresh);
                drop(state);
                drop(before);
                return Poll::Pending;
            }
            drop(state);
            fresh = Some(cx.waker().clone());
        }
    }

    fn cancel(&mut self, why: Failure) -> bool {
        let cell = &self.0;
        // It may follow another one that nobody has looked at yet.
        let following = {
            let mut state = cell.state.lock();
            match mem::replace(&mut state.phase, Phase::Over) {
                Phase::Following(deferred) => Some(deferred),
                other => {
                    state.phase = other;
                    None
                }
            }
        };
        if let Some(deferred) = following {
            let taken = Arc::clone(&deferred.pending).cancel(why);
            cell.state.lock().phase = Phase::Following(deferred);
            return taken;
        }
        match cell.give_up(Phase::Waiting) {
            GivenUp::Ended => return false,
            // The Resolver may have come first all the same.
            GivenUp::Alone => return cell.fail(why),
            GivenUp::Silent => {
                cell.fail(why);
            }
            GivenUp::Fired(result) => drop_quietly(cell.end(Phase::Settled(result))),
        }
        true
    }
}

impl<T, E> Drop for Handle<T, E> {
    fn drop(&mut self) {
        drop_quietly(self.0.give_up(Phase::Over));
        let left = mem::replace(&mut self.0.state.lock().phase, Phase::Over);
        drop_quietly(left);
    }
}
