use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;
use pb_core::message::{Cause, Failure, FailureKind, ImportId, Reply};
use pb_core::proto::Carried;

use super::handle::{Handle, Promise, TestHost};
use super::node::{Answering, Node, no_reference};
use super::side::Side;

/// How a call of a test's ended.
#[derive(Clone)]
pub enum Ended {
    /// With a value, and the references in it.
    Value(Vec<Handle>, Bytes),
    /// With the reference that was asked for.
    Reference(Handle),
    /// With the method's own error, and the references in it.
    App(Vec<Handle>, Bytes),
    /// With a failure of the broker.
    Failed(Failure),
}

impl Ended {
    pub(super) fn value(carried: Carried<TestHost>) -> Self {
        Ended::Value(carried.handles, carried.body)
    }

    fn into_reference(self) -> Result<Handle, Failure> {
        match self {
            Ended::Reference(handle) => Ok(handle),
            Ended::Failed(failure) if failure.kind == FailureKind::Broken => Err(failure),
            Ended::Failed(failure) => Err(no_reference().caused_by(Cause::Broker(failure))),
            _ => Err(no_reference()),
        }
    }

    pub(super) fn app(carried: Carried<TestHost>) -> Self {
        Ended::App(carried.handles, carried.body)
    }
}

/// A call of a test's. Dropping it cancels the call if it has not ended, as a `Deferred` does.
pub struct Call(pub(super) Rc<CallState>);

/// What a call and the handles of its result share.
pub struct CallState {
    node: Weak<Node>,
    reply: Reply,
    /// The connection that it was sent on, and its id there.
    sent: RefCell<Option<(Weak<Side>, ImportId)>>,
    ended: RefCell<Option<Ended>>,
    detached: Cell<bool>,
    /// The result, where the call was not sent yet.
    promise: RefCell<Weak<Promise>>,
    /// What it was called on must live as long, until that has ended.
    pub(super) on: RefCell<Option<Handle>>,
    /// The calls on its result.
    children: RefCell<Vec<Weak<CallState>>>,
    /// The test's [`Call`] is gone: nobody asks for the method's own error any more.
    abandoned: Cell<bool>,
    /// When it must have ended.
    pub(super) deadline: Cell<Option<Instant>>,
    /// It ended because its time was over, where no connection knows it.
    pub(super) expired: Cell<bool>,
}

impl Call {
    pub(super) fn new(node: &Rc<Node>, reply: Reply) -> Self {
        Call(CallState::new(node, reply))
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.0.ended.borrow().clone()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Whether its result is a reference.
    pub fn is_reference(&self) -> bool {
        self.0.is_reference()
    }

    /// The body of the value that it ended with.
    pub fn value(&self) -> String {
        match self.ended() {
            Some(Ended::Value(_, body)) => text(&body),
            other => panic!("no value but {}", describe(other.as_ref())),
        }
    }

    /// The references in the value that it ended with.
    pub fn handles(&self) -> Vec<Handle> {
        match self.ended() {
            Some(Ended::Value(handles, _)) => handles,
            other => panic!("no value but {}", describe(other.as_ref())),
        }
    }

    /// The reference that it ended with.
    pub fn reference(&self) -> Handle {
        match self.ended() {
            Some(Ended::Reference(handle)) => handle,
            other => panic!("no reference but {}", describe(other.as_ref())),
        }
    }

    /// The method's own error.
    pub fn error(&self) -> String {
        match self.ended() {
            Some(Ended::App(_, body)) => text(&body),
            other => panic!("no error but {}", describe(other.as_ref())),
        }
    }

    /// The broker's failure that it ended with.
    pub fn failure(&self) -> Failure {
        match self.ended() {
            Some(Ended::Failed(failure)) => failure,
            other => panic!("no failure but {}", describe(other.as_ref())),
        }
    }

    /// The result, which can be called and passed before it is known. It keeps the call alive.
    pub fn promised(&self) -> Handle {
        if let Some(Ended::Reference(handle)) = self.ended() {
            return handle;
        }
        // One that was made before the call was sent stays the only one: calls may wait in it.
        if let Some(promise) = self.0.promise.borrow().upgrade() {
            return Handle::Promise(promise);
        }
        if self.0.sent.borrow().is_some() {
            return Handle::Result(Rc::clone(&self.0));
        }
        let promise = Promise::of(&self.0);
        self.0.promise.replace(Rc::downgrade(&promise));
        if let Some(node) = self.0.node.upgrade() {
            node.remember(&promise);
            if let Some(ended) = self.ended() {
                node.settle(&promise, ended.into_reference());
            }
        }
        Handle::Promise(promise)
    }

    /// Lets the call run without anybody waiting.
    pub fn detach(self) {
        self.0.detached.set(true);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.abandoned.set(true);
        self.0.let_error_go();
    }
}

impl CallState {
    pub(super) fn new(node: &Rc<Node>, reply: Reply) -> Rc<Self> {
        Rc::new(CallState {
            node: Rc::downgrade(node),
            reply,
            sent: RefCell::default(),
            ended: RefCell::default(),
            detached: Cell::new(false),
            promise: RefCell::default(),
            on: RefCell::default(),
            children: RefCell::default(),
            abandoned: Cell::new(false),
            deadline: Cell::new(None),
            expired: Cell::new(false),
        })
    }

