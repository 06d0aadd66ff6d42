use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pb_core::message::{Body, CallOptions, ExportId, Failure, FailureKind, ImportId, MethodText, Ran, Reply};
use pb_core::proto::{Answer, Cost, MAX_HOPS, OwnCall, Refused, TimeLimit};

use super::call::{Call, CallState, Ended, Passing, Waiter, text};
use super::handle::{Canceller, Handle, Object, Promise, Stops};
use super::lent::Lent;
use super::side::Side;

/// A program with its connections, which does what the names of its methods say, and passes on what is called on others' references.
///
/// `say` returns its body, `echo` its references (or the one that is asked for), `open` a new object named by the body, `fail` fails with
/// the body and the references, `keep` keeps the references in the object and `kept` returns the first of them, `drop` drops them.
/// Every other method waits until the test answers it, or until it is stopped; `finish` is never stopped.
pub struct Node {
    name: String,
    root: Rc<Object>,
    sides: RefCell<Vec<Weak<Side>>>,
    pub(super) waiting: RefCell<Vec<Started>>,
    arrived: RefCell<Vec<Arrival>>,
    methods: RefCell<HashMap<String, Arc<MethodText>>>,
    promises: RefCell<Vec<Weak<Promise>>>,
    /// Those with a deadline, which may never be sent.
    pub(super) timed: RefCell<Vec<Weak<CallState>>>,
    calls: RefCell<Vec<Weak<CallState>>>,
    objects: RefCell<Vec<Weak<Object>>>,
    ready: Cell<bool>,
    /// Of the calls that are made now.
    deadline: Cell<Option<Instant>>,
    passed_on: Cell<usize>,
}

/// A method that was started.
#[derive(Clone)]
pub struct Arrival {
    /// The name of the object that was called.
    pub object: String,
    /// The method.
    pub method: Arc<MethodText>,
    /// The arguments.
    pub body: Bytes,
}

/// A method that waits for the test to answer it.
pub struct Started {
    /// What was called.
    pub object: Rc<Object>,
    /// The method.
    pub method: String,
    /// The arguments.
    pub body: String,
    /// The references in them.
    pub handles: Vec<Handle>,
    pub(super) answering: Answering,
}

/// Where an answer goes.
#[derive(Clone)]
pub enum Answering {
    /// To the peer at the other end of a connection.
    Peer(Rc<Side>, ExportId, Reply),
    /// To a call of this program's own.
    Local(Weak<CallState>, Reply),
    /// Nowhere: it is a cast of this program's own.
    Nobody,
    /// Nowhere: it is a cast of a peer's, which gets its credit back when it has ended.
    Cast(#[allow(dead_code, reason = "held for its drop")] Rc<Casting>),
}

/// A cast of a peer's that has not ended, for as long as this lives.
pub struct Casting {
    side: Weak<Side>,
    cost: Cost,
}

impl Casting {
    pub(super) fn new(side: &Rc<Side>, cost: Cost) -> Rc<Self> {
        Rc::new(Casting { side: Rc::downgrade(side), cost })
    }
}

impl Drop for Casting {
    fn drop(&mut self) {
        if let Some(side) = self.side.upgrade() {
            side.assert_unlocked("a cast");
            side.with(|connection, _| connection.cast_ended(self.cost));
        }
    }
}

/// A call on its way to its target.
pub(super) struct Queued {
    pub(super) method: Arc<MethodText>,
    pub(super) options: Option<Box<CallOptions>>,
    pub(super) deadline: Option<Instant>,
    pub(super) handles: Vec<Handle>,
    pub(super) body: Bytes,
    pub(super) answering: Answering,
    /// It came from a peer: where it is passed on, that is one hop more.
    pub(super) from_peer: bool,
}

impl Node {
    pub(super) fn new(name: &str) -> Rc<Node> {
        let root = Object::new("root");
        Rc::new(Node {
            name: name.to_owned(),
            objects: RefCell::new(vec![Rc::downgrade(&root)]),
            root,
            sides: RefCell::default(),
            waiting: RefCell::default(),
            arrived: RefCell::default(),
            methods: RefCell::default(),
            promises: RefCell::default(),
            timed: RefCell::default(),
            calls: RefCell::default(),
            ready: Cell::new(false),
            deadline: Cell::new(None),
            passed_on: Cell::new(0),
        })
    }

    /// What tests call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object that it serves to everybody.
    pub fn root(&self) -> &Rc<Object> {
        &self.root
    }

    pub(super) fn add(&self, side: &Rc<Side>) {
        self.sides.borrow_mut().push(Rc::downgrade(side));
    }

