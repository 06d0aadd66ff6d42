//! How one task is called that waits to be.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// Rung by anybody, heard by one task: a ring that nobody waits for is heard by who waits next, and many are heard as one. A task that waits for it
/// again and again costs little, unlike with tokio's `Notify`, which keeps a list of those who wait.
#[derive(Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    /// Calls the task.
    pub(super) fn ring(&self) {
        // Whoever has rung before and was not heard has woken the task, or is about to.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Waits for a ring. One task at a time may.
    ///
    /// # Cancel safety
    /// A dropped future has heard nothing.
    pub(super) fn heard(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll_heard(cx))
    }

    /// The same for futures that are written by hand.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_heard() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.is_heard() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_heard(&self) -> bool {
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_ring_is_kept_until_it_is_heard_and_many_are_one() {
        let bell = Bell::default();
        assert!(bell.heard().now_or_never().is_none());
        bell.ring();
        bell.ring();
        bell.heard().await;
        assert!(bell.heard().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_waits_is_woken_each_time() {
        let (bell, answer) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let (rung, answered) = (Arc::clone(&bell), Arc::clone(&answer));
        let task = tokio::spawn(async move {
            for _ in 0..100 {
                rung.heard().await;
                answered.ring();
            }
        });
        for _ in 0..100 {
            bell.ring();
            answer.heard().await;
        }
        task.await.expect("it has heard every ring");
    }

    #[tokio::test]
    async fn who_gave_up_waiting_takes_no_ring_with_him() {
        let bell = Bell::default();
        let mut waits = Box::pin(bell.heard());
        assert!(waits.as_mut().now_or_never().is_none());
        bell.ring();
        drop(waits);
        bell.heard().await;
    }
}
