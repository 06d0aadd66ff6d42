use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// Somebody who waits for a reference to break. Whoever drops it waits no more.
#[derive(Default)]
pub struct Watcher(Mutex<Option<Waker>>);

/// Those who wait for one thing. Takes no more room than twice those who still do.
#[derive(Default)]
pub struct Watchers {
    all: Vec<Weak<Watcher>>,
    /// When those who are gone are taken out.
    clean_at: usize,
}

impl Watcher {
    /// Wakes this task from now on.
    pub fn wake_by(&self, cx: &Context<'_>) {
        let mut waker = self.0.lock();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Watchers {
    /// Lets `watcher` be woken, once however often it is added.
    pub fn add(&mut self, watcher: &Arc<Watcher>) {
        if self.all.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(watcher))) {
            return;
        }
        if self.all.len() >= self.clean_at {
            self.all.retain(|known| known.strong_count() > 0);
            self.clean_at = self.all.len().max(2) * 2;
        }
        self.all.push(Arc::downgrade(watcher));
    }

    /// Wakes all, who have to add themselves again. To be called under no lock.
    pub fn wake(self) {
        for watcher in self.all.iter().filter_map(Weak::upgrade) {
            watcher.wake();
        }
    }
}