    pub(super) fn is_reference(&self) -> bool {
        self.reply == Reply::Reference
    }

    pub(super) fn waiter(self: &Rc<Self>) -> Waiter {
        Waiter::Call(Waiting { node: self.node.clone(), call: Rc::downgrade(self) })
    }

    pub(super) fn sent_on(&self, side: &Rc<Side>, id: ImportId) {
        self.sent.replace(Some((Rc::downgrade(side), id)));
    }

    pub(super) fn was_sent(&self) -> bool {
        self.sent.borrow().is_some()
    }

    /// The peer has answered it. What leads to its own result is broken: it would hold itself for good.
    pub(super) fn answered(self: &Rc<Self>, ended: Ended) {
        match &ended {
            Ended::Reference(handle) if handle.leads_to(Rc::as_ptr(self) as usize) => {
                if let Some(side) = self.side().upgrade() {
                    side.with(|connection, _| connection.break_result(self.id(), no_reference()));
                }
                self.end(Ended::Failed(no_reference()));
            }
            _ => self.end(ended),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Nobody asks for a method's own error when the test's call is gone. The references in it may lead to this call's result, and so hold it.
    fn let_error_go(&self) {
        let is_error = matches!(&*self.ended.borrow(), Some(Ended::App(..)));
        if is_error && self.abandoned.get() {
            let error = self.ended.replace(Some(Ended::Failed(no_reference())));
            drop(error);
        }
    }

    pub(super) fn id(&self) -> ImportId {
        self.sent.borrow().as_ref().expect("only calls that were sent are handles").1
    }

    /// The end of the connection that it was sent on.
    pub(super) fn side(&self) -> Weak<Side> {
        self.sent.borrow().as_ref().expect("only calls that were sent are handles").0.clone()
    }

    /// `target` must live until it has ended, or this has.
    pub(super) fn hold(self: &Rc<Self>, target: &Handle) {
        if let Handle::Result(call) = target {
            call.children.borrow_mut().push(Rc::downgrade(self));
        }
        self.on.replace(Some(target.clone()));
    }

    pub(super) fn settled_reference(&self) -> Option<Handle> {
        match &*self.ended.borrow() {
            Some(Ended::Reference(handle)) => Some(handle.clone()),
            _ => None,
        }
    }

    /// Why it gives no reference, if it has ended so.
    pub(super) fn failed(&self) -> Option<Failure> {
        self.ended.borrow().clone().and_then(|ended| ended.into_reference().err())
    }

    /// The one place where a call of a test's ends: twice is a panic.
    pub(super) fn end(&self, ended: Ended) {
        let promise = self.promise.borrow().upgrade();
        let result = ended.clone().into_reference();
        let before = self.ended.replace(Some(ended));
        assert!(before.is_none(), "a call was answered twice: first {}", describe(before.as_ref()));
        // They have been sent; and what this ended with may lead to one of them.
        let children = self.children.take();
        let on: Vec<_> = children.iter().filter_map(Weak::upgrade).map(|child| child.on.take()).collect();
        drop(on);
        self.let_error_go();
        if let (Some(promise), Some(node)) = (promise, self.node.upgrade()) {
            node.settle(&promise, result);
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        let Some(node) = self.node.upgrade() else { return };
        node.assert_unlocked("a call");
        let Some((side, id)) = self.sent.get_mut().take() else { return };
        let Some(side) = side.upgrade() else { return };
        let waiting = self.ended.borrow().is_none();
        if waiting || self.reply == Reply::Reference {
            let left = side.with(|connection, out| {
                if self.detached.get() { connection.detach(id) } else { connection.cancel(id, out) }
            });
            drop(left);
            node.ready();
        }
    }
}

/// Who is told an answer.
pub enum Waiter {
    /// A call of the test's.
    Call(Waiting),
    /// A call that is passed on, and whose answer is passed back.
    Passing(Passing),
}

/// A call's place in the tables.
pub struct Waiting {
    node: Weak<Node>,
    pub(super) call: Weak<CallState>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            node.assert_unlocked("a waiter");
        }
    }
}

/// Passes an answer back, once; dropped without an answer, it says so, as the broker's does.
pub struct Passing {
    node: Rc<Node>,
    answering: RefCell<Option<Answering>>,
    /// The call as it was passed on, whose result is called there before it is known.
    pub(super) onward: Rc<CallState>,
}

impl Passing {
    pub(super) fn new(node: &Rc<Node>, answering: Answering, reply: Reply) -> Self {
        let onward = CallState::new(node, reply);
        Passing { node: Rc::clone(node), answering: RefCell::new(Some(answering)), onward }
    }

