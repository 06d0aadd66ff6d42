//! The floor's wire: `u32 length, u32 id, u8 method, i64, i64` there and `u32 length, u32 id, i64` back. A request that
//! the server makes of the client looks like any other.

/// A request, with its length: 25 bytes.
pub fn request(id: u32, method: u8, a: i64, b: i64) -> [u8; REQUEST_BYTES] {
    let mut frame = [0; REQUEST_BYTES];
    frame[..4].copy_from_slice(&(REQUEST_BYTES as u32 - 4).to_le_bytes());
    frame[4..8].copy_from_slice(&id.to_le_bytes());
    frame[8] = method;
    frame[9..17].copy_from_slice(&a.to_le_bytes());
    frame[17..].copy_from_slice(&b.to_le_bytes());
    frame
}

/// A reply, with its length: 16 bytes.
pub fn reply(id: u32, value: i64) -> [u8; REPLY_BYTES] {
    let mut frame = [0; REPLY_BYTES];
    frame[..4].copy_from_slice(&(REPLY_BYTES as u32 - 4).to_le_bytes());
    frame[4..8].copy_from_slice(&id.to_le_bytes());
    frame[8..].copy_from_slice(&value.to_le_bytes());
    frame
}

/// Takes the next whole frame, without its length, off the front of `bytes`.
pub fn next<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (frame, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(frame)
}

/// Reads a request frame; None if it is not one.
pub fn read_request(frame: &[u8]) -> Option<(u32, u8, i64, i64)> {
    if frame.len() != REQUEST_BYTES - 4 {
        return None;
    }
    let (id, rest) = frame.split_first_chunk()?;
    let ([method], rest) = rest.split_first_chunk()?;
    let (a, rest) = rest.split_first_chunk()?;
    let b = rest.first_chunk()?;
    Some((u32::from_le_bytes(*id), *method, i64::from_le_bytes(*a), i64::from_le_bytes(*b)))
}

/// Reads a reply frame; None if it is not one.
pub fn read_reply(frame: &[u8]) -> Option<(u32, i64)> {
    if frame.len() != REPLY_BYTES - 4 {
        return None;
    }
    let (id, rest) = frame.split_first_chunk()?;
    let value = rest.first_chunk()?;
    Some((u32::from_le_bytes(*id), i64::from_le_bytes(*value)))
}

/// Bytes of a request on the wire.
pub const REQUEST_BYTES: usize = 25;
/// Bytes of a reply on the wire.
pub const REPLY_BYTES: usize = 16;
/// The sum of both numbers.
pub const ADD: u8 = 0;
/// Makes a counter that begins at `a`; the reply is its number among the connection's.
pub const MAKE: u8 = 1;
/// Adds `b` to counter `a`.
pub const POKE: u8 = 2;
/// Drops counter `a`; has no reply.
pub const RELEASE: u8 = 3;
/// Counters alive.
pub const LIVE: u8 = 4;
/// Has the server ask the client [`ASKED`] with `a` before it replies.
pub const CALLBACK: u8 = 5;
/// What the server asks: the client's object's number plus `a`.
pub const ASKED: u8 = 6;
/// The value of the node so deep below the root.
pub const VALUE: u8 = 7;
