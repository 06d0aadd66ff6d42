use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pb_core::message::{Abort, AbortCode, Body, ExportId, Failure, FailureKind, Message, Ran};
use pb_core::proto::{
    Connection, Farewell, Limits, Notice, Outbox, Outcome, Start, TableSizes, Task, Violation,
};
use pb_core::wire::frame::{self, Decoded};

use super::call::{Ended, Waiter};
use super::handle::{Handle, Proxy, TestHost};
use super::log::{Log, content};
use super::node::{Answering, Casting, Node, Queued};
use super::oracle::{End, Oracle};
use super::way::Weakly;

/// One end of one connection: tables, and what is on its way to the other end. Of a side's program it is that program ([`Node`]), too.
pub struct Side {
    node: Rc<Node>,
    /// The name of the node at the other end.
    peer: String,
    log: Rc<Log>,
    oracle: Rc<RefCell<Oracle>>,
    /// Which end the oracle knows it as.
    end: End,
    tables: RefCell<Tables>,
    wire: RefCell<VecDeque<Flying>>,
    pub(super) way: Way,
    last_abort: RefCell<Option<Abort>>,
    longest_frame: Cell<usize>,
    ponged: RefCell<Vec<u64>>,
    /// Exports that may break, with what they are.
    watched: RefCell<Vec<(ExportId, Weakly)>>,
    /// Bytes of what the peer made this side send, on their way.
    unread: Rc<Cell<u64>>,
    holding: Cell<bool>,
    /// Echoes wait, as behind calls that wait for room.
    holding_echoes: Cell<bool>,
}

/// What happens to the messages of one direction.
#[derive(Default)]
pub(super) struct Way {
    pub(super) blocked: Cell<bool>,
    /// Nothing arrives any more, and nobody is told.
    pub(super) lost: Cell<bool>,
    pub(super) delay: Cell<Duration>,
}

/// A message on its way.
struct Flying {
    frame: Bytes,
    due: Instant,
    prompted: bool,
}

struct Tables {
    connection: Connection<TestHost>,
    out: Out,
}

/// Takes the frames that the tables send, until they are put onto the wire.
#[derive(Default)]
pub(super) struct Out {
    /// Each, and whether it counts as unread until it arrives.
    frames: Vec<(Bytes, bool)>,
    unread: Rc<Cell<u64>>,
    prompted: u64,
}

impl Outbox for Out {
    fn send(&mut self, message: Message<Body<'_>>) {
        let mut frame = Vec::new();
        frame::encode(&message, &mut frame);
        if message.is_prompted() {
            self.unread.set(self.unread.get() + frame.len() as u64);
            self.prompted += frame.len() as u64;
        }
        self.frames.push((frame.into(), message.is_prompted()));
    }

    fn unread(&self) -> u64 {
        self.unread.get()
    }

    fn prompted(&self) -> u64 {
        self.prompted
    }
}

impl Side {
    pub(super) fn new(
        node: &Rc<Node>,
        peer: &Rc<Node>,
        limits: Limits,
        log: &Rc<Log>,
        oracle: &Rc<RefCell<Oracle>>,
        end: End,
    ) -> Rc<Side> {
        let unread = Rc::new(Cell::new(0));
        let side = Rc::new_cyclic(|side: &Weak<Side>| {
            let host = TestHost { side: side.clone() };
            let root = Handle::Object(Rc::clone(node.root()));
            let connection = Connection::new(host, Some(root), limits);
            Side {
                node: Rc::clone(node),
                peer: peer.name().to_owned(),
                log: Rc::clone(log),
                oracle: Rc::clone(oracle),
                end,
                tables: RefCell::new(Tables {
                    connection,
                    out: Out { frames: Vec::new(), unread: Rc::clone(&unread), prompted: 0 },
                }),
                wire: RefCell::default(),
                way: Way::default(),
                last_abort: RefCell::default(),
                longest_frame: Cell::new(0),
                ponged: RefCell::default(),
                watched: RefCell::default(),
                unread,
                holding: Cell::new(false),
                holding_echoes: Cell::new(false),
            }
        });
        node.add(&side);
        side.with(|connection, out| out.send(Message::Hello(connection.hello())));
        side
    }

