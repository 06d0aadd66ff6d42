use std::collections::BTreeSet;
use std::mem;

use super::table::Table;

/// Entries by ids. Results have ids that go up by one, and most are gone soon: each has one place in a ring, and no id is hashed to find it.
/// What finds its place taken by one that stays, and what is more than the ring may have, stands in a [`Table`].
///
/// The ring has as many places as twice what was ever in it at once, up to [`MOST_PLACES`], whatever ids a peer chooses.
/// Results are looked through in pieces, so those that are not in the ring are in an order of their own: a peer with few calls at once pays nothing for it.
pub(super) struct Dense<V> {
    /// A power of two, or none.
    ring: Vec<Option<(i64, V)>>,
    /// How many of its places are taken.
    taken: usize,
    others: Table<i64, V>,
    /// The results among the others.
    crowded_out: BTreeSet<i64>,
}

impl<V> Dense<V> {
    pub(super) fn new() -> Self {
        Dense { ring: Vec::new(), taken: 0, others: Table::new(), crowded_out: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.taken + self.others.len()
    }

    /// The place of an id, where the ring has any and the id is a result's.
    #[inline]
    fn place(&self, id: i64) -> Option<usize> {
        let place = id as usize & self.ring.len().wrapping_sub(1);
        (id > 0 && place < self.ring.len()).then_some(place)
    }

    #[inline]
    pub(super) fn get(&self, id: &i64) -> Option<&V> {
        if let Some(place) = self.place(*id)
            && let Some((known, value)) = &self.ring[place]
            && known == id
        {
            return Some(value);
        }
        if self.others.is_empty() { None } else { self.others.get(id) }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: &i64) -> Option<&mut V> {
        if let Some(place) = self.place(*id)
            && self.ring[place].as_ref().is_some_and(|(known, _)| known == id)
        {
            return self.ring[place].as_mut().map(|(_, value)| value);
        }
        if self.others.is_empty() { None } else { self.others.get_mut(id) }
    }

    /// Puts an entry in, and returns what was there.
    #[inline]
    pub(super) fn insert(&mut self, id: i64, value: V) -> Option<V> {
        if let Some(place) = self.place(id)
            && self.ring[place].is_none()
            && (self.others.is_empty() || !self.others.contains_key(&id))
        {
            self.ring[place] = Some((id, value));
            self.taken += 1;
            return None;
        }
        self.insert_elsewhere(id, value)
    }

    #[cold]
    fn insert_elsewhere(&mut self, id: i64, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(&id) {
            return Some(mem::replace(known, value));
        }
        let crowded = self.taken * 2 >= self.ring.len();
        if id > 0 && crowded && self.ring.len() < MOST_PLACES {
            self.grow();
            return self.insert(id, value);
        }
        if id > 0 {
            self.crowded_out.insert(id);
        }
        self.others.insert(id, value)
    }

    /// Doubles the ring. Who had a place each has one again.
    fn grow(&mut self) {
        let places = (self.ring.len() * 2).max(FEWEST_PLACES);
        let before = mem::replace(&mut self.ring, (0..places).map(|_| None).collect());
        for (id, value) in before.into_iter().flatten() {
            self.ring[id as usize & (places - 1)] = Some((id, value));
        }
    }

    /// Takes an entry out.
    #[inline]
    pub(super) fn remove(&mut self, id: &i64) -> Option<V> {
        if let Some(place) = self.place(*id)
            && let Some((_, value)) = self.ring[place].take_if(|(known, _)| known == id)
        {
            self.taken -= 1;
            return Some(value);
        }
        if self.others.is_empty() { None } else { self.remove_elsewhere(id) }
    }

    fn remove_elsewhere(&mut self, id: &i64) -> Option<V> {
        if *id > 0 {
            self.crowded_out.remove(id);
        }
        self.others.remove(id)
    }

    /// Some of the results, and from where to go on: looks at no more than `most` places and ids. What is there from the first piece to the last is in one of
    /// them; where the ring grows meanwhile, maybe in two. `from` is 0 for the first.
    pub(super) fn results(&self, from: u64, most: usize) -> (impl Iterator<Item = (i64, &V)>, Option<u64>) {
        // Ids go down, so that whoever comes meanwhile makes it no longer.
        let below =
            from.checked_sub(MOST_PLACES as u64).map(|below| i64::try_from(below).unwrap_or(i64::MAX));
        let at = if below.is_some() { self.ring.len() } else { (from as usize).min(self.ring.len()) };
        let until = at.saturating_add(most).min(self.ring.len());
        let here = self.ring[at..until].iter().flatten().map(|(id, value)| (*id, value));
        let below = below.unwrap_or(i64::MAX);
        let mut rest = self.crowded_out.range(..below).rev().copied();
        let ids: Vec<i64> = rest.by_ref().take(most - (until - at)).collect();
        let next = match (until < self.ring.len(), rest.next()) {
            (true, _) => Some(until as u64),
            (false, None) => None,
            (false, Some(_)) => {
                Some(MOST_PLACES as u64 + ids.last().copied().unwrap_or(below).unsigned_abs())
            }
        };
        let there = ids.into_iter().filter_map(|id| self.others.get(&id).map(|value| (id, value)));
        (here.chain(there), next)
    }

    /// All, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&i64, &V)> {
        self.ring.iter().flatten().map(|(id, value)| (id, value)).chain(self.others.iter())
    }

    /// Empties it.
    pub(super) fn take_values(&mut self) -> impl Iterator<Item = V> + use<V> {
        self.taken = 0;
        self.crowded_out.clear();
        let ring = mem::take(&mut self.ring).into_iter().flatten().map(|(_, value)| value);
        ring.chain(self.others.take_values())
    }
}