    pub(super) fn assert_unlocked(&self, what: &str) {
        for side in self.sides.borrow().iter().filter_map(Weak::upgrade) {
            side.assert_unlocked(what);
        }
    }

    /// Does everything that the tables of all connections have ready, in the order of each.
    pub(super) fn ready(self: &Rc<Self>) {
        if self.ready.replace(true) || std::thread::panicking() {
            return; // It is being done further up the stack; or the test has failed, and is only dropped.
        }
        let mut moved = true;
        while moved {
            moved = false;
            for at in 0..self.sides.borrow().len() {
                let side = self.sides.borrow()[at].upgrade();
                while side.as_ref().is_some_and(Side::step) {
                    moved = true;
                }
            }
        }
        self.ready.set(false);
    }

    /// What dropping the task of a running method does.
    pub(super) fn stop(self: &Rc<Self>, from: &Weak<Side>, stops: &Stops) {
        let is_it = |answering: &Answering, id: ExportId| {
            matches!(answering, Answering::Peer(side, running, _)
                if *running == id && Weak::ptr_eq(&Rc::downgrade(side), from))
        };
        match stops {
            Stops::Method(id) => {
                let at = self.waiting.borrow().iter().position(|started| is_it(&started.answering, *id));
                if let Some(at) = at {
                    let started = self.waiting.borrow_mut().remove(at);
                    self.answer_with(&started.answering, Ended::Failed(stopped()));
                }
            }
            Stops::Onward(side, id) => {
                side.with(|connection, out| connection.give_up(*id, FailureKind::Cancelled, out));
            }
            Stops::Waiting(promise, id) => {
                let at = promise.queue.borrow().iter().position(|queued| is_it(&queued.answering, *id));
                if let Some(at) = at {
                    let queued = promise.queue.borrow_mut().remove(at);
                    let early = Failure::new(FailureKind::Cancelled, Ran::No, "cancelled before it started");
                    self.answer_with(&queued.answering, Ended::Failed(early));
                }
            }
        }
    }

    pub(super) fn settle(self: &Rc<Self>, promise: &Rc<Promise>, result: Result<Handle, Failure>) {
        let result = result.and_then(|handle| join(promise, &handle));
        for queued in promise.settle(result.clone()) {
            match &result {
                Ok(handle) => self.deliver(handle, queued),
                Err(failure) => self.answer_with(&queued.answering, Ended::Failed(failure.clone())),
            }
        }
        for answering in promise.answered.take() {
            promise.tell(self, answering);
        }
    }

    /// Brings a call to where `target` leads.
    pub(super) fn deliver(self: &Rc<Self>, target: &Handle, queued: Queued) {
        if matches!(&queued.answering, Answering::Local(call, _) if call.upgrade().is_some_and(|call| call.expired.get()))
        {
            return; // Nobody waits for it any more.
        }
        match target.end() {
            Handle::Lent(lent) => match lent.leads() {
                Ok(next) => self.deliver(&next, queued),
                Err(failure) => self.answer_with(&queued.answering, Ended::Failed(failure)),
            },
            Handle::Object(object) => self.start(object, queued),
            Handle::Promise(promise) => match promise.settled() {
                Some(Err(failure)) => self.answer_with(&queued.answering, Ended::Failed(failure)),
                _ => {
                    if let Answering::Local(call, _) = &queued.answering
                        && let Some(call) = call.upgrade()
                    {
                        if promise.waits_for(&call) {
                            return call.end(Ended::Failed(no_reference()));
                        }
                        call.hold(target);
                    }
                    let answering = queued.answering.clone();
                    promise.queue.borrow_mut().push(queued);
                    if let Answering::Peer(side, id, _) = answering {
                        self.stop_with(&side, id, Stops::Waiting(promise, id));
                    }
                }
            },
            distant => self.send(&distant, queued),
        }
    }