    /// The program on this side.
    pub fn node(&self) -> &Rc<Node> {
        &self.node
    }

    /// Works on the tables as the broker does: under the lock, and drops what they let go of behind it.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection<TestHost>, &mut Out) -> T) -> T {
        let (result, frames, garbage, left, exported) = {
            let mut tables = self.tables.borrow_mut();
            let Tables { connection, out } = &mut *tables;
            let result = work(connection, out);
            let left = connection.close_if_done(out).is_some();
            let frames = std::mem::take(&mut out.frames);
            (result, frames, connection.take_garbage(), left, connection.take_exported())
        };
        for (frame, prompted) in frames {
            let content = content(&frame);
            self.longest_frame.set(self.longest_frame.get().max(content.len()));
            let found = self.oracle.borrow_mut().sent(self.end, content);
            self.fly(frame, true, prompted);
            if let Err(finding) = found {
                self.found(&finding);
            }
        }
        if left {
            self.oracle.borrow_mut().ended(self.end);
        }
        drop(garbage);
        for (id, handle) in exported {
            self.watched.borrow_mut().push((id, handle.weak()));
        }
        result
    }

    fn found(&self, finding: &dyn std::fmt::Display) {
        if !std::thread::panicking() {
            panic!("{} to {}: {finding}\n{}", self.node.name(), self.peer, self.log.dump());
        }
    }

    /// `prompted`: it counts as unread until it arrives.
    fn fly(&self, frame: Bytes, own: bool, prompted: bool) {
        self.log.sent(self.node.name(), &self.peer, &frame, own);
        if !self.way.lost.get() {
            let due = self.log.now() + self.way.delay.get();
            self.wire.borrow_mut().push_back(Flying { frame, due, prompted });
        } else if prompted {
            self.read(frame.len());
        }
    }

    pub(super) fn assert_unlocked(&self, what: &str) {
        if self.tables.try_borrow_mut().is_err() && !std::thread::panicking() {
            panic!("{what} of {} was dropped under the lock of the tables", self.node.name());
        }
    }

    /// What this side calls the other one's root object by.
    pub(super) fn peers_root(self: &Rc<Self>) -> Handle {
        Proxy::root(self)
    }

    /// The next frame to the peer; releases that have collected go when nothing else does.
    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let has_frames = !self.wire.borrow().is_empty();
        if !has_frames {
            self.flush();
        }
        let Flying { frame, prompted, .. } = self.wire.borrow_mut().pop_front()?;
        if prompted {
            self.read(frame.len());
        }
        Some(frame)
    }

    fn read(&self, bytes: usize) {
        self.unread.set(self.unread.get() - bytes as u64);
    }

    /// When the next message arrives, releases that have collected included.
    pub(super) fn arrives(&self) -> Option<Instant> {
        let due = |side: &Side| side.wire.borrow().front().map(|flying| flying.due);
        due(self).or_else(|| {
            self.flush();
            due(self)
        })
    }

    /// Nothing that is on its way arrives.
    pub(super) fn lose_wire(&self) {
        self.wire.borrow_mut().clear();
        self.unread.set(0);
        self.oracle.borrow_mut().lose();
    }

    /// Takes the next message off the wire: the peer never gets it.
    pub fn next_message(&self) -> Option<Message> {
        let frame = self.next_frame()?;
        self.oracle.borrow_mut().lose();
        match frame::decode(content(&frame)).expect("a good frame") {
            Decoded::Message(message) => Some(message),
            Decoded::Unknown { .. } => None,
        }
    }

    /// Sends the releases that have collected.
    pub fn flush(&self) {
        self.with(Connection::flush);
    }

    /// Puts a frame of the test's own behind what this side has sent. From here on the oracle does not judge this side.
    pub fn put_on_the_wire(&self, frame: &[u8]) {
        self.oracle.borrow_mut().stand_back(self.end);
        self.fly(Bytes::copy_from_slice(frame), false, false);
    }

    /// Bytes of the longest frame sent so far, without its length.
    pub fn longest_frame(&self) -> usize {
        self.longest_frame.get()
    }

    pub(super) fn receive(self: &Rc<Self>, frame: &Bytes) -> Result<(), Violation> {
        let content = content(frame);
        self.oracle.borrow_mut().received(self.end, content.clone());
        let now = self.log.now();
        let message = frame::decode(content).expect("a good frame");
        let result = self.with(|connection, out| {
            connection.heard(now);
            match message {
                Decoded::Message(message) => connection.handle(message, now, out),
                Decoded::Unknown { message_type, caps } => connection.handle_unknown(message_type, caps, out),
            }
        });
        self.node.ready();
        if let Err(violation) = &result
            && self.ended().is_none()
        {
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
    pub(super) fn handle_timeout(&self) {
        let result = self.with(|connection, out| connection.handle_timeout(self.log.now(), out));
        self.node.ready();
        if let Err(silent) = result {
            let abort = Abort { code: AbortCode::Timeout, reason: silent.to_string().into() };
            self.give_up(abort, FailureKind::Disconnected);
        }
    }

    /// Ends the connection for what the peer did, or did not.
    fn give_up(&self, abort: Abort, kind: FailureKind) {
        let reason = Failure::new(kind, Ran::Maybe, abort.reason.clone());
        self.with(|_, out| out.send(Message::Abort(abort.clone())));
        self.last_abort.replace(Some(abort));
        self.end(reason);
    }

    /// Sends no echo any more, as the broker does while calls to the same peer wait for room.
    pub fn hold_echoes(&self) {
        self.holding_echoes.set(true);
    }

    /// Starts nothing for now, as the broker does while the peer does not read its answers.
    pub fn hold_starts(&self) {
        self.holding.set(true);
    }

    /// Starts what was held, and what comes.
    pub fn start_again(&self) {
        self.holding.set(false);
        self.node.ready();
    }

    /// The time.
    pub(super) fn now(&self) -> Instant {
        self.log.now()
    }

    /// Asks the peer whether it is there; says the question's nonce.
    pub fn ping(&self) -> u64 {
        self.with(Connection::ping)
    }

    /// The nonces of the peer's pongs.
    pub fn ponged(&self) -> Vec<u64> {
        self.ponged.borrow().clone()
    }

    pub(super) fn leave(&self, reason: &str, time: Duration) {
        self.with(|connection, out| connection.leave(reason, time, self.log.now(), out));
        self.node.ready();
    }

    pub(super) fn hear_no_more(&self, time: Duration) {
        let reason = Failure::new(FailureKind::Disconnected, Ran::Maybe, "the peer's stream has ended");
        self.with(|connection, _| connection.hear_no_more(reason, time, self.log.now()));
        self.node.ready();
    }

    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.tables.borrow().connection.farewell().cloned()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tables.borrow().connection.is_idle()
    }

    pub(super) fn end(&self, reason: Failure) {
        self.with(|connection, _| connection.end(reason));
        self.oracle.borrow_mut().ended(self.end);
        self.node.ready();
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

    /// Calls of the other side's that have no answer yet.
    pub(super) fn running(&self) -> usize {
        let (mut count, mut from) = (0, None);
        loop {
            // What a piece holds is dropped when nobody borrows the tables.
            let (piece, next) = self.tables.borrow().connection.in_flight(from, 1024);
            (count, from) = (count + piece.len(), next);
            if from.is_none() {
                return count;
            }
        }
    }

    /// Does the next thing that the tables have ready. Says whether there was one.
    pub(super) fn step(self: &Rc<Self>) -> bool {
        if let Some(notice) = self.with(|connection, _| connection.poll_notice()) {
            self.tell(notice);
        } else if self.holding.get() {
            return false;
        } else if let Some(task) = self.with(Connection::poll_task) {
            self.perform(task);
        } else {
            return self.break_what_broke();
        }
        true
    }

    /// Tells the peer of the exports that have broken. Says whether there were any.
    fn break_what_broke(&self) -> bool {
        let mut told = false;
        for (id, watched) in self.watched.take() {
            let Some(handle) = watched.upgrade() else { continue };
            match handle.broken() {
                None => self.watched.borrow_mut().push((id, watched)),
                Some(failure) => {
                    self.with(|connection, out| connection.break_export(id, &failure, out));
                    told = true;
                }
            }
        }
        told
    }

    fn tell(&self, notice: Notice<TestHost>) {
        match notice {
            Notice::Settled(waiter, outcome) => {
                let ended = match outcome {
                    Outcome::Value(carried) => Ended::value(carried),
                    Outcome::Reference(handle) => Ended::Reference(handle),
                    Outcome::Embargoed(promise) => {
                        if let (Waiter::Passing(passing), Handle::Promise(promise)) = (&waiter, &promise) {
                            return passing.settle_embargoed(promise);
                        }
                        Ended::Reference(promise)
                    }
                    Outcome::App(carried) => Ended::app(carried),
                    Outcome::Failed(failure) => Ended::Failed(failure),
                };
                match &waiter {
                    Waiter::Call(waiting) => {
                        if let Some(call) = waiting.call.upgrade() {
                            call.answered(ended);
                        }
                    }
                    Waiter::Passing(passing) => passing.settle(ended),
                }
            }
            Notice::Cancel(canceller) => self.node.stop(&canceller.side, &canceller.stops),
            Notice::RootBroken => {}
            Notice::Pong(nonce) => self.ponged.borrow_mut().push(nonce),
            Notice::Broken(proxy, failure) => {
                if let Some(proxy) = proxy.upgrade() {
                    proxy.break_with(failure);
                }
            }
        }
    }

    fn perform(self: &Rc<Self>, task: Task<TestHost>) {
        match task {
            Task::Start(Start { target, request, .. }) => {
                let answering = match request.answer {
                    Some((id, reply)) => Answering::Peer(Rc::clone(self), id, reply),
                    // Nobody else would stop what is never answered.
                    None if request.deadline.is_some_and(|deadline| deadline <= self.now()) => {
                        return drop(Casting::new(self, request.cost));
                    }
                    None => Answering::Cast(Casting::new(self, request.cost)),
                };
                let queued = Queued {
                    method: std::sync::Arc::clone(&request.method.text),
                    options: request.options,
                    deadline: request.deadline,
                    handles: request.arguments.handles,
                    body: request.arguments.body,
                    answering,
                    from_peer: true,
                };
                self.node.deliver(&target, queued);
            }
            Task::Settle(promise, result) => match &promise {
                Handle::Promise(promise) => self.node.settle(promise, result),
                _ => panic!("only promises are settled"),
            },
            Task::Echo(_) if self.holding_echoes.get() => {}
            Task::Echo(number) => self.with(|connection, out| connection.echo(number, out)),
        }
    }

    /// Asserts that the tables are empty, and that what was sent adds up.
    pub(super) fn assert_empty(&self) {
        let (name, peer) = (self.node.name(), &self.peer);
        let sizes = self.sizes();
        assert!(
            sizes == TableSizes::default(),
            "tables of {name} to {peer}: {sizes:?} after\n{}",
            self.log.dump()
        );
        if let Err(finding) = self.oracle.borrow().adds_up(self.end) {
            self.found(&finding);
        }
    }
}

/// Whatever a test asks of a side's program.
impl Deref for Side {
    type Target = Rc<Node>;
    fn deref(&self) -> &Rc<Node> {
        &self.node
    }
}
