//! Damaged frames end as a message, an unknown type or a reason, and hold no more memory than they brought.

use bytes::{Bytes, BytesMut};
use pb_core::message::*;
use pb_core::wire::frame::{self, Decoded, MAX_FRAME_BYTES, Malformed};
use pb_tests::golden;
use pb_tests::hostile::{Dice, damaged, framed};

const SEED: u64 = 0x5eed_0001;
/// Damaged forms of each golden frame.
const FORMS: usize = 600;
const LIMIT: u64 = 1 << 20;

/// What a decoded message may hold for each byte of its frame: a capability is 16 bytes here and may be one there.
const FACTOR: usize = 16;

fn content(frame: &[u8]) -> Bytes {
    frame::split(&mut BytesMut::from(frame), LIMIT).expect("a good length").expect("a whole frame")
}

#[test]
fn damaged_frames_are_decoded_or_refused_with_a_reason() {
    let mut dice = Dice::new(SEED);
    let (mut accepted, mut refused) = (0, 0);
    for golden in golden::all() {
        for hostile in damaged(&content(&golden.frame), FORMS, &mut dice) {
            let split = frame::split(&mut BytesMut::from(&hostile[..]), LIMIT);
            let decoded = split.and_then(|content| {
                frame::decode(content.expect("the length of a damaged frame is true, so it is whole"))
            });
            match decoded {
                Ok(decoded) => {
                    accepted += 1;
                    holds_what_it_brought(&decoded, hostile.len());
                    comes_back(&decoded, &hostile);
                }
                Err(reason) => {
                    refused += 1;
                    assert!(reason.to_string().len() > 10);
                    assert!(matches!(reason.abort_code(), AbortCode::Malformed | AbortCode::Violation));
                }
            }
        }
    }
    // Neither half of the test may become empty without notice.
    assert!(accepted > 1000 && refused > 5000, "{accepted} were accepted and {refused} refused");
}

/// There is one encoding of each message; only of a hello are parts passed over.
fn comes_back(decoded: &Decoded, hostile: &[u8]) {
    let Decoded::Message(message) = decoded else { return };
    let mut out = Vec::new();
    frame::encode(message, &mut out);
    if !matches!(message, Message::Hello(_)) {
        assert_eq!(out, hostile, "{message:?}");
    }
}

fn holds_what_it_brought(decoded: &Decoded, frame_bytes: usize) {
    let held = match decoded {
        Decoded::Unknown { caps, .. } => caps_bytes(caps),
        Decoded::Message(Message::Call(call)) => {
            caps_bytes(&call.payload.caps) + method_bytes(&call.method) + options_bytes(&call.options)
        }
        Decoded::Message(Message::Cast(cast)) => {
            caps_bytes(&cast.payload.caps) + method_bytes(&cast.method) + options_bytes(&cast.options)
        }
        Decoded::Message(Message::Resolve(resolve)) => caps_bytes(&resolve.payload.caps),
        Decoded::Message(Message::Reject(reject)) => match &reject.rejection {
            Rejection::App(payload) => caps_bytes(&payload.caps),
            Rejection::Broker(failure) => failure_bytes(failure),
        },
        Decoded::Message(Message::Release(release)) => {
            release.mentions.capacity() * size_of::<(ImportId, u64)>()
        }
        Decoded::Message(Message::Goaway(goaway)) => goaway.reason.len(),
        Decoded::Message(Message::Abort(abort)) => abort.reason.len(),
        Decoded::Message(_) => 0,
    };
    assert!(held <= FACTOR * frame_bytes, "{frame_bytes} bytes became {held}: {decoded:?}");
}

fn caps_bytes(caps: &Vec<Cap>) -> usize {
    caps.capacity() * size_of::<Cap>()
}

fn method_bytes(method: &MethodName) -> usize {
    match method {
        MethodName::Known(_) => 0,
        MethodName::Defined(text) | MethodName::Once(text) => {
            size_of::<MethodText>() + text.name.len() + text.prints.len() * 8
        }
    }
}

fn options_bytes(options: &Option<Box<CallOptions>>) -> usize {
    let Some(options) = options else { return 0 };
    let keys: usize = options.metadata.iter().map(|(key, _)| key.len()).sum();
    size_of::<CallOptions>() + options.metadata.capacity() * size_of::<(Box<str>, Bytes)>() + keys
}

fn failure_bytes(failure: &Failure) -> usize {
    let texts: usize = failure.details.iter().map(|(key, value)| key.len() + value.len()).sum();
    let details = failure.details.capacity() * size_of::<(Box<str>, Box<str>)>();
    let cause = match failure.cause.as_deref() {
        Some(Cause::Broker(cause)) => size_of::<Cause>() + failure_bytes(cause),
        Some(Cause::App(_)) => size_of::<Cause>(),
        None => 0,
    };
    failure.message.len() + texts + details + cause
}

