//! Bytes that wait to be written: in chunks, so that what is written is free while the rest waits, and what is large is never copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::objects::drop_quietly;

/// Bytes in their order. Small frames gather in the last chunk; a large body is a chunk of its own.
pub(super) struct Chunks {
    /// Those in front of `last`, none of them empty.
    full: VecDeque<Bytes>,
    full_bytes: usize,
    last: Vec<u8>,
    /// Bytes that small frames gather in before there is another chunk.
    chunk_bytes: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::of(CHUNK_BYTES)
    }
}

impl Chunks {
    /// Empty. Chunks are of `bytes`, within bounds: a connection that may keep little has small ones.
    pub(super) fn of(bytes: usize) -> Self {
        let chunk_bytes = bytes.clamp(FEWEST_CHUNK_BYTES, CHUNK_BYTES);
        Chunks { full: VecDeque::new(), full_bytes: 0, last: Vec::new(), chunk_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty() && self.full.is_empty()
    }

    /// Where so many bytes can be appended.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.last.capacity() - self.last.len() < bytes {
            self.grow(bytes);
        }
        &mut self.last
    }

    /// Doubles the last chunk up to its size; then there is another one.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        let needed = self.last.len() + bytes;
        if needed <= self.chunk_bytes {
            let capacity = (2 * self.last.capacity()).clamp(needed, self.chunk_bytes);
            self.last.reserve_exact(capacity - self.last.len());
            return;
        }
        // Where a few small frames stand before a long one, the next are few too.
        let next = if self.last.len() < self.chunk_bytes / 2 { bytes } else { bytes.max(self.chunk_bytes) };
        self.seal();
        self.last = Vec::with_capacity(next);
    }

    /// Appends a chunk as it is.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.seal();
            self.full_bytes += chunk.len();
            self.full.push_back(chunk);
        }
    }

    /// Nothing is appended to the last chunk any more. What it has more than it needs is given back, where that is worth it: a peer that
    /// does not read can make many of them wait.
    fn seal(&mut self) {
        if !self.last.is_empty() {
            if self.last.capacity() - self.last.len() > self.last.len() / 16 {
                self.last.shrink_to_fit();
            }
            self.full_bytes += self.last.len();
            self.full.push_back(std::mem::take(&mut self.last).into());
        }
    }

    /// Moves chunks from the front into `batch`, which is empty: one, and more up to `most` bytes.
    pub(super) fn move_into(&mut self, batch: &mut Chunks, most: usize) {
        while let Some(chunk) = self.full.front() {
            if batch.full_bytes > 0 && batch.full_bytes + chunk.len() > most {
                return;
            }
            batch.full_bytes += chunk.len();
            self.full_bytes -= chunk.len();
            batch.full.extend(self.full.pop_front());
        }
        if batch.full_bytes == 0 || batch.full_bytes + self.last.len() <= most {
            std::mem::swap(&mut self.last, &mut batch.last);
        }
    }

    /// Moves everything behind what is in `bytes`. For little: it is copied.
    pub(super) fn take_all(&mut self, bytes: &mut Vec<u8>) {
        for chunk in self.full.drain(..) {
            bytes.extend_from_slice(&chunk);
        }
        self.full_bytes = 0;
        bytes.extend_from_slice(&self.last);
        self.last.clear();
    }

    /// Empty ones of the same size.
    pub(super) fn like(&self) -> Chunks {
        Chunks { chunk_bytes: self.chunk_bytes, ..Chunks::default() }
    }

    /// Puts what is left of `batch` in front, and leaves `batch` empty.
    pub(super) fn put_back(&mut self, batch: &mut Chunks) {
        if self.is_empty() {
            std::mem::swap(self, batch);
            return;
        }
        batch.seal();
        self.full_bytes += std::mem::take(&mut batch.full_bytes);
        while let Some(chunk) = batch.full.pop_back() {
            self.full.push_front(chunk);
        }
    }

    /// The first chunks, for one write of at most `most` bytes.
    pub(super) fn slices(&self, mut most: usize) -> Slices<'_> {
        let mut slices = Slices { all: [IoSlice::new(&[]); Slices::MOST], count: 0 };
        let last = Some(&self.last[..]).filter(|last| !last.is_empty());
        for chunk in self.full.iter().map(|chunk| &chunk[..]).chain(last).take(Slices::MOST) {
            let taken = chunk.len().min(most);
            slices.all[slices.count] = IoSlice::new(&chunk[..taken]);
            slices.count += 1;
            most -= taken;
            if most == 0 {
                break;
            }
        }
        slices
    }

    /// The first `bytes` are written, at the most all.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        while let Some(chunk) = self.full.front_mut() {
            let written = bytes.min(chunk.len());
            chunk.advance(written);
            self.full_bytes -= written;
            bytes -= written;
            if !chunk.is_empty() {
                return;
            }
            // A large one may be a program's, which is told when it is dropped.
            drop_quietly(self.full.pop_front());
        }
        if bytes >= self.last.len() {
            // Kept for the next batch.
            self.last.clear();
        } else if bytes > 0 {
            self.seal();
            self.advance(bytes);
        }
    }
}

/// What one write takes.
pub(super) struct Slices<'a> {
    all: [IoSlice<'a>; Slices::MOST],
    count: usize,
}

impl Slices<'_> {
    /// A write of more takes no less time than two.
    const MOST: usize = 16;
}

impl<'a> std::ops::Deref for Slices<'a> {
    type Target = [IoSlice<'a>];

    fn deref(&self) -> &[IoSlice<'a>] {
        &self.all[..self.count]
    }
}

/// The most bytes that small frames gather in before there is another chunk: some hundred of them, and far below what allocators hand out in
/// pages of their own.
const CHUNK_BYTES: usize = 32 << 10;
const FEWEST_CHUNK_BYTES: usize = 2 << 10;

#[cfg(test)]
mod tests;