/// Places of a ring with anything in it.
const FEWEST_PLACES: usize = 1;
/// The most, as many as calls are granted by default: a ring is not made smaller again.
const MOST_PLACES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn calls_that_come_and_go_need_no_more_room_than_those_at_once() {
        let mut dense = Dense::new();
        for id in 1..=100_000 {
            assert_eq!(dense.insert(id, id), None);
            if id > 60 {
                assert_eq!(dense.remove(&(id - 60)), Some(id - 60));
            }
        }
        assert_eq!((dense.ring.len(), dense.others.len(), dense.len()), (64, 0, 60));
    }

    #[test]
    fn what_stays_keeps_nobody_from_coming_and_going() {
        let mut dense = Dense::new();
        (1..=10_000).for_each(|id| assert_eq!(dense.insert(id, ()), None));
        assert!(dense.ring.len() <= MOST_PLACES);
        for id in 10_001..20_000 {
            dense.insert(id, ());
            assert_eq!(dense.remove(&id), Some(()));
        }
        assert_eq!(dense.len(), 10_000);
        assert!((1..=10_000).all(|id| dense.get(&id).is_some()));
    }

    /// Whoever lets calls far apart stay must not make the ring as long as they are apart.
    #[test]
    fn ids_far_apart_take_no_room_for_what_lies_between() {
        let mut dense = Dense::new();
        (1..40).for_each(|bit| assert_eq!(dense.insert(1 << bit, ()), None));
        assert_eq!(dense.len(), 39);
        assert!(dense.ring.len() <= 128, "{} places", dense.ring.len());
    }

    /// The results in pieces that look at so many, with what is done between two of them.
    fn in_pieces(
        dense: &mut Dense<u64>,
        most: usize,
        mut between: impl FnMut(&mut Dense<u64>),
    ) -> BTreeMap<i64, u64> {
        let (mut seen, mut from) = (BTreeMap::new(), Some(0));
        while let Some(at) = from {
            let (piece, next) = dense.results(at, most);
            let piece: Vec<_> = piece.map(|(id, value)| (id, *value)).collect();
            assert!(piece.len() <= most, "{} of {most}", piece.len());
            assert!(next != from, "it goes on");
            seen.extend(piece);
            from = next;
            between(dense);
        }
        seen
    }

    #[test]
    fn results_that_stay_are_in_a_piece_though_others_come_and_go() {
        for most in [1, 7, 1024] {
            let mut dense = Dense::new();
            (1..=3000).for_each(|id| assert_eq!(dense.insert(id, 1), None));
            (1..=1000).for_each(|id| assert_eq!(dense.insert(-id, 2), None));
            // Both in the ring and out of it there are gaps.
            (1..=3000).filter(|id| id % 3 == 0).for_each(|id| assert!(dense.remove(&id).is_some()));
            let (mut come, mut go) = (3001, 1);
            let seen = in_pieces(&mut dense, most, |dense| {
                dense.insert(come, 3);
                dense.remove(&go);
                (come, go) = (come + 1, go + 30);
            });
            let stayed = (1..=3000).filter(|id| id % 3 != 0 && id % 30 != 1);
            assert!(stayed.into_iter().all(|id| seen.get(&id) == Some(&1)), "in pieces of {most}");
            assert!(seen.keys().all(|id| *id > 0), "objects are no results");
        }
    }

    #[test]
    fn a_ring_that_grows_between_two_pieces_hides_nothing() {
        let mut dense = Dense::new();
        (1..=8).for_each(|id| assert_eq!(dense.insert(id, 0), None));
        let mut come = 9;
        let seen = in_pieces(&mut dense, 3, |dense| {
            if come < 600 {
                (come..come * 2).for_each(|id| assert_eq!(dense.insert(id, 0), None));
                come *= 2;
            }
        });
        assert!((1..=8).all(|id| seen.contains_key(&id)), "{seen:?}");
    }

    #[test]
    fn a_piece_looks_no_further_than_it_may_among_many_objects() {
        let mut dense = Dense::new();
        (1..=100_000).for_each(|id| assert_eq!(dense.insert(-id, 0), None));
        dense.insert(1, 7);
        let (piece, next) = dense.results(0, 4);
        assert_eq!((piece.map(|(id, _)| id).collect::<Vec<_>>(), next), (vec![1], None));
        dense.take_values().for_each(drop);
        assert_eq!(dense.results(0, 4).0.count(), 0);
        assert!(dense.crowded_out.is_empty());
    }

    #[test]
    fn it_says_what_a_plain_map_says() {
        let mut random = 7_u64;
        let mut next = move |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        for span in [4, 20, 200, 5_000] {
            let (mut dense, mut map) = (Dense::new(), BTreeMap::new());
            for step in 0..20_000_u64 {
                let id = next(span) as i64 - span as i64 / 4;
                match next(4) {
                    0 => assert_eq!(dense.remove(&id), map.remove(&id)),
                    1 => assert_eq!(dense.get(&id), map.get(&id)),
                    2 => assert_eq!(dense.get_mut(&id), map.get_mut(&id)),
                    _ => assert_eq!(dense.insert(id, step), map.insert(id, step)),
                }
                assert_eq!(dense.len(), map.len());
            }
            let results = in_pieces(&mut dense, 16, |_| {});
            assert!(results.iter().eq(map.iter().filter(|(id, _)| **id > 0)));
            let mut all: Vec<_> = dense.iter().map(|(id, value)| (*id, *value)).collect();
            all.sort_unstable();
            assert!(all.iter().map(|(id, value)| (id, value)).eq(map.iter()));
            assert_eq!(dense.take_values().count(), map.len());
            assert_eq!(dense.len(), 0);
        }
    }
}
