use std::time::Duration;

use crate::message::{Grants, MAX_FRAME_BYTES};

/// What one peer may make us keep. Each bound with its default, its unit and what happens there.
///
/// Wire: docs/protocol.md, section 12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of one frame that we read, 4 KiB to 64 MiB; default 1 MiB. A longer one ends the connection before anything is allocated.
    pub frame_bytes: u64,
    /// Calls of the peer's without an answer; default 1,024. One more is answered `Overloaded` and not run.
    pub calls: u64,
    /// Bytes of the bodies of those calls; default 1 MiB. One more byte, and the call is answered `Overloaded` and not run.
    pub call_bytes: u64,
    /// Objects of the peer's that we hold; default 65,536. One more ends the connection.
    pub imports: u64,
    /// Objects of ours that the peer holds, and, counted apart, results of its reference calls that it has not released; default 65,536.
    /// A message with one more object is not sent: its call or answer is `Overloaded`. A call that would leave one more result is answered
    /// `Overloaded` and not run.
    pub exports: u64,
    /// Method names the peer may define; default 1,024. One more ends the connection.
    pub names: u64,
    /// Calls over a limit that are answered before the connection ends; default 1,000.
    pub strikes: u64,
    /// Silence of the peer's, not one byte, after which it is asked whether it is there; default 10 s, at least 10 ms and at the most half of `dead_after`.
    /// Short enough to find out before a user does, and nothing beside what a network's own upkeep costs.
    pub ping_after: Duration,
    /// Silence of the peer's after which the connection ends, 20 ms to a year; default 30 s. Whoever has not answered a ping by then is gone,
    /// or its network is. Where this side is held up and asks late, what lies between the two is left for the answer all the same.
    pub dead_after: Duration,
    /// How long a task that has read all looks for more before its thread sleeps, at most 1 ms; default 50 µs, none with [`Limits::before_login`], and nowhere but on
    /// a runtime of several threads and a machine of several processors. The wire knows nothing of it: it bounds what a peer that keeps talking may make us spend, and not
    /// what we keep. Waking a thread costs up to as much as that, and where the peer's next words come within it, as in a series of small calls, this costs less. Nobody looks before the hello, nor
    /// where a frame is large or has come in part only. Everybody else has his turn every ten microseconds; one connection of a process looks at a time; and a
    /// connection where that does not pay does so once in 64 times. `Duration::ZERO` never looks: for whom a processor that idles is worth more than
    /// the fastest answer. [`Counters::busy_waits`](crate::Counters::busy_waits) says whether it has paid.
    pub busy_wait: Duration,
    /// Bytes that the peer may make us keep unasked, of all kinds together: what it calls and casts until that has ended, objects that it
    /// passes or is answered, names, and answers that it does not read, beside 16 KiB for the connection itself; default 1,664 KiB, at least 64 KiB: room for all that is granted of
    /// calls, and with what goes over it (a sixteenth, and 448 bytes for each call that is granted) under 2.5 MiB. What would pass it is answered
    /// `Overloaded`, or dropped where it is a cast; a peer that cannot be answered either, since it does not read, is disconnected.
    pub budget: u64,
    /// Bytes that our own calls reserve for their answers, each its limit until its answer is decoded or dropped; default 64 MiB. A call
    /// over it is not sent: `Overloaded`.
    pub answer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes: 1 << 20,
            calls: 1024,
            call_bytes: 1 << 20,
            imports: 65_536,
            exports: 65_536,
            names: 1024,
            strikes: 1000,
            ping_after: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            busy_wait: Duration::from_micros(50),
            budget: 1664 << 10,
            answer_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// What every peer may use before it has read our hello, it may use afterwards.
    pub(crate) fn at_least_minimum(self) -> Self {
        let grants = self.grants().at_least(Grants::MINIMUM);
        let dead_after = self.dead_after.clamp(SHORTEST_DEAD_AFTER, LONGEST_DEAD_AFTER);
        Limits {
            frame_bytes: grants.frame_bytes.min(MAX_FRAME_BYTES),
            calls: grants.calls,
            call_bytes: grants.call_bytes,
            imports: grants.imports,
            exports: grants.exports,
            names: grants.names,
            strikes: self.strikes,
            ping_after: self.ping_after.clamp(SHORTEST_DEAD_AFTER / 2, dead_after / 2),
            dead_after,
            busy_wait: self.busy_wait.min(LONGEST_BUSY_WAIT),
            budget: self.budget.max(MIN_BUDGET),
            answer_bytes: self.answer_bytes.max(DEFAULT_ANSWER_BYTES),
        }
    }

    /// What somebody may make us keep who has not said who he is: the grants that every side has before its hello, and a budget of 64 KiB.
    /// For roots that are a login.
    pub fn before_login() -> Self {
        let Grants { frame_bytes, calls, call_bytes, imports, names, exports } = Grants::MINIMUM;
        Limits {
            frame_bytes,
            calls,
            call_bytes,
            imports,
            exports,
            names,
            strikes: 100,
            busy_wait: Duration::ZERO,
            budget: MIN_BUDGET,
            ..Limits::default()
        }
    }

    /// What the hello tells the peer of them.
    pub fn grants(&self) -> Grants {
        Grants {
            frame_bytes: self.frame_bytes,
            calls: self.calls,
            call_bytes: self.call_bytes,
            imports: self.imports,
            names: self.names,
            exports: self.exports,
        }
    }
}

