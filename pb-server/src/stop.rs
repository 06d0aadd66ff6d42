use tokio::sync::watch;
use tokio::time::Instant;

/// Whether a server goes on, or how it ends.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// Connections have until then to finish.
    Drain(Instant),
    /// At once.
    Now,
}

/// Waits until the server is told to stop, or is gone. Says until when connections may finish, if they may.
pub(crate) async fn told_to_stop(stopped: &mut watch::Receiver<Stop>) -> Option<Instant> {
    match stopped.wait_for(|stopped| !matches!(stopped, Stop::No)).await.as_deref() {
        Ok(Stop::Drain(until)) => Some(*until),
        _ => None,
    }
}

/// Waits until connections may not finish any more.
pub(crate) async fn told_to_hurry(stopped: &mut watch::Receiver<Stop>) {
    let _ = stopped.wait_for(|stopped| matches!(stopped, Stop::Now)).await;
}
