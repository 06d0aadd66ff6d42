use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pb_core::message::{
    Abort, AbortCode, CallOptions, ExportId, Failure, FailureKind, Message, MethodText, Ran, Reply,
};
use pb_core::proto::{
    Answer, Connection, Limits, MAX_HOPS, Notice, Outbox, Outcome, Outgoing, Refused, Start, TableSizes,
    Task, Violation,
};
use pb_core::wire::frame::{self, Decoded};

use super::call::{Call, CallState, Ended, Waiter, text};
use super::handle::{Canceller, Handle, Object, Promise, Proxy, TestHost};
use super::{Who, dialogue};

/// One side: tables, and a program that does what the names of its methods say.
///
/// `say` returns its body, `echo` its references (or the one that is asked for), `open` a new object named by the body, `fail` fails with
/// the body and the references, `keep` keeps the references in the object and `kept` returns the first of them, `drop` drops them.
/// Every other method waits until the test answers it.
pub struct Side {
    who: Who,
    /// The net's time.
    now: Rc<Cell<Instant>>,
    tables: RefCell<Tables>,
    wire: RefCell<VecDeque<Bytes>>,
    root: Rc<Object>,
    waiting: RefCell<Vec<Started>>,
    arrived: RefCell<Vec<String>>,
    methods: RefCell<HashMap<String, Arc<MethodText>>>,
    promises: RefCell<Vec<Weak<Promise>>>,
    calls: RefCell<Vec<Weak<CallState>>>,
    objects: RefCell<Vec<Weak<Object>>>,
    last_abort: RefCell<Option<Abort>>,
    longest_frame: Cell<usize>,
    ready: Cell<bool>,
    ponged: RefCell<Vec<u64>>,
}

struct Tables {
    connection: Connection<TestHost>,
    out: Out,
}

/// What the tables send: onto the wire as frames, and into the dialogue.
pub(super) struct Out {
    who: Who,
    frames: Vec<Bytes>,
    dialogue: Rc<RefCell<Vec<String>>>,
}

impl Outbox for Out {
    fn send(&mut self, message: Message<&[u8]>) {
        self.dialogue.borrow_mut().push(format!("{:?}: {}", self.who, dialogue::line(&message)));
        let mut frame = Vec::new();
        frame::encode(&message, &mut frame);
        self.frames.push(frame.into());
    }
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
    answering: Answering,
}

/// Where an answer goes.
#[derive(Clone)]
pub enum Answering {
    /// To the peer.
    Peer(ExportId, Reply),
    /// To a call of this side's own.
    Local(Weak<CallState>, Reply),
    /// Nowhere: it was a cast.
    Nobody,
}

/// A call on its way to its target.
pub(super) struct Queued {
    method: Arc<MethodText>,
    options: Option<Box<CallOptions>>,
    handles: Vec<Handle>,
    body: Bytes,
    answering: Answering,
}

impl Side {
    pub(super) fn new(
        who: Who,
        limits: Limits,
        dialogue: &Rc<RefCell<Vec<String>>>,
        now: &Rc<Cell<Instant>>,
    ) -> Rc<Side> {
        let root = Object::new("root");
        let side = Rc::new_cyclic(|side: &Weak<Side>| {
            let host = TestHost { side: side.clone() };
            let connection = Connection::new(host, Some(Handle::Object(Rc::clone(&root))), limits);
            let out = Out { who, frames: Vec::new(), dialogue: Rc::clone(dialogue) };
            Side {
                who,
                now: Rc::clone(now),
                tables: RefCell::new(Tables { connection, out }),
                wire: RefCell::default(),
                root: Rc::clone(&root),
                waiting: RefCell::default(),
                arrived: RefCell::default(),
                methods: RefCell::default(),
                promises: RefCell::default(),
                calls: RefCell::default(),
                objects: RefCell::new(vec![Rc::downgrade(&root)]),
                last_abort: RefCell::default(),
                longest_frame: Cell::new(0),
                ready: Cell::new(false),
                ponged: RefCell::default(),
            }
        });
        side.with(|connection, out| out.send(Message::Hello(connection.hello())));
        side
    }

