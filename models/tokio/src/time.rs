//! No time passes: what waits for a moment waits for ever, and nothing is late.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

pub use tokio_real::time::{Duration, Instant, error};

/// Never ends.
#[derive(Debug)]
pub struct Sleep(Instant);

impl Sleep {
    /// When it would end.
    pub fn deadline(&self) -> Instant {
        self.0
    }

    /// No.
    pub fn is_elapsed(&self) -> bool {
        false
    }

    /// Changes when it would end.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.get_mut().0 = deadline;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Never ends.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep(deadline)
}

/// Never ends.
pub async fn sleep(_: Duration) {
    pending().await
}

/// Is never late.
///
/// # Errors
/// None.
pub async fn timeout<F: Future>(_: Duration, work: F) -> Result<F::Output, error::Elapsed> {
    Ok(work.await)
}

/// Is never late.
///
/// # Errors
/// None.
pub async fn timeout_at<F: Future>(_: Instant, work: F) -> Result<F::Output, error::Elapsed> {
    Ok(work.await)
}
