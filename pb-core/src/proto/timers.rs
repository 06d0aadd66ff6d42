use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::limits::LONGEST_TIME;
use crate::message::{CallOptions, Failure, FailureKind, Ran};

/// The deadlines of a table's calls. Each is taken out as its call ends, so there are never more of them than open calls.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, i64)>);

impl Timers {
    pub(super) fn add(&mut self, deadline: Option<Instant>, id: i64) {
        if let Some(deadline) = deadline {
            self.0.insert((deadline, id));
        }
    }

    pub(super) fn remove(&mut self, deadline: Option<Instant>, id: i64) {
        if let Some(deadline) = deadline {
            self.0.remove(&(deadline, id));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }

    /// Takes one call whose time is over, the earliest first.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<i64> {
        let due = self.next().is_some_and(|deadline| deadline <= now);
        if due { self.0.pop_first().map(|(_, id)| id) } else { None }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Of two times that may be none, the one that comes first.
#[inline]
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// When a call of ours must have its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeLimit {
    /// The end of its time.
    pub deadline: Instant,
    /// The time it is.
    pub now: Instant,
}

impl TimeLimit {
    /// What is left, as a call carries it: nothing once the time is over. A started millisecond counts, so that what is not over here is not over
    /// there.
    pub(super) fn left_ms(self) -> u64 {
        let left = self.deadline.saturating_duration_since(self.now);
        let ms = left.as_millis() + u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
        u64::try_from(ms).map_or(MAX_DEADLINE_MS, |ms| ms.min(MAX_DEADLINE_MS))
    }
}

/// When a call that was read at `now` must have ended.
pub(super) fn deadline(options: Option<&CallOptions>, now: Instant) -> Option<Instant> {
    let left = options?.deadline_ms?.min(MAX_DEADLINE_MS);
    now.checked_add(Duration::from_millis(left))
}

/// Whether a call's time was over before it was read.
pub(super) fn is_over(options: Option<&CallOptions>) -> bool {
    options.is_some_and(|options| options.deadline_ms == Some(0))
}

/// The failure of a call whose time is over, by whether its method may have run.
pub fn exceeded(ran: Ran) -> Failure {
    let message = match ran {
        Ran::No => "the deadline passed before the call started",
        Ran::Maybe | Ran::Yes => "the deadline passed before the answer",
    };
    Failure::new(FailureKind::DeadlineExceeded, ran, message)
}

/// How a call of ours ended whose caller did not wait for the answer.
pub(super) fn given_up(kind: FailureKind) -> Failure {
    match kind {
        FailureKind::DeadlineExceeded => exceeded(Ran::Maybe),
        _ => Failure::new(kind, Ran::Maybe, "the call was cancelled by its caller"),
    }
}

/// [`LONGEST_TIME`] as a call carries it.
const MAX_DEADLINE_MS: u64 = LONGEST_TIME.as_millis() as u64;
