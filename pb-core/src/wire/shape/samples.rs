//! What the tracer answers when a type asks for a value: harmless things first, then what fussy types may like.
//!
//! A type that refuses one sample gets the next at the next pass. The lists are part of what can be traced, not of
//! the wire: shapes hold what was asked for, never what was answered.

/// As many turns as the longest list takes twice, since a list may be entered anywhere.
pub(super) const MOST_TURNS: u32 = 2 * TEXTS.len() as u32;

const TEXTS: [&str; 24] = [
    "",
    "a",
    "0",
    "1",
    "a@b.example",
    "2000-01-01T00:00:00Z",
    "2000-01-01",
    "00:00:00",
    "2000-01-01T00:00:00",
    "127.0.0.1",
    "127.0.0.1:80",
    "::1",
    "[::1]:80",
    "00000000-0000-4000-8000-000000000001",
    "http://a.example/",
    "/a",
    "1.0.0",
    "1.0",
    "en",
    "UTC",
    "EUR",
    "true",
    "#a0a0a0",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const LENGTHS: [usize; 12] = [0, 16, 4, 8, 32, 1, 12, 2, 20, 6, 24, 64];
const ZEROS: [u8; 64] = [0; 64];
const NUMBERS: [u8; 12] = [0, 1, 2, 7, 12, 16, 24, 31, 60, 100, 127, 255];
const FLOATS: [f64; 4] = [0.0, 1.0, 0.5, -1.0];
const CHARS: [char; 4] = ['a', 'A', '0', ' '];

fn nth<T: Copy>(list: &[T], turn: u32) -> T {
    list[turn as usize % list.len()]
}

pub(super) fn text(turn: u32) -> &'static str {
    nth(&TEXTS, turn)
}

pub(super) fn bytes(turn: u32) -> &'static [u8] {
    &ZEROS[..nth(&LENGTHS, turn)]
}

/// Fits every integer type: what is too large for the smallest is written down modulo its width.
pub(super) fn number(turn: u32) -> u8 {
    nth(&NUMBERS, turn)
}

pub(super) fn float(turn: u32) -> f64 {
    nth(&FLOATS, turn)
}

pub(super) fn char(turn: u32) -> char {
    nth(&CHARS, turn)
}

pub(super) fn bool(turn: u32) -> bool {
    turn % 2 == 1
}

/// How many elements a sequence has whose element is known.
pub(super) fn length(turn: u32) -> u32 {
    turn % 4
}
