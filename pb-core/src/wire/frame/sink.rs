//! Where encoding writes to. Counting and writing run the same code, so they cannot disagree.

use super::number::{uint_len, zigzag};
use crate::message::MAX_TEXT_BYTES;

/// Takes the parts of a message.
pub(super) trait Sink {
    fn byte(&mut self, byte: u8);
    fn uint(&mut self, value: u64);
    fn raw(&mut self, bytes: &[u8]);

    /// The message's body: its end, in two pieces.
    fn body(&mut self, front: &[u8], end: &[u8]) {
        self.raw(front);
        self.raw(end);
    }

    fn int(&mut self, value: i64) {
        self.uint(zigzag(value));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A text for people, cut to its bound.
    fn text(&mut self, text: &str) {
        self.bytes(&text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)]);
    }
}

/// Counts bytes instead of writing them.
#[derive(Default)]
pub(super) struct Count {
    pub(super) bytes: usize,
}

impl Sink for Count {
    fn byte(&mut self, _: u8) {
        self.bytes += 1;
    }

    fn uint(&mut self, value: u64) {
        self.bytes += uint_len(value);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
    }
}

/// The fields of one small message, on the stack, with room for the frame's length in front of them: they are written once, and their length
/// is known before the frame's is written.
pub(super) struct Head {
    bytes: [u8; Head::BYTES],
    end: usize,
}

impl Head {
    /// Where the fields begin: a frame's length takes no more.
    const START: usize = 10;
    /// Type, no capabilities, flags, target, result, method: 28 bytes at the most, and no text or list.
    const BYTES: usize = Head::START + 32;

    #[inline]
    pub(super) fn new() -> Self {
        Head { bytes: [0; Head::BYTES], end: Head::START }
    }

    /// The fields, behind the length of a frame that has them and a body of so many bytes.
    #[inline]
    pub(super) fn with_length(&mut self, body: usize) -> &[u8] {
        let length = (self.end - Head::START + body) as u64;
        let start = Head::START - uint_len(length);
        let end = std::mem::replace(&mut self.end, start);
        self.uint(length);
        &self.bytes[start..end]
    }
}

impl Sink for Head {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }

    #[inline]
    fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn raw(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }
}

/// Takes all of a message but its body.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<u8>);

impl Sink for Fields<'_> {
    fn byte(&mut self, byte: u8) {
        self.0.byte(byte);
    }

    fn uint(&mut self, value: u64) {
        self.0.uint(value);
    }

    fn raw(&mut self, bytes: &[u8]) {
        Sink::raw(self.0, bytes);
    }

    fn body(&mut self, _: &[u8], _: &[u8]) {}
}

impl Sink for Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
