use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pb_core::message::{ExportId, Failure, ImportId};
use pb_core::proto::{Host, Key, Place};

use super::call::{CallState, Ended, Waiter};
use super::lent::Lent;
use super::node::{Answering, Node, Queued};
use super::side::Side;

/// Whatever a message can carry, as a side's program holds it. Clones are one handle.
#[derive(Clone)]
pub enum Handle {
    /// An object of the holder's.
    Object(Rc<Object>),
    /// An object of the peer's.
    Proxy(Rc<Proxy>),
    /// The result of a call that the holder sent and that is not known yet.
    Result(Rc<CallState>),
    /// Something that the holder's side will settle.
    Promise(Rc<Promise>),
    /// Something that the holder can take back.
    Lent(Rc<Lent>),
}

impl Handle {
    /// A new object.
    pub fn object(name: &str) -> Handle {
        Handle::Object(Object::new(name))
    }

    /// Whether both are the same object, proxy or promise, settled promises looked through.
    pub fn is(&self, other: &Handle) -> bool {
        self.end().address() == other.end().address()
    }

    pub(super) fn address(&self) -> usize {
        match self {
            Handle::Object(object) => Rc::as_ptr(object) as usize,
            Handle::Proxy(proxy) => Rc::as_ptr(proxy) as usize,
            Handle::Result(call) => Rc::as_ptr(call) as usize,
            Handle::Promise(promise) => Rc::as_ptr(promise) as usize,
            Handle::Lent(lent) => Rc::as_ptr(lent) as usize,
        }
    }
}

/// An object with the methods that [`Node`](super::Node) knows by name.
pub struct Object {
    /// For the log of what was started.
    pub name: String,
    /// References that method `keep` was given.
    pub kept: RefCell<Vec<Handle>>,
}

impl Object {
    /// An object without references.
    pub fn new(name: &str) -> Rc<Object> {
        Rc::new(Object { name: name.to_owned(), kept: RefCell::default() })
    }
}

/// An object of the peer's. As it dies it gives back what it received, as the broker's does.
pub struct Proxy {
    side: Weak<Side>,
    id: ImportId,
    mentions: Cell<u64>,
    broken: RefCell<Vec<Failure>>,
}

impl Proxy {
    pub(super) fn root(side: &Rc<Side>) -> Handle {
        Handle::Proxy(Rc::new(Proxy::new(Rc::downgrade(side), ImportId::ROOT, 0)))
    }

    fn new(side: Weak<Side>, id: ImportId, mentions: u64) -> Self {
        Proxy { side, id, mentions: Cell::new(mentions), broken: RefCell::default() }
    }

    /// Its id on the connection.
    pub fn id(&self) -> ImportId {
        self.id
    }

    /// The end of the connection that it was received on.
    pub(super) fn side(&self) -> &Weak<Side> {
        &self.side
    }

    /// Each time it was told to be broken, and why.
    pub fn broken(&self) -> Vec<Failure> {
        self.broken.borrow().clone()
    }

    pub(super) fn break_with(&self, failure: Failure) {
        self.broken.borrow_mut().push(failure);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(side) = self.side.upgrade() else { return };
        side.assert_unlocked("a proxy");
        if self.id != ImportId::ROOT {
            let left = side.with(|connection, _| connection.let_go(self.id, self.mentions.get()));
            drop(left);
        }
    }
}

/// A reference that its own side will settle; calls on it wait.
#[derive(Default)]
pub struct Promise {
    settled: RefCell<Option<Result<Handle, Failure>>>,
    pub(super) queue: RefCell<Vec<Queued>>,
    /// Calls of peers that are answered with what it settles to, once what waits has gone.
    pub(super) answered: RefCell<Vec<Answering>>,
    /// The call whose result it is, which must live on for it to settle.
    source: RefCell<Option<Rc<CallState>>>,
}

impl Promise {
    pub(super) fn of(call: &Rc<CallState>) -> Rc<Promise> {
        Rc::new(Promise { source: RefCell::new(Some(Rc::clone(call))), ..Promise::default() })
    }

    /// What it settled to, if it has.
    pub fn settled(&self) -> Option<Result<Handle, Failure>> {
        self.settled.borrow().clone()
    }

    /// Whether it is settled by what `call` ends with, or by a call that waits for that; or waits for itself in some other way.
    pub(super) fn waits_for(self: &Rc<Self>, call: &Rc<CallState>) -> bool {
        let mut at = Rc::clone(self);
        for _ in 0..1000 {
            let Some(source) = at.source.borrow().clone() else { return false };
            if Rc::ptr_eq(&source, call) {
                return true;
            }
            let on = source.on.borrow().as_ref().map(Handle::way);
            let Some(Handle::Promise(next)) = on else { return false };
            at = next;
        }
        true
    }

