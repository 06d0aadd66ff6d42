//! Bodies: values in bincode 2 (standard configuration, as serde drives it), behind a guard of ours both ways.
//!
//! Bare bincode trusts the bytes: nine of them make it allocate 64 GiB, and deep nesting overflows the stack.
//! Here a peer's bytes cost at most what they are worth, and types that a format without names cannot carry
//! are refused with the attribute that is to blame. Wire: `docs/protocol.md`, "Bodies".
//!
//! [`Bytes`] that are an argument or an answer are not copied where they are large ([`Draft`], [`Received`]), and a `Vec<u8>` is copied once. Within other values [`Bytes`], or
//! `serde_bytes`, are copied whole, and `Vec<u8>` goes element by element, for that is what serde makes of it.

use std::marker::PhantomData;

use bincode::config::{Configuration, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

mod error;
mod guard;
mod large;
mod ward;

pub use bytes::Bytes;
pub use error::{BodyError, SelfDescribing};
pub use large::{Draft, Received};

/// How many containers may stand within each other: sequences, maps, structs, tuples, enums, `Option`s and newtypes.
/// Fixed, because both sides must agree; a quarter of what the smallest stack we know survives.
pub const MAX_DEPTH: u32 = 64;

/// Elements that a body may claim beyond one for each of its bytes: room for honest sequences of elements without bytes.
pub const SPARE_ELEMENTS: u64 = 1024;

/// Appends `value` to `out`.
///
/// # Errors
/// [`BodyError`] when the value is too deep, leaves a field out, does not know its length, or its own `Serialize`
/// fails; `out` is as it was before.
#[inline]
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), BodyError> {
    let before = out.len();
    let state = ward::State::new();
    let outcome =
        bincode::serde::encode_into_writer(ward::Root::new(value, &state), Tail(out), CONFIGURATION);
    if outcome.is_ok() && state.refusal().is_none() {
        return Ok(());
    }
    out.truncate(before);
    Err(error::encoding(outcome, state.refusal()))
}

/// Takes one value off the front of `input`, and leaves what is behind it; see [`finish`].
///
/// # Errors
/// [`BodyError`] when the bytes are not such a value, or break the guard's rules; `input` is then as it was before.
#[inline]
pub fn decode<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, BodyError> {
    decode_by(PhantomData::<T>, input)
}

/// Takes what `seed` makes off the front of `input`; for types that are known only at run time.
///
/// # Errors
/// As [`decode`].
#[inline]
pub fn decode_by<'de, S: DeserializeSeed<'de>>(
    seed: S,
    input: &mut &'de [u8],
) -> Result<S::Value, BodyError> {
    let bytes = *input;
    let state = guard::State::new(bytes.len());
    let outcome =
        bincode::serde::seed_decode_from_slice(guard::Root::new(seed, &state), bytes, CONFIGURATION);
    match outcome {
        Ok((value, taken)) if state.refusal().is_none() => {
            *input = bytes.get(taken..).unwrap_or_default();
            Ok(value)
        }
        other => Err(error::decoding(other.err(), state.refusal())),
    }
}

/// Checks that nothing is left behind the last value of a body.
///
/// # Errors
/// [`BodyError::LeftOver`] with the number of bytes.
#[inline]
pub fn finish(rest: &[u8]) -> Result<(), BodyError> {
    match rest.len() {
        0 => Ok(()),
        bytes => Err(BodyError::LeftOver { bytes }),
    }
}

/// Appends to a buffer, so that a body can be encoded where it will be sent from.
struct Tail<'a>(&'a mut Vec<u8>);

impl Writer for Tail<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

const CONFIGURATION: Configuration = standard();
