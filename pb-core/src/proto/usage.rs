//! What the tables count for those who look into a running process: who uses what, since when, and how long methods take.

use std::time::Instant;

use crate::message::FailureKind;

/// The time, as the tables know it: when the peer was heard last, or something was answered that took its time.
#[derive(Clone, Copy, Default)]
pub(super) struct Clock {
    began: Option<Instant>,
    /// Microseconds since then.
    pub(super) micros: u64,
    /// The same in the units of [`Use`].
    pub(super) ticks: u32,
}

impl Clock {
    #[inline]
    pub(super) fn set(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let micros = now.saturating_duration_since(began).as_micros() as u64;
        self.micros = self.micros.max(micros);
        self.ticks = (self.micros / TICK_MICROS).min(u64::from(u32::MAX)) as u32;
    }
}

/// What a peer has done with one thing that it holds: 24 bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Use {
    pub(super) calls: u64,
    pub(super) failed: u32,
    /// When it was handed out, in hundredths of a second: the counters last for 497 days.
    pub(super) since: u32,
    /// When it was called last.
    pub(super) last: u32,
    /// The number of the method that gave it; 0 where none did, or nobody knows.
    pub(super) by: u16,
    /// It was handed out in an answer.
    pub(super) asked: bool,
}

impl Use {
    #[inline]
    pub(super) fn count(&mut self, calls: u64, clock: Clock) {
        self.calls += calls;
        self.last = clock.ticks;
    }
}

/// How a call has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// With what was asked for.
    Well,
    /// With the method's own error.
    Error,
    /// With a failure of the broker.
    Failure(FailureKind),
}

/// The calls of each method that have ended: of the first [`MOST_METHODS`] that the peer has numbered, and of all others together.
#[derive(Default)]
pub(super) struct Methods {
    /// Number 1 first.
    numbered: Vec<Ended>,
    /// Most peers have none.
    others: Option<Box<Ended>>,
}

/// Those of one method.
#[derive(Clone, Default)]
pub(super) struct Ended {
    pub(super) calls: u64,
    pub(super) errors: u32,
    pub(super) failures: u32,
    /// The same by kind, once there was one.
    kinds: Option<Box<Kinds>>,
    /// The longest that was measured, in microseconds.
    pub(super) longest: u64,
    pub(super) times: Times,
}

/// Failures of each kind.
pub(super) type Kinds = [u32; FailureKind::ALL.len()];

/// How many took how long: each class has twice the time of the one before, and the first less than a microsecond.
#[derive(Clone, Copy, Default)]
pub(super) struct Times([u32; CLASSES]);

impl Methods {
    #[inline]
    pub(super) fn of(&mut self, number: u16) -> &mut Ended {
        let place = usize::from(number).wrapping_sub(1);
        if place >= self.numbered.len() {
            if place >= MOST_METHODS {
                return self.others.get_or_insert_default();
            }
            // Each takes much, and most peers call few.
            self.numbered.reserve_exact(place + 1 - self.numbered.len());
            self.numbered.resize(place + 1, Ended::default());
        }
        &mut self.numbered[place]
    }

    /// All that have ended, with their numbers; 0 for those that have none of their own.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Ended)> {
        let others = self.others.iter().map(|others| (0, &**others));
        others.chain((1..).zip(&self.numbered)).filter(|(_, ended)| ended.calls > 0)
    }
}

