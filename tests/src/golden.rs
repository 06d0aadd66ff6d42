//! The frames of `tests/golden`, byte by byte: what they mean, and how they are read and written.
//!
//! Each file holds one frame, its length included, as hexadecimal bytes; lines that begin with `#` say what it is.
//! `UPDATE_GOLDEN=1 cargo test -p pb-tests --test frames` writes them anew from [`written`] and [`read_only`]: a
//! difference in an old file is a change of the protocol.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use bytes::Bytes;
use pb_core::message::{
    Abort, AbortCode, AppCause, Call, CallOptions, Cancel, Cap, Cast, Cause, Credit, Disembargo, ExportId,
    Failure, FailureKind, Goaway, Grants, Hello, ImportId, Message, MethodName, MethodText, Payload, Ping,
    Ran, Reject, Rejection, Release, Reply, Resolve, Unimplemented,
};
use pb_core::wire::frame::{self, Decoded};

/// One file of `tests/golden`.
#[derive(Debug)]
pub struct Golden {
    /// The file's name without `.hex`.
    pub name: &'static str,
    /// What the frame says, for people.
    pub about: &'static str,
    /// The whole frame as this code has it, length included.
    pub frame: Vec<u8>,
    /// What it is decoded to.
    pub decoded: Decoded,
}

/// All files.
pub fn all() -> Vec<Golden> {
    written().into_iter().chain(read_only()).collect()
}

/// Frames that this version both writes and reads.
pub fn written() -> Vec<Golden> {
    [hellos(), calls(), calls_with_options(), casts(), answers(), rejections(), ids(), rest()]
        .into_iter()
        .flatten()
        .map(|(name, about, message)| {
            let mut frame = Vec::new();
            frame::encode(&message, &mut frame);
            Golden { name, about, frame, decoded: Decoded::Message(message) }
        })
        .collect()
}

/// Frames that only other versions write, and this one reads.
pub fn read_only() -> Vec<Golden> {
    let grants = Grants { calls: 100, ..Grants::MINIMUM };
    vec![
        Golden {
            name: "hello_with_few_and_unknown_grants",
            about: "hello, versions 1 to 1, grants: 100 calls, and 5 of number 77, which this version ignores",
            frame: vec![10, 1, 0, 1, 1, 0, 2, 1, 100, 77, 5],
            decoded: Decoded::Message(Message::Hello(Hello { versions: (1, 1), features: 0, grants })),
        },
        Golden {
            name: "unknown_type",
            about: "type 99, which this version answers with unimplemented: capability mine -1, and five bytes",
            frame: vec![8, 99, 1, 4, 1, 2, 3, 4, 5],
            decoded: Decoded::Unknown { message_type: 99, caps: vec![Cap::Mine(ExportId(-1))] },
        },
    ]
}

impl Golden {
    /// The bytes as the file has them. With `UPDATE_GOLDEN` all files are written first.
    ///
    /// # Panics
    /// When the file is missing or holds anything but hexadecimal bytes and comments.
    pub fn file(&self) -> Vec<u8> {
        // Once a process: tests run side by side, and one must not read what another is writing.
        static UPDATE: Once = Once::new();
        UPDATE.call_once(|| {
            if env::var_os("UPDATE_GOLDEN").is_some() {
                all().iter().for_each(Golden::write);
            }
        });
        let text = fs::read_to_string(self.path())
            .unwrap_or_else(|error| panic!("{}.hex (UPDATE_GOLDEN=1 writes it): {error}", self.name));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let bytes = lines.flat_map(str::split_ascii_whitespace).map(|byte| u8::from_str_radix(byte, 16));
        bytes.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{}.hex: {error}", self.name))
    }

    fn write(&self) {
        fs::write(self.path(), self.text()).unwrap_or_else(|error| panic!("{}.hex: {error}", self.name));
    }

    fn path(&self) -> PathBuf {
        folder().join(self.name).with_extension("hex")
    }

    fn text(&self) -> String {
        let mut text = format!("# {}\n", self.about);
        for line in self.frame.chunks(16) {
            let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &bytes.join(" ");
            text.push('\n');
        }
        text
    }
}

/// Where the files are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

type Named = (&'static str, &'static str, Message);

