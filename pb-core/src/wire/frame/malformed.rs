//! Why bytes are no message.

use thiserror::Error;

use crate::message::AbortCode;

/// Bytes that are no message. The connection ends with [`Malformed::abort_code`]. Positions count from the byte
/// behind the frame's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// The length leaves no room for a type and a number of capabilities.
    #[error("a frame of {length} bytes has no room for its type and its number of capabilities")]
    TooShort {
        /// As the frame's length says.
        length: u64,
    },
    /// The length is over what this side granted.
    #[error("a frame of {length} bytes or more is over the limit of {limit}")]
    TooLong {
        /// As the frame's length says; its least possible value when only a part of it has come.
        length: u64,
        /// What was granted.
        limit: u64,
    },
    /// The frame ends before its message does.
    #[error("from byte {at} on a message needs {needed} bytes or more, and the frame has {left}")]
    Ended {
        /// Where the field begins.
        at: usize,
        /// What the field takes at least.
        needed: u64,
        /// What is there.
        left: usize,
    },
    /// A number that is longer than it must be, or not below 2^64.
    #[error("the number at byte {at} is not in its one encoding, or not below 2^64")]
    Number {
        /// Where the number begins.
        at: usize,
    },
    /// A number out of its bounds.
    #[error("the {field} is {value}, which is not within {least} and {most}")]
    OutOfBounds {
        /// What the number is.
        field: &'static str,
        /// As received.
        value: u64,
        /// The smallest that is allowed.
        least: u64,
        /// The largest that is allowed.
        most: u64,
    },
    /// A text or byte string whose length is out of its bounds.
    #[error("the {field} is {bytes} bytes long, which is not within {least} and {most}")]
    Length {
        /// What the text or byte string is.
        field: &'static str,
        /// Its length.
        bytes: u64,
        /// The shortest that is allowed.
        least: usize,
        /// The longest that is allowed.
        most: usize,
    },
    /// A text that is not UTF-8.
    #[error("the {field} is not UTF-8 from its byte {at} on")]
    NotUtf8 {
        /// What the text is.
        field: &'static str,
        /// The first wrong byte, counted in the text.
        at: usize,
    },
    /// A method's name with a control character.
    #[error("the name of a method has a control character at its byte {at}")]
    ControlCharacter {
        /// The character's first byte, counted in the name.
        at: usize,
    },
    /// More bytes than the message's fields.
    #[error("{bytes} bytes are left over behind a message of type {message_type}")]
    LeftOver {
        /// The message's type.
        message_type: u8,
        /// How many.
        bytes: usize,
    },
    /// Capabilities where none are allowed.
    #[error("a message of type {message_type} without a body names {count} capabilities")]
    UnexpectedCaps {
        /// The message's type.
        message_type: u8,
        /// How many.
        count: u64,
    },
    /// A type that this version does not know and may not pass over.
    #[error("{message_type} is no type of message")]
    UnknownType {
        /// As received.
        message_type: u8,
    },
    /// Flags that mean nothing on this message.
    #[error("the flags {flags} hold a bit that has no meaning on a message of type {message_type}")]
    UnknownFlags {
        /// The message's type.
        message_type: u8,
        /// As received.
        flags: u8,
    },
    /// A choice that does not exist.
    #[error("there is no {field} {code}")]
    UnknownCode {
        /// What is chosen.
        field: &'static str,
        /// As received.
        code: u8,
    },
    /// An id that no side may give.
    #[error("the id {id} is not within -2^60 and 2^60")]
    Id {
        /// As received.
        id: i64,
    },
    /// A failure with too many causes within each other.
    #[error("a failure has more than {most} causes within each other")]
    TooManyCauses {
        /// The most that are allowed.
        most: usize,
    },
    /// A grant that a hello gives twice.
    #[error("a hello gives the grant {key} twice")]
    RepeatedGrant {
        /// The grant's key.
        key: u64,
    },
    /// An id whose sign says that another side chose it, or that it is of another sort.
    #[error("the id {id} cannot be a {field}")]
    Sign {
        /// What the id was to be.
        field: &'static str,
        /// As received.
        id: i64,
    },
    /// A release of nothing.
    #[error("a release gives back no mention of {id}")]
    ReleasedNothing {
        /// The entry that was to be released.
        id: i64,
    },
}

impl Malformed {
    /// The code to abort the connection with: most are [`AbortCode::Malformed`], a well-formed id or count in the
    /// wrong place is an [`AbortCode::Violation`].
    pub const fn abort_code(&self) -> AbortCode {
        match self {
            Malformed::Sign { .. } | Malformed::ReleasedNothing { .. } => AbortCode::Violation,
            _ => AbortCode::Malformed,
        }
    }
}
