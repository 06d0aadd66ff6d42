//! The message that is being encoded or decoded on this thread: what gives a reference its index.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::Arc;

use super::Reference;
use crate::message::{Failure, FailureKind, Ran};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Outside,
    Encoding,
    Decoding,
    Tracing,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Outside) };
    /// How many references the message has: most have none, and then [`REFERENCES`] is not looked at.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static REFERENCES: RefCell<Vec<Reference>> = const { RefCell::new(Vec::new()) };
}

/// A scope, with the one that it put aside: a user's `Serialize` may call a stub, which encodes another message meanwhile. The outer
/// scope is put back after a panic too.
struct Scope {
    outer_mode: Mode,
    /// The outer scope's references; `None` where neither had any when this one began.
    outer: Option<Vec<Reference>>,
}

impl Scope {
    /// A scope without references.
    #[inline]
    fn enter(mode: Mode) -> Scope {
        let outer = (COUNT.get() > 0).then(|| exchange(Vec::new()));
        Scope { outer_mode: MODE.replace(mode), outer }
    }

    /// The references of this scope, into `references`, which is empty; it has none from here on.
    #[inline]
    fn take_into(&self, references: &mut Vec<Reference>) {
        if COUNT.get() > 0 {
            *references = exchange(Vec::new());
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        MODE.set(self.outer_mode);
        if COUNT.get() > 0 || self.outer.is_some() {
            drop(exchange(self.outer.take().unwrap_or_default()));
        }
    }
}

/// Makes `references` those of the message, and returns the ones that were.
fn exchange(references: Vec<Reference>) -> Vec<Reference> {
    COUNT.set(references.len());
    REFERENCES.replace(references)
}

/// Runs `encode` and returns with its result the references that it met, in the order of their indices.
pub fn encode_with<T>(encode: impl FnOnce() -> T) -> (T, Vec<Reference>) {
    let mut references = Vec::new();
    let result = encode_into(&mut references, encode);
    (result, references)
}

/// The same, with the references in `references`, which is empty before: mostly there are none, and nothing is moved about then.
#[inline]
pub(super) fn encode_into<T>(references: &mut Vec<Reference>, encode: impl FnOnce() -> T) -> T {
    let scope = Scope::enter(Mode::Encoding);
    let result = encode();
    scope.take_into(references);
    result
}

/// Runs `decode`, in which indices stand for `references`.
#[inline]
pub fn decode_with<T>(references: Vec<Reference>, decode: impl FnOnce() -> T) -> T {
    let _scope = if references.capacity() == 0 {
        // Nothing is there to be dropped, and most messages are such.
        mem::forget(references);
        Scope::enter(Mode::Decoding)
    } else {
        let outer_mode = MODE.replace(Mode::Decoding);
        Scope { outer_mode, outer: Some(exchange(references)) }
    };
    decode()
}

/// Runs `trace`, in which every index stands for a broken reference: shapes are found by decoding nothing.
pub(super) fn trace_with<T>(trace: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(Mode::Tracing);
    trace()
}

/// The index of `reference` in the message that is being encoded; `None` outside one.
pub(super) fn index_of(reference: &Reference) -> Option<u32> {
    if MODE.get() != Mode::Encoding {
        return None;
    }
    let reference = reference.followed();
    REFERENCES.with_borrow_mut(|references| {
        let index = references.iter().position(|known| known.is(&reference)).unwrap_or_else(|| {
            references.push(reference.clone());
            COUNT.set(references.len());
            references.len() - 1
        });
        u32::try_from(index).ok()
    })
}

/// All references of the message that is being decoded.
pub(super) fn references() -> Vec<Reference> {
    REFERENCES.with_borrow(Clone::clone)
}

/// What an index stands for.
pub(super) enum Looked {
    Found(Reference),
    OutOfRange { count: usize },
    Outside,
}

pub(super) fn look_up(index: u32) -> Looked {
    match MODE.get() {
        Mode::Outside | Mode::Encoding => Looked::Outside,
        Mode::Decoding => REFERENCES.with_borrow(|references| match references.get(index as usize) {
            Some(reference) => Looked::Found(reference.clone()),
            None => Looked::OutOfRange { count: references.len() },
        }),
        Mode::Tracing => Looked::Found(Reference::broken(Arc::new(Failure::new(
            FailureKind::Broken,
            Ran::No,
            "a reference made to find a type's shape",
        )))),
    }
}
