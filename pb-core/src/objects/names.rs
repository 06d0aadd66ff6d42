//! What a process gives out by name: the broker's own method `$named` (docs/protocol.md, section 10).

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use thiserror::Error;

use super::{
    Access, Argument, Incoming, Interface, Method, MethodFlags, MethodShape, Offer, Reference, Referenceable,
    Started, Stub, drop_quietly, no_errors,
};
use crate::defer::Deferred;
use crate::message::{Failure, FailureKind, Ran};
use crate::wire::shape::{Plain, Shape};

/// Objects that a process gives to whoever knows their names, beside its root. Clones are the same names.
///
/// Names may be published and withdrawn at any time; who got a reference before keeps it ([`Remote::revocable`](super::Remote::revocable) is
/// for those that are to be taken back). A peer cannot list them. At most 65,536, in the order of their bytes.
///
/// Wire: docs/protocol.md, section 10.
#[derive(Clone, Default)]
pub struct Names(Arc<Published>);

#[derive(Default)]
struct Published {
    names: Mutex<BTreeMap<Box<str>, Reference>>,
    /// Who is asked for others.
    finder: Mutex<Option<Arc<Finder>>>,
}

type Finder = dyn Fn(&str) -> Option<Reference> + Send + Sync;

/// Why something is not published.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no bytes, or too many.
    #[error("a published name has 1 to 256 bytes, this one has {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// The name has characters that a terminal would obey.
    #[error("a published name has no control characters; {name:?} has")]
    Control {
        /// The name.
        name: Box<str>,
    },
    /// Something has the name already.
    #[error("something is published as {name:?} already")]
    Taken {
        /// The name.
        name: Box<str>,
    },
    /// There is no room.
    #[error("{MAX_NAMES} names are published, which is all that there may be")]
    Full,
}

impl Names {
    /// The method that peers ask by, on the root.
    pub const METHOD: &str = "$named";

    /// Gives `object` to whoever asks for `name`, which has 1 to 256 bytes and no control characters.
    ///
    /// # Errors
    /// [`NameError`]; nothing is published.
    pub fn publish(&self, name: &str, object: &impl Stub) -> Result<(), NameError> {
        check(name)?;
        let mut names = self.0.names.lock();
        if names.contains_key(name) {
            return Err(NameError::Taken { name: name.into() });
        }
        if names.len() >= MAX_NAMES {
            return Err(NameError::Full);
        }
        names.insert(name.into(), object.as_reference().clone());
        Ok(())
    }

    /// Gives nothing for `name` any more. Says whether it was published.
    pub fn withdraw(&self, name: &str) -> bool {
        // Dropping it may run the object's own `Drop`: behind the lock.
        let withdrawn = self.0.names.lock().remove(name);
        let found = withdrawn.is_some();
        drop_quietly(withdrawn);
        found
    }

    /// Asks `find` for every name that is not published, instead of whoever was to be asked before. It runs in the task that reads from the peer, and must
    /// not wait: what is only known later is a promise. A proxy gives out what somebody else has published:
    ///
    /// ```
    /// # use pb_core::{AnyRef, Broker, Names};
    /// # fn pass_on(names: &Names, upstream: Broker) {
    /// names.publish_by(move |name| Some(upstream.named::<AnyRef>(name).promised()));
    /// # }
    /// ```
    ///
    /// Names that cannot be any, by their length or their characters, are not asked for. Where `find` panics the peer is answered `Internal`.
    pub fn publish_by<S: Stub>(&self, find: impl Fn(&str) -> Option<S> + Send + Sync + 'static) {
        let finder: Arc<Finder> =
            Arc::new(move |name: &str| find(name).map(|stub| stub.as_reference().clone()));
        // The one before may drop what is a user's: behind the lock.
        let before = self.0.finder.lock().replace(finder);
        drop_quietly(before);
    }

    /// What is published, in the order of their bytes: for this process, no peer is told.
    pub fn list(&self) -> Vec<Box<str>> {
        self.0.names.lock().keys().cloned().collect()
    }

    /// The same with the references: for who looks into this process.
    #[doc(hidden)]
    pub fn entries(&self) -> Vec<(Box<str>, Reference)> {
        self.0.names.lock().iter().map(|(name, reference)| (name.clone(), reference.clone())).collect()
    }

    /// The object that answers for them.
    #[cfg(feature = "net")]
    pub(crate) fn as_reference(&self) -> Reference {
        Reference::new(Arc::clone(&self.0), Offer::new(interface, dispatch))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}

impl Published {
    fn find(&self, name: &str) -> Result<Reference, Failure> {
        if let Some(known) = self.names.lock().get(name).cloned() {
            return Ok(known);
        }
        // What the peer has sent comes back in no other form, and no longer than it may be.
        let none = |message| Failure::new(FailureKind::Unimplemented, Ran::No, message);
        check(name).map_err(|error| none(format!("nothing is published under that name: {error}")))?;
        let finder = self.finder.lock().clone();
        let found = finder.map(|find| catch_unwind(AssertUnwindSafe(|| find(name))));
        match found {
            Some(Ok(Some(found))) => Ok(found),
            Some(Ok(None)) | None => Err(none(format!("nothing is published as {name:?}"))),
            Some(Err(panic)) => {
                drop_quietly(panic);
                let message = format!("finding what is published as {name:?} panicked");
                Err(Failure::new(FailureKind::Internal, Ran::Yes, message))
            }
        }
    }
}

impl Referenceable for Published {
    fn offers() -> &'static [fn() -> Offer<Self>] {
        &[]
    }
}

/// Asks the peer whose root this is, or will be, for what it has published as `name`.
pub fn named<S: Stub>(root: &Reference, name: &str) -> Deferred<S> {
    let name_codec = Argument::<String>::NEW.argument().crosses();
    let signature = Argument::<S>::NEW.answer().crosses().signature((name_codec,), no_errors());
    Access::new(root.clone()).call(&ASKED, signature, (name.to_owned(),))
}

fn check(name: &str) -> Result<(), NameError> {
    match name {
        _ if name.is_empty() || name.len() > MAX_NAME_BYTES => Err(NameError::Length { bytes: name.len() }),
        _ if name.chars().any(char::is_control) => Err(NameError::Control { name: name.into() }),
        _ => Ok(()),
    }
}

fn dispatch(published: &Arc<Published>, _method: usize, call: &mut Incoming<'_>) -> Started {
    call.look_up(|name| published.find(name))
}

fn interface() -> &'static Interface {
    static SERVED: LazyLock<[Method; 1]> = LazyLock::new(|| [method()]);
    static BROKER: Interface = Interface::new("$", "", || SERVED.as_slice());
    &BROKER
}

fn method() -> Method {
    let shape = || MethodShape {
        arguments: vec![Shape::Plain(Plain::Text)],
        optional: 0,
        ok: Shape::Reference(String::new()),
        err: None,
    };
    let docs = "What this side has published under a name.";
    let flags = MethodFlags { idempotent: true, ..MethodFlags::default() };
    Method::new(Names::METHOD, docs, &["name"], flags, shape)
}

/// What the reference leads to is the caller's to know, so its prints are not sent.
static ASKED: LazyLock<Method> = LazyLock::new(|| method().without_prints());

/// Bytes of a name, at the most.
const MAX_NAME_BYTES: usize = 256;
/// Names of one process, at the most: what publishes more of them than that wants a method that finds things.
const MAX_NAMES: usize = 65_536;
