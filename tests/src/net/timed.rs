//! The deadlines of calls that no connection knows: local ones, and those that wait for a promise here.

use std::rc::{Rc, Weak};
use std::time::Instant;

use pb_core::message::Ran;
use pb_core::proto::exceeded;

use super::call::{CallState, Ended};
use super::node::{Answering, Node};

impl Node {
    /// `call` must have ended by `deadline`.
    pub(super) fn time(&self, call: &Rc<CallState>, deadline: Option<Instant>) {
        if deadline.is_some() {
            call.deadline.set(deadline);
            self.timed.borrow_mut().push(Rc::downgrade(call));
        }
    }

    /// When the next of them is over.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let mut timed = self.timed.borrow_mut();
        let deadline =
            |call: &CallState| call.deadline.get().filter(|_| !call.has_ended() && !call.was_sent());
        timed.retain(|call| call.strong_count() > 0);
        timed.iter().filter_map(Weak::upgrade).filter_map(|call| deadline(&call)).min()
    }

    /// Ends those whose time is over by `now`.
    pub(super) fn expire(self: &Rc<Self>, now: Instant) {
        let timed: Vec<_> = self.timed.borrow().iter().filter_map(Weak::upgrade).collect();
        for call in timed {
            let over = call.deadline.get().is_some_and(|deadline| deadline <= now);
            if !over || call.has_ended() || call.was_sent() {
                continue;
            }
            call.expired.set(true);
            call.end(Ended::Failed(exceeded(Ran::Maybe)));
            let runs = |answering: &Answering| matches!(answering, Answering::Local(at, _) if Weak::ptr_eq(at, &Rc::downgrade(&call)));
            let stopped: Vec<_> =
                self.waiting.borrow_mut().extract_if(.., |started| runs(&started.answering)).collect();
            drop(stopped);
        }
        self.ready();
    }
}
