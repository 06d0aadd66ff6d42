//! What is made of a description once, for all objects that share it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Description, describe};
use crate::message::{Failure, MethodText};
use crate::objects::Bound;
use crate::objects::interface::agree;

/// A description that holds together, with what its callers are compared by.
pub(super) struct Described {
    pub(super) description: Arc<Description>,
    /// No two of them have one number, so what is remembered of one class is never taken for another's.
    pub(super) class: usize,
    /// Of each method, by interface: hashing its shapes costs more than most calls.
    texts: Box<[Box<[OnceLock<MethodText>]>]>,
    /// The description, once somebody has asked for it.
    encoded: OnceLock<Result<Bytes, Failure>>,
}

/// By where the description lies: it lies there as long as what was made of it lives.
type Known = LazyLock<Mutex<HashMap<usize, Weak<Described>>>>;

static KNOWN: Known = LazyLock::new(Default::default);

impl Described {
    /// What was made of it before, where an object that shares it is still held.
    ///
    /// # Errors
    /// Why it does not hold together.
    pub(super) fn of(description: Arc<Description>) -> Result<Arc<Self>, String> {
        static CLASSES: AtomicUsize = AtomicUsize::new(0);
        let at = Arc::as_ptr(&description) as usize;
        if let Some(known) = KNOWN.lock().get(&at).and_then(Weak::upgrade) {
            return Ok(known);
        }
        description.check()?;
        let texts = description.interfaces.iter();
        let texts = texts.map(|interface| interface.methods.iter().map(|_| OnceLock::new()).collect());
        let made = Arc::new(Described {
            texts: texts.collect(),
            class: CLASSES.fetch_add(1, Ordering::Relaxed),
            encoded: OnceLock::new(),
            description,
        });
        let mut known = KNOWN.lock();
        if let Some(other) = known.get(&at).and_then(Weak::upgrade) {
            drop(known);
            return Ok(other);
        }
        known.insert(at, Arc::downgrade(&made));
        Ok(made)
    }

    /// # Errors
    /// As [`Object::find`](crate::objects::Object::find).
    pub(super) fn find(&self, name: &MethodText) -> Result<Bound, Failure> {
        let (offer, method) = self.description.position(&name.name)?;
        let known = &self.description.interfaces[offer].methods[method];
        let ours = self.texts[offer][method].get_or_init(|| known.shape().text(&known.name));
        let agreed = agree(ours, name, || known.signature())?;
        Ok(Bound { offer, method, agreed, flags: known.flags })
    }

    /// The answer of `$describe`.
    pub(super) fn encoded(&self) -> Result<Bytes, Failure> {
        self.encoded.get_or_init(|| describe::encode(&self.description)).clone()
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        let at = Arc::as_ptr(&self.description) as usize;
        let mut known = KNOWN.lock();
        // Another one may stand there that was made as this one went.
        if known.get(&at).is_some_and(|known| known.strong_count() == 0) {
            known.remove(&at);
        }
    }
}