    /// Sends a call, or passes on one of a peer's.
    fn send(self: &Rc<Self>, target: &Handle, queued: Queued) {
        let (side, id) = match target {
            Handle::Proxy(proxy) => (proxy.side().clone(), proxy.id()),
            Handle::Result(call) => (call.side(), call.id()),
            _ => unreachable!("only distant ones are sent to"),
        };
        let Some(side) = side.upgrade() else { unreachable!("the network holds all sides") };
        let mut options = queued.options.as_deref().cloned().unwrap_or_default();
        if queued.from_peer {
            self.passed_on.set(self.passed_on.get() + 1);
            options.hops += 1;
            if options.hops > MAX_HOPS {
                let failure = Failure::new(FailureKind::Failed, Ran::No, TOO_MANY_HOPS);
                return self.answer_with(&queued.answering, Ended::Failed(failure));
            }
        }
        let outgoing = || OwnCall {
            target: id,
            method: &queued.method,
            options: options.clone().boxed(),
            within: queued.deadline.map(|deadline| TimeLimit { deadline, now: side.now() }),
            handles: &queued.handles,
            body: Body::lent(&queued.body),
        };
        match queued.answering.clone() {
            Answering::Nobody | Answering::Cast(_) => {
                // If this goes down the promise of a call that is cancelled later, it must arrive all the same.
                if let Handle::Result(_) = target {
                    side.with(|connection, _| connection.want_run(id));
                }
                let sent = side.with(|connection, out| connection.cast(outgoing(), out));
                if let Err(Refused::Moved(handle)) = sent {
                    self.deliver(&handle, queued);
                }
            }
            Answering::Local(call, reply) => {
                let Some(call) = call.upgrade() else { return }; // Dropped before it was sent.
                let waiter = call.waiter();
                match side.with(|connection, out| connection.call(outgoing(), reply, waiter, out)) {
                    Ok(id) => {
                        call.sent_on(&side, id);
                        call.hold(target);
                    }
                    Err(unsent) => match unsent.0 {
                        Refused::Failed(failure) | Refused::Full(failure) => {
                            call.end(Ended::Failed(*failure));
                        }
                        Refused::Moved(handle) => self.deliver(&handle, queued),
                    },
                }
            }
            Answering::Peer(from, export, reply) => {
                let passing = Passing::new(self, queued.answering.clone(), reply);
                let onward = Rc::clone(&passing.onward);
                let waiter = Waiter::Passing(passing);
                let sent = side.with(|connection, out| connection.call(outgoing(), reply, waiter, out));
                match sent.map_err(|unsent| *unsent) {
                    Ok(id) => self.passed(&side, id, onward, &from, (export, reply)),
                    Err((Refused::Failed(failure) | Refused::Full(failure), Waiter::Passing(passing))) => {
                        passing.settle(Ended::Failed(*failure));
                    }
                    Err((Refused::Moved(handle), Waiter::Passing(passing))) => {
                        passing.disarm(); // The answer goes where the call goes now.
                        self.deliver(&handle, queued);
                    }
                    Err((_, Waiter::Call(_))) => unreachable!("the waiter comes back as it went"),
                }
            }
        }
    }

    /// A call of a peer's was passed on: what stops it is left with who asked, as is the promise of its result.
    fn passed(
        self: &Rc<Self>,
        side: &Rc<Side>,
        id: ImportId,
        onward: Rc<CallState>,
        from: &Rc<Side>,
        asked: (ExportId, Reply),
    ) {
        onward.sent_on(side, id);
        let (export, reply) = asked;
        self.stop_with(from, export, Stops::Onward(Rc::clone(side), id));
        if reply == Reply::Reference {
            let refused = from.with(|connection, _| connection.set_onward(export, Handle::Result(onward)));
            drop(refused);
        }
    }

    /// Lets the peer's cancel stop what runs for it.
    fn stop_with(self: &Rc<Self>, from: &Rc<Side>, id: ExportId, stops: Stops) {
        let canceller = Canceller { side: Rc::downgrade(from), stops };
        if let Err(canceller) = from.with(|connection, _| connection.set_canceller(id, canceller)) {
            self.stop(&canceller.side, &canceller.stops);
        }
    }

    fn start(self: &Rc<Self>, object: Rc<Object>, queued: Queued) {
        let Queued { method, handles, body, answering, .. } = queued;
        let arrival =
            Arrival { object: object.name.clone(), method: Arc::clone(&method), body: body.clone() };
        self.arrived.borrow_mut().push(arrival);
        let wanted = |handles: Vec<Handle>, body| match (&answering, handles.first()) {
            (
                Answering::Peer(_, _, Reply::Reference) | Answering::Local(_, Reply::Reference),
                Some(first),
            ) => Ended::Reference(first.clone()),
            _ => Ended::Value(handles, body),
        };
        let ended = match &*method.name {
            "say" => Ended::Value(Vec::new(), body),
            "echo" => wanted(handles, body),
            "open" => {
                let object = Object::new(&text(&body));
                self.objects.borrow_mut().push(Rc::downgrade(&object));
                wanted(vec![Handle::Object(object)], Bytes::new())
            }
            "fail" => Ended::App(handles, body),
            "keep" => {
                object.kept.borrow_mut().extend(handles);
                self.objects.borrow_mut().push(Rc::downgrade(&object));
                Ended::Value(Vec::new(), Bytes::new())
            }
            "kept" => wanted(object.kept.borrow().first().cloned().into_iter().collect(), Bytes::new()),
            "drop" => {
                let kept = object.kept.take();
                drop(kept);
                Ended::Value(Vec::new(), Bytes::new())
            }
            _ => {
                let started = Started {
                    object,
                    method: method.name.to_string(),
                    body: text(&body),
                    handles,
                    answering,
                };
                return self.wait(started);
            }
        };
        self.answer_with(&answering, ended);
    }

