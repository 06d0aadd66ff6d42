//! The task that connects, and connects again.

use std::sync::Arc;

use pb_core::{Broker, Failure, FailureKind, Ran};
use tokio::time::{Instant, sleep_until};

use crate::reconnect::State;
use crate::reconnecting::{Shared, Wish};

/// Connects whenever that is wished, until it is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let _ending = Ending(Arc::clone(&shared));
    let mut failures = 0_u32;
    while until_wished(&shared).await {
        shared.show(State::Connecting { attempt: failures.saturating_add(1) });
        let opened = tokio::select! {
            opened = shared.target.open() => opened,
            () = closed(&shared) => return,
        };
        let reason = match opened {
            Ok(broker) => {
                let since = Instant::now();
                let Some(reason) = serve(&shared, broker).await else { return };
                failures = if since.elapsed() >= shared.how.steady { 0 } else { failures.saturating_add(1) };
                shared.down(reason.clone(), failures, true);
                reason
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let reason = Failure::new(FailureKind::Disconnected, Ran::No, error.to_string());
                shared.down(reason.clone(), failures, false);
                reason
            }
        };
        if shared.how.attempts.is_some_and(|most| failures >= most.max(1)) {
            let message = format!("given up after {failures} attempts: {}", reason.message);
            shared.close(Failure { message: message.into(), ..reason });
            return;
        }
    }
}

/// Waits until a connection is to be made. `false` where none is to be made any more.
async fn until_wished(shared: &Shared) -> bool {
    loop {
        match shared.wish() {
            Wish::End => return false,
            Wish::Connect => return true,
            Wish::Nothing => {
                shared.show(State::Idle);
                shared.changed.notified().await;
            }
            Wish::Rest(until, reason) => {
                shared.show(State::Waiting { until: until.into_std(), reason });
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

/// Hands the connection out for as long as new calls may go over it. Says why they may no longer; nothing where it was closed from here.
async fn serve(shared: &Shared, broker: Broker) -> Option<Failure> {
    shared.up(&broker);
    tokio::select! {
        left = broker.leaving() => Some(match left {
            Ok(leaving) => {
                let message = format!("the server is leaving: {}", leaving.reason);
                Failure::new(FailureKind::Disconnected, Ran::No, message)
            }
            Err(reason) => Failure { ran: Ran::No, ..reason },
        }),
        () = closed(shared) => None,
    }
}

async fn closed(shared: &Shared) {
    let mut states = shared.state.subscribe();
    let _ = states.wait_for(|state| matches!(state, State::Closed { .. })).await;
}

/// Closes it when its task goes, for whatever reason: a runtime that shuts down drops tasks in the middle.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let why = "the client's tasks have ended with their runtime";
        drop(self.0.close(Failure::new(FailureKind::Disconnected, Ran::No, why)));
    }
}