fn hellos() -> Vec<Named> {
    let hello = |versions, features, grants| Message::Hello(Hello { versions, features, grants });
    let most = u64::MAX;
    vec![
        (
            "hello_minimum",
            "hello, versions 1 to 1, no features, the grants of section 1",
            hello((1, 1), 0, Grants::MINIMUM),
        ),
        (
            "hello_usual",
            "hello, versions 1 to 1, 1 MiB frames, 1,024 calls, 4 MiB of calls, 10,000 of each other",
            hello(
                (1, 1),
                0,
                Grants {
                    frame_bytes: 1 << 20,
                    calls: 1024,
                    call_bytes: 4 << 20,
                    imports: 10_000,
                    names: 10_000,
                    exports: 10_000,
                },
            ),
        ),
        (
            "hello_largest",
            "hello, all numbers as large as they can be",
            hello(
                (u32::MAX, u32::MAX),
                most,
                Grants {
                    frame_bytes: most,
                    calls: most,
                    call_bytes: most,
                    imports: most,
                    names: most,
                    exports: most,
                },
            ),
        ),
    ]
}

/// A call of method 1 on the root with result 1, by value, without arguments.
pub fn plain_call() -> Call {
    Call {
        target: ImportId::ROOT,
        result: ImportId(1),
        reply: Reply::Value,
        method: MethodName::Known(1),
        options: None,
        payload: Payload::default(),
    }
}

fn define(name: &str, fewest: u32, prints: &[u64]) -> MethodName {
    MethodName::Defined(Arc::new(MethodText { name: name.into(), fewest, prints: prints.into() }))
}

fn body(bytes: &'static [u8]) -> Payload {
    Payload { caps: Vec::new(), body: Bytes::from_static(bytes) }
}

/// The print of `Bank/open(str)->@Account`.
pub const OPEN_BY_OWNER: u64 = 0x1baa_e7d4_503e_4476;
/// The print of `Bank/open(str,u64)->@Account`.
pub const OPEN_BY_OWNER_AND_CENTS: u64 = 0xe8ee_123a_d75e_e3c9;

fn calls() -> Vec<Named> {
    let open = Call {
        reply: Reply::Reference,
        method: define("Bank/open", 1, &[0x0123_4567_89ab_cdef]),
        payload: body(b"\x03ada"),
        ..plain_call()
    };
    let [short, long] = [OPEN_BY_OWNER, OPEN_BY_OWNER_AND_CENTS];
    let missable = Call {
        reply: Reply::Reference,
        method: define("Bank/open", 1, &[short, long]),
        payload: body(b"\x03ada\x00"),
        ..plain_call()
    };
    let needed = Call {
        result: ImportId(2),
        reply: Reply::Reference,
        method: define("Bank/open", 2, &[long]),
        payload: body(b"\x03bob\x05"),
        ..plain_call()
    };
    let deposit = Call {
        target: ImportId(1),
        result: ImportId(2),
        method: define("Account/deposit", 1, &[0xfedc_ba98_7654_3210]),
        payload: body(b"\x64"),
        ..plain_call()
    };
    let bare = Call { method: define("open", 0, &[]), payload: body(b"\x03ada"), ..plain_call() };
    let named = Call { method: define("$named", 0, &[]), reply: Reply::Reference, ..bare.clone() };
    let described = Call { method: define("$describe", 0, &[]), ..plain_call() };
    let prints: Vec<u64> = (0..16).map(|n| n * 0x0101_0101_0101_0101).collect();
    let many = Call { method: define("Bank/\u{e4}ndern", 3, &prints), ..plain_call() };
    let caps = vec![
        Cap::Mine(ExportId(-1)),
        Cap::Mine(ExportId(-1)),
        Cap::Yours(ImportId(0)),
        Cap::Yours(ImportId(-70)),
        Cap::Yours(ImportId(5)),
    ];
    let referring = Call {
        target: ImportId(-3),
        result: ImportId(6),
        method: MethodName::Known(200),
        payload: Payload { caps, body: Bytes::from_static(&[0, 1, 2, 3, 4]) },
        ..plain_call()
    };
    let caps = vec![Cap::MyPromise(ExportId(-2))];
    let promise = Call { payload: Payload { caps, body: Bytes::from_static(&[0]) }, ..plain_call() };
    let largest = Call {
        target: ImportId(-(1 << 60)),
        result: ImportId(1 << 60),
        method: MethodName::Known(u32::MAX),
        ..plain_call()
    };
    vec![
        ("call_plain", "call 0 -> 1, value, method 1, no arguments", Message::Call(plain_call())),
        (
            "call_defining_a_method",
            "call 0 -> 1, reference, defines \"Bank/open\", (\"ada\")",
            Message::Call(open),
        ),
        (
            "call_with_a_default",
            "call 0 -> 1, reference, defines \"Bank/open\" from 1 argument on, 2 prints, (\"ada\", 0)",
            Message::Call(missable),
        ),
        (
            "call_with_no_default",
            "call 0 -> 2, reference, defines \"Bank/open\" from 2 arguments on, 1 print, (\"bob\", 5)",
            Message::Call(needed),
        ),
        (
            "call_on_a_promise",
            "call 1 -> 2, value, defines \"Account/deposit\", (100)",
            Message::Call(deposit),
        ),
        (
            "call_by_text",
            "call 0 -> 1, value, defines \"open\" without prints, (\"ada\")",
            Message::Call(bare),
        ),
        (
            "call_for_a_description",
            "call 0 -> 1, value, defines \"$describe\" without prints, no arguments",
            Message::Call(described),
        ),
        (
            "call_for_a_name",
            "call 0 -> 1, reference, defines \"$named\" without prints, (\"ada\")",
            Message::Call(named),
        ),
        (
            "call_with_many_prints",
            "call 0 -> 1, value, defines a name that is not ASCII, 16 prints",
            Message::Call(many),
        ),
        (
            "call_with_references",
            "call -3 -> 6, value, method 200, [mine -1, mine -1, yours 0, yours -70, yours 5], the five indices",
            Message::Call(referring),
        ),
        (
            "call_with_a_promise",
            "call 0 -> 1, value, method 1, [my promise -2], its index",
            Message::Call(promise),
        ),
        ("call_with_largest_ids", "call -2^60 -> 2^60, value, method 2^32 - 1", Message::Call(largest)),
        (
            "call_with_a_name_for_once",
            "call 0 -> 1, value, \"Bank/count\" for this call only, no prints",
            Message::Call(Call {
                method: MethodName::Once(Arc::new(MethodText {
                    name: "Bank/count".into(),
                    fewest: 0,
                    prints: [].into(),
                })),
                ..plain_call()
            }),
        ),
    ]
}

