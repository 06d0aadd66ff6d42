//! What happens on a connection, told to who watches it as it happens. Nothing of this is looked at while nobody does.

use std::sync::Arc;
use std::time::Duration;

use super::exports::RunningCall;
use super::usage::How;
use super::{Connection, Garbage, Host, Outbox};
use crate::message::{Body, ExportId, Failure, MethodText};

/// Something that the peer has done here, or that was done for it: [`Host::happened`].
#[derive(Debug)]
pub enum Happening<'a, T> {
    /// A call has come, and is about to start, to wait, or to be refused.
    Called {
        /// The id of its result; a cast has none.
        id: Option<ExportId>,
        /// What it was called on, where that is there.
        on: Option<&'a T>,
        /// Its method.
        method: &'a Arc<MethodText>,
        /// Bytes of its arguments.
        bytes: usize,
    },
    /// A call is answered.
    Ended {
        /// The id of its result.
        id: ExportId,
        /// What it was called on, where that is still there.
        on: Option<&'a T>,
        /// Its method, where that has a number.
        method: Option<&'a Arc<MethodText>>,
        /// How long after it had come.
        took: Duration,
        /// With what.
        end: End<'a>,
    },
    /// The peer is given an object that it did not hold.
    Exported {
        /// Its id.
        id: ExportId,
        /// What it leads to.
        handle: &'a T,
        /// The method whose answer gives it, where one does and has a number.
        by: Option<&'a Arc<MethodText>>,
    },
    /// The peer has let go of an object.
    Released {
        /// Its id.
        id: ExportId,
        /// What it led to; nothing where it was broken.
        handle: Option<&'a T>,
    },
    /// An object that the peer holds is broken from now on.
    Broken {
        /// Its id.
        id: ExportId,
        /// What it led to until now.
        handle: Option<&'a T>,
        /// Why.
        failure: &'a Failure,
    },
}

/// The methods that each side of a connection has numbered, in no order.
#[derive(Clone, Default, Debug)]
pub struct Numbered {
    /// Those that the peer calls.
    pub received: Vec<(u32, Arc<MethodText>)>,
    /// Those that this side calls.
    pub sent: Vec<(u32, Arc<MethodText>)>,
}

/// What a call is answered with.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A value or a reference.
    Well {
        /// Bytes of the value.
        bytes: usize,
    },
    /// The method's own error.
    Error {
        /// Its bytes.
        bytes: usize,
    },
    /// A failure of the broker.
    Failure(&'a Failure),
}

impl End<'_> {
    pub(super) fn well(body: &Body<'_>) -> Self {
        End::Well { bytes: body.len() }
    }

    fn how(&self) -> How {
        match self {
            End::Well { .. } => How::Well,
            End::Error { .. } => How::Error,
            End::Failure(failure) => How::Failure(failure.kind),
        }
    }
}

impl<H: Host> Connection<H> {
    /// Whether [`Host::happened`] is told from now on.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// The methods that each side has numbered until now.
    pub fn numbered(&self) -> Numbered {
        self.names.numbered()
    }

    /// A call of the peer's is about to be answered.
    #[inline]
    pub(super) fn call_ended(
        &mut self,
        id: ExportId,
        running: &RunningCall<H>,
        end: End<'_>,
        out: &impl Outbox,
    ) {
        self.exports.ended(running, end.how(), out);
        if self.watched {
            self.tell_ended(id, running, end, out);
        }
    }

    #[cold]
    fn tell_ended(&mut self, id: ExportId, running: &RunningCall<H>, end: End<'_>, out: &impl Outbox) {
        if let Some((now, _)) = out.now(true) {
            self.exports.clock.set(now);
        }
        let took = self.exports.clock.micros.saturating_sub(running.seen.began);
        let on = self.exports.leads_to(running.seen.target);
        self.host.happened(Happening::Ended {
            id,
            on: on.as_ref(),
            method: self.names.text(running.seen.method),
            took: Duration::from_micros(took),
            end,
        });
        self.garbage.extend(on.map(Garbage::Handle));
    }

    #[cold]
    pub(super) fn tell_called(
        &mut self,
        id: Option<ExportId>,
        target: ExportId,
        method: &Arc<MethodText>,
        bytes: usize,
    ) {
        let on = self.exports.leads_to(target);
        self.host.happened(Happening::Called { id, on: on.as_ref(), method, bytes });
        self.garbage.extend(on.map(Garbage::Handle));
    }

    #[cold]
    pub(super) fn tell_exported(&mut self, id: ExportId, handle: &H::Handle) {
        let by = self.names.text(self.exports.answering);
        self.host.happened(Happening::Exported { id, handle, by });
    }

    /// Lets the peer give back `count` mentions, and tells where that was the last.
    ///
    /// # Errors
    /// As without being watched.
    #[cold]
    pub(super) fn release_watched(&mut self, id: ExportId, count: u64) -> Result<(), super::Violation> {
        let is_object = |exports: &super::exports::Exports<H>| !id.is_result() && exports.is_open(id);
        let handle = self.exports.leads_to(id);
        let before = is_object(&self.exports);
        let released = self.exports.release(&self.host, id, count, &mut self.garbage);
        if released.is_ok() && before && !is_object(&self.exports) {
            self.host.happened(Happening::Released { id, handle: handle.as_ref() });
        }
        self.garbage.extend(handle.map(Garbage::Handle));
        released
    }

    /// Breaks an object, and tells. Says whether the peer holds it and has not been told.
    #[cold]
    pub(super) fn break_watched(&mut self, id: ExportId, failure: &Failure) -> bool {
        let handle = self.exports.leads_to(id);
        let broken = self.exports.break_object(&self.host, id, failure, &mut self.garbage);
        if broken {
            self.host.happened(Happening::Broken { id, handle: handle.as_ref(), failure });
        }
        self.garbage.extend(handle.map(Garbage::Handle));
        broken
    }
}
