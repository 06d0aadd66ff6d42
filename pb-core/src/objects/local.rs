//! Calls on objects of this process: nothing is encoded, and nothing runs on the caller's stack or under its locks.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Weak};
use std::task::{Context, Poll};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tracing::{Instrument, Span};

use super::encoded::{EncodedCall, Payload};
use super::executor::{self, BoxTask, first_poll};
use super::slot::Slot;
use super::trace;
use super::{Errors, Incoming, Method, Object, Started, Terms, Values, Waiter, bind};
use crate::message::{Failure, FailureKind, MethodText, Ran, Reply};

/// The calls that have not started, by the addresses of the objects that they are on, while a task starts them. Objects hold nothing for it: there may be
/// millions of them, and most are idle.
static QUEUES: LazyLock<[Mutex<Queues>; SHARDS]> = LazyLock::new(Default::default);

type Queues = HashMap<usize, VecDeque<LocalCall>>;

/// Locks that share what would be one, so that threads seldom wait for each other.
const SHARDS: usize = 32;
/// Queues that a lock's map keeps room for while there are none.
const KEPT_QUEUES: usize = 64;

/// The address of an object that somebody holds, and the map that its queue stands in.
fn queues(object: &Arc<dyn Object>) -> (usize, &'static Mutex<Queues>) {
    let address = Arc::as_ptr(object).cast::<()>() as usize;
    // Addresses of neighbours differ in these bits first: what is allocated has at least 32 bytes.
    (address, &QUEUES[(address >> 5) % SHARDS])
}

/// The next call of an object; without one its queue is gone, and whoever calls next makes another with a starter of its own.
fn next(object: &Arc<dyn Object>) -> Option<LocalCall> {
    let (address, queues) = queues(object);
    let mut queues = queues.lock();
    let call = queues.get_mut(&address)?.pop_front();
    if call.is_none() {
        forget(&mut queues, address);
    }
    call
}

/// Takes a queue out, with what is in it.
fn forget(queues: &mut Queues, address: usize) -> Option<VecDeque<LocalCall>> {
    let queue = queues.remove(&address);
    if queues.is_empty() && queues.capacity() > KEPT_QUEUES {
        *queues = Queues::new();
    }
    queue
}

/// A call on its way to an object of this process.
struct LocalCall {
    carries: Carries,
    caller: Weak<dyn Caller>,
    terms: Terms,
}

/// A method and its arguments.
enum Carries {
    /// The typed arguments: a [`LocalArguments`].
    Values(&'static Method, Box<dyn Any + Send>),
    /// Those of a call by name, and who is told the answer.
    Bytes(Box<(Arc<MethodText>, Payload, Reply)>, Weak<dyn Waiter>),
}

/// The arguments of a local call, and where its answer goes.
pub(super) struct LocalArguments<A, R: Send + 'static, K: Errors> {
    pub(super) values: A,
    pub(super) answer: LocalAnswer<R, K>,
}

/// Answers a local call once; dropped without an answer, it says so.
pub(super) struct LocalAnswer<R: Send + 'static, K: Errors>(Option<Weak<Slot<R, K>>>);

/// The slot of a local call, without its types.
pub(super) trait Caller: Send + Sync {
    fn waits(&self) -> bool;
    fn started(&self, stop: Option<executor::Stop>);
    fn refused(&self, failure: Failure);
    /// What it runs in, where somebody looks on.
    fn span(&self) -> Option<Span>;
}

impl<R: Send + 'static, K: Errors> Caller for Slot<R, K> {
    fn waits(&self) -> bool {
        self.is_waiting()
    }

    fn started(&self, stop: Option<executor::Stop>) {
        self.set_started(stop);
    }

    fn refused(&self, failure: Failure) {
        self.fail(failure);
    }

    fn span(&self) -> Option<Span> {
        Slot::span(self).as_deref().cloned()
    }
}

/// Lets a call start behind those made before it, on the runtime.
pub(super) fn start<A: Values, R: Send + 'static, K: Errors>(
    object: &Arc<dyn Object>,
    method: &'static Method,
    values: A,
    terms: Terms,
    slot: &Arc<Slot<R, K>>,
) {
    slot.limit(terms.deadline);
    let answer = LocalAnswer(Some(Arc::downgrade(slot)));
    let arguments = Box::new(LocalArguments { values, answer });
    let caller: Weak<dyn Caller> = Arc::downgrade(slot) as Weak<dyn Caller>;
    enqueue(object, LocalCall { carries: Carries::Values(method, arguments), caller, terms });
}