    /// Works on the tables as the broker does: under the lock, and drops what they let go of behind it.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection<TestHost>, &mut Out) -> T) -> T {
        let (result, garbage) = {
            let mut tables = self.tables.borrow_mut();
            let Tables { connection, out } = &mut *tables;
            let result = work(connection, out);
            for frame in out.frames.drain(..) {
                let length = frame::split(&mut BytesMut::from(&frame[..]), u64::MAX);
                let length = length.expect("a good length").expect("a whole frame").len();
                self.longest_frame.set(self.longest_frame.get().max(length));
                self.wire.borrow_mut().push_back(frame);
            }
            (result, connection.take_garbage())
        };
        drop(garbage);
        result
    }

    pub(super) fn assert_unlocked(&self, what: &str) {
        if self.tables.try_borrow_mut().is_err() && !std::thread::panicking() {
            panic!("{what} of {:?} was dropped under the lock of the tables", self.who);
        }
    }

    pub(super) fn peers_root(self: &Rc<Self>) -> Handle {
        Proxy::root(self)
    }

    /// The next frame to the peer; releases that have collected go when nothing else does.
    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let has_frames = !self.wire.borrow().is_empty();
        if !has_frames {
            self.flush();
        }
        self.wire.borrow_mut().pop_front()
    }

    /// The object that this side serves.
    pub fn root(&self) -> &Rc<Object> {
        &self.root
    }

    /// Takes the next message off the wire: the peer never gets it.
    pub fn next_message(&self) -> Option<Message> {
        let frame = self.next_frame()?;
        let content = frame::split(&mut BytesMut::from(&frame[..]), u64::MAX);
        match frame::decode(content.expect("a good length").expect("a whole frame")).expect("a good frame") {
            Decoded::Message(message) => Some(message),
            Decoded::Unknown { .. } => None,
        }
    }

    /// Sends the releases that have collected.
    pub fn flush(&self) {
        self.with(Connection::flush_releases);
    }

    /// Puts a frame of the test's own behind what this side has sent.
    pub fn put_on_the_wire(&self, frame: &[u8]) {
        self.wire.borrow_mut().push_back(Bytes::copy_from_slice(frame));
    }

    /// Bytes of the longest frame sent so far, without its length.
    pub fn longest_frame(&self) -> usize {
        self.longest_frame.get()
    }

    pub(super) fn receive(self: &Rc<Self>, frame: Bytes) -> Result<(), Violation> {
        let content = frame::split(&mut BytesMut::from(&frame[..]), u64::MAX);
        let content = content.expect("a good length").expect("a whole frame");
        self.with(|connection, _| connection.heard(self.now.get()));
        let result = match frame::decode(content).expect("a good frame") {
            Decoded::Message(message) => {
                self.with(|connection, out| connection.handle(message, self.now.get(), out))
            }
            Decoded::Unknown { message_type, caps } => {
                self.with(|connection, out| connection.handle_unknown(message_type, caps, out))
            }
        };
        self.ready();
        if let Err(violation) = &result {
            let abort = Abort { code: violation.abort_code(), reason: violation.to_string().into() };
            self.give_up(abort, FailureKind::Protocol);
        }
        result
    }

    /// When the tables have something to do.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.tables.borrow().connection.poll_timeout()
    }

    /// Lets the tables do what is due now.
    pub(super) fn handle_timeout(self: &Rc<Self>) {
        let result = self.with(|connection, out| connection.handle_timeout(self.now.get(), out));
        self.ready();
        if let Err(silent) = result {
            let abort = Abort { code: AbortCode::Timeout, reason: silent.to_string().into() };
            self.give_up(abort, FailureKind::Disconnected);
        }
    }

    /// Ends the connection for what the peer did, or did not.
    fn give_up(self: &Rc<Self>, abort: Abort, kind: FailureKind) {
        let reason = Failure::new(kind, Ran::Maybe, abort.reason.clone());
        self.with(|_, out| out.send(Message::Abort(abort.clone())));
        self.last_abort.replace(Some(abort));
        self.end(reason);
    }

    /// Asks the peer whether it is there; says the question's nonce.
    pub fn ping(&self) -> u64 {
        self.with(Connection::ping)
    }

    /// The nonces of the peer's pongs.
    pub fn ponged(&self) -> Vec<u64> {
        self.ponged.borrow().clone()
    }

    /// The side does not read for a while, as the broker does when too much waits.
    pub fn stop_listening(&self) {
        self.with(|connection, _| connection.stop_listening());
    }

    /// It reads again.
    pub fn listen(&self) {
        self.with(|connection, _| connection.heard(self.now.get()));
    }

    pub(super) fn end(self: &Rc<Self>, reason: Failure) {
        self.with(|connection, _| connection.end(reason));
        self.ready();
    }

    pub(super) fn ended(&self) -> Option<Failure> {
        self.tables.borrow().connection.ended().cloned()
    }

    pub(super) fn last_abort(&self) -> Option<Abort> {
        self.last_abort.borrow().clone()
    }

    pub(super) fn sizes(&self) -> TableSizes {
        self.tables.borrow().connection.sizes()
    }

    /// Does everything that the tables have ready, in their order.
    pub(super) fn ready(self: &Rc<Self>) {
        if self.ready.replace(true) {
            return; // It is being done further up the stack.
        }
        loop {
            if let Some(notice) = self.with(|connection, _| connection.poll_notice()) {
                self.tell(notice);
            } else if let Some(task) = self.with(Connection::poll_task) {
                self.perform(task);
            } else {
                break;
            }
        }
        self.ready.set(false);
    }

    fn tell(self: &Rc<Self>, notice: Notice<TestHost>) {
        match notice {
            Notice::Settled(waiter, outcome) => {
                let ended = match outcome {
                    Outcome::Value(carried) => Ended::value(carried),
                    Outcome::Reference(handle) => Ended::Reference(handle),
                    Outcome::App(carried) => Ended::app(carried),
                    Outcome::Failed(failure) => Ended::Failed(failure),
                };
                match &waiter {
                    Waiter::Call(waiting) => {
                        if let Some(call) = waiting.call.upgrade() {
                            call.end(ended);
                        }
                    }
                    Waiter::Passing(side, answering) => side.answer_with(answering, ended),
                }
            }
            Notice::Cancel(canceller) => self.stop(canceller.id),
            Notice::Pong(nonce) => self.ponged.borrow_mut().push(nonce),
            Notice::Broken(proxy, failure) => {
                if let Some(proxy) = proxy.upgrade() {
                    proxy.break_with(failure);
                }
            }
        }
    }

    /// What dropping the task of a running method does.
    fn stop(self: &Rc<Self>, id: ExportId) {
        let at =
            self.waiting.borrow().iter().position(
                |started| matches!(started.answering, Answering::Peer(running, _) if running == id),
            );
        if let Some(at) = at {
            let started = self.waiting.borrow_mut().remove(at);
            let failure = Failure::new(FailureKind::Internal, Ran::Maybe, "the method was stopped");
            self.answer_with(&started.answering, Ended::Failed(failure));
        }
    }

    fn perform(self: &Rc<Self>, task: Task<TestHost>) {
        match task {
            Task::Start(Start { target, request }) => {
                let answering = match request.answer {
                    Some((id, reply)) => Answering::Peer(id, reply),
                    None => Answering::Nobody,
                };
                let queued = Queued {
                    method: Arc::clone(&request.method.text),
                    options: request.options,
                    handles: request.arguments.handles,
                    body: request.arguments.body,
                    answering,
                };
                self.go(&target, queued);
            }
            Task::Settle(promise, result) => match &promise {
                Handle::Promise(promise) => self.settle(promise, result),
                _ => panic!("only promises are settled"),
            },
            Task::Echo(number) => self.with(|connection, out| connection.echo(number, out)),
        }
    }

    pub(super) fn settle(self: &Rc<Self>, promise: &Rc<Promise>, result: Result<Handle, Failure>) {
        let circular = matches!(&result, Ok(handle) if matches!(handle.end(), Handle::Promise(end) if Rc::ptr_eq(&end, promise)));
        let result = if circular { Err(no_reference()) } else { result };
        for queued in promise.settle(result.clone()) {
            match &result {
                Ok(handle) => self.go(handle, queued),
                Err(failure) => self.answer_with(&queued.answering, Ended::Failed(failure.clone())),
            }
        }
    }

    /// Brings a call to where `target` leads.
    fn go(self: &Rc<Self>, target: &Handle, queued: Queued) {
        match target.end() {
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
                        call.on.replace(Some(target.clone()));
                    }
                    promise.queue.borrow_mut().push(queued);
                }
            },
            distant => self.send(&distant, queued),
        }
    }

    /// Sends a call, or passes on one of the peer's.
    fn send(self: &Rc<Self>, target: &Handle, queued: Queued) {
        let id = match target {
            Handle::Proxy(proxy) => proxy.id(),
            Handle::Result(call) => call.id(),
            _ => unreachable!("only distant ones are sent to"),
        };
        let mut options = queued.options.as_deref().cloned().unwrap_or_default();
        if matches!(queued.answering, Answering::Peer(..)) {
            options.hops += 1;
            if options.hops > MAX_HOPS {
                let failure = Failure::new(FailureKind::Failed, Ran::No, "too many hops");
                return self.answer_with(&queued.answering, Ended::Failed(failure));
            }
        }
        let outgoing = || Outgoing {
            target: id,
            method: &queued.method,
            options: options.boxed(),
            handles: &queued.handles,
            body: &queued.body,
        };
        let (waiter, reply, call) = match &queued.answering {
            Answering::Nobody => {
                let sent = self.with(|connection, out| connection.cast(outgoing(), out));
                if let Err(Refused::Moved(handle)) = sent {
                    self.go(&handle, queued);
                }
                return;
            }
            Answering::Peer(_, reply) => {
                (Waiter::Passing(Rc::clone(self), queued.answering.clone()), *reply, None)
            }
            Answering::Local(call, reply) => match call.upgrade() {
                Some(call) => (Call(Rc::clone(&call)).waiter(), *reply, Some(call)),
                None => return, // Dropped before it was sent.
            },
        };
        match self.with(|connection, out| connection.call(outgoing(), reply, waiter, out)) {
            Ok(id) => {
                if let Some(call) = call {
                    Call(Rc::clone(&call)).sent(id);
                    call.on.replace(Some(target.clone()));
                }
            }
            Err((Refused::Failed(failure), _)) => self.answer_with(&queued.answering, Ended::Failed(failure)),
            Err((Refused::Moved(handle), _)) => self.go(&handle, queued),
        }
    }

    fn start(self: &Rc<Self>, object: Rc<Object>, queued: Queued) {
        let Queued { method, handles, body, answering, .. } = queued;
        self.arrived.borrow_mut().push(format!("{}.{}({})", object.name, method.name, text(&body)));
        let wanted = |handles: Vec<Handle>, body| match (&answering, handles.first()) {
            (Answering::Peer(_, Reply::Reference) | Answering::Local(_, Reply::Reference), Some(first)) => {
                Ended::Reference(first.clone())
            }
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
        self.waiting.borrow_mut().push(started);
        if let Answering::Peer(id, _) = answering {
            let canceller = Canceller { side: Rc::downgrade(self), id };
            let refused = self.with(|connection, _| connection.set_canceller(id, canceller));
            if let Err(canceller) = refused {
                self.stop(canceller.id);
            }
        }
    }

    fn answer_with(self: &Rc<Self>, answering: &Answering, ended: Ended) {
        match answering {
            Answering::Nobody => {}
            Answering::Local(call, _) => {
                if let Some(call) = call.upgrade() {
                    call.end(ended);
                }
            }
            Answering::Peer(id, _) => self.with(|connection, out| match &ended {
                Ended::Value(handles, body) => connection.answer(*id, Answer::Value(handles, body), out),
                Ended::Reference(handle) => connection.answer(*id, Answer::Reference(handle.clone()), out),
                Ended::App(handles, body) => connection.answer(*id, Answer::App(handles, body), out),
                Ended::Failed(failure) => connection.answer(*id, Answer::Failed(failure.clone()), out),
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
        waiting.remove(at.unwrap_or_else(|| panic!("no call of {method} waits at {:?}", self.who)))
    }

    /// How many calls wait for the test to answer them.
    pub fn waiting_count(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Takes the waiting call at `index`.
    pub fn take_at(&self, index: usize) -> Started {
        self.waiting.borrow_mut().remove(index)
    }

    /// Answers a call that [`Side::take`] took.
    pub fn answer(self: &Rc<Self>, started: Started, ended: Ended) {
        let Started { answering, handles, .. } = started;
        drop(handles);
        self.answer_with(&answering, ended);
        self.ready();
    }

    /// What was started here, as `object.method(body)`.
    pub fn arrived(&self) -> Vec<String> {
        self.arrived.borrow().clone()
    }

    pub(super) fn call(
        self: &Rc<Self>,
        on: &Handle,
        method: &str,
        body: &str,
        with: &[Handle],
        reply: Reply,
    ) -> Call {
        let call = Call::new(self, reply);
        self.calls.borrow_mut().push(Rc::downgrade(&call.0));
        self.set_out(on, method, body, with, Answering::Local(Rc::downgrade(&call.0), reply));
        call
    }

    pub(super) fn cast(self: &Rc<Self>, on: &Handle, method: &str, body: &str, with: &[Handle]) {
        if let Handle::Result(call) = on {
            self.with(|connection, _| connection.want_run(call.id()));
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
        let queued = Queued { method, options: Default::default(), handles: with.to_vec(), body, answering };
        // Broken results fail here: what they settled to is known.
        self.go(on, queued);
        self.ready();
    }

    fn method(&self, name: &str) -> Arc<MethodText> {
        let mut methods = self.methods.borrow_mut();
        let text = || Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::default() });
        Arc::clone(methods.entry(name.to_owned()).or_insert_with(text))
    }

    pub(super) fn remember(&self, promise: &Rc<Promise>) {
        self.promises.borrow_mut().push(Rc::downgrade(promise));
    }

    /// Drops what objects keep, so that nothing is held but by a leak.
    pub(super) fn forget_kept(&self) {
        let objects: Vec<_> = self.objects.borrow().iter().filter_map(Weak::upgrade).collect();
        for object in objects {
            let kept = object.kept.take();
            drop(kept);
        }
    }

    pub(super) fn assert_idle(&self, dialogue: &str) {
        assert_eq!(self.waiting_count(), 0, "calls wait at {:?} after\n{dialogue}", self.who);
        let promises: Vec<_> = self.promises.borrow().iter().filter_map(Weak::upgrade).collect();
        for promise in promises {
            assert!(
                promise.settled().is_some(),
                "a promise of {:?} is not settled after\n{dialogue}",
                self.who
            );
        }
        let calls: Vec<_> = self.calls.borrow().iter().filter_map(Weak::upgrade).collect();
        for call in calls {
            assert!(Call(call).has_ended(), "a call of {:?} has not ended after\n{dialogue}", self.who);
        }
    }
}

pub(super) fn no_reference() -> Failure {
    Failure::new(FailureKind::Broken, Ran::No, "the promise leads nowhere")
}
