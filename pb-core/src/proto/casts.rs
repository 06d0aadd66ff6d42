use super::Limits;

/// Casts of the peer's that are held here. Nothing answers them, so nothing on the wire bounds them.
#[derive(Default)]
pub(super) struct Casts {
    count: u64,
    bytes: u64,
}

impl Casts {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes as u64;
    }

    /// Whether they take more memory than this side keeps for casts that are about to start. Well over what calls take: a pause in reading
    /// is for peers that do not read, and two who do must not come to wait for each other.
    pub(super) fn are_large(&self, limits: &Limits) -> bool {
        self.bytes + self.count * CAST_BYTES >= 4 * limits.call_bytes
    }

    /// Whether they are as many as calls may be.
    pub(super) fn are_many(&self, limits: &Limits) -> bool {
        self.count >= limits.calls || self.bytes >= limits.call_bytes
    }
}

/// Bytes that a cast takes here beside its body, roughly.
const CAST_BYTES: u64 = 256;
