//! Who waits for the peer's grants to have room: programs that ask whether they may call, and calls that are passed on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bell::Bell;
use crate::objects::Onward;

/// The waiting, on one connection. Calls that are passed on go first, in their order.
///
/// What frees room is counted by the tables ([`Connection::freed`](crate::proto::Connection::freed)): a call that found none is tried again
/// only when that count has moved.
#[derive(Default)]
pub(super) struct Room {
    /// How many wait, programs and calls.
    awaited: AtomicUsize,
    calls: Mutex<Calls>,
    programs: Notify,
}

#[derive(Default)]
struct Calls {
    /// By the order in which they came.
    waiting: BTreeMap<u64, Box<dyn Onward>>,
    last: u64,
    /// One of them is out, and may come back to where it was.
    trying: bool,
    /// What was freed when the first one found no room.
    stuck_at: Option<u64>,
}

impl Room {
    /// Whether anybody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// Whether a call that is passed on must wait behind others.
    pub(super) fn is_crowded(&self) -> bool {
        let calls = self.calls.lock();
        calls.trying || !calls.waiting.is_empty()
    }

    /// The place of the next call that waits.
    pub(super) fn ticket(&self) -> u64 {
        let mut calls = self.calls.lock();
        calls.last += 1;
        calls.last
    }

    /// Lets a call wait at its place; hands it back where it was stopped already.
    pub(super) fn park(&self, ticket: u64, call: Box<dyn Onward>) -> Option<Box<dyn Onward>> {
        let mut calls = self.calls.lock();
        if call.is_stopped() {
            return Some(call);
        }
        self.awaited.fetch_add(1, Ordering::SeqCst);
        calls.waiting.insert(ticket, call);
        None
    }

    /// Takes a call out that waits. One that is just being tried is not here; whoever tries it sees that it is stopped.
    pub(super) fn unpark(&self, ticket: u64) -> Option<Box<dyn Onward>> {
        let (call, empty) = {
            let mut calls = self.calls.lock();
            let call = calls.waiting.remove(&ticket)?;
            calls.stuck_at = None;
            (call, calls.waiting.is_empty())
        };
        self.awaited.fetch_sub(1, Ordering::SeqCst);
        if empty {
            self.programs.notify_waiters();
        }
        Some(call)
    }

    /// Room for `count` more has come. Calls that wait are sent by the reading task; where none does, as many programs look again.
    pub(super) fn open(&self, count: u64, read: &Bell) {
        if self.is_crowded() {
            return read.ring();
        }
        let awaited = self.awaited.load(Ordering::SeqCst) as u64;
        (0..count.min(awaited)).for_each(|_| self.programs.notify_one());
    }

    /// Lets all programs look again: the grants have changed, or the connection has ended.
    pub(super) fn open_for_all(&self) {
        self.programs.notify_waiters();
    }

    /// Sends what waits, until the first finds no room. `look` says what has been freed, and whether all must go since the peer takes
    /// nothing any more. One thread at a time sends; what comes meanwhile it sees.
    pub(super) fn drain(&self, look: impl Fn() -> (u64, bool)) {
        let mut any = false;
        loop {
            let (freed, lost) = look();
            let Some((ticket, call)) = self.begin(freed, lost) else { break };
            any = true;
            let trying = Trying { room: self };
            let back = call.go();
            std::mem::forget(trying);
            if let Some(stopped) = self.end(ticket, back, freed) {
                stopped.give_up();
            }
        }
        if any && !self.is_crowded() {
            self.programs.notify_waiters();
        }
    }

    fn begin(&self, freed: u64, lost: bool) -> Option<(u64, Box<dyn Onward>)> {
        let mut calls = self.calls.lock();
        if calls.trying || (calls.stuck_at == Some(freed) && !lost) {
            return None;
        }
        let first = calls.waiting.pop_first()?;
        calls.trying = true;
        Some(first)
    }

    /// Hands back a call that found no room and was stopped meanwhile.
    fn end(&self, ticket: u64, back: Option<Box<dyn Onward>>, freed: u64) -> Option<Box<dyn Onward>> {
        let mut calls = self.calls.lock();
        calls.trying = false;
        match back {
            Some(call) if !call.is_stopped() => {
                calls.waiting.insert(ticket, call);
                calls.stuck_at = Some(freed);
                None
            }
            gone => {
                calls.stuck_at = None;
                self.awaited.fetch_sub(1, Ordering::SeqCst);
                gone
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
                // Whoever waits behind may have room too, and more so where this one does not use it.
                self.programs.notify_one();
                return seen;
            }
            notified.await;
        }
    }
}

