use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// Which trace a call belongs to, and which span of it is its parent: the W3C's `traceparent` (Trace Context, level 1). 55 bytes as text:
/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
///
/// The ids are for people and their tools: whoever calls may send any.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceParent {
    trace: NonZeroU128,
    parent: NonZeroU64,
    sampled: bool,
}

/// A text that is no [`TraceParent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "a traceparent is `00-`, 32 hexadecimal digits, `-`, 16 of them, `-` and two more, lower case and not all 0; this text of {bytes} bytes is not"
)]
pub struct BadTraceParent {
    /// How long it is.
    pub bytes: usize,
}

impl TraceParent {
    /// The key that it has in a call's metadata.
    pub const KEY: &str = "traceparent";

    /// That trace, and that span in it; nothing where either is 0.
    pub fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Option<Self> {
        let (trace, parent) = (NonZeroU128::new(trace_id)?, NonZeroU64::new(parent_id)?);
        Some(TraceParent { trace, parent, sampled })
    }

    /// A new trace, with random ids.
    #[must_use]
    pub fn random(sampled: bool) -> Self {
        let trace = u128::from(dice()) << 64 | u128::from(dice());
        TraceParent { trace: NonZeroU128::new(trace).unwrap_or(NonZeroU128::MIN), parent: random(), sampled }
    }

    /// Another span of the same trace, with a random id.
    #[must_use]
    pub fn child(self) -> Self {
        TraceParent { parent: random(), ..self }
    }

    /// Of the whole trace. Not 0.
    pub fn trace_id(self) -> u128 {
        self.trace.get()
    }

    /// Of the span that the call belongs to. Not 0.
    pub fn parent_id(self) -> u64 {
        self.parent.get()
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }

    /// Reads one, of version 00 or what a later version says of it.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn parse(text: &[u8]) -> Result<Self, BadTraceParent> {
        read(text).ok_or(BadTraceParent { bytes: text.len() })
    }
}

fn read(text: &[u8]) -> Option<TraceParent> {
    let (fixed, rest) = text.split_at_checked(LENGTH)?;
    let version = hex(&fixed[..2])?;
    let known = version == 0 && rest.is_empty();
    let later = version > 0 && version < 0xff && (rest.is_empty() || rest[0] == b'-');
    let dashes = [2, 35, 52].iter().all(|at| fixed[*at] == b'-');
    if !(known || later) || !dashes {
        return None;
    }
    let (trace, parent, flags) = (hex(&fixed[3..35])?, hex(&fixed[36..52])?, hex(&fixed[53..])?);
    TraceParent::new(trace, u64::try_from(parent).ok()?, flags & 1 == 1)
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        TraceParent::parse(text.as_bytes())
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, u8::from(self.sampled))
    }
}

fn random() -> NonZeroU64 {
    NonZeroU64::new(dice()).unwrap_or(NonZeroU64::MIN)
}

/// Ids that no other process makes, and no secrets.
fn dice() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Bytes of one in version 00.
const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_read_again_as_it_was() {
        let parent: TraceParent = GOOD.parse().expect("it is good");
        assert_eq!(
            (parent.trace_id(), parent.is_sampled()),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, true)
        );
        assert_eq!((parent.parent_id(), parent.to_string().as_str()), (0x00f0_67aa_0ba9_02b7, GOOD));
        for sampled in [true, false] {
            let random = TraceParent::random(sampled);
            assert_eq!(random.to_string().parse(), Ok(random));
            assert_ne!(random, TraceParent::random(sampled));
            assert_eq!(
                (random.child().trace_id(), random.child().is_sampled()),
                (random.trace_id(), sampled)
            );
            assert_ne!(random.child().parent_id(), random.parent_id());
        }
        assert!(TraceParent::new(0, 1, true).is_none() && TraceParent::new(1, 0, true).is_none());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = |text: String| TraceParent::parse(text.as_bytes()).map(|parent| parent.to_string());
        assert_eq!(later(GOOD.replace("00-4", "cc-4")).as_deref(), Ok(GOOD));
        assert_eq!(later(GOOD.replace("00-4", "cc-4") + "-what-comes").as_deref(), Ok(GOOD));
        // Flags that are not known are not passed on.
        assert_eq!(later(GOOD.replace("-01", "-ff")).as_deref(), Ok(GOOD));
        assert_eq!(later(GOOD.replace("-01", "-08")).expect("it is good"), GOOD.replace("-01", "-00"));
    }

    #[test]
    fn what_is_none_is_refused_with_its_length() {
        let bad = [
            String::new(),
            "00".into(),
            GOOD[..54].into(),
            format!("{GOOD}-"),
            format!("{GOOD}0"),
            GOOD.to_uppercase(),
            GOOD.replace("00-4", "ff-4"),
            GOOD.replace("00-4", "cc-4") + "x",
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace('b', "g"),
            GOOD.replace('b', "+"),
            "ü".repeat(40),
        ];
        for text in bad {
            assert_eq!(text.parse::<TraceParent>(), Err(BadTraceParent { bytes: text.len() }), "{text}");
        }
    }
}
