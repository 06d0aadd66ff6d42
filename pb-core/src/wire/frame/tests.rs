use std::sync::Arc;

use super::*;
use crate::message::*;

/// The content of the frame that `message` becomes: everything behind the length.
fn content(message: &Message) -> Bytes {
    let mut out = Vec::new();
    encode(message, &mut out);
    assert_eq!(out.len(), encoded_len(message));
    let mut buffer = BytesMut::from(&out[..]);
    let frame = split(&mut buffer, MAX_FRAME_BYTES).unwrap().unwrap();
    assert!(buffer.is_empty());
    frame
}

fn refused(content: &[u8]) -> Malformed {
    decode(Bytes::copy_from_slice(content)).expect_err("the frame is wrong")
}

fn there_and_back(message: Message) {
    assert_eq!(decode(content(&message)), Ok(Decoded::Message(message)));
}

fn call(payload: Payload) -> Call {
    Call {
        target: ImportId::ROOT,
        result: ImportId(1),
        reply: Reply::Value,
        method: MethodName::Known(1),
        options: None,
        payload,
    }
}

fn chain(causes: usize) -> Failure {
    (0..causes).fold(Failure::new(FailureKind::Failed, Ran::Yes, "first"), |inner, _| {
        Failure::new(FailureKind::Broken, Ran::No, "next").caused_by(Cause::Broker(inner))
    })
}

fn rejected(failure: Failure) -> Message {
    Message::Reject(Reject { export: ExportId(1), rejection: Rejection::Broker(failure) })
}

fn depth(failure: &Failure) -> usize {
    match failure.cause.as_deref() {
        Some(Cause::Broker(inner)) => 1 + depth(inner),
        Some(Cause::App(_)) => 1,
        None => 0,
    }
}

#[test]
fn a_small_call_is_its_numbers_and_its_body() {
    let call = call(Payload { caps: vec![], body: Bytes::from_static(b"\x64") });
    assert_eq!(&content(&Message::Call(call))[..], [2, 0, 0, 0, 1, 1, 0x64]);
}

#[test]
fn a_call_with_everything_is_laid_out_as_the_page_says() {
    let message = Message::Call(Call {
        target: ImportId(-2),
        result: ImportId(300),
        reply: Reply::Reference,
        method: MethodName::Defined(Arc::new(MethodText {
            name: "A/b".into(),
            fewest: 1,
            prints: [0x0807_0605_0403_0201].into(),
        })),
        options: CallOptions {
            answer_bytes: Some(128),
            deadline_ms: Some(5),
            hops: 2,
            metadata: vec![("k".into(), Bytes::from_static(b"vw"))],
        }
        .boxed(),
        payload: Payload {
            caps: vec![Cap::Mine(ExportId(-1)), Cap::MyPromise(ExportId(-2)), Cap::Yours(ImportId(16))],
            body: Bytes::from_static(b"body"),
        },
    });
    let expected = [
        &[2, 3, 1 << 2, 3 << 2 | 1, 0x82, 1][..], // Type; −1 mine, −2 a promise, 16 yours: 32 << 2 | 2 is 130.
        &[31, 3, 0xac, 2],                        // All flags, target −2, result 300.
        &[0, 3, b'A', b'/', b'b', 1, 1, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x80, 1, 5, 2, 1, 1, b'k', 2, b'v', b'w'],
        b"body",
    ];
    assert_eq!(content(&message)[..], expected.concat());
    there_and_back(message);
}

#[test]
fn the_body_is_a_part_of_the_frame() {
    let frame = content(&Message::Call(call(Payload { caps: vec![], body: Bytes::from_static(&[7; 100]) })));
    let end = frame.as_ptr_range().end;
    let Ok(Decoded::Message(Message::Call(call))) = decode(frame) else { panic!("a call") };
    assert_eq!(call.payload.body.as_ptr_range().end, end);
}

#[test]
fn encoding_takes_borrowed_bodies_and_appends() {
    let mut out = vec![9];
    let payload = Payload { caps: vec![], body: &b"xy"[..] };
    encode(&Message::Resolve(Resolve { export: ExportId(1), payload }), &mut out);
    assert_eq!(out, [9, 5, 4, 0, 2, b'x', b'y']);
}

#[test]
fn split_waits_for_the_whole_frame_and_leaves_the_next() {
    let mut all = Vec::new();
    let pings = [1, 200, u64::MAX].map(|nonce| Message::Ping::<Bytes>(Ping { nonce }));
    pings.iter().for_each(|ping| encode(ping, &mut all));
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for byte in all {
        buffer.extend_from_slice(&[byte]);
        frames.extend(split(&mut buffer, 64).unwrap());
    }
    let messages: Vec<_> = frames.into_iter().map(|frame| decode(frame).unwrap()).collect();
    assert_eq!(messages, pings.map(Decoded::Message));
    assert!(buffer.is_empty());
}

