//! Brings a peer's call to where its target leads: an object here, another connection, or a promise.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::Span;

use super::arrivals::Arrivals;
use super::line::Line;
use super::owed::Casting;
use super::parked::Parked;
use super::passing::Passing;
use super::traced::{TracedLine, traced};
use super::wiring::{Memo, Wiring};
use crate::message::{Body, ExportId, Failure, FailureKind, Ran, Reply};
use crate::objects::trace::{self, How};
use crate::objects::{
    Answerer, Bound, BoxTask, Delivered, Distant, Encoded, Incoming, Leads, MethodFlags, NotSent, Object,
    Queued, Reference, Responder, Started, Stop, Terms, Waiter, Waiting, WireAnswer, bind, first_poll_or,
    survivor,
};
use crate::proto::{self, Carried, Known, MAX_HOPS, exceeded};

/// A call of a peer's on its way.
pub(super) struct Request {
    pub(super) line: Arc<Line>,
    pub(super) call: proto::Request<Wiring>,
    /// Of a cast: what gives its credit back when it has ended.
    pub(super) casting: Option<Casting>,
}

impl Request {
    pub(super) fn fail(self, failure: Failure) {
        refuse(&self.line, &self.call, failure);
    }

    /// Lets the peer's cancel stop what runs for it.
    pub(super) fn stop_with(line: &Line, answer: Option<(ExportId, Reply)>, stop: Stop) {
        let Some((id, _)) = answer else { return };
        if let Err(stop) = line.with(|connection, _| connection.set_canceller(id, stop)) {
            stop();
        }
    }
}

/// Answers a call that does not start. Nobody waits for a one-way call: its failure is counted, and a connection's first one logged.
#[cold]
fn refuse(line: &Arc<Line>, call: &proto::Request<Wiring>, failure: Failure) {
    if call.answer.is_none() && line.lost_casts.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!(
            peer = line.peer_address(),
            method = ?call.method.text.name,
            failure = ?failure.message,
            "a one-way call of the peer's was not started; further ones of this connection are only counted"
        );
    }
    answerer(line, call).answer(WireAnswer::Failed(Box::new(failure)));
}

fn answerer(line: &Arc<Line>, call: &proto::Request<Wiring>) -> Responder {
    Responder::new(Arc::clone(line) as Arc<dyn Answerer>, call.answer)
}

/// [`deliver`], where no panic of a user's `Deserialize` or constructor may pass: it fails its call only.
pub(super) fn deliver_quietly(target: &Reference, request: Request) {
    let _ = catch_unwind(AssertUnwindSafe(|| deliver(target, request)));
}

/// Starts the call, sends it on, or lets it wait.
pub(super) fn deliver(target: &Reference, request: Request) {
    match target.leads() {
        Leads::Local(object) => {
            let Request { line, mut call, casting } = request;
            start(&line, object, &mut call, casting);
        }
        Leads::Distant(distant) => forward(distant, request),
        Leads::Broken(failure) => request.fail(failure.clone()),
        Leads::Promise(promise) => {
            if let Some(callee) = promise.callee() {
                return deliver(&callee, request);
            }
            if let Err((queued, result)) = promise.queue(Box::new(Waits::new(request))) {
                queued.go(result.as_ref());
            }
        }
    }
}

/// Starts the call on an object of this process, and takes its arguments out of it.
pub(super) fn start(
    line: &Arc<Line>,
    object: &Arc<dyn Object>,
    call: &mut proto::Request<Wiring>,
    casting: Option<Casting>,
) {
    // Between the tables and here other methods have run. What is never answered nobody else would stop.
    if call.deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
        return refuse(line, call, exceeded(Ran::No));
    }
    if call.options.is_some() {
        line.forget_bad_trace(call);
    }
    if trace::enabled()
        && let Some(span) = line.span(call)
    {
        return start_traced(line, object, call, casting, &span);
    }
    // As it is, and in no result: it would be moved out of that.
    let bound = match find(object.as_ref(), &call.method) {
        Some(bound) => *bound,
        None => match find_anew(object.as_ref(), &call.method) {
            Ok(bound) => bound,
            Err(failure) => return refuse(line, call, *failure),
        },
    };
    let responder = answerer(line, call);
    let (answer, deadline) = (call.answer, call.deadline);
    let started = dispatch(object, bound, call, responder);
    Running { line, answer, flags: bound.flags, casting, deadline }.begin(started);
}

