//! The numbers of types, flags, kinds and codes. Wire: `docs/protocol.md`, sections 4, 11 and 13.

use crate::message::{AbortCode, FailureKind, Ran};

/// Message types.
pub(super) mod types {
    pub(in super::super) const HELLO: u8 = 1;
    pub(in super::super) const CALL: u8 = 2;
    pub(in super::super) const CAST: u8 = 3;
    pub(in super::super) const RESOLVE: u8 = 4;
    pub(in super::super) const REJECT: u8 = 5;
    pub(in super::super) const RELEASE: u8 = 6;
    pub(in super::super) const CANCEL: u8 = 7;
    pub(in super::super) const DISEMBARGO: u8 = 8;
    pub(in super::super) const CREDIT: u8 = 9;
    pub(in super::super) const UNIMPLEMENTED: u8 = 10;
    pub(in super::super) const PING: u8 = 11;
    pub(in super::super) const PONG: u8 = 12;
    pub(in super::super) const GOAWAY: u8 = 13;
    pub(in super::super) const ABORT: u8 = 14;
}

/// Flags of `call` and `cast`: what follows, and how the result may be used.
pub(super) mod flags {
    pub(in super::super) const REFERENCE: u8 = 1;
    pub(in super::super) const ANSWER_LIMIT: u8 = 2;
    pub(in super::super) const DEADLINE: u8 = 4;
    pub(in super::super) const HOPS: u8 = 8;
    pub(in super::super) const METADATA: u8 = 16;
    pub(in super::super) const ONCE: u8 = 32;
}

/// The lowest two bits of a capability.
pub(super) mod caps {
    pub(in super::super) const MINE: u64 = 0;
    pub(in super::super) const MY_PROMISE: u64 = 1;
    pub(in super::super) const YOURS: u64 = 2;
}

/// Keys of the grants in a `hello`, in the order in which they are sent.
pub(super) mod grants {
    pub(in super::super) const FRAME_BYTES: u64 = 0;
    pub(in super::super) const CALLS: u64 = 1;
    pub(in super::super) const CALL_BYTES: u64 = 2;
    pub(in super::super) const IMPORTS: u64 = 3;
    pub(in super::super) const NAMES: u64 = 4;
    pub(in super::super) const EXPORTS: u64 = 5;
}

/// The origin of a rejection: the method or the broker.
pub(super) const ORIGIN_APP: u8 = 0;
pub(super) const ORIGIN_BROKER: u8 = 1;

/// What follows a failure.
pub(super) const CAUSE_NONE: u8 = 0;
pub(super) const CAUSE_BROKER: u8 = 1;
pub(super) const CAUSE_APP: u8 = 2;

/// The two forms of `disembargo`.
pub(super) const ASK: u8 = 0;
pub(super) const ECHO: u8 = 1;

pub(super) const fn kind_code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Failed => 0,
        FailureKind::Unimplemented => 1,
        FailureKind::Incompatible => 2,
        FailureKind::Overloaded => 3,
        FailureKind::Disconnected => 4,
        FailureKind::Cancelled => 5,
        FailureKind::DeadlineExceeded => 6,
        FailureKind::Refused => 7,
        FailureKind::Broken => 8,
        FailureKind::Protocol => 9,
        FailureKind::Internal => 10,
    }
}

pub(super) const fn kind(code: u8) -> Option<FailureKind> {
    Some(match code {
        0 => FailureKind::Failed,
        1 => FailureKind::Unimplemented,
        2 => FailureKind::Incompatible,
        3 => FailureKind::Overloaded,
        4 => FailureKind::Disconnected,
        5 => FailureKind::Cancelled,
        6 => FailureKind::DeadlineExceeded,
        7 => FailureKind::Refused,
        8 => FailureKind::Broken,
        9 => FailureKind::Protocol,
        10 => FailureKind::Internal,
        _ => return None,
    })
}

pub(super) const fn ran_code(ran: Ran) -> u8 {
    match ran {
        Ran::No => 0,
        Ran::Maybe => 1,
        Ran::Yes => 2,
    }
}

pub(super) const fn ran(code: u8) -> Option<Ran> {
    Some(match code {
        0 => Ran::No,
        1 => Ran::Maybe,
        2 => Ran::Yes,
        _ => return None,
    })
}

pub(super) const fn abort_code(code: AbortCode) -> u32 {
    match code {
        AbortCode::Closing => 0,
        AbortCode::Version => 1,
        AbortCode::Malformed => 2,
        AbortCode::Violation => 3,
        AbortCode::Limit => 4,
        AbortCode::Timeout => 5,
        AbortCode::Other(code) => code,
    }
}

pub(super) const fn abort(code: u32) -> AbortCode {
    match code {
        0 => AbortCode::Closing,
        1 => AbortCode::Version,
        2 => AbortCode::Malformed,
        3 => AbortCode::Violation,
        4 => AbortCode::Limit,
        5 => AbortCode::Timeout,
        other => AbortCode::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_and_the_next_is_unknown() {
        for code in 0..=10 {
            assert_eq!(kind(code).map(kind_code), Some(code));
        }
        for code in 0..=2 {
            assert_eq!(ran(code).map(ran_code), Some(code));
        }
        for code in 0..=6 {
            assert_eq!(abort_code(abort(code)), code);
        }
        assert_eq!(kind(11), None);
        assert_eq!(ran(3), None);
    }
}
