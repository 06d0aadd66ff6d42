use std::sync::{Arc, OnceLock, Weak};

use super::breaking::ExportWatch;
use super::link::{Link, Proxy};
use super::onlookers::Witness;
use crate::message::ImportId;
use crate::objects::Leads;
use crate::objects::{Bound, Promise, Reference, Stop, Waiting};
use crate::proto::{Happening, Host, Key, Place};

/// What the tables keep for the broker.
pub(super) struct Wiring {
    /// The connection's own handle, for the references that it makes.
    pub(super) link: Weak<Link>,
    /// The connection's address, by which its references know it.
    pub(super) address: usize,
    /// Those who are told what happens.
    pub(super) witnesses: Vec<Arc<dyn Witness>>,
}

/// Where a named method was found last: objects of one class need not be searched twice.
#[derive(Default)]
pub(super) struct Memo(pub(super) OnceLock<(std::any::TypeId, usize, Bound)>);

impl Host for Wiring {
    type Handle = Reference;
    type Waiter = Waiting;
    type Canceller = Stop;
    type Proxy = Weak<Proxy>;
    type Watch = Arc<ExportWatch>;
    type Memo = Memo;

    fn settled(&self, handle: &Reference) -> Option<Reference> {
        match handle.leads() {
            Leads::Promise(promise) => promise.settled().and_then(Result::ok),
            _ => None,
        }
    }

    fn place(&self, handle: &Reference) -> Place {
        // Each promise keeps what it has settled to, so the clones that go by here are never the last.
        let mut at = handle.clone();
        loop {
            let next = match at.leads() {
                Leads::Distant(distant) if distant.line().address() == self.address => {
                    return Place::Peers(distant.id());
                }
                Leads::Promise(promise) => match promise.settled() {
                    // The object itself tells whether it is exported already, whatever led to it.
                    Some(Ok(reference)) => reference,
                    _ => return Place::Ours(at.key()),
                },
                _ => return Place::Ours(at.key()),
            };
            at = next;
        }
    }

    fn key(&self, handle: &Reference) -> Key {
        handle.key()
    }

    fn mention(&self, id: ImportId, proxy: &mut Option<Weak<Proxy>>) -> (Reference, bool) {
        if let Some(held) = proxy.as_ref().and_then(Weak::upgrade) {
            held.mentioned();
            return (Reference::distant(held), false);
        }
        let Some(link) = self.link.upgrade() else {
            let gone = crate::message::Failure::new(
                crate::message::FailureKind::Disconnected,
                crate::message::Ran::No,
                "the connection is closing",
            );
            return (Reference::broken(Arc::new(gone)), true);
        };
        let held = Arc::new(Proxy::new(link, id, 1));
        *proxy = Some(Arc::downgrade(&held));
        (Reference::distant(held), true)
    }

    fn promise(&self) -> Reference {
        Reference::promised(Promise::new(None))
    }

    fn broken(&self, failure: crate::message::Failure) -> Reference {
        Reference::broken(Arc::new(failure))
    }

    fn may_break(&self, handle: &Reference) -> bool {
        !matches!(handle.leads(), Leads::Local(_))
    }

    fn names_result(&self, waiter: &Waiting) -> bool {
        match waiter {
            Waiting::Weak(_) => true,
            Waiting::Strong(waiter) => waiter.names_result(),
        }
    }

    fn happened(&self, happening: Happening<'_, Reference>) {
        self.witnesses.iter().for_each(|witness| witness.saw(&happening));
    }
}
