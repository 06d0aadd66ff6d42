//! Where handles lead.

use std::rc::{Rc, Weak};

use pb_core::message::Failure;

use super::call::CallState;
use super::handle::{Handle, Promise, Proxy};
use super::lent::Lent;

impl Handle {
    /// The end of the settled promises that it leads through.
    pub fn end(&self) -> Handle {
        match self {
            Handle::Promise(promise) => match promise.settled() {
                Some(Ok(handle)) => handle.end(),
                _ => self.clone(),
            },
            Handle::Result(call) => match call.settled_reference() {
                Some(handle) => handle.end(),
                None => self.clone(),
            },
            _ => self.clone(),
        }
    }

    /// Why it is broken, if it is.
    pub(super) fn broken(&self) -> Option<Failure> {
        match self.end() {
            Handle::Object(_) => None,
            Handle::Proxy(proxy) => proxy.broken().into_iter().next(),
            Handle::Promise(promise) => promise.settled().and_then(Result::err),
            Handle::Result(call) => call.failed(),
            Handle::Lent(lent) => lent.leads().map_or_else(Some, |handle| handle.broken()),
        }
    }

    /// The next step of the way that a call on it goes, as far as that is known.
    pub(super) fn next(&self) -> Option<Result<Handle, Failure>> {
        match self {
            Handle::Promise(promise) => promise.settled(),
            Handle::Result(call) => call.settled_reference().map(Ok),
            Handle::Lent(lent) => Some(lent.leads()),
            Handle::Object(_) | Handle::Proxy(_) => None,
        }
    }

    /// The end of its way.
    pub(super) fn way(&self) -> Handle {
        let mut at = self.clone();
        for _ in 0..1000 {
            match at.next() {
                Some(Ok(next)) => at = next,
                Some(Err(_)) | None => break,
            }
        }
        at
    }

    /// Whether its way leads to `other`.
    pub(super) fn leads_to(&self, other: usize) -> bool {
        let mut at = self.clone();
        for _ in 0..1000 {
            if at.address() == other {
                return true;
            }
            match at.next() {
                Some(Ok(next)) => at = next,
                Some(Err(_)) | None => return false,
            }
        }
        true
    }

    /// The same handle, not held.
    pub(super) fn weak(&self) -> Weakly {
        match self {
            Handle::Object(_) => Weakly::Lasting,
            Handle::Proxy(proxy) => Weakly::Proxy(Rc::downgrade(proxy)),
            Handle::Promise(promise) => Weakly::Promise(Rc::downgrade(promise)),
            Handle::Result(call) => Weakly::Result(Rc::downgrade(call)),
            Handle::Lent(lent) => Weakly::Lent(Rc::downgrade(lent)),
        }
    }
}

/// What an export leads to, for who watches it.
pub(super) enum Weakly {
    /// An object of this program's, which never breaks.
    Lasting,
    Proxy(Weak<Proxy>),
    Promise(Weak<Promise>),
    Result(Weak<CallState>),
    Lent(Weak<Lent>),
}

impl Weakly {
    pub(super) fn upgrade(&self) -> Option<Handle> {
        match self {
            Weakly::Lasting => None,
            Weakly::Proxy(proxy) => proxy.upgrade().map(Handle::Proxy),
            Weakly::Promise(promise) => promise.upgrade().map(Handle::Promise),
            Weakly::Result(call) => call.upgrade().map(Handle::Result),
            Weakly::Lent(lent) => lent.upgrade().map(Handle::Lent),
        }
    }
}