/// The same where somebody looks on.
#[cold]
fn start_traced(
    line: &Arc<Line>,
    object: &Arc<dyn Object>,
    call: &mut proto::Request<Wiring>,
    casting: Option<Casting>,
    span: &Span,
) {
    let found = find(object.as_ref(), &call.method).copied();
    let bound = match found.map_or_else(|| find_anew(object.as_ref(), &call.method), Ok) {
        Ok(bound) => bound,
        Err(failure) => {
            How::failed(&failure).record(span);
            return refuse(line, call, *failure);
        }
    };
    let running = Running { line, answer: call.answer, flags: bound.flags, casting, deadline: call.deadline };
    let answered = call.answer.is_some();
    let responder = Responder::new(TracedLine::between(line, span), call.answer);
    running.begin(match span.in_scope(|| dispatch(object, bound, call, responder)) {
        Started::Task(task) => Started::Task(traced(task, span.clone(), answered)),
        Started::Done => Started::Done,
    });
}

/// Decodes the call's arguments and makes its method ready; what it came with is gone then.
#[inline]
fn dispatch(
    object: &Arc<dyn Object>,
    bound: Bound,
    call: &mut proto::Request<Wiring>,
    responder: Responder,
) -> Started {
    let terms = Terms::received(call.deadline, call.options.take());
    let Carried { handles, body } = &mut call.arguments;
    let (handles, body) = (mem::take(handles), mem::take(body));
    let mut incoming = Incoming::wire(object, handles, body, responder, terms, bound.agreed);
    object.dispatch(bound, &mut incoming)
}

/// A peer's call whose method is there, ready to be polled.
struct Running<'a> {
    line: &'a Arc<Line>,
    answer: Option<(ExportId, Reply)>,
    flags: MethodFlags,
    casting: Option<Casting>,
    deadline: Option<Instant>,
}

impl Running<'_> {
    #[inline]
    fn begin(self, started: Started) {
        let flags = self.flags;
        let arrivals = &self.line.arrivals;
        let stop = match started {
            Started::Task(task) if self.answer.is_none() => {
                let within = self.deadline.filter(|_| !flags.run_to_end);
                return start_cast(arrivals, task, self.casting, within, flags.spawn);
            }
            Started::Task(task) if flags.spawn => arrivals.spawn(task).ok(),
            Started::Task(task) => first_poll_or(task, |task| arrivals.spawn(task)),
            Started::Done => None,
        };
        if let Some(stop) = stop.filter(|_| !flags.run_to_end) {
            Request::stop_with(self.line, self.answer, stop);
        }
    }
}

/// A cast has ended when its method has, or its time is over.
fn start_cast(
    arrivals: &Arrivals,
    task: BoxTask,
    casting: Option<Casting>,
    deadline: Option<Instant>,
    spawn: bool,
) {
    let task: BoxTask = Box::pin(async move {
        let _casting = casting;
        match deadline {
            Some(deadline) => drop(tokio::time::timeout_at(deadline.into(), task).await),
            None => task.await,
        }
    });
    if spawn {
        let _ = arrivals.spawn(task);
    } else {
        first_poll_or(task, |task| arrivals.spawn(task));
    }
}

/// The method that a name means for an object, where it meant the same class of objects the first time.
#[inline]
fn find<'a>(object: &dyn Object, known: &'a Known<Memo>) -> Option<&'a Bound> {
    let (known_class, known_facet, bound) = known.memo.0.get()?;
    (object.class() == (*known_class, *known_facet)).then_some(bound)
}

