//! Frames of the native dialect: one message each, its length in front. Wire: `docs/protocol.md`, sections 1 to 4.
//!
//! Everything but a `hello` has exactly one encoding: what [`decode`] accepts, [`encode`] gives back byte for byte.
//!
//! ```
//! use bytes::BytesMut;
//! use pb_core::message::{Message, Ping};
//! use pb_core::wire::frame::{Decoded, decode, encode, split};
//!
//! let ping: Message = Message::Ping(Ping { nonce: 7 });
//! let mut out = Vec::new();
//! encode(&ping, &mut out);
//! assert_eq!(out, [3, 11, 0, 7]); // Length, type, no capabilities, nonce.
//!
//! let frame = split(&mut BytesMut::from(&out[..]), 4096)?.expect("the frame is whole");
//! assert_eq!(decode(frame)?, Decoded::Message(ping));
//! # Ok::<(), pb_core::wire::frame::Malformed>(())
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::message::{Cap, ExportId, Message, Parts};

mod codes;
mod decode;
mod encode;
mod malformed;
mod number;
mod reader;
mod sink;

pub use decode::decode;
pub use malformed::Malformed;

use codes::types;
use number::Uint;
use sink::{Count, Fields, Head, Sink};

/// The first four bytes that each side sends, before its first frame.
pub const MAGIC: [u8; 4] = [0x89, b'P', b'B', b'\n'];

pub use crate::message::MAX_FRAME_BYTES;

/// Entries of one `release`, at the most.
pub const MAX_RELEASES: usize = 1024;

/// What a frame held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A message that this version knows.
    Message(Message<Bytes>),
    /// A type from 32 to 127 that this version does not know. It is answered `unimplemented`, and what its
    /// capabilities brought is released.
    Unknown {
        /// The type, which the answer names.
        message_type: u8,
        /// What the sender exported, or named, for the message.
        caps: Vec<Cap>,
    },
}

impl Decoded {
    /// It settles a call's result with a value.
    #[inline]
    pub fn is_answer(&self) -> bool {
        matches!(self, Decoded::Message(Message::Resolve(_)))
    }

    /// As [`Message::names_result`].
    #[inline]
    pub fn names_result(&self) -> bool {
        matches!(self, Decoded::Message(message) if message.names_result())
    }
}

/// Appends `message` as a whole frame, its length in front. Allocates nothing but what `out` grows by.
///
/// A failure's texts and details, its causes and reasons are cut to their bounds. No other bound is looked at:
/// who makes a message keeps to those in `docs/protocol.md`, or the receiver refuses it.
#[inline]
pub fn encode<B: Parts>(message: &Message<B>, out: &mut Vec<u8>) {
    encode_into(message, |bytes| {
        out.reserve(bytes);
        out
    });
}

/// The same, into the buffer that `room` gives for so many bytes.
#[inline]
pub(crate) fn encode_into<'a, B: Parts>(message: &Message<B>, room: impl FnOnce(usize) -> &'a mut Vec<u8>) {
    let mut head = Head::new();
    if let Some((front, end)) = encode::small(message, &mut head) {
        let head = head.with_length(front.len() + end.len());
        let out = room(head.len() + front.len() + end.len());
        out.extend_from_slice(head);
        out.extend_from_slice(front);
        out.extend_from_slice(end);
        return;
    }
    let length = content_len(message);
    let out = room(number::uint_len(length as u64) + length);
    out.uint(length as u64);
    let start = out.len();
    encode::message(message, out);
    debug_assert_eq!(out.len() - start, length, "counting and writing are one function");
}

/// The frame of `message` but for its body, which must follow: into the buffer that `room` gives for so many bytes.
pub fn encode_fields<'a, B: Parts>(message: &Message<B>, room: impl FnOnce(usize) -> &'a mut Vec<u8>) {
    encode_before(message, &[], room);
}

/// The frame of `message` but for the second piece of its body, which must follow: into the buffer that `room` gives for so many bytes.
#[cfg(feature = "net")]
pub(crate) fn encode_front<'a, B: Parts>(message: &Message<B>, room: impl FnOnce(usize) -> &'a mut Vec<u8>) {
    encode_before(message, message.body().map_or(&[], |body| body.parts().0), room);
}