impl Ended {
    /// Whether the time that the next one takes is to be measured, though it costs more than the call.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.calls.is_multiple_of(u64::from(SAMPLED))
    }

    #[inline]
    pub(super) fn count(&mut self, how: How) {
        self.calls += 1;
        match how {
            How::Well => {}
            How::Error => self.errors = self.errors.saturating_add(1),
            How::Failure(kind) => self.fail(kind),
        }
    }

    #[cold]
    fn fail(&mut self, kind: FailureKind) {
        self.failures = self.failures.saturating_add(1);
        let count = &mut self.kinds.get_or_insert_default()[kind as usize];
        *count = count.saturating_add(1);
    }

    /// The failures by their kinds, as [`FailureKind::ALL`] has them.
    pub(super) fn kinds(&self) -> Kinds {
        self.kinds.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn measure(&mut self, micros: u64, weight: u32) {
        self.longest = self.longest.max(micros);
        let class = (u64::BITS - micros.leading_zeros()) as usize;
        let class = &mut self.times.0[class.min(CLASSES - 1)];
        *class = class.saturating_add(weight);
    }
}

impl Times {
    pub(super) fn add(&mut self, other: &Times) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// The classes in which there are any, shortest first: what they took less than, in microseconds, and how many there are. The last class has no bound.
    pub(super) fn classes(&self) -> impl Iterator<Item = (u64, u32)> {
        let class = |(class, count): (usize, &u32)| {
            (if class + 1 == CLASSES { u64::MAX } else { 1 << class }, *count)
        };
        self.0.iter().enumerate().map(class).filter(|(_, count)| *count > 0)
    }

    /// The time within which that many of a hundred were answered, in microseconds: that of their class' middle, so up to half as much more or less.
    pub(super) fn quantile(&self, of_hundred: u64) -> Option<u64> {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all * of_hundred).div_ceil(100).max(1);
        let mut seen = 0;
        let class = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(if class == 0 { 0 } else { (1 << (class - 1)) + (1 << (class - 1)) / 2 })
    }
}

/// One in so many of the calls that are answered at once is measured.
pub const SAMPLED: u32 = 64;
/// Methods of a connection that are counted apart: what a peer names takes at most 14 KiB here.
pub(super) const MOST_METHODS: usize = 63;
/// The last class is of a quarter of an hour and more.
const CLASSES: usize = 31;
/// A hundredth of a second.
pub(super) const TICK_MICROS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_calls_took_no_longer_than_the_median_says() {
        let mut ended = Ended::default();
        assert_eq!(ended.times.quantile(50), None);
        (0..98).for_each(|_| ended.measure(100, 1));
        (0..2).for_each(|_| ended.measure(1_000_000, 1));
        assert_eq!(ended.times.quantile(50), Some(96));
        assert_eq!(ended.times.quantile(98), Some(96));
        assert_eq!(ended.times.quantile(99), Some(786_432));
        assert_eq!(ended.longest, 1_000_000);
        assert_eq!(ended.times.classes().collect::<Vec<_>>(), [(128, 98), (1 << 20, 2)]);
    }

    #[test]
    fn a_time_of_any_length_has_a_class() {
        let mut ended = Ended::default();
        [0, 1, u64::MAX].into_iter().for_each(|micros| ended.measure(micros, u32::MAX));
        assert_eq!(ended.times.quantile(1), Some(0));
        assert_eq!(ended.times.classes().map(|(below, _)| below).collect::<Vec<_>>(), [1, 2, u64::MAX]);
        assert_eq!(ended.times.quantile(100), Some((1 << 29) + (1 << 28)));
    }

    #[test]
    fn methods_without_a_place_of_their_own_share_one() {
        let mut methods = Methods::default();
        for number in [1, 2, 1_000, 2_000, 0] {
            methods.of(number).count(How::Well);
        }
        let all: Vec<_> = methods.iter().map(|(number, ended)| (number, ended.calls)).collect();
        assert_eq!(all, [(0, 3), (1, 1), (2, 1)]);
        assert!(methods.numbered.len() <= MOST_METHODS);
        assert!((MOST_METHODS + 1) * (size_of::<Ended>() + size_of::<Kinds>()) <= 14 << 10);
    }

    #[test]
    fn what_is_counted_of_an_object_takes_at_most_32_bytes() {
        // With its place among the others: eight bytes, of which four stand with it.
        assert!(size_of::<Use>() + 8 <= 32);
    }
}
