//! Leaving in good order, and learning that the peer does or that nothing remains.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, State};
use crate::message::Failure;
use crate::proto::Farewell;

/// What the peer said when it began to leave: it runs no further calls on its root object, and closes.
///
/// Wire: docs/protocol.md, section 13.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// For people, in the peer's words, control characters included; at most 1,024 bytes.
    pub reason: Box<str>,
    /// What is left until the peer closes, by its own word. It closes earlier once nothing of it is held here and nothing is in flight.
    pub left: Duration,
}

impl Line {
    /// Leaves: see [`Connection::leave`](crate::proto::Connection::leave).
    pub(super) fn leave(&self, time: Duration, reason: &str) {
        self.with(|connection, out| connection.leave(reason, time, Instant::now().into_std(), out));
        // The reading task must know of the deadline.
        self.read.ring();
    }

    /// The peer's stream has ended, in good order.
    pub(super) fn hear_no_more(&self, reason: Failure) {
        self.with(|connection, _| connection.hear_no_more(reason, LAST_ANSWERS, Instant::now().into_std()));
        self.wake_watchers();
        self.changed.notify_waiters();
        self.room.open_for_all();
        self.forget_pings();
        self.send_parked();
    }

    /// Waits until nothing remains on either side, or the connection has ended.
    pub(super) async fn idle(&self) {
        let _waiting = Idler::new(self);
        self.when(|state| (!state.in_hand && state.connection.is_idle()).then_some(())).await;
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        !state.in_hand && state.connection.is_idle()
    }

    /// Waits until the peer says nothing more, or the connection has ended.
    pub(super) async fn heard_out(&self) {
        self.when(|state| state.connection.lost().map(drop)).await;
    }

    pub(super) fn farewell(&self) -> Option<Leaving> {
        self.lock().connection.farewell().map(leaving)
    }

    /// Waits until the peer begins to leave.
    ///
    /// # Errors
    /// Why the connection has ended without.
    pub(super) async fn leaving(&self) -> Result<Leaving, Failure> {
        self.when(|state| match (state.connection.farewell(), state.connection.lost()) {
            (Some(farewell), _) => Some(Ok(leaving(farewell))),
            (None, Some(reason)) => Some(Err(reason.clone())),
            (None, None) => None,
        })
        .await
    }

    /// Waits until `ready` has something, which it may have whenever `changed` is told.
    async fn when<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = ready(&self.lock()) {
                return found;
            }
            changed.await;
        }
    }
}

fn leaving(farewell: &Farewell) -> Leaving {
    let left = farewell.until.saturating_duration_since(Instant::now().into_std());
    Leaving { reason: farewell.reason.clone(), left }
}

/// Somebody who waits until nothing remains.
struct Idler<'a>(&'a Line);

impl<'a> Idler<'a> {
    fn new(line: &'a Line) -> Self {
        line.lock().idlers += 1;
        Idler(line)
    }
}

impl Drop for Idler<'_> {
    fn drop(&mut self) {
        self.0.lock().idlers -= 1;
    }
}

/// After the end of its stream the peer still gets answers for this long.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