#[test]
fn a_length_out_of_bounds_is_refused_before_its_bytes_come() {
    let split_of = |bytes: &[u8], limit| split(&mut BytesMut::from(bytes), limit);
    assert_eq!(split_of(&[0], 64), Err(Malformed::TooShort { length: 0 }));
    assert_eq!(split_of(&[1], 64), Err(Malformed::TooShort { length: 1 }));
    assert_eq!(split_of(&[64], 64), Ok(None));
    assert_eq!(split_of(&[65], 64), Err(Malformed::TooLong { length: 65, limit: 64 }));
    assert_eq!(split_of(&[0x80], 64), Err(Malformed::TooLong { length: 128, limit: 64 }));
    assert_eq!(split_of(&[0x80, 0x80, 0x80, 0x20], u64::MAX), Ok(None));
    assert_eq!(
        split_of(&[0x81, 0x80, 0x80, 0x20], u64::MAX),
        Err(Malformed::TooLong { length: (1 << 26) + 1, limit: MAX_FRAME_BYTES })
    );
    assert_eq!(split_of(&[0x82, 0], 64), Err(Malformed::Number { at: 0 }));
}

#[test]
fn a_capability_of_the_senders_is_negative() {
    for (packed, id) in [(0, 0), (1, 0), (2 << 2, 1), (2 << 2 | 1, 1)] {
        let error = refused(&[2, 1, packed, 0, 0, 1, 1]);
        assert!(matches!(error, Malformed::Sign { id: found, .. } if found == id), "{error}");
        assert_eq!(error.abort_code(), AbortCode::Violation);
    }
    assert!(matches!(refused(&[2, 1, 3, 0, 0, 1, 1]), Malformed::UnknownCode { code: 3, .. }));
}

#[test]
fn ids_end_at_two_to_the_sixtieth() {
    for id in [1 << 60, -(1 << 60)] {
        there_and_back(Message::Resolve(Resolve { export: ExportId(id), payload: Payload::default() }));
        let caps = vec![Cap::Yours(ImportId(id))];
        there_and_back(Message::Resolve(Resolve {
            export: ExportId(1),
            payload: Payload { caps, ..Payload::default() },
        }));
    }
    for id in [(1 << 60) + 1, -(1 << 60) - 1] {
        let message = Message::Resolve(Resolve { export: ExportId(id), payload: Payload::default() });
        assert_eq!(decode(content(&message)), Err(Malformed::Id { id }));
        let message = Message::Cancel(Cancel { result: ImportId(id) });
        assert_eq!(decode(content(&message)), Err(Malformed::Id { id }));
        let caps = vec![Cap::Yours(ImportId(id))];
        let message = Message::Resolve(Resolve {
            export: ExportId(1),
            payload: Payload { caps, ..Payload::default() },
        });
        assert_eq!(decode(content(&message)), Err(Malformed::Id { id }));
    }
    let mut last = call(Payload::default());
    last.result = ImportId(1 << 60);
    there_and_back(Message::Call(last.clone()));
    last.result = ImportId((1 << 60) + 1);
    assert!(matches!(decode(content(&Message::Call(last))), Err(Malformed::OutOfBounds { .. })));
}

#[test]
fn results_are_positive() {
    let mut zero = call(Payload::default());
    zero.result = ImportId(0);
    let error = decode(content(&Message::Call(zero))).unwrap_err();
    assert_eq!(error.abort_code(), AbortCode::Violation);
    for id in [0, -1] {
        let error = decode(content(&Message::Cancel(Cancel { result: ImportId(id) }))).unwrap_err();
        assert!(matches!(error, Malformed::Sign { .. }), "{error}");
        assert_eq!(error.abort_code(), AbortCode::Violation);
    }
    there_and_back(Message::Cancel(Cancel { result: ImportId(1) }));
}

#[test]
fn flags_have_no_unknown_bits_and_casts_no_reply() {
    assert_eq!(refused(&[2, 0, 64, 0, 1, 1]), Malformed::UnknownFlags { message_type: 2, flags: 64 });
    assert_eq!(refused(&[3, 0, 1, 0, 1]), Malformed::UnknownFlags { message_type: 3, flags: 1 });
}

#[test]
fn an_option_that_is_announced_is_there() {
    assert!(matches!(
        refused(&[3, 0, 8, 0, 1, 0]),
        Malformed::OutOfBounds { value: 0, least: 1, most: 16, .. }
    ));
    assert!(matches!(refused(&[3, 0, 8, 0, 1, 17]), Malformed::OutOfBounds { value: 17, .. }));
    assert!(matches!(refused(&[3, 0, 16, 0, 1, 0]), Malformed::OutOfBounds { value: 0, .. }));
    assert!(matches!(refused(&[3, 0, 16, 0, 1, 17]), Malformed::OutOfBounds { value: 17, .. }));
    assert!(matches!(refused(&[3, 0, 16, 0, 1, 1, 0, 0, 0]), Malformed::Length { bytes: 0, least: 1, .. }));
    assert!(matches!(refused(&[3, 0, 2, 0, 1]), Malformed::Ended { .. }));
}

