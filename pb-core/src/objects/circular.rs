//! The way that a reference leads: along promises that have settled, results of calls to peers, and what is lent. It may lead to itself.

use super::Reference;
use super::reference::{Circle, Leads};
use crate::message::Failure;
use crate::proto::Key;

impl Reference {
    /// Where a call on it goes, by what is known now; broken where that is in a circle. Unlike [`Reference::end`] it looks through what is lent.
    #[must_use]
    pub fn callee(&self) -> Reference {
        let (mut at, mut circle) = (self.clone(), Circle::default());
        loop {
            if circle.closes_at(&at) {
                return Reference::circular();
            }
            at = match at.next() {
                None => return at,
                Some(Ok(next)) => next,
                Some(Err(failure)) => return Reference::broken(failure.into()),
            };
        }
    }

    /// Whether it leads to what has this key, or to itself.
    pub(super) fn leads_to(&self, key: Key) -> bool {
        let (mut at, mut circle) = (self.clone(), Circle::default());
        loop {
            if at.key() == key || circle.closes_at(&at) {
                return true;
            }
            at = match at.next() {
                Some(Ok(next)) => next,
                Some(Err(_)) | None => return false,
            };
        }
    }

    /// The next step of its way.
    fn next(&self) -> Option<Result<Reference, Failure>> {
        match self.leads() {
            Leads::Promise(promise) => promise.settled().or_else(|| promise.lent().map(Ok)),
            Leads::Distant(distant) => distant.settled().map(Ok),
            Leads::Local(_) | Leads::Broken(_) => None,
        }
    }

    /// A reference that leads to itself.
    pub(super) fn circular() -> Reference {
        Reference::broken(Failure::circular().into())
    }
}
