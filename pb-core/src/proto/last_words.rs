use std::mem;

use crate::message::ImportId;

use super::limits::LAST_WORD_BYTES;

/// Mentions to be given back to the peer. They stand in blocks, so that a long list is never moved, and takes no more room than it is counted as
/// but for one block.
#[derive(Default)]
pub(super) struct LastWords {
    /// Those in front of `last`, each of [`BLOCK`] mentions.
    full: Vec<Vec<(ImportId, u64)>>,
    /// Empty only where there are none at all.
    last: Vec<(ImportId, u64)>,
    /// How many of them are for objects that the peer passed unasked; at most as many as wait.
    unasked: usize,
}

impl LastWords {
    pub(super) fn push(&mut self, id: ImportId, count: u64, unasked: bool) {
        if self.last.len() == BLOCK {
            self.full.push(mem::replace(&mut self.last, Vec::with_capacity(BLOCK)));
        }
        self.last.push((id, count));
        self.unasked += usize::from(unasked);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.full.len() * BLOCK + self.last.len()
    }

    /// Takes at most `most` of them, from the latest block first. The order of last words means nothing.
    pub(super) fn take(&mut self, most: usize) -> Vec<(ImportId, u64)> {
        let mut taken = Vec::with_capacity(self.len().min(most));
        loop {
            let left = self.last.len().saturating_sub(most - taken.len());
            taken.extend(self.last.drain(left..));
            match self.full.pop_if(|_| left == 0) {
                Some(block) => self.last = block,
                None => break,
            }
        }
        self.unasked = self.unasked.min(self.len());
        taken
    }

    /// What the peer's budget is charged.
    pub(super) fn charged(&self) -> u64 {
        self.unasked as u64 * LAST_WORD_BYTES
    }
}

/// Mentions of one block: 4 KiB.
const BLOCK: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: i64) -> LastWords {
        let mut words = LastWords::default();
        (1..=count).for_each(|id| words.push(ImportId(-id), 1, true));
        words
    }

    #[test]
    fn each_is_taken_once_however_many_at_a_time() {
        for (count, most) in [(1, 1024), (256, 256), (257, 100), (1000, 1), (5000, 1024), (5000, 700)] {
            let mut words = waiting(count);
            let (mut taken, mut left) = (Vec::new(), count as usize);
            while !words.is_empty() {
                let some = words.take(most);
                assert_eq!(some.len(), left.min(most), "{count} in steps of {most}");
                left -= some.len();
                assert_eq!((words.len(), words.charged()), (left, left as u64 * LAST_WORD_BYTES));
                taken.extend(some);
            }
            taken.sort_unstable();
            assert!(taken.into_iter().eq((1..=count).rev().map(|id| (ImportId(-id), 1))));
        }
    }

    #[test]
    fn what_waits_takes_the_room_that_it_is_charged_for_and_a_block() {
        for count in [10, 257, 1000, 100_000] {
            let words = waiting(count);
            let places: usize = words.full.iter().map(Vec::capacity).sum::<usize>() + words.last.capacity();
            assert!(places < count as usize + BLOCK, "{places} places for {count}");
        }
    }
}
