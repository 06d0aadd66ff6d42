//! Reads a frame's parts, each within its bounds.

use std::str;

use bytes::Bytes;

use super::malformed::Malformed;
use super::number::{self, MAX_ID, Uint};
use crate::message::{ExportId, ImportId, MAX_TEXT_BYTES};

/// A frame and what of it is not read yet.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `frame` from its byte `at` on, which must be within it.
    #[inline]
    pub(super) fn new(frame: &'a Bytes, at: usize) -> Self {
        Reader { frame, rest: &frame[at..] }
    }

    /// How many bytes of the frame are read.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.frame.len() - self.rest.len()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.ended(1))?;
        self.rest = rest;
        Ok(byte)
    }

    /// Reads a 0, if the next number is one.
    #[inline]
    pub(super) fn zero(&mut self) -> bool {
        match self.rest {
            [0, rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn uint(&mut self) -> Result<u64, Malformed> {
        match number::read_uint(self.rest) {
            Uint::Whole { value, len } => {
                self.rest = &self.rest[len..];
                Ok(value)
            }
            Uint::Partial { .. } => Err(self.ended(self.rest.len() as u64 + 1)),
            Uint::Wrong => Err(Malformed::Number { at: self.at() }),
        }
    }

    /// A number within bounds, both of them allowed.
    #[inline]
    pub(super) fn bounded(&mut self, field: &'static str, least: u64, most: u64) -> Result<u64, Malformed> {
        let value = self.uint()?;
        if value < least || value > most {
            return Err(Malformed::OutOfBounds { field, value, least, most });
        }
        Ok(value)
    }

    #[inline]
    pub(super) fn uint32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.bounded(field, 0, u64::from(u32::MAX)).map(|value| value as u32)
    }

    /// How many entries follow. More than the rest of the frame can hold, at `entry` bytes each at the least, are
    /// refused at once: so a vector of this capacity is no larger than some multiple of the frame.
    pub(super) fn count(
        &mut self,
        field: &'static str,
        least: usize,
        most: usize,
        entry: usize,
    ) -> Result<usize, Malformed> {
        let count = self.bounded(field, least as u64, most as u64)?;
        self.needs(count * entry as u64)?;
        Ok(count as usize)
    }

    pub(super) fn u64le(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.ended(8))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn id(&mut self) -> Result<i64, Malformed> {
        self.uint().and_then(id)
    }

    #[inline]
    pub(super) fn export(&mut self) -> Result<ExportId, Malformed> {
        self.id().map(ExportId)
    }

    #[inline]
    pub(super) fn import(&mut self) -> Result<ImportId, Malformed> {
        self.id().map(ImportId)
    }

    /// The result that a call opens: its sign is known, so it is sent without.
    #[inline]
    pub(super) fn new_result(&mut self) -> Result<ImportId, Malformed> {
        match self.bounded("result of a call", 0, MAX_ID as u64)? {
            0 => Err(Malformed::Sign { field: "result of a call", id: 0 }),
            id => Ok(ImportId(id as i64)),
        }
    }

    /// The result of an earlier call, as its caller names it.
    pub(super) fn result(&mut self) -> Result<ImportId, Malformed> {
        match self.id()? {
            id if id > 0 => Ok(ImportId(id)),
            id => Err(Malformed::Sign { field: "result of a call", id }),
        }
    }

    /// A byte string, as a part of the frame.
    pub(super) fn bytes(&mut self, field: &'static str, most: usize) -> Result<Bytes, Malformed> {
        let length = self.length(field, 0, most)?;
        let start = self.at();
        self.rest = &self.rest[length..];
        Ok(self.frame.slice(start..start + length))
    }

    pub(super) fn text(
        &mut self,
        field: &'static str,
        least: usize,
        most: usize,
    ) -> Result<&'a str, Malformed> {
        let length = self.length(field, least, most)?;
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        str::from_utf8(bytes).map_err(|error| Malformed::NotUtf8 { field, at: error.valid_up_to() })
    }

    /// A text for people, at most as long as they are cut to.
    pub(super) fn short_text(&mut self, field: &'static str) -> Result<Box<str>, Malformed> {
        self.text(field, 0, MAX_TEXT_BYTES).map(Box::from)
    }

    /// Nothing is left.
    pub(super) fn end(&self, message_type: u8) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(Malformed::LeftOver { message_type, bytes }),
        }
    }

    fn length(&mut self, field: &'static str, least: usize, most: usize) -> Result<usize, Malformed> {
        let bytes = self.uint()?;
        if bytes < least as u64 || bytes > most as u64 {
            return Err(Malformed::Length { field, bytes, least, most });
        }
        self.needs(bytes)?;
        Ok(bytes as usize)
    }

    /// Refuses a field that takes the rest of the message, where that is over `most` bytes.
    pub(super) fn at_most(&self, field: &'static str, most: usize) -> Result<(), Malformed> {
        match self.rest.len() {
            bytes if bytes > most => Err(Malformed::Length { field, bytes: bytes as u64, least: 0, most }),
            _ => Ok(()),
        }
    }

    fn needs(&self, bytes: u64) -> Result<(), Malformed> {
        if bytes > self.rest.len() as u64 { Err(self.ended(bytes)) } else { Ok(()) }
    }

    #[cold]
    fn ended(&self, needed: u64) -> Malformed {
        Malformed::Ended { at: self.at(), needed, left: self.rest.len() }
    }
}

/// The id that a zigzagged number stands for.
#[inline]
pub(super) fn id(zigzag: u64) -> Result<i64, Malformed> {
    let id = number::unzigzag(zigzag);
    if id.unsigned_abs() > MAX_ID.unsigned_abs() { Err(Malformed::Id { id }) } else { Ok(id) }
}
