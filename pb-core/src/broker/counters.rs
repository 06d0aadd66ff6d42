//! What has gone over a connection, counted where it is put into the tables or taken out of them: under a lock that is held all the same.

use crate::message::{FailureKind, Message, Rejection};
use crate::proto::TableSizes;

/// What a connection has had to do until now: [`Broker::counters`](crate::Broker::counters).
///
/// A call of this side's is in `sent.calls`, its answer in `received`; what this side answers is in `sent`. Local calls, and calls that fail before
/// they are sent, are nowhere; an answer counts when it is read, though its caller has cancelled meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// What this side has sent, or has ready to be sent.
    pub sent: Traffic,
    /// What this side has read.
    pub received: Traffic,
    /// Entries of the tables now.
    pub tables: TableSizes,
    /// Calls of the peer's that ran here without the `traceparent` that they came with, since it was none.
    pub bad_traceparents: u64,
    /// One-way calls of the peer's that failed before their method began: there is no such method, or with another signature, or what they were
    /// called on is broken. Nobody is told; the first of a connection is a warning in the log.
    pub lost_casts: u64,
    /// Whether looking before sleeping pays here.
    pub busy_waits: BusyWaits,
}

/// How often the connection has looked for the peer's next words before its thread slept ([`Limits::busy_wait`](crate::Limits::busy_wait)). Waits
/// that other work of the process has kept from sleeping are in neither.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct BusyWaits {
    /// Waits that something ended as long as it looked: the thread did not have to sleep and to be woken.
    pub paid: u64,
    /// Waits that slept all the same.
    pub in_vain: u64,
}

/// What has gone in one direction. Goes up only, and wraps around at 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Traffic {
    /// Whole frames, their lengths included; not the four bytes that a stream begins with.
    pub bytes: u64,
    /// Messages of all kinds: those below, and hellos, releases, cancels, credits, pings and the like.
    pub messages: u64,
    /// Calls that are to be answered.
    pub calls: u64,
    /// Calls that are not answered (`oneway`).
    pub casts: u64,
    /// Answers: what a method returned.
    pub values: u64,
    /// Answers: a method's own error.
    pub errors: u64,
    /// Answers: failures of the broker, by their kind.
    pub failures: Failures,
    /// Objects that were said to be broken.
    pub broken: u64,
}

/// How many failures of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Failures([u64; FailureKind::ALL.len()]);

impl Failures {
    /// Those of one kind, from when the connection began.
    pub fn of(&self, kind: FailureKind) -> u64 {
        self.0[kind as usize]
    }

    /// Those of all kinds together.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, count| total.wrapping_add(*count))
    }

    /// Every kind with its count, those without any too.
    pub fn iter(&self) -> impl Iterator<Item = (FailureKind, u64)> + '_ {
        FailureKind::ALL.into_iter().zip(self.0)
    }
}

impl Traffic {
    /// Counts a message whose frame has `bytes`, its length included.
    #[inline]
    pub(super) fn count<B>(&mut self, message: &Message<B>, bytes: usize) {
        self.count_unknown(bytes);
        let counter = match message {
            Message::Call(_) => &mut self.calls,
            Message::Cast(_) => &mut self.casts,
            Message::Resolve(_) => &mut self.values,
            Message::Reject(reject) if !reject.export.is_result() => &mut self.broken,
            Message::Reject(reject) => match &reject.rejection {
                Rejection::App(_) => &mut self.errors,
                Rejection::Broker(failure) => &mut self.failures.0[failure.kind as usize],
            },
            _ => return,
        };
        *counter = counter.wrapping_add(1);
    }

    /// Counts a message of a type that this side does not know.
    pub(super) fn count_unknown(&mut self, bytes: usize) {
        self.bytes = self.bytes.wrapping_add(bytes as u64);
        self.messages = self.messages.wrapping_add(1);
    }
}

/// The bytes of a frame with its length, which has seven bits a byte.
pub(super) fn whole(frame_bytes: usize) -> usize {
    let bits = usize::BITS - frame_bytes.leading_zeros();
    frame_bytes + bits.div_ceil(7).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_stands_at_its_place() {
        for (place, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?}");
        }
    }

    #[test]
    fn a_frames_length_takes_a_byte_for_each_seven_bits() {
        let lengths = [2, 127, 128, 16_383, 16_384, 1 << 26].map(|bytes| whole(bytes) - bytes);
        assert_eq!(lengths, [1, 1, 2, 2, 3, 4]);
    }
}