/// Options with everything.
pub fn all_options() -> CallOptions {
    CallOptions {
        answer_bytes: Some(65_536),
        deadline_ms: Some(1500),
        hops: 16,
        metadata: vec![
            (
                "traceparent".into(),
                Bytes::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ),
            ("empty".into(), Bytes::new()),
        ],
    }
}

fn calls_with_options() -> Vec<Named> {
    let with = |options: CallOptions| {
        Message::Call(Call { options: options.boxed(), payload: body(b"x"), ..plain_call() })
    };
    let none = CallOptions::default;
    vec![
        (
            "call_with_an_answer_limit",
            "call 0 -> 1, value, answer limit 65,536 bytes, body \"x\"",
            with(CallOptions { answer_bytes: Some(65_536), ..none() }),
        ),
        (
            "call_with_a_deadline",
            "call 0 -> 1, value, 1,500 ms left, body \"x\"",
            with(CallOptions { deadline_ms: Some(1500), ..none() }),
        ),
        ("call_with_hops", "call 0 -> 1, value, 1 hop, body \"x\"", with(CallOptions { hops: 1, ..none() })),
        (
            "call_with_metadata",
            "call 0 -> 1, value, metadata k = 00 ff, body \"x\"",
            with(CallOptions { metadata: vec![("k".into(), Bytes::from_static(&[0, 255]))], ..none() }),
        ),
        (
            "call_with_all_options",
            "call 0 -> 1, value, all options, two entries of metadata, body \"x\"",
            with(all_options()),
        ),
    ]
}

fn casts() -> Vec<Named> {
    let plain = Cast {
        target: ImportId(-4),
        method: define("Log/note", 1, &[1]),
        options: None,
        payload: body(b"\x02hi"),
    };
    let full = Cast {
        target: ImportId(3),
        method: MethodName::Known(2),
        options: all_options().boxed(),
        payload: Payload { caps: vec![Cap::Yours(ImportId(-9))], body: Bytes::from_static(&[0]) },
    };
    vec![
        ("cast_plain", "cast -4, defines \"Log/note\", (\"hi\")", Message::Cast(plain)),
        (
            "cast_with_all_options",
            "cast 3, method 2, all options, [yours -9], its index",
            Message::Cast(full),
        ),
    ]
}

fn answers() -> Vec<Named> {
    let resolve = |export, payload| Message::Resolve(Resolve { export: ExportId(export), payload });
    let caps = |caps: &[Cap]| Payload { caps: caps.into(), body: Bytes::new() };
    vec![
        ("resolve_with_a_value", "resolve 2 with 100", resolve(2, body(b"\x64"))),
        (
            "resolve_with_a_description",
            "resolve 2 with what a till says of itself",
            resolve(2, body(DESCRIPTION)),
        ),
        ("resolve_with_nothing", "resolve 2 with unit", resolve(2, body(b""))),
        ("resolve_with_a_reference", "resolve 1 [mine -1]", resolve(1, caps(&[Cap::Mine(ExportId(-1))]))),
        (
            "resolve_with_the_callers_own",
            "resolve 1 [yours -5]",
            resolve(1, caps(&[Cap::Yours(ImportId(-5))])),
        ),
        ("resolve_of_a_promise", "resolve -2 [mine -3]", resolve(-2, caps(&[Cap::Mine(ExportId(-3))]))),
    ]
}

