use std::fmt;
use std::sync::Arc;

use super::object::Served;
use super::{Distant, IntoObject, Object, Offer, Promise};
use crate::message::Failure;
use crate::proto::Key;

/// A reference to an object without its type: what every stub holds.
#[derive(Clone)]
pub struct Reference(Inner);

#[derive(Clone)]
enum Inner {
    Local(Arc<dyn Object>),
    Distant(Arc<dyn Distant>),
    Promise(Arc<Promise>),
    Broken(Arc<Failure>),
}

/// Where a reference leads, for those who send calls.
pub enum Leads<'a> {
    /// To an object of this process.
    Local(&'a Arc<dyn Object>),
    /// To something of a peer's.
    Distant(&'a Arc<dyn Distant>),
    /// Nobody knows yet.
    Promise(&'a Arc<Promise>),
    /// Nowhere.
    Broken(&'a Failure),
}

impl Reference {
    /// A reference to an object of this process, handed out as `first`.
    pub fn new<O: IntoObject>(object: O, first: Offer<O::Object>) -> Self {
        Self::local(Arc::new(Served::new(object.into_object(), first)))
    }

    /// A reference to an object of this process.
    pub fn local(object: Arc<dyn Object>) -> Self {
        Reference(Inner::Local(object))
    }

    /// A reference to something of a peer's.
    pub fn distant(distant: Arc<dyn Distant>) -> Self {
        Reference(Inner::Distant(distant))
    }

    /// A reference that is not known yet.
    pub fn promised(promise: Arc<Promise>) -> Self {
        Reference(Inner::Promise(promise))
    }

    /// A reference that leads nowhere.
    pub fn broken(failure: Arc<Failure>) -> Self {
        Reference(Inner::Broken(failure))
    }

    /// Where it leads.
    pub fn leads(&self) -> Leads<'_> {
        match &self.0 {
            Inner::Local(object) => Leads::Local(object),
            Inner::Distant(distant) => Leads::Distant(distant),
            Inner::Promise(promise) => Leads::Promise(promise),
            Inner::Broken(failure) => Leads::Broken(failure),
        }
    }

    /// The Rust type of what lives in this process, and of what is lent of it; of anything else nothing. Runs nobody's code, and drops nothing.
    pub fn type_name(&self) -> &'static str {
        match &self.0 {
            Inner::Local(object) => object.type_name(),
            Inner::Promise(promise) => promise.lent_type_name(),
            Inner::Distant(_) | Inner::Broken(_) => "",
        }
    }

    /// The promise, if it is one.
    pub(super) fn as_promise(&self) -> Option<&Arc<Promise>> {
        match &self.0 {
            Inner::Promise(promise) => Some(promise),
            _ => None,
        }
    }

    /// The same reference behind the promises that have settled in this process.
    #[must_use]
    pub fn followed(&self) -> Reference {
        match &self.0 {
            Inner::Promise(promise) => promise.followed().unwrap_or_else(|| self.clone()),
            _ => self.clone(),
        }
    }

    /// The promise, if it is one.
    pub(super) fn into_promise(self) -> Option<Arc<Promise>> {
        match self.0 {
            Inner::Promise(promise) => Some(promise),
            _ => None,
        }
    }

    /// The end of the settled promises that it leads through, results of calls to peers among them; broken where they lead in a circle.
    #[must_use]
    pub fn end(&self) -> Reference {
        let mut at = self.clone();
        let mut circle = Circle::default();
        loop {
            if circle.closes_at(&at) {
                return Reference::circular();
            }
            let next = match &at.0 {
                Inner::Promise(promise) => promise.settled(),
                Inner::Distant(distant) => distant.settled().map(Ok),
                Inner::Local(_) | Inner::Broken(_) => None,
            };
            at = match next {
                None => return at,
                Some(Ok(reference)) => reference,
                Some(Err(failure)) => return Reference::broken(Arc::new(failure)),
            };
        }
    }

    /// What tells it apart from other references of this process while it lives.
    pub fn key(&self) -> Key {
        match &self.0 {
            Inner::Local(object) => object.key(),
            Inner::Distant(distant) => {
                Key { object: distant.line().address(), facet: distant.id().0 as usize }
            }
            Inner::Promise(promise) => Key { object: Arc::as_ptr(promise) as usize, facet: 0 },
            Inner::Broken(failure) => Key { object: Arc::as_ptr(failure) as usize, facet: 0 },
        }
    }

    /// Whether both are one reference, settled promises not followed.
    pub(super) fn is(&self, other: &Reference) -> bool {
        self.key() == other.key()
    }

    /// Debug text of a stub.
    #[doc(hidden)]
    pub fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Local(_) => write!(f, "{name}(local)"),
            Inner::Distant(distant) => write!(f, "{name}({})", distant.id()),
            Inner::Promise(_) => write!(f, "{name}(promise)"),
            Inner::Broken(_) => write!(f, "{name}(broken)"),
        }
    }
}

/// Finds out whether a walk along settled promises has come back to where it was. Two peers can build such a circle in a moment that no
/// check of either sees.
#[derive(Default)]
pub(super) struct Circle {
    mark: Option<Reference>,
    steps: u64,
}

impl Circle {
    /// Called at each step; the mark moves on at each power of two, so that a circle behind a long way is found too.
    pub(super) fn closes_at(&mut self, at: &Reference) -> bool {
        if self.mark.as_ref().is_some_and(|mark| mark.is(at)) {
            return true;
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.mark = Some(at.clone());
        }
        false
    }
}
