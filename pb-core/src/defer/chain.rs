//! Every [`Deferred`](super::Deferred) but that of a call: who polls it, and where its result is put.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::depth::{self, drop_quietly, wake_quietly};
use super::flow::{Erased, Flow, unpack};
use super::{Pending, Promising, Watch, Watched};
use crate::message::{Failure, FailureKind, Ran};

/// A flow and who drives it: whoever awaits the Deferred; or, once it is detached or a promise was made of it, whatever wakes it.
pub(super) struct Chain<T: Send + 'static, E: Send + 'static> {
    state: Mutex<State<T, E>>,
}

struct State<T, E> {
    phase: Phase<T, E>,
    drive: Drive,
    /// Woken while it was busy: it looks again.
    again: bool,
    /// Cancelled while it was busy: what it waits for then is.
    cancel: Option<Failure>,
    /// Of whoever waits for a result that comes without being polled for.
    waker: Option<Waker>,
    watches: Vec<Watch<T>>,
}

enum Phase<T, E> {
    Waiting(Flow),
    /// Somebody polls or cancels the flow, under no lock.
    Busy,
    Settled(Result<T, E>),
    Taken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drive {
    /// By whoever polls it.
    Polled,
    /// By itself, as long as somebody holds it.
    Held,
    /// By itself, to its end: what may wake it holds it.
    Free,
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Chain<T, E> {
    pub(super) fn of(flow: Flow) -> Arc<Self> {
        let state = State {
            phase: Phase::Waiting(flow),
            drive: Drive::Polled,
            again: false,
            cancel: None,
            waker: None,
            watches: Vec::new(),
        };
        Arc::new(Chain { state: Mutex::new(state) })
    }

    /// Polls a flow that was taken out, until it waits. Puts it back then; gives the result else.
    fn run(&self, mut flow: Flow, cx: &mut Context<'_>) -> Poll<Erased> {
        loop {
            let polled = match catch_unwind(AssertUnwindSafe(|| flow.poll(cx))) {
                Ok(polled) => polled,
                Err(panic) => self.lost(panic),
            };
            if polled.is_ready() {
                return polled;
            }
            match self.put_back(flow) {
                None => return Poll::Pending,
                Some(taken) => flow = taken,
            }
        }
    }

    /// Lets the flow wait, unless it was cancelled or woken meanwhile: then it is given back, to be polled again.
    fn put_back(&self, mut flow: Flow) -> Option<Flow> {
        let why = {
            let mut state = self.state.lock();
            let again = mem::take(&mut state.again);
            match state.cancel.take() {
                Some(why) => why,
                None if again => return Some(flow),
                None => {
                    state.phase = Phase::Waiting(flow);
                    return None;
                }
            }
        };
        flow.cancel(why);
        Some(flow)
    }

    /// Even the panic of a callback could not be made a failure, for that panicked, too: nothing will come.
    fn lost(&self, panic: Box<dyn Any + Send>) -> ! {
        let waker = {
            let mut state = self.state.lock();
            state.phase = Phase::Taken;
            state.waker.take()
        };
        wake_quietly(waker);
        resume_unwind(panic)
    }

    /// Polls it as itself. To be called under no lock.
    fn advance(self: Arc<Self>) {
        let (flow, drive) = {
            let mut state = self.state.lock();
            match mem::replace(&mut state.phase, Phase::Busy) {
                Phase::Waiting(flow) => (flow, state.drive),
                Phase::Busy => {
                    state.again = true;
                    return;
                }
                ended => {
                    state.phase = ended;
                    return;
                }
            }
        };
        let waker = match drive {
            Drive::Free => Waker::from(Arc::clone(&self)),
            Drive::Held | Drive::Polled => Waker::from(Arc::new(Held(Arc::downgrade(&self)))),
        };
        if let Poll::Ready(result) = self.run(flow, &mut Context::from_waker(&waker)) {
            self.settle(unpack(result));
        }
    }

    /// Tells the result to all who watch, then gives it to whoever awaits it.
    fn settle(&self, result: Result<T, E>) {
        let mut result = Some(result);
        loop {
            let watches = mem::take(&mut self.state.lock().watches);
            for watch in watches {
                watch(seen(result.as_ref()));
            }
            let waker = {
                let mut state = self.state.lock();
                if !state.watches.is_empty() {
                    continue;
                }
                state.phase = match result.take_if(|_| state.drive != Drive::Free) {
                    Some(result) => Phase::Settled(result),
                    None => Phase::Taken,
                };
                state.waker.take()
            };
            wake_quietly(waker);
            return drop_quietly(result);
        }
    }

    fn start(self: Arc<Self>) {
        depth::run(move || self.advance());
    }
}

/// What those who watch see of a result.
fn seen<T, E: 'static>(result: Option<&Result<T, E>>) -> Result<&T, Failure> {
    match result {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(match (error as &dyn Any).downcast_ref::<Failure>() {
            Some(failure) => failure.clone(),
            None => broken("the Deferred that was to give the reference failed"),
        }),
        None => Err(broken("the result was taken before it was called")),
    }
}

fn broken(message: &str) -> Failure {
    Failure::new(FailureKind::Broken, Ran::No, message)
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Pending<T, E> for Chain<T, E> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut fresh = None;
        loop {
            let mut state = self.state.lock();
            let driven = state.drive != Drive::Polled;
            let flow = match mem::replace(&mut state.phase, Phase::Busy) {
                Phase::Settled(result) => {
                    state.phase = Phase::Taken;
                    return Poll::Ready(result);
                }
                Phase::Taken => {
                    state.phase = Phase::Taken;
                    drop(state);
                    panic!("a Deferred was polled after it had answered")
                }
                Phase::Waiting(flow) if !driven => flow,
                waiting => {
                    state.phase = waiting;
                    if state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                        return Poll::Pending;
                    }
                    // A waker is its executor's code, so it is neither made nor dropped under the lock.
                    let Some(fresh) = fresh.take() else {
                        drop(state);
                        fresh = Some(cx.waker().clone());
                        continue;
                    };
                    let before = state.waker.replace(fresh);
                    drop(state);
                    drop(before);
                    return Poll::Pending;
                }
            };
            drop(state);
            return match self.run(flow, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(result) => {
                    self.state.lock().phase = Phase::Taken;
                    Poll::Ready(unpack(result))
                }
            };
        }
    }

    fn detach(self: Arc<Self>) {
        let unwanted = {
            let mut state = self.state.lock();
            state.drive = Drive::Free;
            state.again |= matches!(state.phase, Phase::Busy);
            match state.phase {
                Phase::Settled(_) => mem::replace(&mut state.phase, Phase::Taken),
                _ => Phase::Taken,
            }
        };
        drop_quietly(unwanted);
        self.start();
    }

    fn cancel(self: Arc<Self>, why: Failure) -> bool {
        let mut flow = {
            let mut state = self.state.lock();
            match mem::replace(&mut state.phase, Phase::Busy) {
                Phase::Waiting(flow) => flow,
                Phase::Busy => {
                    state.cancel.get_or_insert(why);
                    return true;
                }
                ended => {
                    state.phase = ended;
                    return false;
                }
            }
        };
        flow.cancel(why);
        let (waker, driven) = {
            let mut state = self.state.lock();
            state.phase = Phase::Waiting(flow);
            let driven = state.drive != Drive::Polled;
            (state.waker.take_if(|_| !driven), driven)
        };
        // It may have been polled in vain meanwhile, or woken.
        wake_quietly(waker);
        if driven {
            self.start();
        }
        true
    }

    fn promise(self: Arc<Self>) -> Promising<T> {
        Promising::Watched(self)
    }

    fn unchain(&self) -> Option<Flow> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.phase, Phase::Taken) {
            Phase::Waiting(flow) if state.drive == Drive::Polled => Some(flow),
            other => {
                state.phase = other;
                None
            }
        }
    }
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Watched<T> for Chain<T, E> {
    fn watch(self: Arc<Self>, watch: Watch<T>) {
        let ended = {
            let mut state = self.state.lock();
            match mem::replace(&mut state.phase, Phase::Busy) {
                Phase::Settled(result) => Some(result),
                Phase::Taken => {
                    state.phase = Phase::Taken;
                    drop(state);
                    return watch(seen::<T, E>(None));
                }
                waiting => {
                    state.phase = waiting;
                    state.watches.push(watch);
                    if state.drive == Drive::Polled {
                        state.drive = Drive::Held;
                    }
                    drop(state);
                    return self.start();
                }
            }
        };
        // Nobody else takes it meanwhile: only the Deferred itself would, and that is what makes the promise.
        watch(seen(ended.as_ref()));
        if let Some(result) = ended {
            self.state.lock().phase = Phase::Settled(result);
        }
    }
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Wake for Chain<T, E> {
    fn wake(self: Arc<Self>) {
        self.start();
    }
}

/// Wakes a chain that somebody else holds.
struct Held<T: Send + 'static, E: Send + 'static>(Weak<Chain<T, E>>);

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Wake for Held<T, E> {
    fn wake(self: Arc<Self>) {
        if let Some(chain) = self.0.upgrade() {
            chain.start();
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Drop for Chain<T, E> {
    /// What it waits for may hold another one, and so on; so they go one behind the other where they are many.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let phase = mem::replace(&mut state.phase, Phase::Taken);
        if !matches!(phase, Phase::Taken) {
            depth::run(move || drop(phase));
        }
    }
}
