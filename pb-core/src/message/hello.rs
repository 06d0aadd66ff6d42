//! What a side says of itself before anything else.

/// The first message of each side: who speaks, and what it grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Lowest and highest version of the protocol that the sender speaks.
    pub versions: (u32, u32),
    /// What the sender understands beside the base, a bit each. Unknown bits are ignored.
    pub features: u64,
    /// What the receiver may use of the sender.
    pub grants: Grants,
}

/// What a side can understand beside the base of the protocol: the bits of [`Hello::features`].
pub mod features {
    /// Casts count against the grants of calls, and `credit` gives them back.
    pub const CREDIT: u64 = 1 << 1;
    /// A side that leaves says so with `goaway`.
    pub const DRAIN: u64 = 1 << 2;
}

/// What a side lets the other use. On the wire a list of numbered entries, so that more can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grants {
    /// Bytes of one frame behind its length.
    pub frame_bytes: u64,
    /// Calls not answered yet.
    pub calls: u64,
    /// Bytes of the bodies of calls not answered yet.
    pub call_bytes: u64,
    /// Objects and promises of the receiver's that the sender is willing to hold.
    pub imports: u64,
    /// Method names that may be defined.
    pub names: u64,
    /// Objects of the sender's, and settled results of reference calls to it, that the receiver may hold.
    pub exports: u64,
}

/// Bytes of a frame behind its length, at the most, whatever a side grants.
pub const MAX_FRAME_BYTES: u64 = 1 << 26;

impl Grants {
    /// The larger of each two.
    #[must_use]
    pub fn at_least(self, other: Grants) -> Grants {
        Grants {
            frame_bytes: self.frame_bytes.max(other.frame_bytes),
            calls: self.calls.max(other.calls),
            call_bytes: self.call_bytes.max(other.call_bytes),
            imports: self.imports.max(other.imports),
            names: self.names.max(other.names),
            exports: self.exports.max(other.exports),
        }
    }

    /// What a side may count on before the other's hello has come, and what a hello that does not say grants.
    pub const MINIMUM: Grants =
        Grants { frame_bytes: 4096, calls: 16, call_bytes: 65_536, imports: 16, names: 16, exports: 16 };
}
