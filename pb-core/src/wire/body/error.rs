//! What may be wrong with a body, in words for whoever wrote the type or the call.

use bincode::error::{DecodeError, EncodeError, IntegerType};

use super::MAX_DEPTH;

/// Why a value could not be written to, or read from, a body. It fails one call or answer, never the connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// More containers stand within each other than either side takes.
    #[error("a value has more than {MAX_DEPTH} containers within each other")]
    TooDeep,
    /// A sequence or map claims more elements than its body can hold.
    #[error("a sequence or map claims {claimed} elements, where the body has room for {room}")]
    TooLong {
        /// Elements that the body says will come.
        claimed: u64,
        /// Elements that were still allowed.
        room: u64,
    },
    /// A type asks the body what comes next. Bodies are bare values and cannot answer.
    #[error("`{type_name}` asks the body {asked}; bodies do not describe themselves")]
    SelfDescribing {
        /// The Rust type that was to be made.
        type_name: &'static str,
        /// What it asked for, with the attributes that cause it.
        asked: SelfDescribing,
    },
    /// A field was left out by `skip_serializing_if`: the reader, who counts fields, would read the next one for it.
    #[error(
        "field `{field}` of `{type_name}` was left out; bodies have no names, so fields can't be: remove #[serde(skip_serializing_if)]"
    )]
    FieldLeftOut {
        /// The struct, as serde names it.
        type_name: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A sequence or map does not know its length, which a body must say first.
    #[error(
        "a {what} does not know its length before its elements; #[serde(flatten)] makes such maps, and so do iterators"
    )]
    LengthUnknown {
        /// "sequence" or "map".
        what: &'static str,
    },
    /// Bytes stand behind the last value: the two sides mean different types.
    #[error("{bytes} bytes are left over behind the last value of a body")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// The body ends within a value.
    #[error("the body ends {missing} bytes too early")]
    Ended {
        /// How many more the value at hand needs, at least.
        missing: usize,
    },
    /// A number stands where only some are allowed.
    #[error("{found} is not {expected}")]
    NotOneOf {
        /// What was expected, with its numbers.
        expected: &'static str,
        /// The number found.
        found: u64,
    },
    /// A number is wider than its type, or too large for this machine.
    #[error("a number does not fit its type, {expected}")]
    TooWide {
        /// The type; two where the codec does not tell them apart.
        expected: &'static str,
    },
    /// A string is not UTF-8.
    #[error("a string is not UTF-8 from its byte {valid_bytes} on")]
    NotUtf8 {
        /// Bytes that are.
        valid_bytes: usize,
    },
    /// Four bytes are not one character's UTF-8.
    #[error("a char is not the UTF-8 of a character")]
    NotAChar,
    /// The type's own `Serialize` or `Deserialize` says no.
    #[error("{message}")]
    Value {
        /// Its words.
        message: String,
    },
}

/// What a type asked a body that does not describe itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfDescribing {
    /// `deserialize_any`.
    #[error(
        "what comes next, as #[serde(untagged)], #[serde(tag = \"…\")] without `content`, and types of any value do"
    )]
    Any,
    /// `deserialize_identifier`.
    #[error("for a field's name, as #[serde(flatten)] and #[serde(tag = \"…\", content = \"…\")] do")]
    FieldName,
    /// `deserialize_ignored_any`.
    #[error("to skip a value whose type is not known, as #[serde(flatten)] and `IgnoredAny` do")]
    Skip,
}

/// What the guard or the ward refused. Kept beside the codec's own error, which could not carry it.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    TooDeep,
    TooLong { claimed: u64, room: u64 },
    SelfDescribing { type_name: &'static str, asked: SelfDescribing },
    FieldLeftOut { type_name: &'static str, field: &'static str },
    LengthUnknown { what: &'static str },
}

impl From<Refusal> for BodyError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooDeep => BodyError::TooDeep,
            Refusal::TooLong { claimed, room } => BodyError::TooLong { claimed, room },
            Refusal::SelfDescribing { type_name, asked } => BodyError::SelfDescribing { type_name, asked },
            Refusal::FieldLeftOut { type_name, field } => BodyError::FieldLeftOut { type_name, field },
            Refusal::LengthUnknown { what } => BodyError::LengthUnknown { what },
        }
    }
}

/// The error of a failed encoding. A refusal wins: a type that swallowed it must not be sent half.
#[cold]
pub(super) fn encoding(outcome: Result<(), EncodeError>, refusal: Option<Refusal>) -> BodyError {
    match (refusal, outcome) {
        (Some(refusal), _) => refusal.into(),
        (None, Err(EncodeError::OtherString(message))) => BodyError::Value { message },
        (None, Err(other)) => BodyError::Value { message: other.to_string() },
        (None, Ok(())) => BodyError::Value { message: "the value was not encoded".into() },
    }
}

/// The error of a failed decoding. A refusal wins: a type that swallowed it has read from the wrong place since.
#[cold]
pub(super) fn decoding(error: Option<DecodeError>, refusal: Option<Refusal>) -> BodyError {
    if let Some(refusal) = refusal {
        return refusal.into();
    }
    match error {
        Some(DecodeError::UnexpectedEnd { additional }) => BodyError::Ended { missing: additional },
        Some(DecodeError::InvalidBooleanValue(found)) => {
            BodyError::NotOneOf { expected: "a bool, 0 or 1", found: found.into() }
        }
        Some(DecodeError::UnexpectedVariant { found, .. }) => {
            BodyError::NotOneOf { expected: "the mark of an Option, 0 or 1", found: found.into() }
        }
        Some(DecodeError::Utf8 { inner }) => BodyError::NotUtf8 { valid_bytes: inner.valid_up_to() },
        Some(DecodeError::InvalidCharEncoding(_)) => BodyError::NotAChar,
        Some(DecodeError::InvalidIntegerType { found: IntegerType::Reserved, .. }) => {
            BodyError::NotOneOf { expected: "the first byte of a number, 0 to 254", found: 255 }
        }
        // For numbers of 64 bits the codec names the type of 32, when it finds 128.
        Some(DecodeError::InvalidIntegerType { expected: IntegerType::U32, found: IntegerType::U128 }) => {
            BodyError::TooWide { expected: "u32 or u64" }
        }
        Some(DecodeError::InvalidIntegerType {
            expected: IntegerType::I32,
            found: IntegerType::I128 | IntegerType::U128,
        }) => BodyError::TooWide { expected: "i32 or i64" },
        Some(DecodeError::InvalidIntegerType { expected, .. }) => {
            BodyError::TooWide { expected: name(&expected) }
        }
        Some(DecodeError::OutsideUsizeRange(_)) => BodyError::TooWide { expected: "usize" },
        Some(DecodeError::OtherString(message)) => BodyError::Value { message },
        Some(other) => BodyError::Value { message: other.to_string() },
        None => BodyError::Value { message: "the value was not decoded".into() },
    }
}

fn name(integer: &IntegerType) -> &'static str {
    match integer {
        IntegerType::U8 => "u8",
        IntegerType::U16 => "u16",
        IntegerType::U32 => "u32",
        IntegerType::U64 => "u64",
        IntegerType::U128 => "u128",
        IntegerType::Usize => "usize",
        IntegerType::I8 => "i8",
        IntegerType::I16 => "i16",
        IntegerType::I32 => "i32",
        IntegerType::I64 => "i64",
        IntegerType::I128 => "i128",
        IntegerType::Isize => "isize",
        _ => "an integer",
    }
}
