use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use hashbrown::HashMap;

/// A map that takes room for what is in it, and not for what a peer once put there: hash maps grow twofold when entries come and go in a
/// table that is more than half full, and never give anything back. What a peer's budget is charged for an entry holds only without that.
pub(super) struct Table<K, V>(HashMap<K, V>);

impl<K: Eq + Hash, V> Table<K, V> {
    pub(super) fn new() -> Self {
        Table(HashMap::new())
    }

    /// Puts an entry in, and returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.0.len() == self.0.capacity() && self.0.len() > KEPT {
            // Either it is full, or places of removed entries are used up: a new one tells, and has room for some more of either.
            self.rebuild(self.0.len() + self.0.len() / 16 + 1);
        }
        self.0.insert(key, value)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.0.remove(key);
        if self.0.capacity() > KEPT && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        removed
    }

    /// Empties it.
    pub(super) fn take_values(&mut self) -> impl Iterator<Item = V> + use<K, V> {
        std::mem::take(&mut self.0).into_values()
    }

    fn rebuild(&mut self, room: usize) {
        let mut map = HashMap::with_capacity(room);
        map.extend(self.0.drain());
        self.0 = map;
    }
}

/// To look at, and to change or empty in place.
impl<K, V> Deref for Table<K, V> {
    type Target = HashMap<K, V>;

    fn deref(&self) -> &HashMap<K, V> {
        &self.0
    }
}

impl<K, V> DerefMut for Table<K, V> {
    fn deref_mut(&mut self) -> &mut HashMap<K, V> {
        &mut self.0
    }
}

/// Entries of which no table is too large: as many as calls that are granted, twice.
const KEPT: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: i64) -> Table<i64, u64> {
        let mut table = Table::new();
        (0..count).for_each(|key| assert_eq!(table.insert(key, 1), None));
        table
    }

    #[test]
    fn entries_that_come_and_go_do_not_make_it_grow() {
        let mut table = filled(13_000);
        let before = table.allocation_size();
        for key in 0..100_000 {
            table.insert(-1 - key, 2);
            assert_eq!(table.remove(&(-1 - key)), Some(2));
        }
        assert_eq!((table.len(), table.allocation_size()), (13_000, before));
        assert!((0..13_000).all(|key| table.get(&key) == Some(&1)));
    }

    #[test]
    fn what_is_not_used_any_more_is_given_back() {
        let mut table = filled(100_000);
        let most = table.allocation_size();
        (100..100_000).for_each(|key| assert_eq!(table.remove(&key), Some(1)));
        assert_eq!(table.len(), 100);
        assert!(table.allocation_size() < most / 20, "{} of {most} bytes", table.allocation_size());
        assert!((0..100).all(|key| table.get(&key) == Some(&1)));
    }

    #[test]
    fn as_many_entries_as_calls_are_granted_are_moved_by_nothing() {
        let mut table = filled(1024);
        let before = table.allocation_size();
        (0..1024).for_each(|key| assert_eq!(table.remove(&key), Some(1)));
        assert_eq!((table.len(), table.allocation_size()), (0, before));
    }
}
