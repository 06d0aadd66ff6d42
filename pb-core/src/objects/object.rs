use std::any::{Any, TypeId};
use std::sync::Arc;

use super::{Bound, Description, Incoming, Interface, Shown, Started};
use crate::message::{Failure, FailureKind, MethodText, Ran};
use crate::proto::Key;

/// A struct that can be served by reference: `#[derive(Referenceable)]`. Twisted: `Referenceable` (spread/flavors.py).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served by reference",
    label = "add `#[derive(Referenceable)]` to `{Self}`"
)]
pub trait Referenceable: Send + Sync + Sized + 'static {
    /// The interfaces it offers beside the one that it is handed out as.
    #[doc(hidden)]
    fn offers() -> &'static [fn() -> Offer<Self>]
    where
        for<'a> Self: Send + Sync;

    /// Its fields that are marked `#[inspect]`.
    #[doc(hidden)]
    fn inspect(&self, shown: &mut Shown) {
        let _ = shown;
    }
}

/// What a stub's `new` takes: a served struct, or an `Arc` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served by reference",
    label = "add `#[derive(Referenceable)]` to the struct"
)]
pub trait IntoObject {
    /// The struct.
    type Object: Referenceable;
    /// The shared struct.
    fn into_object(self) -> Arc<Self::Object>;
}

impl<T: Referenceable> IntoObject for T {
    type Object = T;
    fn into_object(self) -> Arc<T> {
        Arc::new(self)
    }
}

impl<T: Referenceable> IntoObject for Arc<T> {
    type Object = T;
    fn into_object(self) -> Arc<T> {
        self
    }
}

/// An interface that `T` implements, with its dispatcher.
pub struct Offer<T> {
    interface: fn() -> &'static Interface,
    dispatch: fn(&Arc<T>, usize, &mut Incoming<'_>) -> Started,
}

impl<T> Offer<T> {
    #[doc(hidden)]
    pub const fn new(
        interface: fn() -> &'static Interface,
        dispatch: fn(&Arc<T>, usize, &mut Incoming<'_>) -> Started,
    ) -> Self {
        Offer { interface, dispatch }
    }
}

impl<T> Clone for Offer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Offer<T> {}

/// A served struct with its type erased.
pub trait Object: Send + Sync {
    /// The method that a caller means. See [`bind`].
    ///
    /// # Errors
    /// As there.
    fn find(&self, name: &MethodText) -> Result<Bound, Failure>;
    /// Starts the method `bound`, for which the call was made ready.
    fn dispatch(&self, bound: Bound, call: &mut Incoming<'_>) -> Started;
    /// What tells it apart while it lives.
    fn key(&self) -> Key;
    /// What is the same for all objects with the same methods.
    fn class(&self) -> (TypeId, usize);
    /// The struct itself.
    fn object(&self) -> Arc<dyn Any + Send + Sync>;
    /// How many hold the struct: of use only as a look at its memory, which brings it near. 0 where there is none.
    #[doc(hidden)]
    fn holders(&self) -> usize {
        0
    }
    /// The struct's type, as the compiler calls it.
    fn type_name(&self) -> &'static str;
    /// The interfaces that it offers, that which it is handed out as first.
    fn interfaces(&self) -> Vec<String>;
    /// Runs the `Debug` of what the struct shows of itself.
    fn inspect(&self, shown: &mut Shown);
    /// Whether it has no types, so that calls of this process, too, bring it their arguments encoded.
    fn takes_bytes(&self) -> bool {
        false
    }
}

/// A struct, and the interface that it is handed out as.
pub(super) struct Served<T> {
    object: Arc<T>,
    first: Offer<T>,
}

impl<T: Referenceable> Served<T> {
    pub(super) fn new(object: Arc<T>, first: Offer<T>) -> Self {
        Served { object, first }
    }

    fn offer(&self, index: usize) -> Option<Offer<T>> {
        match index.checked_sub(1) {
            None => Some(self.first),
            Some(further) => T::offers().get(further).map(|offer| offer()),
        }
    }

    /// The interface that it offers at `index`, 0 being the one that it is handed out as.
    fn interface(&self, index: usize) -> Option<&'static Interface> {
        self.offer(index).map(|offer| (offer.interface)())
    }

    fn facet(&self) -> usize {
        std::ptr::from_ref((self.first.interface)()) as usize
    }
}

impl<T: Referenceable> Object for Served<T> {
    fn find(&self, name: &MethodText) -> Result<Bound, Failure> {
        let mut found: Option<(&'static Interface, usize, usize)> = None;
        for offer in 0.. {
            let Some(interface) = self.interface(offer) else { break };
            let Some(method) = interface.find(&name.name) else { continue };
            match found {
                Some((first, ..)) if std::ptr::eq(first, interface) => {}
                Some((first, ..)) if !name.name.contains('/') => {
                    let message = format!(
                        "{} is ambiguous: {} and {} have a method of this name",
                        name.name,
                        first.name(),
                        interface.name()
                    );
                    return Err(Failure::new(FailureKind::Failed, Ran::No, message));
                }
                Some(_) => {}
                None => found = Some((interface, offer, method)),
            }
        }
        let Some((interface, offer, method)) = found else {
            // The one that it is handed out as may stand among the others, too.
            let mut offers: Vec<_> = Vec::new();
            for name in (0..).map_while(|offer| self.interface(offer)).map(Interface::name) {
                if !offers.contains(&name) {
                    offers.push(name);
                }
            }
            let message = format!("the object has no method {}; it offers {}", name.name, offers.join(", "));
            return Err(Failure::new(FailureKind::Unimplemented, Ran::No, message));
        };
        let known = &interface.methods()[method];
        Ok(Bound { offer, method, agreed: known.agree(name)?, flags: known.flags() })
    }

    fn dispatch(&self, bound: Bound, call: &mut Incoming<'_>) -> Started {
        match self.offer(bound.offer) {
            Some(offer) => (offer.dispatch)(&self.object, bound.method, call),
            None if bound == Bound::DESCRIBE => call.describe(|| {
                let interfaces = (0..).map_while(|index| self.interface(index));
                super::dynamic::of_class(self.class(), interfaces)
            }),
            None => call.unimplemented(),
        }
    }

    fn key(&self) -> Key {
        Key { object: Arc::as_ptr(&self.object).cast::<u8>() as usize, facet: self.facet() }
    }

    fn class(&self) -> (TypeId, usize) {
        (TypeId::of::<T>(), self.facet())
    }

    fn object(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.object) as Arc<dyn Any + Send + Sync>
    }

    fn holders(&self) -> usize {
        Arc::strong_count(&self.object)
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn interfaces(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for interface in (0..).map_while(|index| self.interface(index)) {
            if names.iter().all(|name| name != interface.name()) {
                names.push(interface.name().to_owned());
            }
        }
        names
    }

    fn inspect(&self, shown: &mut Shown) {
        self.object.inspect(shown);
    }
}

/// Finds the method of `object` that a caller means.
///
/// # Errors
/// `Unimplemented` where no interface has it, `Failed` where a bare name is found in two, `Incompatible` where the signatures differ.
pub fn bind(object: &dyn Object, name: &MethodText) -> Result<Bound, Failure> {
    if *name.name == *Description::METHOD {
        return Ok(Bound::DESCRIBE);
    }
    object.find(name)
}
