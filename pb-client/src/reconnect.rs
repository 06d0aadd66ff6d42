use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use pb_core::Failure;

/// How a [`Reconnecting`](crate::Reconnecting) connects again.
///
/// Behind the n-th failure in a row there is a pause of `first` · 2^(n − 1), at most `longest`, of which a random part between none and half is left out. A connection
/// that is lost before it is `steady` counts as a failure; behind one that was steady the pause is a random part of `first`. So a server that comes back
/// is not met by all its clients at once. Whatever the failure was, it is tried again: also a server that refused, or something that was no server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// The pause behind the first failure; default 100 ms, at least 1 ms.
    pub first: Duration,
    /// The longest pause; default 30 s, at least `first`.
    pub longest: Duration,
    /// How long a connection must have lasted to count as good; default 10 s.
    pub steady: Duration,
    /// Failures in a row behind which it gives up and is closed; default: never.
    pub attempts: Option<u32>,
    /// What calls do that are made while there is no connection; default: wait.
    pub while_down: WhileDown,
    /// How often one call of a method that is `#[remote(idempotent)]` is sent again, each time on the connection behind the one that was lost before its
    /// answer came; default 3, 0: never. See [`Reconnecting`](crate::Reconnecting) for which calls that are.
    pub repeats: u32,
    /// Whether it connects at once (where it is made inside a tokio runtime, else with the first thing that is asked for), and again as soon as a connection is lost, though nothing is asked for; default: only when something is.
    pub eager: bool,
    /// Where the random parts begin: the same seed gives the same pauses; default: another for each handle.
    pub seed: Option<u64>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            steady: Duration::from_secs(10),
            attempts: None,
            while_down: WhileDown::Wait,
            repeats: 3,
            eager: false,
            seed: None,
        }
    }
}

/// What calls do that are made while there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum WhileDown {
    /// They wait for the next connection, and go out on it in their order. A deadline ends the wait (`stub.within(time)`); nothing else
    /// bounds how many wait.
    #[default]
    Wait,
    /// They wait for an attempt to connect that is under way. Where that fails, and in the pause behind it, they fail.
    Fail,
}

/// What a [`Reconnecting`](crate::Reconnecting) has done until now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Reconnected {
    /// Connections that were made.
    pub connections: u64,
    /// Attempts that gave none.
    pub failed: u64,
    /// Connections that ended, or whose server began to leave.
    pub lost: u64,
    /// Calls that were sent again, or wait for the next connection to be: once for each time.
    pub repeated: u64,
}

/// What a [`Reconnecting`](crate::Reconnecting) is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum State {
    /// Nothing: there is no connection, and nobody has asked for one.
    Idle,
    /// It connects.
    Connecting {
        /// Which attempt in a row it is, from 1.
        attempt: u32,
    },
    /// There is a connection.
    Connected {
        /// The server's address.
        peer: Box<str>,
    },
    /// It rests before it connects again.
    Waiting {
        /// Until then.
        until: Instant,
        /// Why there is no connection.
        reason: Failure,
    },
    /// It does not connect any more.
    Closed {
        /// Why.
        reason: Failure,
    },
}

/// Chooses pauses.
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    dice: u64,
}

impl Pauses {
    pub(crate) fn new(how: &Reconnect) -> Self {
        let first = how.first.clamp(Duration::from_millis(1), FAR);
        let dice = how.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Pauses { first, longest: how.longest.clamp(first, FAR), dice }
    }

    /// The pause behind so many failures in a row, none being the end of a connection that was steady.
    pub(crate) fn next(&mut self, failures: u32) -> Duration {
        let part = self.roll();
        let Some(doublings) = failures.checked_sub(1) else { return self.first.mul_f64(part) };
        let whole = 2_u32.checked_pow(doublings).and_then(|factor| self.first.checked_mul(factor));
        whole.unwrap_or(self.longest).min(self.longest).mul_f64(0.5 + part / 2.0)
    }

    /// A number from 0 up to 1 (splitmix64).
    fn roll(&mut self) -> f64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}

/// A longer pause is as good as none at all.
const FAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(how: Reconnect, failures: std::ops::Range<u32>) -> Vec<Duration> {
        let mut pauses = Pauses::new(&how);
        failures.map(|failures| pauses.next(failures)).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_with_up_to_half_left_out() {
        for seed in 0..200 {
            let how = Reconnect { seed: Some(seed), ..Reconnect::default() };
            let all = pauses(how, 0..100);
            assert!(all[0] <= how.first, "{seed}: {:?}", all[0]);
            for (failures, pause) in (1_u32..).zip(&all[1..]) {
                let whole = if failures > 9 { how.longest } else { how.first * 2_u32.pow(failures - 1) };
                let whole = whole.min(how.longest);
                assert!((whole / 2..=whole).contains(pause), "{seed}, {failures}: {pause:?} of {whole:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_pauses_and_another_others() {
        let how = |seed| Reconnect { seed, ..Reconnect::default() };
        assert_eq!(pauses(how(Some(7)), 0..50), pauses(how(Some(7)), 0..50));
        assert_ne!(pauses(how(Some(7)), 0..50), pauses(how(Some(8)), 0..50));
        assert_ne!(pauses(how(None), 0..50), pauses(how(None), 0..50), "each its own");
    }

    #[test]
    fn pauses_beyond_all_bounds_are_cut() {
        let how = Reconnect {
            first: Duration::ZERO,
            longest: Duration::ZERO,
            seed: Some(1),
            ..Reconnect::default()
        };
        assert!(
            pauses(how, 1..50).iter().all(|pause| *pause <= Duration::from_millis(1) && !pause.is_zero())
        );
        let how = Reconnect { first: Duration::MAX, longest: Duration::MAX, seed: Some(1), ..how };
        assert!(pauses(how, 0..50).iter().all(|pause| *pause <= Duration::MAX));
        let how = Reconnect { first: Duration::from_secs(1), longest: Duration::MAX, ..how };
        assert!(pauses(how, u32::MAX - 3..u32::MAX).iter().all(|pause| *pause <= FAR));
    }
}