#[test]
fn a_method_name_is_text_without_control_characters() {
    assert!(matches!(refused(&[3, 0, 0, 0, 0, 0, 0, 0]), Malformed::Length { bytes: 0, .. }));
    assert!(matches!(refused(&[3, 0, 0, 0, 0, 0x81, 2, 0]), Malformed::Length { bytes: 257, .. }));
    assert_eq!(refused(&[3, 0, 0, 0, 0, 2, b'a', b'\n', 0, 0]), Malformed::ControlCharacter { at: 1 });
    assert_eq!(refused(&[3, 0, 0, 0, 0, 2, 0xc2, 0x85, 0, 0]), Malformed::ControlCharacter { at: 0 });
    assert!(matches!(refused(&[3, 0, 0, 0, 0, 2, b'a', 0xff, 0, 0]), Malformed::NotUtf8 { at: 1, .. }));
    assert!(matches!(refused(&[3, 0, 0, 0, 0, 1, b'a', 0, 17]), Malformed::OutOfBounds { value: 17, .. }));
    assert!(matches!(refused(&[3, 0, 0, 0, 0, 1, b'a', 0, 2, 0, 0]), Malformed::Ended { needed: 16, .. }));
}

#[test]
fn a_claimed_count_beyond_the_frame_is_refused_at_once() {
    assert_eq!(refused(&[4, 0x80, 8, 0]), Malformed::Ended { at: 3, needed: 1024, left: 1 });
    assert!(matches!(refused(&[4, 0x81, 8, 0]), Malformed::OutOfBounds { value: 1025, most: 1024, .. }));
    assert_eq!(refused(&[6, 0, 0x80, 8, 0]), Malformed::Ended { at: 4, needed: 2048, left: 1 });
    assert!(matches!(refused(&[6, 0, 0x81, 8]), Malformed::OutOfBounds { value: 1025, .. }));
}

#[test]
fn a_release_gives_something_back() {
    assert!(matches!(refused(&[6, 0, 0]), Malformed::OutOfBounds { value: 0, least: 1, .. }));
    let error = refused(&[6, 0, 1, 1, 0]);
    assert_eq!((error, error.abort_code()), (Malformed::ReleasedNothing { id: -1 }, AbortCode::Violation));
    there_and_back(Message::Release(Release { mentions: vec![(ImportId(-1), 1); 1024] }));
}

#[test]
fn a_hello_grants_the_minimum_of_what_it_leaves_out() {
    let frame = Bytes::from_static(&[1, 0, 1, 1, 0, 2, 1, 99, 77, 5]);
    let grants = Grants { calls: 99, ..Grants::MINIMUM };
    let hello = Hello { versions: (1, 1), features: 0, grants };
    assert_eq!(decode(frame), Ok(Decoded::Message(Message::Hello(hello))));
}

#[test]
fn a_hello_grants_nothing_twice() {
    assert_eq!(refused(&[1, 0, 1, 1, 0, 2, 1, 99, 1, 99]), Malformed::RepeatedGrant { key: 1 });
    assert_eq!(refused(&[1, 0, 1, 1, 0, 2, 70, 99, 70, 1]), Malformed::RepeatedGrant { key: 70 });
    assert!(matches!(refused(&[1, 0, 1, 1, 0, 33]), Malformed::OutOfBounds { value: 33, most: 32, .. }));
}

#[test]
fn nothing_is_left_over_and_no_capability_comes_without_a_body() {
    assert_eq!(refused(&[11, 0, 7, 7]), Malformed::LeftOver { message_type: 11, bytes: 1 });
    assert_eq!(refused(&[11, 1, 2, 7]), Malformed::UnexpectedCaps { message_type: 11, count: 1 });
    assert_eq!(
        refused(&[5, 1, 2, 2, 1, 0, 0, 0, 0, 0]),
        Malformed::UnexpectedCaps { message_type: 5, count: 1 }
    );
    assert_eq!(refused(&[5, 0, 2, 1, 0, 0, 0, 0, 0, 9]), Malformed::LeftOver { message_type: 5, bytes: 1 });
}

#[test]
fn unknown_types_from_32_to_127_are_passed_over_with_their_capabilities() {
    for message_type in (0..=255).filter(|message_type| !(1..=14).contains(message_type)) {
        let decoded = decode(Bytes::copy_from_slice(&[message_type, 1, 1 << 2, 1, 2, 3]));
        let expected = match message_type {
            32..=127 => Ok(Decoded::Unknown { message_type, caps: vec![Cap::Mine(ExportId(-1))] }),
            _ => Err(Malformed::UnknownType { message_type }),
        };
        assert_eq!(decoded, expected);
    }
}

