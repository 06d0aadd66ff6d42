//! Brings a peer's call to where its target leads: an object here, another connection, or a promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::Span;

use super::arrivals::Arrivals;
use super::line::Line;
use super::owed::Casting;
use super::parked::Parked;
use super::passing::Passing;
use super::traced::{TracedLine, traced};
use super::wiring::Memo;
use crate::message::{Body, CallOptions, ExportId, Failure, FailureKind, Ran, Reply};
use crate::objects::trace::{self, How};
use crate::objects::{
    Answerer, Bound, BoxTask, Delivered, Distant, Encoded, Incoming, Leads, NotSent, Object, Queued,
    Reference, Responder, Started, Stop, Terms, Waiter, Waiting, WireAnswer, bind, first_poll_or, survivor,
};
use crate::proto::{Known, MAX_HOPS, exceeded};

/// A call of a peer's on its way.
pub(super) struct Request {
    pub(super) line: Arc<Line>,
    pub(super) answer: Option<(ExportId, Reply)>,
    pub(super) known: Arc<Known<Memo>>,
    pub(super) options: Option<Box<CallOptions>>,
    pub(super) deadline: Option<Instant>,
    pub(super) references: Vec<Reference>,
    pub(super) body: Bytes,
    /// Of a cast: what gives its credit back when it has ended.
    pub(super) casting: Option<Casting>,
}

impl Request {
    fn answerer(&self) -> Arc<dyn Answerer> {
        Arc::clone(&self.line) as Arc<dyn Answerer>
    }

    pub(super) fn fail(self, failure: Failure) {
        if self.answer.is_none() {
            self.tell_of_loss(&failure);
        }
        Responder::new(self.answerer(), self.answer).answer(WireAnswer::Failed(failure));
    }

    /// Nobody waits for a one-way call: its failure is counted, and a connection's first one logged.
    #[cold]
    fn tell_of_loss(&self, failure: &Failure) {
        if self.line.lost_casts.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                peer = self.line.peer_address(),
                method = ?self.known.text.name,
                failure = ?failure.message,
                "a one-way call of the peer's was not started; further ones of this connection are only counted"
            );
        }
    }

    /// Lets the peer's cancel stop what runs for it.
    pub(super) fn stop_with(line: &Line, answer: Option<(ExportId, Reply)>, stop: Stop) {
        let Some((id, _)) = answer else { return };
        if let Err(stop) = line.with(|connection, _| connection.set_canceller(id, stop)) {
            stop();
        }
    }
}

/// The same, where no panic of a user's `Deserialize` or constructor may pass: it fails its call only.
pub(super) fn deliver_quietly(target: &Reference, request: Request) {
    let _ = catch_unwind(AssertUnwindSafe(|| deliver(target, request)));
}

/// Starts the call, sends it on, or lets it wait.
pub(super) fn deliver(target: &Reference, request: Request) {
    match target.leads() {
        Leads::Local(object) => start(object, request),
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

fn start(object: &Arc<dyn Object>, mut request: Request) {
    // Between the tables and here other methods have run. What is never answered nobody else would stop.
    if request.deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
        return request.fail(exceeded(Ran::No));
    }
    if request.options.is_some() {
        request.forget_bad_trace();
    }
    let bound = find(object.as_ref(), &request.known);
    if trace::enabled()
        && let Some(span) = request.span()
    {
        return start_traced(object, bound, request, &span);
    }
    let bound = match bound {
        Ok(bound) => bound,
        Err(failure) => return request.fail(failure),
    };
    let line = request.answerer();
    let terms = Terms::received(request.deadline, request.options);
    let (references, body) = (request.references, request.body);
    let incoming =
        Incoming::wire(Arc::clone(object), references, body, line, request.answer, terms, bound.agreed);
    let running = Running {
        line: request.line,
        answer: request.answer,
        bound,
        casting: request.casting,
        deadline: request.deadline,
    };
    running.begin(object.dispatch(bound, incoming));
}

/// The same where somebody looks on.
#[cold]
fn start_traced(object: &Arc<dyn Object>, bound: Result<Bound, Failure>, request: Request, span: &Span) {
    let bound = match bound {
        Ok(bound) => bound,
        Err(failure) => {
            How::failed(&failure).record(span);
            return request.fail(failure);
        }
    };
    let Request { line, answer, deadline, casting, .. } = request;
    let terms = Terms::received(deadline, request.options);
    let answerer = TracedLine::between(&line, span);
    let (references, body) = (request.references, request.body);
    let incoming =
        Incoming::wire(Arc::clone(object), references, body, answerer, answer, terms, bound.agreed);
    let started = match span.in_scope(|| object.dispatch(bound, incoming)) {
        Started::Task(task) => Started::Task(traced(task, span.clone(), answer.is_some())),
        Started::Done => Started::Done,
    };
    Running { line, answer, bound, casting, deadline }.begin(started);
}

/// A peer's call whose method is there, ready to be polled.
struct Running {
    line: Arc<Line>,
    answer: Option<(ExportId, Reply)>,
    bound: Bound,
    casting: Option<Casting>,
    deadline: Option<Instant>,
}

impl Running {
    #[inline]
    fn begin(self, started: Started) {
        let flags = self.bound.flags;
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
            Request::stop_with(&self.line, self.answer, stop);
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

/// The method that a name means for an object, looked up once for each class of objects in a row.
fn find(object: &dyn Object, known: &Known<Memo>) -> Result<Bound, Failure> {
    let (class, facet) = object.class();
    if let Some((known_class, known_facet, bound)) = known.memo.0.get()
        && (class, facet) == (*known_class, *known_facet)
    {
        return Ok(*bound);
    }
    // It traces the signature, which runs the user's `Deserialize`; nobody is there yet to answer for its panic.
    let bound = catch_unwind(AssertUnwindSafe(|| bind(object, &known.text))).unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Internal, Ran::No, "the method's signature could not be traced"))
    })?;
    let _ = known.memo.0.set((class, facet, bound));
    Ok(bound)
}

/// Sends the call on over the target's own connection, or lets it wait for room there.
fn forward(distant: &Arc<dyn Distant>, request: Request) {
    let hops = request.options.as_deref().map_or(0, |options| options.hops) + 1;
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
    let mut options = request.options.as_deref().cloned().unwrap_or_default();
    options.hops += 1;
    let encoded = Encoded {
        method: &request.known.text,
        options: options.boxed(),
        deadline: request.deadline,
        references: &request.references,
        body: Body::received(&request.body),
    };
    let Some((_, reply)) = request.answer else {
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
                passing.settle(Delivered::Failed(failure));
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
        let (line, answer) = (Arc::clone(&request.line), request.answer);
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