/// The interface `Till`, "Money.", with the method `add(cents: u64 = default) -> u64`, "Adds.", idempotent.
pub const DESCRIPTION: &[u8] =
    b"\x01\x04Till\x06Money.\x01\x08Till/add\x05Adds.\x01\x05cents\x01\x00\x0a\x01\x01\x00\x0a\x00\x08\x00\x00\x00\x00";

fn rejections() -> Vec<Named> {
    let reject = |export, rejection| Message::Reject(Reject { export: ExportId(export), rejection });
    let broker = |failure| reject(7, Rejection::Broker(failure));
    let own = Payload { caps: vec![Cap::Mine(ExportId(-1))], body: Bytes::from_static(&[1, 0]) };
    let lost = Failure {
        details: vec![("peer".into(), "mem://b".into()), ("after_ms".into(), "30000".into())],
        ..Failure::new(FailureKind::Disconnected, Ran::Maybe, "the connection was lost")
    };
    let broken = || Failure::new(FailureKind::Broken, Ran::No, "the reference is broken");
    let app = Cause::App(AppCause { body: Bytes::from_static(&[0, 9]) });
    vec![
        (
            "reject_by_the_method",
            "reject 2, origin method, the error's two bytes",
            reject(2, Rejection::App(body(b"\x00\x09"))),
        ),
        (
            "reject_by_the_method_with_a_reference",
            "reject 2, origin method, [mine -1], two bytes",
            reject(2, Rejection::App(own)),
        ),
        (
            "reject_of_a_reference",
            "reject -1, origin broker: Refused, ran no",
            reject(-1, Rejection::Broker(Failure::new(FailureKind::Refused, Ran::No, "revoked"))),
        ),
        (
            "reject_by_the_broker",
            "reject 7, origin broker: Internal, ran yes, no text",
            broker(Failure::new(FailureKind::Internal, Ran::Yes, "")),
        ),
        (
            "reject_caused_by_a_failure",
            "reject 7, Broken because of Disconnected with two details",
            broker(broken().caused_by(Cause::Broker(lost))),
        ),
        (
            "reject_caused_by_a_methods_error",
            "reject 7, Broken because of a method's error of two bytes",
            broker(broken().caused_by(app)),
        ),
    ]
}

fn ids() -> Vec<Named> {
    let release = |mentions: &[(i64, u64)]| {
        let mentions = mentions.iter().map(|&(id, count)| (ImportId(id), count)).collect();
        Message::Release(Release { mentions })
    };
    let ask = Disembargo::Ask { target: ImportId(3), number: 1 };
    vec![
        ("release_of_a_promise", "release (1, 1)", release(&[(1, 1)])),
        (
            "release_of_several",
            "release (-1, 1), (-64, 300), (12, 1)",
            release(&[(-1, 1), (-64, 300), (12, 1)]),
        ),
        ("cancel", "cancel 5", Message::Cancel(Cancel { result: ImportId(5) })),
        ("disembargo_asked", "disembargo 0, target 3, number 1", Message::Disembargo(ask)),
        ("disembargo_echoed", "disembargo 1, number 1", Message::Disembargo(Disembargo::Echo { number: 1 })),
    ]
}

fn rest() -> Vec<Named> {
    let abort = |code, reason: &str| Message::Abort(Abort { code, reason: reason.into() });
    let goaway = Goaway { last: ExportId(40), drain_ms: 30_000, reason: "restart".into() };
    vec![
        ("credit", "credit for 64 casts of 4,096 bytes", Message::Credit(Credit { casts: 64, bytes: 4096 })),
        (
            "unimplemented",
            "unimplemented: type 99",
            Message::Unimplemented(Unimplemented { message_type: 99 }),
        ),
        ("ping", "ping 7", Message::Ping(Ping { nonce: 7 })),
        ("ping_largest", "ping 2^64 - 1", Message::Ping(Ping { nonce: u64::MAX })),
        ("pong", "pong 7", Message::Pong(Ping { nonce: 7 })),
        ("goaway", "goaway after 40, in 30 s: \"restart\"", Message::Goaway(goaway)),
        ("abort_closing", "abort 0, no reason", abort(AbortCode::Closing, "")),
        ("abort_violation", "abort 3 with a reason", abort(AbortCode::Violation, "released 2 of 1")),
        ("abort_with_an_unknown_code", "abort 300 with a reason", abort(AbortCode::Other(300), "tea time")),
    ]
}
