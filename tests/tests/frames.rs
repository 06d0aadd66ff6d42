//! The codec of frames: golden bytes, and every message there and back.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pb_core::message::*;
use pb_core::wire::frame::{self, Decoded, MAX_FRAME_BYTES, MAX_RELEASES};
use pb_tests::golden;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(message, &mut out);
    out
}

fn content_of(frame: &[u8]) -> Bytes {
    let mut buffer = BytesMut::from(frame);
    let content = frame::split(&mut buffer, MAX_FRAME_BYTES).expect("the length is right");
    assert!(buffer.is_empty(), "one frame, and nothing behind it");
    content.expect("the frame is whole")
}

fn decoded(frame: &[u8]) -> Decoded {
    frame::decode(content_of(frame)).expect("the frame is well-formed")
}

fn there_and_back(message: Message) {
    let frame = encoded(&message);
    assert_eq!(frame.len(), frame::encoded_len(&message));
    assert_eq!(decoded(&frame), Decoded::Message(message));
}

/// The frames that `docs/protocol.md` shows in bytes are those of the files.
#[test]
fn the_page_shows_golden_frames() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).expect("the page");
    let mut shown = 0;
    for golden in golden::all() {
        let line = page.lines().find_map(|line| {
            line.strip_prefix("    ")?.strip_prefix(golden.name)?.strip_prefix(' ').map(str::trim)
        });
        let Some(line) = line else { continue };
        let bytes: Vec<String> = golden.frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line, bytes.join(" "), "{}", golden.name);
        shown += 1;
    }
    assert_eq!(shown, 3);
}

#[test]
fn golden_frames_are_what_their_messages_encode_to() {
    for golden in golden::all() {
        assert_eq!(golden.file(), golden.frame, "{}", golden.name);
    }
}

#[test]
fn golden_frames_decode_to_their_messages() {
    for golden in golden::all() {
        assert_eq!(decoded(&golden.file()), golden.decoded, "{}", golden.name);
    }
}

#[test]
fn every_golden_file_has_its_message_and_every_type_its_file() {
    let goldens = golden::all();
    let named: BTreeSet<_> = goldens.iter().map(|golden| format!("{}.hex", golden.name)).collect();
    assert_eq!(named.len(), goldens.len(), "no name comes twice");
    goldens[0].file(); // Now they are written, if they are to be.
    let files = fs::read_dir(golden::folder()).expect("tests/golden is there");
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, named);
    let types: BTreeSet<_> = golden::written().iter().map(|golden| content_of(&golden.frame)[0]).collect();
    assert_eq!(types, (1..=14).collect());
}

#[test]
fn all_combinations_of_options_come_back() {
    let all = golden::all_options();
    for set in 0..16 {
        let options = CallOptions {
            answer_bytes: all.answer_bytes.filter(|_| set & 1 != 0),
            deadline_ms: all.deadline_ms.filter(|_| set & 2 != 0),
            hops: if set & 4 != 0 { all.hops } else { 0 },
            metadata: if set & 8 != 0 { all.metadata.clone() } else { Vec::new() },
        }
        .boxed();
        for reply in [Reply::Value, Reply::Reference] {
            let options = options.clone();
            there_and_back(Message::Call(Call { reply, options, ..golden::plain_call() }));
        }
        let Call { target, method, payload, .. } = golden::plain_call();
        there_and_back(Message::Cast(Cast { target, method, options, payload }));
    }
}

proptest! {
    #[test]
    fn a_hello_comes_back(hello in hello()) {
        there_and_back(Message::Hello(hello));
    }

    #[test]
    fn a_call_comes_back(call in call()) {
        there_and_back(Message::Call(call));
    }

    #[test]
    fn a_cast_comes_back(cast in cast()) {
        there_and_back(Message::Cast(cast));
    }

    #[test]
    fn a_resolve_comes_back(export in export(), payload in payload()) {
        there_and_back(Message::Resolve(Resolve { export, payload }));
    }

    #[test]
    fn a_reject_comes_back(export in export(), rejection in rejection()) {
        there_and_back(Message::Reject(Reject { export, rejection }));
    }

    #[test]
    fn a_release_comes_back(mentions in vec((import(), 1..=u64::MAX), 1..=MAX_RELEASES)) {
        there_and_back(Message::Release(Release { mentions }));
    }

    #[test]
    fn a_cancel_comes_back(result in result()) {
        there_and_back(Message::Cancel(Cancel { result }));
    }

    #[test]
    fn a_disembargo_comes_back(target in import(), number in uint()) {
        there_and_back(Message::Disembargo(Disembargo::Ask { target, number }));
        there_and_back(Message::Disembargo(Disembargo::Echo { number }));
    }

    #[test]
    fn a_credit_comes_back(casts in uint(), bytes in uint()) {
        there_and_back(Message::Credit(Credit { casts, bytes }));
    }

    #[test]
    fn an_unimplemented_comes_back(message_type in any::<u8>()) {
        there_and_back(Message::Unimplemented(Unimplemented { message_type }));
    }

    #[test]
    fn a_ping_and_a_pong_come_back(nonce in uint()) {
        there_and_back(Message::Ping(Ping { nonce }));
        there_and_back(Message::Pong(Ping { nonce }));
    }

    #[test]
    fn a_goaway_comes_back(last in 0..=MAX_ID, drain_ms in uint(), reason in text()) {
        there_and_back(Message::Goaway(Goaway { last: ExportId(last), drain_ms, reason }));
    }

    #[test]
    fn an_abort_comes_back(code in abort_code(), reason in text()) {
        there_and_back(Message::Abort(Abort { code, reason }));
    }

    #[test]
    fn overlong_texts_are_cut_to_their_front(text in "\\PC{0,1200}") {
        let abort = Message::Abort(Abort { code: AbortCode::Closing, reason: text.as_str().into() });
        let frame = encoded(&abort);
        prop_assert_eq!(frame.len(), frame::encoded_len(&abort));
        let Decoded::Message(Message::Abort(abort)) = decoded(&frame) else { panic!("an abort") };
        prop_assert!(text.starts_with(&*abort.reason));
        prop_assert!(abort.reason.len() == text.len() || abort.reason.len() > MAX_TEXT_BYTES - 4);
    }
}

