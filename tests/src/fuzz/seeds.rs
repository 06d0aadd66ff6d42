//! Where the fuzzer begins: the frames of `tests/golden`, as inputs of each target.
//!
//! `cargo run -p pb-tests --example fuzz_seeds` writes them to `fuzz/seeds`.

use crate::golden::{self, Golden};
use crate::raw;
use bytes::BytesMut;
use pb_core::wire::frame::{self, Decoded, MAGIC};

/// The made seeds of one target, by name.
///
/// # Panics
/// When there is no such target.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let golden = golden::all();
    let each = |made: &dyn Fn(&Golden) -> Option<Vec<u8>>| {
        golden.iter().filter_map(|one| Some((one.name.to_owned(), made(one)?))).collect()
    };
    match target {
        "frame" => each(&|one| Some(content(&one.frame))),
        "body" => bodies(&golden),
        "session" => each(&|one| Some(session(&[one]))),
        "stream" => streams(&golden),
        other => panic!("there is no target {other}"),
    }
}

/// A dictionary in libFuzzer's format: what frames begin with, numbers that tempt, names of methods.
pub fn dictionary() -> String {
    let mut lines = vec!["# Made by `cargo run -p pb-tests --example fuzz_seeds`.".to_owned()];
    let mut word = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let line = format!("\"{hex}\"");
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    word(&MAGIC);
    golden::all().iter().for_each(|one| {
        let content = content(&one.frame);
        word(&content[..content.len().min(6)]);
    });
    NUMBERS.iter().for_each(|number| word(number));
    METHODS.iter().for_each(|name| word(name.as_bytes()));
    lines.push(String::new());
    lines.join("\n")
}

fn content(frame: &[u8]) -> Vec<u8> {
    let content = frame::split(&mut BytesMut::from(frame), u64::MAX);
    content.expect("a good length").expect("a whole frame").to_vec()
}

/// Each body as each of the types.
fn bodies(golden: &[Golden]) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for one in golden {
        let Decoded::Message(pb_core::message::Message::Call(call)) = &one.decoded else { continue };
        if !call.payload.body.is_empty() {
            seeds.push((one.name.to_owned(), [&[0x77], &call.payload.body[..]].concat()));
        }
    }
    for (kind, body) in BODIES.iter().enumerate() {
        seeds.push((format!("type_{kind}"), [&[0x20 | kind as u8], *body].concat()));
    }
    seeds
}

/// Raw frames behind a hello, as `session::run` reads them.
fn session(golden: &[&Golden]) -> Vec<u8> {
    let mut hello = Vec::new();
    frame::encode(&raw::hello(), &mut hello);
    let frames = std::iter::once(content(&hello)).chain(golden.iter().map(|one| content(&one.frame)));
    // A step that sends raw bytes, then how many.
    frames.flat_map(|content| [&[120, content.len() as u8], &content[..]].concat()).collect()
}

fn streams(golden: &[Golden]) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for one in golden {
        let content = content(&one.frame);
        if let Ok(length) = u8::try_from(content.len()) {
            seeds.push((one.name.to_owned(), [&[0, length], &content[..]].concat()));
        }
    }
    for method in METHODS {
        let mut frame = Vec::new();
        let call = raw::with_caps(
            raw::bytes_call(1, &format!("Thing/{method}"), vec![0, 0]),
            [pb_core::message::Cap::Mine(pb_core::message::ExportId(-1))],
        );
        frame::encode(&pb_core::message::Message::Call(call), &mut frame);
        let content = content(&frame);
        seeds.push((format!("method_{method}"), [&[0, content.len() as u8], &content[..]].concat()));
    }
    let whole: Vec<u8> = golden.iter().flat_map(|one| one.frame.clone()).collect();
    seeds.push(("all_behind_each_other".to_owned(), [&[2], &whole[..]].concat()));
    seeds
}

/// One small body of each of the types in `body::run`.
const BODIES: [&[u8]; 16] = [
    &[5, 2, 0, 7, 6, 1, 3, 1],
    &[1, 1, b'a', 1, 1, b't', 1, b'c', 0, 0, 0, 2, 9, 8, 0, 0, 0],
    &[3, 0, 1, 0, 1, 1, 9],
    &[250],
    &[2, 3, 4],
    &[1, 1, b'k', 1, 7, 2, 1, 2],
    &[2, 1, b'a', 0],
    &[1, b'a', 1, 0, 0xc3, 0x9f, 0, 0, 0, 0, 0, 0, 0, 0, 4],
    &[1, 1, 2, 0],
    &[200],
    &[0],
    &[2, 0, 1],
    &[1, 0, 1, 1, 1, b'a'],
    &[0],
    &[2, 0, 1, 3],
    &[0, 1, 5],
];

/// The methods of `stream::Thing`.
const METHODS: [&str; 12] =
    ["say", "open", "same", "keep", "kept", "ask", "pipe", "hang", "refuse", "note", "finish", "beside"];

/// Lengths and ids at the edges.
const NUMBERS: [&[u8]; 8] = [
    &[0xff, 0x1f],
    &[0x80, 0x08],
    &[0x80, 0x80, 0x40],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[251, 0xff, 0xff],
    &[253, 0, 0, 0, 0, 0x10, 0, 0, 0],
];