#[test]
fn unknown_choices_are_refused() {
    for frame in
        [&[5, 0, 2, 2][..], &[5, 0, 2, 1, 11], &[5, 0, 2, 1, 0, 3], &[5, 0, 2, 1, 0, 0, 0, 0, 3], &[8, 0, 2]]
    {
        assert!(matches!(refused(frame), Malformed::UnknownCode { .. }), "{frame:?}");
    }
}

#[test]
fn causes_end_at_their_bound_on_both_ends() {
    there_and_back(rejected(chain(MAX_CAUSES)));
    let Ok(Decoded::Message(Message::Reject(reject))) = decode(content(&rejected(chain(1000)))) else {
        panic!("a rejection")
    };
    let Rejection::Broker(failure) = reject.rejection else { panic!("the broker's") };
    assert_eq!(depth(&failure), MAX_CAUSES);

    let mut deep = content(&rejected(chain(MAX_CAUSES))).to_vec();
    assert_eq!(deep.pop(), Some(0));
    deep.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&deep), Malformed::TooManyCauses { most: MAX_CAUSES });
}

#[test]
fn texts_are_cut_at_a_character_and_details_at_sixteen() {
    let mut failure = Failure::new(FailureKind::Failed, Ran::No, "é".repeat(MAX_TEXT_BYTES) + "é");
    failure.message = format!("a{}", failure.message).into();
    failure.details = vec![("k".into(), "v".repeat(2000).into()); 20];
    let Ok(Decoded::Message(Message::Reject(reject))) = decode(content(&rejected(failure))) else {
        panic!("a rejection")
    };
    let Rejection::Broker(failure) = reject.rejection else { panic!("the broker's") };
    assert_eq!(failure.message.len(), MAX_TEXT_BYTES - 1);
    assert_eq!(failure.details.len(), 16);
    assert_eq!(failure.details[15].1.len(), MAX_TEXT_BYTES);

    let reason: Box<str> = "x".repeat(5000).into();
    let abort = Message::Abort(Abort { code: AbortCode::Closing, reason });
    let Ok(Decoded::Message(Message::Abort(abort))) = decode(content(&abort)) else { panic!("an abort") };
    assert_eq!(abort.reason.len(), MAX_TEXT_BYTES);
    assert!(matches!(refused(&[14, 0, 0, 0x81, 8]), Malformed::Length { bytes: 1025, most: 1024, .. }));
}

#[test]
fn numbers_that_programs_count_with_have_32_bits() {
    let over = [0x80, 0x80, 0x80, 0x80, 0x10];
    for front in [&[1, 0][..], &[1, 0, 1], &[3, 0, 0, 0], &[3, 0, 0, 0, 0, 1, b'a'], &[14, 0]] {
        let error = refused(&[front, &over].concat());
        assert!(matches!(error, Malformed::OutOfBounds { value: 0x1_0000_0000, .. }), "{error}");
    }
}

#[test]
fn reasons_are_sentences_with_their_numbers() {
    let error = Malformed::TooLong { length: 65, limit: 64 };
    assert_eq!(error.to_string(), "a frame of 65 bytes or more is over the limit of 64");
    let error = refused(&[4, 0x80, 8, 0]);
    assert_eq!(error.to_string(), "from byte 3 on a message needs 1024 bytes or more, and the frame has 1");
}

#[test]
fn an_answer_is_known_by_its_first_bytes() {
    use crate::message::{Call, ImportId, MethodName, Reject, Rejection, Reply, Resolve};
    let body = vec![7; 300];
    let payload = || Payload { caps: vec![Cap::Yours(ImportId::ROOT); 2], body: &body[..] };
    let resolve = Message::Resolve(Resolve { export: ExportId(40), payload: payload() });
    let reject = Message::Reject(Reject { export: ExportId(7000), rejection: Rejection::App(payload()) });
    for (message, id) in [(resolve, 40), (reject, 7000)] {
        let mut frame = Vec::new();
        encode(&message, &mut frame);
        let front = frame.len() - body.len();
        for have in 0..=frame.len() {
            let expected = (have >= front).then_some((ExportId(id), 300));
            assert_eq!(begun_answer(&frame[..have]), expected, "{have} bytes of {message:?}");
        }
    }
    let call = Call {
        target: ImportId::ROOT,
        result: ImportId(1),
        reply: Reply::Value,
        method: MethodName::Known(1),
        options: None,
        payload: payload(),
    };
    let mut frame = Vec::new();
    encode(&Message::Call(call), &mut frame);
    assert_eq!(begun_answer(&frame), None);
}
