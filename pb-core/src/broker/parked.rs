//! Calls that are passed on and wait for room on the connection that they go to.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::forward::{Request, send_on};
use crate::message::{Failure, FailureKind, Ran};
use crate::objects::{Distant, Onward};

/// A call that waits for room on the connection that it goes to. Its caller may cancel it meanwhile.
pub(super) struct Parked(Arc<Mutex<Option<Held>>>);

/// What is called, and the call.
struct Held {
    distant: Arc<dyn Distant>,
    request: Request,
}

impl Parked {
    /// Lets `request` wait until the connection of `distant` has room.
    pub(super) fn park(distant: &Arc<dyn Distant>, mut request: Request) {
        // What waits must not hold the buffer that it was read into.
        request.body = Bytes::copy_from_slice(&request.body);
        let (line, answer) = (Arc::clone(&request.line), request.answer);
        let held = Arc::new(Mutex::new(Some(Held { distant: Arc::clone(distant), request })));
        let stopped = Arc::clone(&held);
        let stop = Box::new(move || {
            let left = stopped.lock().take();
            if let Some(Held { request, .. }) = left {
                let message = "cancelled while it waited for room";
                request.fail(Failure::new(FailureKind::Cancelled, Ran::No, message));
            }
        });
        // First what stops it: once it is parked it may go on any moment, and bring another.
        Request::stop_with(&line, answer, stop);
        distant.line().park(Box::new(Parked(held)));
    }
}

impl Onward for Parked {
    fn go(self: Box<Self>) -> Option<Box<dyn Onward>> {
        let Held { distant, request } = self.0.lock().take()?;
        let request = send_on(&distant, request)?;
        *self.0.lock() = Some(Held { distant, request });
        Some(self)
    }
}
