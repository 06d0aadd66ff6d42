//! Exports that break while the peer holds them (`docs/protocol.md`, section 13.3), and results that lead to themselves.

use super::limits::ENVELOPE_BYTES;
use super::{Connection, Host, Outbox};
use crate::message::{ExportId, Failure, ImportId, Message, Reject, Rejection};

impl<H: Host> Connection<H> {
    /// What was exported since the last time and may break by itself ([`Host::may_break`]). The owner watches it, under no lock.
    pub fn take_exported(&mut self) -> Vec<(ExportId, H::Handle)> {
        std::mem::take(&mut self.exported)
    }

    /// Keeps what watches an export until the peer has released it, or it has broken.
    ///
    /// # Errors
    /// The watch, where that is so already: the owner drops it.
    pub fn watch_export(&mut self, id: ExportId, watch: H::Watch) -> Result<(), H::Watch> {
        self.exports.set_watch(id, watch)
    }

    /// An object that the peer holds is broken from now on: its connection ended, its owner broke it, its promise failed, or it was revoked.
    /// The peer is told once; its calls on it fail, and what it holds it still gives back. For an export that it has released, or that is
    /// broken already, nothing happens.
    pub fn break_export(&mut self, id: ExportId, failure: &Failure, out: &mut impl Outbox) {
        if self.ended.is_some() {
            return;
        }
        let failure = failure.brief(MAX_REASON_BYTES);
        let broken = match self.watched {
            false => self.exports.break_object(&self.host, id, &failure, &mut self.garbage),
            true => self.break_watched(id, &failure),
        };
        if broken {
            let fits = failure.size() as u64 + ENVELOPE_BYTES <= self.granted.frame_bytes;
            let failure = if fits { failure } else { failure.bare() };
            out.send(Message::Reject(Reject { export: id, rejection: Rejection::Broker(failure) }));
        }
    }

    /// The reference that a call of ours has settled to leads back to that call's result, by a way that these tables do not see (what is lent,
    /// another connection): from now on the result is broken. What is held for it is let go.
    pub fn break_result(&mut self, id: ImportId, failure: Failure) {
        self.imports.break_result(id, failure, &mut self.garbage);
    }
}

/// Bytes of each text of a reason: it is sent, and kept, for each of the references that break with one connection.
const MAX_REASON_BYTES: usize = 160;
