use thiserror::Error;

use crate::message::AbortCode;

/// What a peer did that ends the connection. Wire: `docs/protocol.md`, section 14.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Violation {
    /// Something came before the hello.
    #[error("a message came before the hello")]
    BeforeHello,
    /// A second hello.
    #[error("a second hello came")]
    SecondHello,
    /// No version in common.
    #[error("the peer speaks versions {lowest} to {highest} of the protocol, this side speaks 1")]
    Version {
        /// The peer's lowest.
        lowest: u32,
        /// The peer's highest.
        highest: u32,
    },
    /// Frames so small that not every answer fits.
    #[error("the peer takes frames of {granted} bytes; every side takes {least}")]
    FramesTooSmall {
        /// What its hello grants.
        granted: u64,
        /// What a side may send before it has read a hello.
        least: u64,
    },
    /// A call's result id is not the next.
    #[error("a call takes the result id {id}, the next is {next}")]
    ResultNotNext {
        /// The id taken.
        id: i64,
        /// The id that was due.
        next: i64,
    },
    /// An id that was never given.
    #[error("id {id} was never given")]
    NeverGiven {
        /// The id.
        id: i64,
    },
    /// A value's result used as a reference.
    #[error("result {id} is a value and cannot be named")]
    NotAReference {
        /// The id.
        id: i64,
    },
    /// An object's id that is not the next.
    #[error("object id {id} skips ids, the next is {next}")]
    ObjectNotNext {
        /// The id.
        id: i64,
        /// The id that was due.
        next: i64,
    },
    /// A number without a definition.
    #[error("method number {number} is not defined, {defined} are")]
    UndefinedMethod {
        /// The number.
        number: u32,
        /// How many are.
        defined: usize,
    },
    /// An answer nobody waits for.
    #[error("an answer came for call {id}, which is not open")]
    AnswerNotAsked {
        /// The id.
        id: i64,
    },
    /// An answer that names the root.
    #[error("a resolve names the root, which is no call's result: a call's id is positive")]
    RootResolved,
    /// A reference was to come.
    #[error("call {id} asked for a reference; the answer has {caps} capabilities and {bytes} bytes")]
    NotOneReference {
        /// The id.
        id: i64,
        /// Capabilities that came.
        caps: usize,
        /// Bytes that came.
        bytes: usize,
    },
    /// More released than held.
    #[error("{released} references to export {id} are released, {held} were held")]
    ReleasedTooMany {
        /// The id.
        id: i64,
        /// What the peer held.
        held: u64,
        /// What it gave back.
        released: u64,
    },
    /// An object, or the root, that is broken already.
    #[error("object {id} is broken a second time")]
    BrokenTwice {
        /// The id.
        id: i64,
    },
    /// A disembargo for something else than a settled reference of the peer's own.
    #[error("a disembargo names {id}, which is no settled reference to the asker's own object")]
    NotEmbargoed {
        /// The id.
        id: i64,
    },
    /// An echo never asked for, or a second one.
    #[error("an echo came with number {number}, which is not awaited")]
    EchoNotAsked {
        /// The number.
        number: u64,
    },
    /// An answer over its call's limit.
    #[error("the answer to call {id} has {bytes} bytes, and may have {limit}")]
    AnswerTooBig {
        /// The call.
        id: i64,
        /// Bytes of the answer's body.
        bytes: usize,
        /// What the call asked for.
        limit: u64,
    },
    /// Credit for more casts than were sent.
    #[error(
        "credit came for {casts} casts of {bytes} bytes; {sent} of {sent_bytes} bytes are not given back yet"
    )]
    CreditTooMuch {
        /// Casts given back.
        casts: u64,
        /// Their bytes.
        bytes: u64,
        /// Casts that were out.
        sent: u64,
        /// Their bytes.
        sent_bytes: u64,
    },
    /// A second `goaway` that disagrees with the first.
    #[error("a goaway names call {last} as the last that runs, the one before named {before}")]
    GoawayChanged {
        /// What it names.
        last: i64,
        /// What the first named.
        before: i64,
    },
    /// A feature that the two hellos do not both offer.
    #[error("the peer uses {feature}, which the two sides have not agreed on in their hellos")]
    NotOffered {
        /// The feature.
        feature: &'static str,
    },
    /// A limit whose passing cannot be answered.
    #[error("the limit of {limit} {what} is passed")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

impl Violation {
    /// The code of the `abort` that tells the peer.
    pub fn abort_code(&self) -> AbortCode {
        match self {
            Violation::Version { .. } => AbortCode::Version,
            Violation::Limit { .. } => AbortCode::Limit,
            _ => AbortCode::Violation,
        }
    }
}