    /// The method runs until the test answers it, or it is stopped.
    fn wait(self: &Rc<Self>, started: Started) {
        let answering = started.answering.clone();
        let runs_to_end = started.method == "finish";
        self.waiting.borrow_mut().push(started);
        if let Answering::Peer(side, id, _) = answering
            && !runs_to_end
        {
            self.stop_with(&side, id, Stops::Method(id));
        }
    }

    pub(super) fn answer_with(self: &Rc<Self>, answering: &Answering, ended: Ended) {
        match answering {
            Answering::Nobody | Answering::Cast(_) => {}
            Answering::Local(call, reply) => {
                let disagree = match &ended {
                    Ended::Value(..) => *reply == Reply::Reference,
                    Ended::Reference(_) => *reply == Reply::Value,
                    Ended::App(..) | Ended::Failed(_) => false,
                };
                let ended = if disagree { Ended::Failed(incompatible()) } else { ended };
                if let Some(call) = call.upgrade().filter(|call| !call.expired.get()) {
                    call.end(ended);
                }
            }
            Answering::Peer(side, id, _) => side.with(|connection, out| match &ended {
                Ended::Value(handles, body) => {
                    connection.answer(*id, Answer::Value(handles, Body::lent(body)), out)
                }
                Ended::Reference(handle) => connection.answer(*id, Answer::Reference(handle.clone()), out),
                Ended::App(handles, body) => {
                    connection.answer(*id, Answer::App(handles, Body::lent(body)), out)
                }
                Ended::Failed(failure) => {
                    connection.answer(*id, Answer::Failed(Box::new(failure.clone())), out)
                }
            }),
        }
    }

    /// Takes the first waiting call of `method`.
    ///
    /// # Panics
    /// When none waits.
    pub fn take(&self, method: &str) -> Started {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|started| started.method == method);
        waiting.remove(at.unwrap_or_else(|| panic!("no call of {method} waits at {}", self.name)))
    }