/// The frame of `message` with only `front` of its body.
fn encode_before<'a, B: Parts>(
    message: &Message<B>,
    front: &[u8],
    room: impl FnOnce(usize) -> &'a mut Vec<u8>,
) {
    let length = content_len(message);
    let body = message.body().map_or(0, |body| body.parts().0.len() + body.parts().1.len());
    let out = room(number::uint_len(length as u64) + length - body + front.len());
    out.uint(length as u64);
    let start = out.len();
    encode::message(message, &mut Fields(out));
    debug_assert_eq!(out.len() - start, length - body, "counting and writing are one function");
    out.extend_from_slice(front);
}

/// The bytes that [`encode`] appends for `message`, length prefix included.
pub fn encoded_len<B: Parts>(message: &Message<B>) -> usize {
    let length = content_len(message);
    number::uint_len(length as u64) + length
}

/// Takes the first frame off the front of `buffer`, without its length; `None` until all of it is there.
///
/// Reserves nothing: a claimed length costs this side no memory until its bytes have come.
///
/// # Errors
/// [`Malformed`] when the length is under 2, over `max_frame` or [`MAX_FRAME_BYTES`] bytes, or not in its one
/// encoding: as soon as the bytes that are there show it. `buffer` is as before.
#[inline]
pub fn split(buffer: &mut BytesMut, max_frame: u64) -> Result<Option<Bytes>, Malformed> {
    let limit = max_frame.min(MAX_FRAME_BYTES);
    let (length, prefix) = match number::read_uint(buffer) {
        Uint::Whole { value, len } => (value, len),
        Uint::Partial { least } if least > limit => return Err(Malformed::TooLong { length: least, limit }),
        Uint::Partial { .. } => return Ok(None),
        Uint::Wrong => return Err(Malformed::Number { at: 0 }),
    };
    if length > limit {
        return Err(Malformed::TooLong { length, limit });
    }
    if length < 2 {
        return Err(Malformed::TooShort { length });
    }
    let length = length as usize; // At most 2^26.
    if buffer.len() - prefix < length {
        return Ok(None);
    }
    buffer.advance(prefix);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Whether the first frame in `buffer`, as far as it has come, is a call, a cast or an answer that is a value.
#[inline]
pub fn is_plain(buffer: &[u8]) -> bool {
    match number::read_uint(buffer) {
        Uint::Whole { len, .. } => {
            matches!(buffer.get(len), Some(&(types::CALL | types::CAST | types::RESOLVE)))
        }
        Uint::Partial { .. } | Uint::Wrong => false,
    }
}

/// How many bytes the first frame in `buffer` has with its length, as far as the bytes that are there say.
pub fn whole_len(buffer: &[u8]) -> Option<usize> {
    match number::read_uint(buffer) {
        Uint::Whole { value, len } => usize::try_from(value).ok()?.checked_add(len),
        Uint::Partial { .. } | Uint::Wrong => None,
    }
}

/// Whose answer begins in `buffer`, and how many bytes its body will have: what can be refused before all of it has come. `None` for other
/// frames, and as long as the bytes that are there do not say.
pub fn begun_answer(buffer: &[u8]) -> Option<(ExportId, usize)> {
    let mut rest = buffer;
    let uint = |rest: &mut &[u8]| match number::read_uint(rest) {
        Uint::Whole { value, len } => {
            *rest = &rest[len..];
            Some(value)
        }
        Uint::Partial { .. } | Uint::Wrong => None,
    };
    let length = usize::try_from(uint(&mut rest)?).ok()?;
    let content = rest.len();
    let message_type = *rest.split_off_first()?;
    for _ in 0..uint(&mut rest)? {
        uint(&mut rest)?;
    }
    let id = number::unzigzag(uint(&mut rest)?);
    match message_type {
        types::RESOLVE => {}
        types::REJECT if *rest.split_off_first()? == codes::ORIGIN_APP => {}
        _ => return None,
    }
    Some((ExportId(id), length.checked_sub(content - rest.len())?))
}

fn content_len<B: Parts>(message: &Message<B>) -> usize {
    let mut count = Count::default();
    encode::message(message, &mut count);
    count.bytes
}

#[cfg(test)]
mod tests;
