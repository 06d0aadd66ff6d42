//! The floor's wire: `u32 length, u32 id, u8 method, i64, i64` there and `u32 length, u32 id, i64` back.

/// A request, with its length: 25 bytes.
pub fn request(id: u32, a: i64, b: i64) -> [u8; REQUEST_BYTES] {
    let mut frame = [0; REQUEST_BYTES];
    frame[..4].copy_from_slice(&(REQUEST_BYTES as u32 - 4).to_le_bytes());
    frame[4..8].copy_from_slice(&id.to_le_bytes());
    frame[8] = ADD;
    frame[9..17].copy_from_slice(&a.to_le_bytes());
    frame[17..].copy_from_slice(&b.to_le_bytes());
    frame
}

/// A reply, with its length: 16 bytes.
pub fn reply(id: u32, sum: i64) -> [u8; REPLY_BYTES] {
    let mut frame = [0; REPLY_BYTES];
    frame[..4].copy_from_slice(&(REPLY_BYTES as u32 - 4).to_le_bytes());
    frame[4..8].copy_from_slice(&id.to_le_bytes());
    frame[8..].copy_from_slice(&sum.to_le_bytes());
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
pub fn read_request(frame: &[u8]) -> Option<(u32, i64, i64)> {
    let (id, rest) = frame.split_first_chunk()?;
    let ([ADD], rest) = rest.split_first_chunk()? else { return None };
    let (a, rest) = rest.split_first_chunk()?;
    let b = rest.first_chunk()?;
    Some((u32::from_le_bytes(*id), i64::from_le_bytes(*a), i64::from_le_bytes(*b)))
}

/// Reads a reply frame; None if it is not one.
pub fn read_reply(frame: &[u8]) -> Option<(u32, i64)> {
    let (id, rest) = frame.split_first_chunk()?;
    let sum = rest.first_chunk()?;
    Some((u32::from_le_bytes(*id), i64::from_le_bytes(*sum)))
}

/// Bytes of a request on the wire.
pub const REQUEST_BYTES: usize = 25;
/// Bytes of a reply on the wire.
pub const REPLY_BYTES: usize = 16;
const ADD: u8 = 0;
