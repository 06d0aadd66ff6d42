use std::fmt;
use std::sync::Arc;

use super::{Promise, Reference};
use crate::message::{Cause, Failure, FailureKind, Ran};

/// Takes back a reference that was handed out by [`Remote::revocable`](super::Remote::revocable). Dropping it revokes nothing: the reference
/// can then not be taken back any more.
///
/// Wire: docs/protocol.md, section 13.3.
#[must_use = "without its revoker the reference cannot be taken back"]
pub struct Revoker(Arc<Promise>);

impl Revoker {
    /// A form of `reference` of its own, and what takes it back.
    pub(super) fn lend(reference: Reference) -> (Reference, Revoker) {
        let promise = Promise::lending(reference.followed());
        (Reference::promised(Arc::clone(&promise)), Revoker(promise))
    }

    /// Breaks the reference wherever it has been passed: from here on calls on it fail `Broken`, with `Refused` and `reason` as the cause,
    /// and [`on_broken`](super::Remote::on_broken) of every holder resolves with that. Calls that have started go on. The object itself, and
    /// other references to it, are not touched. Only the first reason counts.
    pub fn revoke(&self, reason: &str) {
        let refused = Failure::new(FailureKind::Refused, Ran::No, reason);
        self.0.revoke(Failure::broken_by(Cause::Broker(refused)));
    }
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoker")
    }
}
