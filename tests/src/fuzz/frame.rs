//! Bytes through [`split`](frame::split) and [`decode`](frame::decode): no panic, exactly one encoding, no more memory than was brought.

use bytes::{Bytes, BytesMut};
use pb_core::message::{AbortCode, Message};
use pb_core::wire::frame::{self, Decoded, Malformed};

use super::Measure;

/// The input twice: as a stream of frames, and as the content of one.
pub fn run(input: &[u8], measure: Measure) {
    stream(input);
    content(&Bytes::copy_from_slice(input), measure);
}

/// However a stream is cut, it is the same frames; of a length that is too large, less may be known when it is refused.
fn stream(input: &[u8]) {
    let (whole, end) = frames(&[input]);
    let cut = input.first().map_or(0, |first| usize::from(*first) % (input.len() + 1));
    let (left, right) = input.split_at(cut);
    let (same, same_end) = frames(&[left, right]);
    assert_eq!((&same, same_end.is_some()), (&whole, end.is_some()), "cut at {cut}");
    for frame in whole {
        assert!(frame.len() >= 2 && frame.len() as u64 <= LIMIT);
    }
    [end, same_end].iter().flatten().for_each(reasoned);
}

/// The frames of a stream that comes in these parts, and what is wrong with it.
fn frames(parts: &[&[u8]]) -> (Vec<Bytes>, Option<Malformed>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match frame::split(&mut buffer, LIMIT) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(malformed) => return (frames, Some(malformed)),
            }
        }
    }
    (frames, None)
}

fn content(content: &Bytes, measure: Measure) {
    let mut decoded = None;
    let held = measure(&mut || decoded = Some(frame::decode(content.clone())));
    let most = FACTOR * content.len() as u64 + SPARE;
    assert!(held <= most, "{} bytes became {held}, over {most}", content.len());
    match decoded.expect("the measured work has run") {
        Ok(Decoded::Message(message)) => comes_back(&message, content),
        Ok(Decoded::Unknown { message_type, caps }) => {
            assert!((32..128).contains(&message_type) && content[0] == message_type && caps.len() <= 1024);
        }
        Err(malformed) => reasoned(&malformed),
    }
}

/// There is one encoding of each message; only of a hello are parts passed over, and what is left of it has one.
fn comes_back(message: &Message, content: &Bytes) {
    let mut out = Vec::new();
    frame::encode(message, &mut out);
    assert_eq!(out.len(), frame::encoded_len(message));
    let again = frame::split(&mut BytesMut::from(&out[..]), u64::MAX);
    let again = again.expect("a good length").expect("a whole frame");
    if matches!(message, Message::Hello(_)) {
        assert_eq!(frame::decode(again), Ok(Decoded::Message(message.clone())));
    } else {
        assert_eq!(again, content, "{message:?}");
    }
}

fn reasoned(malformed: &Malformed) {
    assert!(malformed.to_string().len() > 10);
    assert!(matches!(malformed.abort_code(), AbortCode::Malformed | AbortCode::Violation));
}

/// What a side grants by default.
const LIMIT: u64 = 1 << 20;
/// What a frame may become: a capability is 16 bytes here and may be one there. Twice that while its list grows.
const FACTOR: u64 = 32;
/// What the smallest of a message's parts take however short the frame is: the method's text, the options, a list's first room.
const SPARE: u64 = 1024;
