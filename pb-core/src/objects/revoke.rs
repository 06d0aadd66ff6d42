use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::{Broken, Promise, Reference, Remote, Stub};
use crate::message::{Cause, Failure, FailureKind, Ran};

/// Takes back a reference that was handed out by [`Remote::revocable`](super::Remote::revocable). Dropping it revokes nothing: the reference
/// can then not be taken back any more. It holds neither the reference nor its object: where nobody has them any more, there is nothing to revoke.
///
/// Wire: docs/protocol.md, section 13.3.
#[must_use = "without its revoker the reference cannot be taken back"]
pub struct Revoker(Weak<Promise>);

impl Revoker {
    /// A form of `reference` of its own, and what takes it back.
    pub(super) fn lend(reference: Reference) -> (Reference, Revoker) {
        let promise = Promise::lending(reference.followed());
        let revoker = Revoker(Arc::downgrade(&promise));
        (Reference::promised(promise), revoker)
    }

    /// Breaks the reference wherever it has been passed: from here on calls on it fail `Broken`, with `Refused` and `reason` as the cause,
    /// and [`on_broken`](super::Remote::on_broken) of every holder resolves with that. Calls that have started go on. The object itself, and
    /// other references to it, are not touched. Only the first reason counts.
    pub fn revoke(&self, reason: &str) {
        let refused = Failure::new(FailureKind::Refused, Ran::No, reason);
        self.break_with(Failure::broken_by(Cause::Broker(refused)));
    }

    fn break_with(&self, failure: Failure) {
        if let Some(promise) = self.0.upgrade() {
            promise.revoke(failure);
        }
    }

    /// Breaks the reference when `other` breaks, with the same reason: for an object that stands for one of somebody else's, and is of no use
    /// without it. The future is to be spawned. It is done when either has broken, and when nobody holds the lent reference any more; so
    /// long it holds `other`.
    ///
    /// ```
    /// # use pb_core::{Referenceable, remote_interface};
    /// # #[remote_interface]
    /// # trait Watcher { #[remote(oneway)] async fn changed(&self, value: u64); }
    /// # #[derive(Referenceable)]
    /// # struct Logging { to: WatcherRef }
    /// # impl Watcher for Logging {
    /// #     async fn changed(&self, value: u64) { self.to.changed(value); }
    /// # }
    /// # fn stand_for(watcher: WatcherRef) -> WatcherRef {
    /// let (lent, revoker) = WatcherRef::new(Logging { to: watcher.clone() }).remote().revocable();
    /// tokio::spawn(revoker.revoke_with(watcher.remote()));
    /// # lent
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future is dropping the revoker.
    pub fn revoke_with<S: Stub>(self, other: Remote<'_, S>) -> RevokeWith {
        RevokeWith { revoker: self, other: other.on_broken() }
    }
}

/// The future of [`Revoker::revoke_with`].
#[must_use = "nothing is revoked by a future that is not polled: spawn it"]
pub struct RevokeWith {
    revoker: Revoker,
    other: Broken,
}

impl Future for RevokeWith {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(failure) = Pin::new(&mut self.other).poll(cx) {
            self.revoker.break_with(failure);
            return Poll::Ready(());
        }
        // Whoever waits for the other is woken for this one, too: when it breaks, and when its last holder lets go.
        let lasts = self
            .revoker
            .0
            .upgrade()
            .is_some_and(|lent| lent.settled_or_watch(&self.other.watcher()).is_none());
        if lasts { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl fmt::Debug for RevokeWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevokeWith")
    }
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoker")
    }
}