#[test]
fn a_cut_frame_is_waited_for() {
    for golden in golden::all() {
        for cut in 0..golden.frame.len() {
            let waiting = frame::split(&mut BytesMut::from(&golden.frame[..cut]), LIMIT);
            assert_eq!(waiting, Ok(None), "{} cut at {cut}", golden.name);
        }
    }
}

#[test]
fn a_shorter_frame_is_accepted_only_where_its_body_is_shorter() {
    for golden in golden::all() {
        let content = content(&golden.frame);
        let body = body_bytes(&golden.decoded);
        for cut in 0..content.len() {
            let accepted = frame::decode(content.slice(..cut)).is_ok();
            assert_eq!(accepted, cut >= content.len() - body, "{} cut at {cut}", golden.name);
        }
    }
}

/// The bytes at the end that this floor does not look into.
fn body_bytes(decoded: &Decoded) -> usize {
    match decoded {
        Decoded::Message(Message::Call(call)) => call.payload.body.len(),
        Decoded::Message(Message::Cast(cast)) => cast.payload.body.len(),
        Decoded::Message(Message::Resolve(resolve)) => resolve.payload.body.len(),
        Decoded::Message(Message::Reject(Reject { rejection: Rejection::App(payload), .. })) => {
            payload.body.len()
        }
        Decoded::Message(_) => 0,
        Decoded::Unknown { .. } => 5, // All behind the capabilities of the one golden frame of this sort.
    }
}

#[test]
fn a_huge_length_is_refused_with_its_first_bytes() {
    let header = [0x80, 0x80, 0x80, 0x80, 0x01]; // 2^28, and nothing of the frame has come.
    let mut buffer = BytesMut::from(&header[..]);
    let before = buffer.capacity();
    let refused = frame::split(&mut buffer, u64::MAX);
    assert_eq!(refused, Err(Malformed::TooLong { length: 1 << 28, limit: MAX_FRAME_BYTES }));
    assert_eq!((buffer.len(), buffer.capacity()), (header.len(), before));
    for come in 1..header.len() {
        let early = frame::split(&mut BytesMut::from(&header[..come]), 4096);
        let least = 1 << (7 * come);
        let expected =
            if come == 1 { Ok(None) } else { Err(Malformed::TooLong { length: least, limit: 4096 }) };
        assert_eq!(early, expected, "{come} bytes have come");
    }
}

#[test]
fn a_claimed_length_within_the_limit_reserves_nothing() {
    let mut buffer = BytesMut::from(&[0x80, 0x80, 0x40, 2, 0][..]); // 2^20
    let before = buffer.capacity();
    assert_eq!(frame::split(&mut buffer, LIMIT), Ok(None));
    assert_eq!((buffer.len(), buffer.capacity()), (5, before));
}

#[test]
fn a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
    let frame_of = |bytes: u64| {
        let payload = Payload { caps: vec![], body: vec![0; bytes as usize - 3] }; // Type, capabilities, id.
        let mut out = Vec::new();
        frame::encode(&Message::Resolve(Resolve { export: ExportId(1), payload }), &mut out);
        BytesMut::from(&out[..])
    };
    let passed = frame::split(&mut frame_of(LIMIT), LIMIT);
    assert_eq!(passed.map(|frame| frame.map(|frame| frame.len() as u64)), Ok(Some(LIMIT)));
    let refused = frame::split(&mut frame_of(LIMIT + 1), LIMIT);
    assert_eq!(refused, Err(Malformed::TooLong { length: LIMIT + 1, limit: LIMIT }));
}

#[test]
fn noise_is_the_same_however_it_is_cut_into_reads() {
    let mut dice = Dice::new(SEED);
    for _ in 0..2000 {
        // True lengths and small bytes, so that some of the noise is frames.
        let mut noise = Vec::new();
        for _ in 0..4 {
            let content: Vec<u8> = (0..2 + dice.below(12)).map(|_| dice.roll() as u8 % 16).collect();
            noise.extend(framed(&content));
        }
        noise.extend((0..4).map(|_| dice.roll() as u8));
        let whole = read(&noise, noise.len());
        assert_eq!(whole, read(&noise, 1));
        assert_eq!(whole, read(&noise, 1 + dice.below(7)));
    }
}

/// All that `stream` holds up to its first error, when it comes in pieces of `piece` bytes.
fn read(stream: &[u8], piece: usize) -> Vec<Result<Decoded, Malformed>> {
    let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(next) = frame::split(&mut buffer, 4096).transpose() {
            // How much of a wrong length had come is no part of the comparison.
            let next = next.and_then(frame::decode).map_err(|reason| match reason {
                Malformed::TooLong { limit, .. } => Malformed::TooLong { length: 0, limit },
                Malformed::Number { at: 0 } => Malformed::TooLong { length: 0, limit: 4096 },
                other => other,
            });
            seen.push(next);
            if matches!(seen.last(), Some(Err(_))) {
                return seen;
            }
        }
    }
    seen
}
