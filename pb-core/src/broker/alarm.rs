//! When a reading task looks at the clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rings when there is something to do, or before: each byte that comes puts that off, and setting a clock costs more than looking at it once too
/// often. Of one task, which waits for it by one and the same waker: so it need not be asked each time that the task waits.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// It has the task's waker, and was not set since.
    armed: bool,
}

impl Alarm {
    pub(super) fn at(time: Instant) -> Self {
        Alarm { sleep: Box::pin(sleep_until(time)), armed: false }
    }

    /// It is to ring by then, if at all.
    pub(super) fn set(&mut self, timeout: Option<std::time::Instant>) {
        if let Some(timeout) = timeout.map(Instant::from_std)
            && (timeout < self.sleep.deadline() || self.sleep.is_elapsed())
        {
            self.sleep.as_mut().reset(timeout);
            self.armed = false;
        }
    }

    /// Whether it rings; else it wakes the task when it does. `first`: the task has something else to wait for than last time, and was not woken meanwhile.
    pub(super) fn poll_rung(&mut self, first: bool, cx: &mut Context<'_>) -> Poll<()> {
        if first && self.armed && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Whatever the task has done in this turn: what is put off to its next has no waker.
        let polled = pin!(unconstrained(self.sleep.as_mut())).poll(cx);
        self.armed = polled.is_pending();
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::mem;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    fn after(time: Duration) -> std::time::Instant {
        std::time::Instant::now() + time
    }

    /// As a task that waits for it until it rings.
    async fn rung(alarm: &mut Alarm) {
        let mut first = true;
        poll_fn(|cx| alarm.poll_rung(mem::take(&mut first), cx)).await;
    }

    /// As a task that waits for it, and is woken by something else. Whether it has rung.
    async fn waits(alarm: &mut Alarm) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.poll_rung(true, cx).is_ready())).await
    }

    #[tokio::test]
    async fn it_rings_however_often_it_was_waited_for_before() {
        let time = after(SOON);
        let mut alarm = Alarm::at(Instant::from_std(time));
        for _ in 0..3 {
            waits(&mut alarm).await;
        }
        rung(&mut alarm).await;
        assert!(std::time::Instant::now() >= time);
    }

    #[tokio::test]
    async fn it_is_put_forward_and_not_off_and_set_anew_when_it_has_rung() {
        let mut alarm = Alarm::at(Instant::from_std(after(NEVER)));
        assert!(!waits(&mut alarm).await);
        let time = after(SOON);
        alarm.set(Some(time));
        alarm.set(Some(after(NEVER)));
        alarm.set(None);
        rung(&mut alarm).await;
        assert!(std::time::Instant::now() >= time);
        alarm.set(Some(after(NEVER)));
        assert!(!waits(&mut alarm).await);
        alarm.set(Some(after(SOON)));
        rung(&mut alarm).await;
    }
}