const MAX_ID: i64 = 1 << 60;

/// Numbers of all lengths, not only long ones.
fn uint() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)
}

fn uint32() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..32u32).prop_map(|(value, shift)| value >> shift)
}

fn id() -> impl Strategy<Value = i64> {
    (-MAX_ID..=MAX_ID, 0..61u32).prop_map(|(value, shift)| value >> shift)
}

fn import() -> impl Strategy<Value = ImportId> {
    id().prop_map(ImportId)
}

fn export() -> impl Strategy<Value = ExportId> {
    id().prop_map(ExportId)
}

fn result() -> impl Strategy<Value = ImportId> {
    (1..=MAX_ID, 0..60u32).prop_map(|(value, shift)| ImportId((value >> shift).max(1)))
}

/// At most 255 characters of at most 4 bytes: never cut.
fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,255}".prop_map(Box::from)
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn hello() -> impl Strategy<Value = Hello> {
    let grants = [uint(), uint(), uint(), uint(), uint(), uint()].prop_map(
        |[frame_bytes, calls, call_bytes, imports, names, exports]| Grants {
            frame_bytes,
            calls,
            call_bytes,
            imports,
            names,
            exports,
        },
    );
    ((uint32(), uint32()), uint(), grants).prop_map(|(versions, features, grants)| Hello {
        versions,
        features,
        grants,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let reply = select(vec![Reply::Value, Reply::Reference]);
    (result(), reply, cast()).prop_map(|(result, reply, Cast { target, method, options, payload })| Call {
        target,
        result,
        reply,
        method,
        options,
        payload,
    })
}

fn cast() -> impl Strategy<Value = Cast> {
    (import(), method(), options(), payload()).prop_map(|(target, method, options, payload)| Cast {
        target,
        method,
        options,
        payload,
    })
}

fn method() -> impl Strategy<Value = MethodName> {
    let text =
        ("\\PC{1,64}", uint32(), vec(any::<u64>(), 0..=MAX_PRINTS)).prop_map(|(name, fewest, prints)| {
            let (name, prints) = (name.into(), prints.into());
            Arc::new(MethodText { name, fewest, prints })
        });
    let text = (text, any::<bool>())
        .prop_map(|(text, once)| if once { MethodName::Once(text) } else { MethodName::Defined(text) });
    prop_oneof![uint32().prop_map(|number| MethodName::Known(number.max(1))), text]
}

fn options() -> impl Strategy<Value = Option<Box<CallOptions>>> {
    let entry = (".{1,64}".prop_map(Box::from), bytes(MAX_METADATA_BYTES));
    (option::of(uint()), option::of(uint()), 0..=16u32, vec(entry, 0..=MAX_METADATA)).prop_map(
        |(answer_bytes, deadline_ms, hops, metadata)| {
            CallOptions { answer_bytes, deadline_ms, hops, metadata }.boxed()
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let cap = || {
        prop_oneof![
            result().prop_map(|ImportId(id)| Cap::Mine(ExportId(-id))),
            result().prop_map(|ImportId(id)| Cap::MyPromise(ExportId(-id))),
            import().prop_map(Cap::Yours),
        ]
    };
    let caps = prop_oneof![8 => vec(cap(), 0..5), 1 => vec(cap(), 0..=MAX_CAPS)];
    (caps, bytes(300)).prop_map(|(caps, body)| Payload { caps, body })
}

fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![payload().prop_map(Rejection::App), failure().prop_map(Rejection::Broker)]
}

/// A failure with up to [`MAX_CAUSES`] causes.
fn failure() -> impl Strategy<Value = Failure> {
    let innermost = option::of(bytes(40).prop_map(|body| Cause::App(AppCause { body })));
    (innermost, vec(lone_failure(), 1..=MAX_CAUSES)).prop_map(|(innermost, mut chain)| {
        let mut first = chain.pop().expect("one or more");
        first.cause = innermost.map(Box::new);
        chain.into_iter().fold(first, |inner, outer| outer.caused_by(Cause::Broker(inner)))
    })
}

fn lone_failure() -> impl Strategy<Value = Failure> {
    let kind = select(vec![
        FailureKind::Failed,
        FailureKind::Unimplemented,
        FailureKind::Incompatible,
        FailureKind::Overloaded,
        FailureKind::Disconnected,
        FailureKind::Cancelled,
        FailureKind::DeadlineExceeded,
        FailureKind::Refused,
        FailureKind::Broken,
        FailureKind::Protocol,
        FailureKind::Internal,
    ]);
    let ran = select(vec![Ran::No, Ran::Maybe, Ran::Yes]);
    (kind, ran, text(), vec((text(), text()), 0..=4))
        .prop_map(|(kind, ran, message, details)| Failure { details, ..Failure::new(kind, ran, message) })
}

fn abort_code() -> impl Strategy<Value = AbortCode> {
    prop_oneof![
        select(vec![
            AbortCode::Closing,
            AbortCode::Version,
            AbortCode::Malformed,
            AbortCode::Violation,
            AbortCode::Limit,
            AbortCode::Timeout,
        ]),
        (6..=u32::MAX).prop_map(AbortCode::Other),
    ]
}
