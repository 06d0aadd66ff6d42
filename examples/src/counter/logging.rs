//! A proxy: it implements what it calls.

use pb_client::Reconnecting;
use pb_server::Referenceable;

use super::{Counter, CounterError, CounterRef, Watcher, WatcherRef};

/// Passes calls on to a counter, and logs them.
#[derive(Referenceable)]
pub struct Logging<L> {
    to: Reconnecting,
    who: String,
    log: L,
}

impl<L: Fn(String) + Clone + Send + Sync + 'static> Logging<L> {
    /// For calls of `who`, to the root that is there; each is a line for `log`.
    pub fn new(to: Reconnecting, who: impl Into<String>, log: L) -> Self {
        Logging { to, who: who.into(), log }
    }

    /// The counter of the present connection, or of the next one.
    fn counter(&self) -> CounterRef {
        self.to.root()
    }

    fn logged<T>(&self, call: &str, result: Result<T, CounterError>) -> Result<T, CounterError> {
        (self.log)(match &result {
            Ok(_) => format!("{}: {call}", self.who),
            Err(error) => format!("{}: {call} failed: {error}", self.who),
        });
        result
    }
}

impl<L: Fn(String) + Clone + Send + Sync + 'static> Counter for Logging<L> {
    async fn add(&self, n: i64) -> Result<i64, CounterError> {
        let result = self.counter().add(n).await;
        self.logged(&format!("add({n})"), result.map_err(CounterError::from))
    }

    async fn value(&self) -> Result<i64, CounterError> {
        let result = self.counter().value().await;
        self.logged("value()", result.map_err(CounterError::from))
    }

    async fn watch(&self, watcher: WatcherRef) -> Result<(), CounterError> {
        // Passed on as it is, the watcher would be called by way of this process, but past this object.
        let logging = LoggingWatcher { to: watcher.clone(), who: self.who.clone(), log: self.log.clone() };
        let (lent, revoker) = WatcherRef::new(logging).remote().revocable();
        let result = self.counter().watch(lent).await;
        // The counter holds an object of ours, which lasts: it must be taken back when what it stands for is gone.
        tokio::spawn(revoker.revoke_with(watcher.remote()));
        self.logged("watch(..)", result.map_err(CounterError::from))
    }
}

/// Passes what a counter says on to a watcher, and logs it.
#[derive(Referenceable)]
struct LoggingWatcher<L> {
    to: WatcherRef,
    who: String,
    log: L,
}

impl<L: Fn(String) + Send + Sync + 'static> Watcher for LoggingWatcher<L> {
    async fn changed(&self, value: i64) {
        (self.log)(format!("{}: told {value}", self.who));
        // Where it is gone the counter learns that from what was lent.
        let _ = self.to.changed(value).await;
    }
}
