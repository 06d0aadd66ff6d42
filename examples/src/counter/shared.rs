//! The counter itself.

use pb_server::Referenceable;
use tokio::sync::watch;

use super::{Counter, CounterError, MOST_WATCHERS, WatcherRef};

/// A counter.
#[derive(Default, Referenceable)]
pub struct Shared {
    value: watch::Sender<i64>,
}

impl Counter for Shared {
    async fn add(&self, n: i64) -> Result<i64, CounterError> {
        let mut sum = Ok(0);
        self.value.send_if_modified(|value| {
            sum = value.checked_add(n).ok_or(CounterError::TooLarge { value: *value, n });
            sum.as_ref().is_ok_and(|sum| std::mem::replace(value, *sum) != *sum)
        });
        sum
    }

    async fn value(&self) -> Result<i64, CounterError> {
        Ok(*self.value.borrow())
    }

    async fn watch(&self, watcher: WatcherRef) -> Result<(), CounterError> {
        if self.value.receiver_count() >= MOST_WATCHERS {
            return Err(CounterError::Crowded);
        }
        let mut value = self.value.subscribe();
        value.mark_changed();
        // A task for each watcher: one that is slow holds up nobody else.
        tokio::spawn(async move {
            let gone = watcher.remote().on_broken();
            let telling = async {
                while value.changed().await.is_ok() {
                    let now = *value.borrow_and_update();
                    if watcher.changed(now).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = telling => {}
                _ = gone => {}
            }
        });
        Ok(())
    }
}