    /// How many calls wait for the test to answer them.
    pub fn waiting_count(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// What the waiting call at `index` was given: its arguments, and the references in them.
    pub fn waiting_at(&self, index: usize) -> (String, Vec<Handle>) {
        let waiting = self.waiting.borrow();
        (waiting[index].body.clone(), waiting[index].handles.clone())
    }

    /// Takes the waiting call at `index`.
    pub fn take_at(&self, index: usize) -> Started {
        self.waiting.borrow_mut().remove(index)
    }

    /// Answers a call that [`Node::take`] took.
    pub fn answer(self: &Rc<Self>, started: Started, ended: Ended) {
        let Started { answering, handles, .. } = started;
        drop(handles);
        self.answer_with(&answering, ended);
        self.ready();
    }

    /// What was started here, as `object.method(body)`.
    pub fn arrived(&self) -> Vec<String> {
        let line = |arrival: &Arrival| {
            format!("{}.{}({})", arrival.object, arrival.method.name, text(&arrival.body))
        };
        self.arrived.borrow().iter().map(line).collect()
    }

    /// What was started here behind the first `count`.
    pub fn arrived_since(&self, count: usize) -> Vec<Arrival> {
        self.arrived.borrow().get(count..).unwrap_or_default().to_vec()
    }

    /// Everything that is called in `work` must have ended by `deadline`.
    pub(super) fn within<T>(&self, deadline: Instant, work: impl FnOnce() -> T) -> T {
        let outer = self.deadline.replace(Some(deadline));
        let result = work();
        self.deadline.set(outer);
        result
    }

    /// Calls `on`, wherever that leads.
    pub fn call(
        self: &Rc<Self>,
        on: &Handle,
        method: &str,
        body: &str,
        with: &[Handle],
        reply: Reply,
    ) -> Call {
        let call = Call::new(self, reply);
        self.calls.borrow_mut().push(Rc::downgrade(&call.0));
        self.time(&call.0, self.deadline.get());
        self.set_out(on, method, body, with, Answering::Local(Rc::downgrade(&call.0), reply));
        call
    }

    /// The same without an answer.
    pub fn cast(self: &Rc<Self>, on: &Handle, method: &str, body: &str, with: &[Handle]) {
        if let Handle::Result(call) = on
            && let Some(side) = call.side().upgrade()
        {
            side.with(|connection, _| connection.want_run(call.id()));
        }
        self.set_out(on, method, body, with, Answering::Nobody);
    }

    fn set_out(
        self: &Rc<Self>,
        on: &Handle,
        method: &str,
        body: &str,
        with: &[Handle],
        answering: Answering,
    ) {
        let method = self.method(method);
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (options, handles) = (None, with.to_vec());
        let deadline = self.deadline.get();
        let queued = Queued { method, options, deadline, handles, body, answering, from_peer: false };
        // Broken results fail here: what they settled to is known.
        self.deliver(on, queued);
        self.ready();
    }

    fn method(&self, name: &str) -> Arc<MethodText> {
        let mut methods = self.methods.borrow_mut();
        if let Some(known) = methods.get(name) {
            return Arc::clone(known);
        }
        let text = Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::default() });
        methods.insert(name.to_owned(), Arc::clone(&text));
        text
    }

    pub(super) fn remember(&self, promise: &Rc<Promise>) {
        self.promises.borrow_mut().push(Rc::downgrade(promise));
    }

    /// Takes back what was lent.
    pub fn revoke(self: &Rc<Self>, lent: &Lent) {
        lent.revoke();
        self.ready();
    }

    /// How many calls of peers were sent on to others, or back.
    pub fn passed_on(&self) -> usize {
        self.passed_on.get()
    }

    /// Objects that live here beside the root: those that `open` made.
    pub fn living(&self) -> usize {
        let others = |object: &Rc<Object>| !Rc::ptr_eq(object, &self.root);
        self.objects.borrow().iter().filter_map(Weak::upgrade).filter(others).count()
    }

    /// Drops what objects keep, so that nothing is held but by a leak.
    pub(super) fn forget_kept(&self) {
        let objects: Vec<_> = self.objects.borrow().iter().filter_map(Weak::upgrade).collect();
        for object in objects {
            let kept = object.kept.take();
            drop(kept);
        }
    }

    pub(super) fn assert_idle(&self, dialogue: impl Fn() -> String) {
        let name = &self.name;
        assert_eq!(self.waiting_count(), 0, "calls wait at {name} after\n{}", dialogue());
        let promises: Vec<_> = self.promises.borrow().iter().filter_map(Weak::upgrade).collect();
        for promise in promises {
            assert!(promise.settled().is_some(), "a promise of {name} is not settled after\n{}", dialogue());
        }
        let calls: Vec<_> = self.calls.borrow().iter().filter_map(Weak::upgrade).collect();
        for call in calls {
            assert!(call.has_ended(), "{call:?} of {name} has not ended after\n{}", dialogue());
        }
    }
}

/// Where a promise leads that settles to `handle`: to the end of what has settled already. What is broken is not held on to.
fn join(promise: &Rc<Promise>, handle: &Handle) -> Result<Handle, Failure> {
    let broken = match &handle.way() {
        Handle::Promise(at) if Rc::ptr_eq(at, promise) => Some(no_reference()),
        Handle::Promise(at) => at.settled().and_then(Result::err),
        Handle::Result(call) => call.side().upgrade().and_then(|side| {
            let settled = side.with(|connection, _| connection.settled(call.id()));
            settled.and_then(Result::err)
        }),
        Handle::Lent(lent) => lent.leads().err(),
        Handle::Object(_) | Handle::Proxy(_) => None,
    };
    broken.map_or(Ok(handle.end()), Err)
}

pub(super) fn no_reference() -> Failure {
    Failure::new(FailureKind::Broken, Ran::No, "the promise leads nowhere")
}

/// What a call that asks for a reference gets of a method that gives a value, and the reverse.
fn incompatible() -> Failure {
    let message = "the caller and the method disagree on whether the result is a reference";
    Failure::new(FailureKind::Incompatible, Ran::Yes, message)
}

/// What a method that ends without an answer is answered with.
pub(super) fn stopped() -> Failure {
    Failure::new(FailureKind::Internal, Ran::Maybe, "the method was stopped")
}

/// The failure of a call that has passed too many middlemen.
pub const TOO_MANY_HOPS: &str = "too many hops";
