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

    /// Whether they are as many as calls may be.
    pub(super) fn are_many(&self, limits: &Limits) -> bool {
        self.count >= limits.calls || self.bytes >= limits.call_bytes
    }
}
