use super::limits::{ARGUMENT_BYTES, CALL_BYTES, METADATA_BYTES};
use crate::message::CallOptions;

/// What a call or a cast takes until it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cost {
    /// Bytes of its body, which count against a grant.
    pub(super) body: u64,
    /// What is charged for what it brings beside: capabilities and metadata.
    pub(super) extra: u64,
}

impl Cost {
    pub(super) fn new(body: usize, caps: usize, options: Option<&CallOptions>) -> Self {
        let metadata = options.map_or(0, |options| {
            options.metadata_bytes() as u64 + options.metadata.len() as u64 * METADATA_BYTES
        });
        Cost { body: body as u64, extra: caps as u64 * ARGUMENT_BYTES + metadata }
    }

    /// What a peer's budget is charged for it.
    pub(super) fn charged(self) -> u64 {
        CALL_BYTES + self.body + self.extra
    }
}

/// Casts that have not ended, on the way out or in. Nothing answers them: `credit` says that they have ended.
#[derive(Clone, Copy, Default)]
pub(super) struct Casts {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Casts {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    /// Takes `count` casts of `bytes` away, if there are so many.
    pub(super) fn take(&mut self, count: u64, bytes: u64) -> bool {
        match (self.count.checked_sub(count), self.bytes.checked_sub(bytes)) {
            (Some(left), Some(left_bytes)) if left > 0 || left_bytes == 0 => {
                *self = Casts { count: left, bytes: left_bytes };
                true
            }
            _ => false,
        }
    }

    /// What the peer's budget is charged.
    pub(super) fn charged(self) -> u64 {
        self.count * CALL_BYTES + self.bytes
    }
}
