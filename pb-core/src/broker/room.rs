//! Who waits for the peer's grants to have room: programs that ask whether they may call, and calls that are passed on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::objects::Onward;

/// The waiting, on one connection. Calls that are passed on go first, in their order.
#[derive(Default)]
pub(super) struct Room {
    /// How many wait, or are on their way out of here.
    awaited: AtomicUsize,
    parked: Mutex<VecDeque<Box<dyn Onward>>>,
    draining: AtomicBool,
    programs: Notify,
}

impl Room {
    /// Whether anybody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// Whether a call that is passed on must wait behind others.
    pub(super) fn is_crowded(&self) -> bool {
        self.draining.load(Ordering::SeqCst) || !self.parked.lock().is_empty()
    }

    /// Lets a call wait behind those that wait already.
    pub(super) fn park(&self, call: Box<dyn Onward>) {
        self.awaited.fetch_add(1, Ordering::SeqCst);
        self.parked.lock().push_back(call);
    }

    /// Lets one program try again, unless calls wait, which the reading task sends.
    pub(super) fn open(&self, read: &Notify) {
        if self.parked.lock().is_empty() {
            self.programs.notify_one();
        } else {
            read.notify_one();
        }
    }

    /// Lets all programs look again: the grants have changed, or the connection has ended.
    pub(super) fn open_for_all(&self) {
        self.programs.notify_waiters();
    }

    /// Sends what waits, as long as `may_go`. One thread at a time does; what another adds meanwhile is seen.
    pub(super) fn drain(&self, may_go: impl Fn() -> bool) {
        while self.is_awaited() && !self.parked.lock().is_empty() && may_go() {
            if self.draining.swap(true, Ordering::SeqCst) {
                return;
            }
            let stuck = self.send_next();
            self.draining.store(false, Ordering::SeqCst);
            if stuck {
                return;
            }
        }
    }

    /// Sends the first that waits. Says whether it waits still.
    fn send_next(&self) -> bool {
        let Some(call) = self.parked.lock().pop_front() else { return false };
        match call.go() {
            Some(call) => {
                self.parked.lock().push_front(call);
                true
            }
            None => {
                self.awaited.fetch_sub(1, Ordering::SeqCst);
                false
            }
        }
    }

    /// Waits until `look` says something; it looks at once, and again when there may be room.
    pub(super) async fn wait<T>(&self, look: impl Fn() -> Option<T>) -> T {
        if let Some(seen) = look() {
            return seen;
        }
        let _counted = Counted::new(&self.awaited);
        loop {
            let notified = self.programs.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(seen) = look() {
                return seen;
            }
            notified.await;
        }
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