    pub(super) fn settle(&self, ended: Ended) {
        if !self.onward.has_ended() {
            // What its result is named by needs the reference alone; an error's references may lead back to it.
            let ended = ended.clone().into_reference();
            self.onward.end(ended.map_or_else(Ended::Failed, Ended::Reference));
        }
        if let Some(answering) = self.answering.take() {
            self.node.answer_with(&answering, ended);
        }
    }

    /// Who asked is told when it has settled: it can come home there, too, once nothing that was sent there before is behind.
    pub(super) fn settle_embargoed(&self, promise: &Rc<Promise>) {
        self.onward.end(Ended::Reference(Handle::Promise(Rc::clone(promise))));
        if let Some(answering) = self.answering.take() {
            promise.tell(&self.node, answering);
        }
    }

    /// Somebody else answers.
    pub(super) fn disarm(&self) {
        self.answering.take();
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.node.assert_unlocked("a call that is passed on");
        if !std::thread::panicking() {
            self.settle(Ended::Failed(super::node::stopped()));
            self.node.ready();
        }
    }
}

pub(super) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn describe(ended: Option<&Ended>) -> String {
    match ended {
        None => "nothing yet".to_owned(),
        Some(Ended::Value(handles, body)) => format!("({}) and {} references", text(body), handles.len()),
        Some(Ended::Reference(_)) => "a reference".to_owned(),
        Some(Ended::App(_, body)) => format!("the error ({})", text(body)),
        Some(Ended::Failed(failure)) => format!("{:?}: {failure}", failure.kind),
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for CallState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "call {:?} on {:?}: {}",
            self.sent.borrow().as_ref().map(|sent| sent.1),
            self.on.borrow(),
            describe(self.ended.borrow().as_ref())
        )
    }
}
