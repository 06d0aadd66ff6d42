//! Methods that were handed to the runtime and have not been looked at there yet.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use crate::objects::{BoxTask, Stop};

/// How many there are of one connection. A peer whose calls are cancelled at once could fill the runtime's queue with tasks that are over, and
/// everybody else waits behind them; so a connection reads on when its own have been looked at.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<AtomicUsize>);

impl Arrivals {
    /// Whether so many have not arrived that more must wait.
    pub(super) fn are_late(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MOST
    }

    /// Hands `task` to the runtime; gives it back where there is none.
    pub(super) fn spawn(&self, task: BoxTask) -> Result<Stop, BoxTask> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Err(task) };
        self.0.fetch_add(1, Ordering::Relaxed);
        let handle =
            runtime.spawn(Arriving { task, on_its_way: Some(OnItsWay(Arc::clone(&self.0))) }).abort_handle();
        Ok(Box::new(move || handle.abort()))
    }
}

struct Arriving {
    task: BoxTask,
    on_its_way: Option<OnItsWay>,
}

impl Future for Arriving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.on_its_way = None;
        self.task.as_mut().poll(cx)
    }
}

struct OnItsWay(Arc<AtomicUsize>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of one connection.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> BoxTask {
        Box::pin(std::future::pending())
    }

    #[tokio::test]
    async fn methods_are_late_until_the_runtime_has_looked_at_them() {
        let arrivals = Arrivals::default();
        let mut stops: Vec<_> = (0..MOST).map(|_| arrivals.spawn(waiting()).ok()).collect();
        assert!(!arrivals.are_late());
        stops.push(arrivals.spawn(waiting()).ok());
        assert!(arrivals.are_late());
        tokio::task::yield_now().await;
        assert!(!arrivals.are_late());
        assert_eq!(arrivals.0.load(Ordering::Relaxed), 0);
        stops.into_iter().flatten().for_each(|stop| stop());
    }

    #[tokio::test]
    async fn what_is_stopped_before_it_arrives_is_not_waited_for() {
        let arrivals = Arrivals::default();
        let stop = arrivals.spawn(waiting()).ok().expect("a runtime");
        assert_eq!(arrivals.0.load(Ordering::Relaxed), 1);
        stop();
        tokio::task::yield_now().await;
        assert_eq!(arrivals.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_runtime_a_method_is_handed_back() {
        let arrivals = Arrivals::default();
        assert!(arrivals.spawn(waiting()).is_err());
        assert_eq!(arrivals.0.load(Ordering::Relaxed), 0);
    }
}
