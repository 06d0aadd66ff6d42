use crate::message::ImportId;

use super::limits::LAST_WORD_BYTES;

/// Mentions to be given back to the peer.
#[derive(Default)]
pub(super) struct LastWords {
    waiting: Vec<(ImportId, u64)>,
    /// How many of them are for objects that the peer passed unasked; at most as many as wait.
    unasked: usize,
}

impl LastWords {
    pub(super) fn push(&mut self, id: ImportId, count: u64, unasked: bool) {
        self.waiting.push((id, count));
        self.unasked += usize::from(unasked);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes at most `most` of them, the latest first. The order of last words means nothing.
    pub(super) fn take(&mut self, most: usize) -> Vec<(ImportId, u64)> {
        let left = self.waiting.len().saturating_sub(most);
        let taken = self.waiting.split_off(left);
        self.unasked = self.unasked.min(left);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = Vec::new();
        }
        taken
    }

    /// What the peer's budget is charged.
    pub(super) fn charged(&self) -> u64 {
        self.unasked as u64 * LAST_WORD_BYTES
    }
}

/// A longer list is given back once it is sent.
const KEPT: usize = 1024;