    /// Answers a call with what it settles to.
    pub(super) fn tell(&self, node: &Rc<Node>, answering: Answering) {
        match self.settled() {
            None => self.answered.borrow_mut().push(answering),
            Some(Ok(handle)) => node.answer_with(&answering, Ended::Reference(handle.end())),
            Some(Err(failure)) => node.answer_with(&answering, Ended::Failed(failure)),
        }
    }

    /// Settles it and returns what waited.
    pub(super) fn settle(&self, result: Result<Handle, Failure>) -> Vec<Queued> {
        let before = self.settled.replace(Some(result));
        assert!(before.is_none(), "a promise was settled twice");
        let source = self.source.take();
        drop(source);
        self.queue.take()
    }
}

/// What stops a call of the peer's that runs.
pub struct Canceller {
    /// Where the call came from.
    pub(super) side: Weak<Side>,
    pub(super) stops: Stops,
}

/// What is stopped.
#[derive(Clone)]
pub(super) enum Stops {
    /// The method that runs for this call.
    Method(ExportId),
    /// The call that it was passed on as.
    Onward(Rc<Side>, ImportId),
    /// This call, where it waits for a promise.
    Waiting(Rc<Promise>, ExportId),
}

impl Drop for Canceller {
    fn drop(&mut self) {
        if let Some(side) = self.side.upgrade() {
            side.assert_unlocked("a canceller");
        }
    }
}

/// The owner's part of a test's connection.
pub struct TestHost {
    pub(super) side: Weak<Side>,
}

impl Host for TestHost {
    type Handle = Handle;
    type Waiter = Waiter;
    type Canceller = Canceller;
    type Proxy = Weak<Proxy>;
    type Watch = ();
    type Memo = ();

    fn settled(&self, handle: &Handle) -> Option<Handle> {
        match handle {
            Handle::Promise(promise) => promise.settled().and_then(Result::ok),
            _ => None,
        }
    }

    fn place(&self, handle: &Handle) -> Place {
        let distant = |side: &Weak<Side>, id: ImportId| match Weak::ptr_eq(side, &self.side) {
            true => Place::Peers(id),
            false => Place::Ours(self.key(handle)),
        };
        match handle {
            Handle::Proxy(proxy) => distant(&proxy.side, proxy.id),
            Handle::Result(call) => distant(&call.side(), call.id()),
            Handle::Object(_) | Handle::Promise(_) | Handle::Lent(_) => Place::Ours(self.key(handle)),
        }
    }

    fn key(&self, handle: &Handle) -> Key {
        // Something of another connection is known by that and its id there, as the broker knows it.
        let distant = |side: &Weak<Side>, id: ImportId| Key {
            object: Weak::as_ptr(side) as usize,
            facet: id.0 as usize,
        };
        match handle {
            Handle::Proxy(proxy) => distant(&proxy.side, proxy.id),
            Handle::Result(call) => distant(&call.side(), call.id()),
            Handle::Object(_) | Handle::Promise(_) | Handle::Lent(_) => {
                Key { object: handle.address(), facet: 0 }
            }
        }
    }

    fn mention(&self, id: ImportId, proxy: &mut Option<Weak<Proxy>>) -> (Handle, bool) {
        if let Some(known) = proxy.as_ref().and_then(Weak::upgrade) {
            known.mentions.set(known.mentions.get() + 1);
            return (Handle::Proxy(known), false);
        }
        let made = Rc::new(Proxy::new(self.side.clone(), id, 1));
        *proxy = Some(Rc::downgrade(&made));
        (Handle::Proxy(made), true)
    }

    fn may_break(&self, handle: &Handle) -> bool {
        !matches!(handle, Handle::Object(_))
    }

    fn names_result(&self, waiter: &Waiter) -> bool {
        match waiter {
            Waiter::Call(_) => true,
            Waiter::Passing(passing) => passing.onward.is_reference(),
        }
    }

    fn broken(&self, failure: Failure) -> Handle {
        let promise = Promise::default();
        promise.settle(Err(failure));
        Handle::Promise(Rc::new(promise))
    }

    fn promise(&self) -> Handle {
        let promise = Rc::new(Promise::default());
        if let Some(side) = self.side.upgrade() {
            side.node().remember(&promise);
        }
        Handle::Promise(promise)
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Handle::Object(object) => write!(f, "object {}", object.name),
            Handle::Proxy(proxy) => write!(f, "proxy {}", proxy.id),
            Handle::Result(call) => write!(f, "result {}", call.id()),
            Handle::Promise(promise) => match promise.settled() {
                None => f.write_str("promise"),
                Some(Ok(handle)) => write!(f, "promise of {handle:?}"),
                Some(Err(failure)) => write!(f, "promise broken: {failure}"),
            },
            Handle::Lent(lent) => match lent.leads() {
                Ok(handle) => write!(f, "lent {handle:?}"),
                Err(failure) => write!(f, "lent no more: {failure}"),
            },
        }
    }
}