/// The same, looked up. Traces the signature, which runs the user's `Deserialize`; nobody is there yet to answer for its panic.
#[inline(never)]
fn find_anew(object: &dyn Object, known: &Known<Memo>) -> Result<Bound, Box<Failure>> {
    let untraced =
        || Failure::new(FailureKind::Internal, Ran::No, "the method's signature could not be traced");
    let bound = catch_unwind(AssertUnwindSafe(|| bind(object, &known.text)))
        .unwrap_or_else(|_| Err(untraced()))
        .map_err(Box::new)?;
    let (class, facet) = object.class();
    let _ = known.memo.0.set((class, facet, bound));
    Ok(bound)
}

/// Sends the call on over the target's own connection, or lets it wait for room there.
fn forward(distant: &Arc<dyn Distant>, request: Request) {
    let hops = request.call.options.as_deref().map_or(0, |options| options.hops) + 1;
    if hops > MAX_HOPS {
        let message = format!("the call passed {MAX_HOPS} middlemen, which is all that is allowed");
        return request.fail(Failure::new(FailureKind::Failed, Ran::No, message));
    }
    if distant.line().is_crowded() {
        return Parked::park(distant, request);
    }
    if let Some(request) = send_on(distant, request) {
        Parked::park(distant, request);
    }
}

/// Sends the call on; hands it back where there is no room for it.
pub(super) fn send_on(distant: &Arc<dyn Distant>, request: Request) -> Option<Request> {
    let mut options = request.call.options.as_deref().cloned().unwrap_or_default();
    options.hops += 1;
    let encoded = Encoded {
        method: &request.call.method.text,
        options: options.boxed(),
        deadline: request.call.deadline,
        references: &request.call.arguments.handles,
        body: Body::received(&request.call.arguments.body),
    };
    let Some((_, reply)) = request.call.answer else {
        // If this goes down the promise of a call that is cancelled later, it must arrive all the same.
        distant.expect_cast();
        match distant.line().cast(distant.id(), encoded) {
            Ok(()) => {}
            Err(NotSent::Full(_)) => return Some(request),
            Err(NotSent::Moved(reference)) => deliver_quietly(&reference.callee(), request),
            Err(NotSent::Failed(_)) => {
                if let Some(reference) = survivor(distant.as_ref()) {
                    deliver_quietly(&reference, request);
                }
            }
        }
        return None;
    };
    let passing = Passing::new(&request, reply);
    let waiter = Waiting::Strong(Arc::clone(&passing) as Arc<dyn Waiter>);
    let refused = match distant.line().call(distant.id(), encoded, reply, waiter) {
        Ok(id) => {
            passing.sent(distant, id, request);
            return None;
        }
        Err(NotSent::Failed(failure)) => match survivor(distant.as_ref()) {
            Some(reference) => NotSent::Moved(reference),
            None => {
                passing.settle(Delivered::Failed(*failure));
                return None;
            }
        },
        Err(refused) => refused,
    };
    // The answer goes where the call goes now.
    passing.disarm();
    match refused {
        NotSent::Moved(reference) => deliver_quietly(&reference.callee(), request),
        NotSent::Full(_) | NotSent::Failed(_) => return Some(request),
    }
    None
}

/// A call that waits for a promise to settle. What stops it takes it out.
struct Waits(Arc<Mutex<Option<Request>>>);

impl Waits {
    fn new(request: Request) -> Self {
        let (line, answer) = (Arc::clone(&request.line), request.call.answer);
        let request = Arc::new(Mutex::new(Some(request)));
        if answer.is_some() {
            let waiting = Arc::clone(&request);
            let stop = move || {
                let stopped = waiting.lock().take();
                if let Some(request) = stopped {
                    request.fail(Failure::cancelled_early());
                }
            };
            Request::stop_with(&line, answer, Box::new(stop));
        }
        Waits(request)
    }
}

impl Queued for Waits {
    fn is_given_up(&self) -> bool {
        self.0.lock().is_none()
    }

    fn go(self: Box<Self>, to: Result<&Reference, &Failure>) {
        let waiting = self.0.lock().take();
        let Some(request) = waiting else { return };
        match to {
            Ok(reference) => deliver_quietly(reference, request),
            Err(failure) => request.fail(failure.clone()),
        }
    }
}