/// A call is out, for as long as this lives: one that panics must not keep the others.
struct Trying<'a> {
    room: &'a Room,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.room.calls.lock().trying = false;
        self.room.awaited.fetch_sub(1, Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// What happened, in order.
    type Log = Arc<Mutex<Vec<String>>>;

    struct Call {
        name: &'static str,
        log: Log,
        stopped: Arc<AtomicBool>,
        fits: bool,
        panics: bool,
    }

    impl Onward for Call {
        fn go(mut self: Box<Self>) -> Option<Box<dyn Onward>> {
            assert!(!self.panics, "intended");
            self.log.lock().push(format!("{} {}", self.name, if self.fits { "goes" } else { "is tried" }));
            if self.fits {
                return None;
            }
            self.fits = true;
            Some(self)
        }

        fn is_stopped(&self) -> bool {
            self.stopped.load(Ordering::SeqCst)
        }

        fn give_up(self: Box<Self>) {
            self.log.lock().push(format!("{} is given up", self.name));
        }
    }

    fn call(name: &'static str, log: &Log, fits: bool) -> Box<Call> {
        Box::new(Call { name, log: Arc::clone(log), stopped: Arc::default(), fits, panics: false })
    }

    fn park(room: &Room, call: Box<Call>) -> u64 {
        let ticket = room.ticket();
        assert!(room.park(ticket, call).is_none());
        ticket
    }

    #[test]
    fn a_call_that_found_no_room_is_tried_again_only_when_something_is_free() {
        let (room, log) = (Room::default(), Log::default());
        park(&room, call("first", &log, false));
        park(&room, call("second", &log, true));
        (0..10).for_each(|_| room.drain(|| (7, false)));
        assert_eq!(*log.lock(), ["first is tried"]);
        assert!(room.is_crowded() && room.is_awaited());
        room.drain(|| (8, false));
        assert_eq!(*log.lock(), ["first is tried", "first goes", "second goes"]);
        assert!(!room.is_crowded() && !room.is_awaited());
    }

    #[test]
    fn all_go_when_the_peer_takes_nothing_any_more() {
        let (room, log) = (Room::default(), Log::default());
        park(&room, call("first", &log, false));
        room.drain(|| (1, false));
        room.drain(|| (1, true));
        assert_eq!(*log.lock(), ["first is tried", "first goes"]);
    }

    #[test]
    fn a_call_that_is_stopped_leaves_its_place() {
        let (room, log) = (Room::default(), Log::default());
        let ticket = park(&room, call("first", &log, false));
        park(&room, call("second", &log, true));
        room.drain(|| (1, false));
        room.unpark(ticket).expect("it waits").give_up();
        assert!(room.unpark(ticket).is_none());
        // The one behind it is tried although nothing was freed.
        room.drain(|| (1, false));
        assert_eq!(*log.lock(), ["first is tried", "first is given up", "second goes"]);
        assert!(!room.is_awaited());
    }

    #[test]
    fn a_call_that_is_stopped_before_it_waits_or_while_it_is_tried_does_not_wait() {
        let (room, log) = (Room::default(), Log::default());
        let stopped = call("early", &log, true);
        stopped.stopped.store(true, Ordering::SeqCst);
        assert!(room.park(room.ticket(), stopped).is_some());
        let tried = call("late", &log, false);
        let stop = Arc::clone(&tried.stopped);
        let ticket = park(&room, tried);
        // Between the try and its end somebody stops it, and finds it nowhere.
        let (_, tried) = room.begin(1, false).expect("it waits");
        stop.store(true, Ordering::SeqCst);
        assert!(room.unpark(ticket).is_none());
        let back = tried.go();
        room.end(ticket, back, 1).expect("it does not wait again").give_up();
        assert_eq!(*log.lock(), ["late is tried", "late is given up"]);
        assert!(!room.is_crowded() && !room.is_awaited());
    }

    #[test]
    fn a_call_that_panics_keeps_no_other() {
        let (room, log) = (Room::default(), Log::default());
        park(&room, Box::new(Call { panics: true, ..*call("first", &log, true) }));
        park(&room, call("second", &log, true));
        assert!(catch_unwind(AssertUnwindSafe(|| room.drain(|| (1, false)))).is_err());
        room.drain(|| (1, false));
        assert_eq!(*log.lock(), ["second goes"]);
        assert!(!room.is_crowded() && !room.is_awaited());
    }

    #[test]
    fn another_call_goes_behind_one_that_is_being_tried() {
        let (room, log) = (Room::default(), Log::default());
        let ticket = park(&room, call("first", &log, false));
        let (_, first) = room.begin(1, false).expect("it waits");
        assert!(room.is_crowded());
        park(&room, call("second", &log, true));
        assert!(room.begin(1, false).is_none(), "one at a time");
        assert!(room.end(ticket, first.go(), 1).is_none());
        room.drain(|| (2, false));
        assert_eq!(*log.lock(), ["first is tried", "first goes", "second goes"]);
    }
}