/// The longest time that a call, a program that leaves or a server that drains can be given, by either side: 2^32 milliseconds, some 49 days.
/// More counts as that, so that no clock's arithmetic overflows at a peer's word.
pub const LONGEST_TIME: Duration = Duration::from_millis(1 << 32);
/// Bounds of `dead_after`: a network's ordinary delays are not silence, and far times must not overflow.
const SHORTEST_DEAD_AFTER: Duration = Duration::from_millis(20);
const LONGEST_DEAD_AFTER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longer, and the thread had better sleep.
const LONGEST_BUSY_WAIT: Duration = Duration::from_millis(1);
/// The least budget: what the grants that need no hello may take.
const MIN_BUDGET: u64 = 64 << 10;
/// Bytes of an answer that a call takes where it says nothing else.
pub const DEFAULT_ANSWER_BYTES: u64 = 64 << 10;
/// What a peer's budget is charged: for the connection, with its tasks and the buffers that the least of them has; for an object of ours that it holds, a settled result, an object of its own,
/// and a name, each with what stands behind the entry of the table (measured by the programs in `benches/`); for a call or a cast beside its body, with the
/// method that runs; for a capability of its arguments; for an entry of its metadata beside key and value; for a release that is not sent yet.
pub(super) const CONNECTION_BYTES: u64 = 16 << 10;
pub(super) const OBJECT_BYTES: u64 = 512;
pub(super) const RESULT_BYTES: u64 = 384;
pub(super) const IMPORT_BYTES: u64 = 512;
pub(super) const NAME_BYTES: u64 = 384;
pub(super) const CALL_BYTES: u64 = 512;
pub(super) const ARGUMENT_BYTES: u64 = 64;
pub(super) const METADATA_BYTES: u64 = 96;
pub(super) const LAST_WORD_BYTES: u64 = 16;
/// Bytes of a frame that are not body, at the most, for a message without metadata: type, ids, method definition.
pub(super) const ENVELOPE_BYTES: u64 = 512;
/// Bytes of one capability on the wire, at the most.
pub(super) const CAP_BYTES: u64 = 10;
/// Entries of one `release` message.
pub(super) const RELEASE_BATCH: usize = 1024;
/// Bytes of one of them, and of what stands before the first, at the most.
pub(super) const RELEASE_BYTES: u64 = 19;
pub(super) const RELEASE_HEAD_BYTES: u64 = 4;
/// Middlemen that pass a call on, at the most: a cycle of references through several processes is seen by nobody else.
pub const MAX_HOPS: u32 = 16;
