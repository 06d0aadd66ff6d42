//! The message that is being encoded or decoded on this thread: what gives a reference its index.

use std::cell::RefCell;
use std::sync::Arc;

use super::Reference;
use crate::message::{Failure, FailureKind, Ran};

/// A stack of one: entering puts the outer scope aside, because a user's `Serialize` may call a stub.
enum Scope {
    Outside,
    Encoding(Vec<Reference>),
    Decoding(Vec<Reference>),
    Tracing,
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Outside) };
}

/// Puts the outer scope back, after a panic too.
struct Outer(Option<Scope>);

impl Outer {
    fn enter(inner: Scope) -> Outer {
        Outer(Some(SCOPE.replace(inner)))
    }

    /// Leaves the inner scope and returns it.
    fn leave(mut self) -> Scope {
        SCOPE.replace(self.0.take().unwrap_or(Scope::Outside))
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            drop(SCOPE.replace(outer));
        }
    }
}

/// Runs `encode` and returns with its result the references that it met, in the order of their indices.
pub fn encode_with<T>(encode: impl FnOnce() -> T) -> (T, Vec<Reference>) {
    let outer = Outer::enter(Scope::Encoding(Vec::new()));
    let result = encode();
    match outer.leave() {
        Scope::Encoding(references) => (result, references),
        _ => (result, Vec::new()),
    }
}

/// Runs `decode`, in which indices stand for `references`.
pub fn decode_with<T>(references: Vec<Reference>, decode: impl FnOnce() -> T) -> T {
    let outer = Outer::enter(Scope::Decoding(references));
    let result = decode();
    drop(outer);
    result
}

/// Runs `trace`, in which every index stands for a broken reference: shapes are found by decoding nothing.
pub(super) fn trace_with<T>(trace: impl FnOnce() -> T) -> T {
    let outer = Outer::enter(Scope::Tracing);
    let result = trace();
    drop(outer);
    result
}

/// The index of `reference` in the message that is being encoded; `None` outside one.
pub(super) fn index_of(reference: &Reference) -> Option<u32> {
    SCOPE.with_borrow_mut(|scope| {
        let Scope::Encoding(references) = scope else { return None };
        let index = references.iter().position(|known| known.is(reference)).unwrap_or_else(|| {
            references.push(reference.clone());
            references.len() - 1
        });
        u32::try_from(index).ok()
    })
}

/// What an index stands for.
pub(super) enum Looked {
    Found(Reference),
    OutOfRange { count: usize },
    Outside,
}

pub(super) fn look_up(index: u32) -> Looked {
    SCOPE.with_borrow(|scope| match scope {
        Scope::Decoding(references) => match references.get(index as usize) {
            Some(reference) => Looked::Found(reference.clone()),
            None => Looked::OutOfRange { count: references.len() },
        },
        Scope::Tracing => Looked::Found(Reference::broken(Arc::new(Failure::new(
            FailureKind::Broken,
            Ran::No,
            "a reference made to find a type's shape",
        )))),
        Scope::Outside | Scope::Encoding(_) => Looked::Outside,
    })
}