/// The same for a call whose arguments are encoded.
pub(super) fn start_encoded<R: Send + 'static, K: Errors>(
    object: &Arc<dyn Object>,
    call: EncodedCall,
    slot: &Arc<Slot<R, K>>,
) {
    slot.limit(call.terms.deadline);
    let waiter: Weak<dyn Waiter> = Arc::downgrade(slot) as Weak<dyn Waiter>;
    let caller: Weak<dyn Caller> = Arc::downgrade(slot) as Weak<dyn Caller>;
    let carries = Carries::Bytes(Box::new((call.method, call.arguments, call.reply)), waiter);
    enqueue(object, LocalCall { carries, caller, terms: call.terms });
}

fn enqueue(object: &Arc<dyn Object>, call: LocalCall) {
    {
        let (address, queues) = queues(object);
        let mut queues = queues.lock();
        if let Some(queue) = queues.get_mut(&address) {
            return queue.push_back(call);
        }
        queues.insert(address, VecDeque::from([call]));
    }
    // Where it cannot be spawned it is dropped, and refuses what it was to start.
    drop(executor::spawn(Box::pin(Starter { object: Arc::clone(object), done: false })));
}

/// Starts the calls of one object in their order.
struct Starter {
    object: Arc<dyn Object>,
    /// The queue is empty and gone; one that is there now is another starter's.
    done: bool,
}

/// Calls started before others get the thread.
const STARTS_A_TURN: usize = 32;

impl Future for Starter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..STARTS_A_TURN {
            let Some(call) = next(&self.object) else {
                self.done = true;
                return Poll::Ready(());
            };
            run(&self.object, call);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Starter {
    /// The runtime ended, or there is none: what has not started never will.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (address, queues) = queues(&self.object);
        let left = forget(&mut queues.lock(), address);
        for call in left.into_iter().flatten() {
            if let Some(caller) = call.caller.upgrade() {
                let message = "no runtime runs here; call from inside a tokio runtime";
                caller.refused(Failure::new(FailureKind::Internal, Ran::No, message));
            }
        }
    }
}

fn run(object: &Arc<dyn Object>, call: LocalCall) {
    // Without its caller the call was cancelled before it started; one that does not wait knows that its time is over.
    let caller = call.caller.upgrade().filter(|caller| caller.waits());
    let Some(caller) = caller else { return executor::drop_quietly(call.carries) };
    let text = match &call.carries {
        Carries::Values(method, _) => method.text(),
        Carries::Bytes(encoded, _) => &encoded.0,
    };
    let bound = match bind(object.as_ref(), text) {
        Ok(bound) => bound,
        Err(failure) => return caller.refused(failure),
    };
    let started = match call.carries {
        Carries::Values(_, arguments) => {
            let mut incoming = Incoming::local(arguments, call.caller, object, call.terms, bound.agreed);
            object.dispatch(bound, &mut incoming)
        }
        Carries::Bytes(encoded, waiter) => {
            let (_, arguments, reply) = *encoded;
            let incoming = Incoming::encoded(arguments, reply, waiter, object, call.terms, bound.agreed);
            // It decodes, which runs the user's `Deserialize`: a panic of that is the call's own, and so is one of what is left and dropped.
            let dispatch = move || {
                let mut incoming = incoming;
                object.dispatch(bound, &mut incoming)
            };
            catch_unwind(AssertUnwindSafe(dispatch)).unwrap_or(Started::Done)
        }
    };
    let started = match started {
        Started::Task(task) if trace::enabled() => match caller.span() {
            Some(span) => Started::Task(Box::pin(task.instrument(span))),
            None => Started::Task(task),
        },
        started => started,
    };
    let stop = match started {
        Started::Task(task) if bound.flags.spawn => spawned(task),
        Started::Task(task) => first_poll(task),
        Started::Done => None,
    };
    caller.started(stop.filter(|_| !bound.flags.run_to_end));
}

fn spawned(task: BoxTask) -> Option<executor::Stop> {
    executor::spawn(task).ok()
}

impl<R: Send + 'static, K: Errors> LocalAnswer<R, K> {
    pub(super) fn finish(mut self, result: Result<R, K::Method>) {
        match self.0.take().and_then(|slot| slot.upgrade()) {
            Some(slot) => slot.finish(result),
            None => executor::drop_quietly(result),
        }
    }
}

impl<R: Send + 'static, K: Errors> Drop for LocalAnswer<R, K> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take().and_then(|slot| slot.upgrade()) {
            slot.fail(Failure::unanswered());
        }
    }
}
