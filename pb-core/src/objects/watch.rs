use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Somebody who waits for a reference to break, or to settle. Whoever drops it waits no more.
pub trait Watcher: Send + Sync {
    /// It may have: look again. Called under no lock; runs no user code but wakers.
    fn wake(self: Arc<Self>);
}

/// A task that waits.
#[derive(Default)]
pub(super) struct Sleeper(Mutex<Option<Waker>>);

impl Sleeper {
    /// Wakes this task from now on.
    pub(super) fn wake_by(&self, cx: &Context<'_>) {
        let is_known = self.0.lock().as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        if !is_known {
            // A waker may be anybody's code: it is cloned and dropped under no lock.
            let waker = cx.waker().clone();
            let before = self.0.lock().replace(waker);
            drop(before);
        }
    }
}

impl Watcher for Sleeper {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Those who wait for one thing. Takes no more room than twice those who still do.
#[derive(Default)]
pub struct Watchers {
    /// By their addresses: what is held weakly keeps its address.
    all: HashMap<usize, Weak<dyn Watcher>>,
    /// When those who are gone are taken out.
    clean_at: usize,
}

impl Watchers {
    /// Lets `watcher` be woken, once however often it is added.
    pub fn add(&mut self, watcher: &Arc<dyn Watcher>) {
        if self.all.len() >= self.clean_at {
            self.all.retain(|_, known| known.strong_count() > 0);
            self.clean_at = self.all.len().max(2) * 2;
        }
        let address = Arc::as_ptr(watcher).cast::<()>() as usize;
        self.all.entry(address).or_insert_with(|| Arc::downgrade(watcher));
    }

    /// Wakes all, who have to add themselves again. To be called under no lock.
    pub fn wake(self) {
        for watcher in self.all.into_values().filter_map(|watcher| watcher.upgrade()) {
            watcher.wake();
        }
    }
}
