//! Large calls whose answers the peer has not read: it cannot have more room for calls than it had before (`docs/protocol.md`, section 12).

use std::collections::VecDeque;

use super::Outbox;
use crate::message::Body;

/// The bodies of calls that are answered, until their answers have left. Only large ones are looked at.
#[derive(Default)]
pub(super) struct Lagging {
    /// When each is gone: how many bytes of answers have left by then. And its bytes.
    waiting: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Lagging {
    /// A call with a body of `bytes` is about to be answered.
    #[inline]
    pub(super) fn add(&mut self, bytes: u64, out: &impl Outbox) {
        if bytes >= Body::LARGE_BYTES as u64 {
            self.waiting.push_back((out.prompted(), bytes));
            self.bytes += bytes;
        }
    }

    /// Bytes of those whose answers nothing has been written of.
    #[inline]
    pub(super) fn bytes(&mut self, out: &impl Outbox) -> u64 {
        while let Some(&(before, bytes)) = self.waiting.front()
            && out.prompted() - out.unread() > before
        {
            self.waiting.pop_front();
            self.bytes -= bytes;
        }
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Lagging::default();
    }
}
