//! How far a connection has come, and who waits for more. One notification, in place of a channel that has eight.

use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::message::Failure;

/// The stages of one connection's life, each later than the one before.
pub(super) struct Stages {
    at: Mutex<Stage>,
    changed: Notify,
}

enum Stage {
    Greeting,
    Open,
    Ended(Failure),
    /// Ended, and nothing more is written.
    Gone(Failure),
}

impl Default for Stages {
    fn default() -> Self {
        Stages { at: Mutex::new(Stage::Greeting), changed: Notify::new() }
    }
}

impl Stages {
    /// The peer's hello has come.
    pub(super) fn open(&self) {
        self.change(|at| matches!(at, Stage::Greeting).then_some(Stage::Open));
    }

    /// The connection has ended; only the first reason counts.
    pub(super) fn end(&self, reason: Failure) {
        self.change(|at| matches!(at, Stage::Greeting | Stage::Open).then_some(Stage::Ended(reason)));
    }

    /// Nothing more is written.
    pub(super) fn go(&self) {
        self.change(|at| {
            Some(Stage::Gone(match at {
                Stage::Ended(reason) | Stage::Gone(reason) => reason.clone(),
                Stage::Greeting | Stage::Open => Failure::runtime_ended(),
            }))
        });
    }

    fn change(&self, next: impl FnOnce(&Stage) -> Option<Stage>) {
        {
            let mut at = self.at.lock();
            let Some(next) = next(&at) else { return };
            *at = next;
        }
        self.changed.notify_waiters();
    }

    /// Waits for the peer's hello.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub(super) async fn greeted(&self) -> Result<(), Failure> {
        self.when(|at| match at {
            Stage::Greeting => None,
            Stage::Open => Some(Ok(())),
            Stage::Ended(reason) | Stage::Gone(reason) => Some(Err(reason.clone())),
        })
        .await
    }

    /// Waits for the end, and says why it came.
    pub(super) async fn ended(&self) -> Failure {
        self.when(|at| match at {
            Stage::Greeting | Stage::Open => None,
            Stage::Ended(reason) | Stage::Gone(reason) => Some(reason.clone()),
        })
        .await
    }

    /// Waits until nothing more is written.
    pub(super) async fn gone(&self) {
        self.when(|at| matches!(at, Stage::Gone(_)).then_some(())).await;
    }

    async fn when<T>(&self, look: impl Fn(&Stage) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(seen) = look(&self.at.lock()) {
                return seen;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join;

    use super::*;
    use crate::message::{FailureKind, Ran};

    fn failure(message: &str) -> Failure {
        Failure::new(FailureKind::Disconnected, Ran::Maybe, message)
    }

    #[tokio::test]
    async fn everybody_who_waits_is_told_and_who_comes_later_knows_at_once() {
        let stages = Stages::default();
        assert!(stages.greeted().now_or_never().is_none());
        let (one, other) = join(join(stages.greeted(), stages.greeted()), async { stages.open() }).await.0;
        assert!(one.is_ok() && other.is_ok());
        assert!(stages.greeted().await.is_ok() && stages.ended().now_or_never().is_none());
        let (reason, ()) = join(stages.ended(), async { stages.end(failure("it was closed")) }).await;
        assert_eq!(&*reason.message, "it was closed");
        assert!(stages.gone().now_or_never().is_none());
        join(stages.gone(), async { stages.go() }).await;
        assert_eq!(&*stages.ended().await.message, "it was closed");
    }

    #[tokio::test]
    async fn the_first_reason_counts_and_no_stage_comes_back() {
        let stages = Stages::default();
        stages.end(failure("first"));
        stages.end(failure("second"));
        stages.open();
        assert_eq!(&*stages.ended().await.message, "first");
        assert_eq!(&*stages.greeted().await.expect_err("it has ended").message, "first");
        stages.go();
        stages.end(failure("third"));
        assert_eq!(&*stages.ended().await.message, "first");
    }
}
