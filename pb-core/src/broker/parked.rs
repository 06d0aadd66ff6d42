//! Calls that are passed on and wait for room on the connection that they go to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::forward::{Request, send_on};
use super::line::Line;
use crate::message::{Failure, FailureKind, Ran};
use crate::objects::{Carrier as _, Distant, Onward};

/// A call that waits for room. Its caller may cancel it meanwhile, wherever it is.
pub(super) struct Parked {
    distant: Arc<dyn Distant>,
    request: Request,
    stopped: Arc<AtomicBool>,
}

impl Parked {
    /// Lets `request` wait until the connection of `distant` has room.
    pub(super) fn park(distant: &Arc<dyn Distant>, mut request: Request) {
        // What waits must not hold the buffer that it was read into.
        let body = &mut request.call.arguments.body;
        *body = Bytes::copy_from_slice(body);
        let (line, answer) = (Arc::clone(&request.line), request.call.answer);
        let (ticket, stopped) = (distant.line().ticket(), Arc::new(AtomicBool::new(false)));
        let (at, mark) = (Arc::clone(distant), Arc::clone(&stopped));
        let stop = Box::new(move || {
            // First the mark: whoever tries the call just now looks at it before he puts the call back.
            mark.store(true, Ordering::SeqCst);
            if let Some(call) = at.line().unpark(ticket) {
                call.give_up();
            }
        });
        // Before it is parked: once it is, it may go on any moment, and bring another.
        Request::stop_with(&line, answer, stop);
        let parked = Box::new(Parked { distant: Arc::clone(distant), request, stopped });
        if let Some(stopped) = distant.line().park(ticket, parked) {
            stopped.give_up();
        }
    }
}

impl Onward for Parked {
    fn go(self: Box<Self>) -> Option<Box<dyn Onward>> {
        let Parked { distant, request, stopped } = *self;
        let request = send_on(&distant, request)?;
        Some(Box::new(Parked { distant, request, stopped }))
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn give_up(self: Box<Self>) {
        let message = "cancelled while it waited for room";
        self.request.fail(Failure::new(FailureKind::Cancelled, Ran::No, message));
    }
}

/// An echo that goes behind the calls that were passed on to the same peer before it.
pub(super) struct Echo {
    line: Arc<Line>,
    number: u64,
}

impl Echo {
    /// Sends the echo, or lets it wait behind calls that wait for room.
    pub(super) fn send(line: &Arc<Line>, number: u64) {
        let echo = Echo { line: Arc::clone(line), number };
        if line.is_crowded() {
            let never_stopped = line.park(line.ticket(), Box::new(echo));
            debug_assert!(never_stopped.is_none());
        } else {
            echo.tell();
        }
    }

    fn tell(&self) {
        self.line.with(|connection, out| connection.echo(self.number, out));
    }
}

impl Onward for Echo {
    fn go(self: Box<Self>) -> Option<Box<dyn Onward>> {
        self.tell();
        None
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn give_up(self: Box<Self>) {}
}
