use super::limits::CALL_BYTES;

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
