use std::collections::BTreeMap;
use std::mem;

/// Entries by numbers that are mostly given one after the other: a page for each [`PAGE`] numbers of which any has an entry. A number is found in its page by
/// its place, without a hash. So it takes room for what is in it, however far apart a peer lets lie what it keeps, and the newest can be gone through first, in
/// pieces.
pub(super) struct Pages<V> {
    pages: BTreeMap<u64, Page<V>>,
    len: usize,
}

/// The entries of [`PAGE`] numbers in a row, at least one.
struct Page<V> {
    /// Which of its numbers have an entry.
    taken: u64,
    entries: Entries<V>,
}

enum Entries<V> {
    /// Of few numbers, in their order.
    Close(Vec<V>),
    /// A place for each number.
    Spread(Vec<Option<V>>),
}

impl<V> Pages<V> {
    pub(super) fn new() -> Self {
        Pages { pages: BTreeMap::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, number: u64) -> Option<&V> {
        self.pages.get(&(number / PAGE))?.get(number % PAGE)
    }

    /// The same of some numbers. All pages are found first, so that nothing lies between the looks at the entries, and memory brings those together.
    #[inline]
    pub(super) fn get_some<const SOME: usize>(&self, numbers: [u64; SOME]) -> [Option<&V>; SOME] {
        let mut at = numbers.iter();
        numbers.map(|number| self.pages.get(&(number / PAGE))).map(|page| {
            let number = at.next()?;
            page?.get(number % PAGE)
        })
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        self.pages.get_mut(&(number / PAGE))?.get_mut(number % PAGE)
    }

    /// Puts an entry in, and returns what was there.
    pub(super) fn insert(&mut self, number: u64, value: V) -> Option<V> {
        if let Some(page) = self.pages.get_mut(&(number / PAGE)) {
            if let Some(known) = page.get_mut(number % PAGE) {
                return Some(mem::replace(known, value));
            }
            page.insert(number % PAGE, value);
        } else {
            // The newest is soon full, where ever more come. Beside what is there already its places are few.
            let is_newest = self.pages.last_key_value().is_none_or(|(last, _)| *last < number / PAGE);
            let entries = match is_newest && self.len >= MANY {
                true => spread(),
                false => Entries::Close(Vec::new()),
            };
            let mut page = Page { taken: 0, entries };
            page.insert(number % PAGE, value);
            self.pages.insert(number / PAGE, page);
        }
        self.len += 1;
        None
    }

    /// Changes an entry, and takes it out if it is to go then.
    pub(super) fn remove_if(&mut self, number: u64, goes: impl FnOnce(&mut V) -> bool) -> Option<V> {
        let page = self.pages.get_mut(&(number / PAGE))?;
        if !goes(page.get_mut(number % PAGE)?) {
            return None;
        }
        let removed = page.remove(number % PAGE)?;
        if page.taken == 0 {
            self.pages.remove(&(number / PAGE));
        }
        self.len -= 1;
        Some(removed)
    }

    /// Those below `number`, the highest first.
    pub(super) fn below(&self, number: u64) -> impl Iterator<Item = (u64, &V)> {
        let pages = self.pages.range(..number.div_ceil(PAGE)).rev();
        pages.flat_map(move |(&page, entries)| {
            let first = page * PAGE;
            entries.below(number - first).map(move |(at, value)| (first + at, value))
        })
    }

    /// All, page by page, the highest of each first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.pages
            .iter()
            .flat_map(|(page, entries)| entries.below(PAGE).map(move |(at, value)| (page * PAGE + at, value)))
    }

    /// All.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.pages.values_mut().flat_map(|page| {
            let (close, spread) = match &mut page.entries {
                Entries::Close(entries) => (entries.as_mut_slice(), Default::default()),
                Entries::Spread(places) => (Default::default(), places.as_mut_slice()),
            };
            close.iter_mut().chain(spread.iter_mut().flatten())
        })
    }

    /// Empties it.
    pub(super) fn take_values(&mut self) -> impl Iterator<Item = V> + use<V> {
        self.len = 0;
        mem::take(&mut self.pages).into_values().flat_map(|page| {
            let (close, spread) = match page.entries {
                Entries::Close(entries) => (entries, Vec::new()),
                Entries::Spread(places) => (Vec::new(), places),
            };
            close.into_iter().chain(spread.into_iter().flatten())
        })
    }
}

impl<V> Page<V> {
    #[inline]
    fn has(&self, at: u64) -> bool {
        self.taken >> at & 1 == 1
    }

    /// How many of the numbers below this one have an entry.
    #[inline]
    fn rank(&self, at: u64) -> usize {
        (self.taken & ((1 << at) - 1)).count_ones() as usize
    }

    #[inline]
    fn get(&self, at: u64) -> Option<&V> {
        match &self.entries {
            Entries::Spread(places) => places[at as usize].as_ref(),
            Entries::Close(entries) => {
                if self.has(at) {
                    entries.get(self.rank(at))
                } else {
                    None
                }
            }
        }
    }

    #[inline]
    fn get_mut(&mut self, at: u64) -> Option<&mut V> {
        let rank = self.rank(at);
        let has = self.has(at);
        match &mut self.entries {
            Entries::Spread(places) => places[at as usize].as_mut(),
            Entries::Close(entries) => {
                if has {
                    entries.get_mut(rank)
                } else {
                    None
                }
            }
        }
    }

    /// Puts an entry in for a number that has none.
    fn insert(&mut self, at: u64, value: V) {
        if self.taken.count_ones() as usize == MOST_CLOSE {
            self.part();
        }
        let rank = self.rank(at);
        self.taken |= 1 << at;
        match &mut self.entries {
            Entries::Spread(places) => places[at as usize] = Some(value),
            Entries::Close(entries) => {
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(entries.len().max(1));
                }
                entries.insert(rank, value);
            }
        }
    }

    /// Takes an entry out.
    fn remove(&mut self, at: u64) -> Option<V> {
        if !self.has(at) {
            return None;
        }
        self.taken &= !(1 << at);
        let rank = self.rank(at);
        match &mut self.entries {
            Entries::Spread(places) => {
                let removed = places[at as usize].take();
                if self.taken.count_ones() as usize <= FEWEST_SPREAD {
                    self.close_up();
                }
                removed
            }
            Entries::Close(entries) => {
                let removed = entries.remove(rank);
                if entries.len() <= entries.capacity() / 4 && !entries.is_empty() {
                    entries.shrink_to(entries.len() * 2);
                }
                Some(removed)
            }
        }
    }

    /// Gives each number a place.
    #[cold]
    fn part(&mut self) {
        let Entries::Close(entries) = &mut self.entries else { return };
        let mut places = places();
        let mut left = self.taken;
        for value in mem::take(entries) {
            places[left.trailing_zeros() as usize] = Some(value);
            left &= left - 1;
        }
        self.entries = Entries::Spread(places);
    }

    /// Gives up the places of those that are gone.
    #[cold]
    fn close_up(&mut self) {
        let Entries::Spread(places) = &mut self.entries else { return };
        let mut entries = Vec::with_capacity(FEWEST_SPREAD);
        entries.extend(mem::take(places).into_iter().flatten());
        self.entries = Entries::Close(entries);
    }

    /// Those of its first numbers, as many as `until` says, the highest first.
    fn below(&self, until: u64) -> impl Iterator<Item = (u64, &V)> {
        let mut left = if until < PAGE { self.taken & ((1 << until) - 1) } else { self.taken };
        std::iter::from_fn(move || {
            let at = u64::from(left.checked_ilog2()?);
            left &= !(1 << at);
            self.get(at).map(|value| (at, value))
        })
    }
}

fn places<V>() -> Vec<Option<V>> {
    (0..PAGE).map(|_| None).collect()
}

fn spread<V>() -> Entries<V> {
    Entries::Spread(places())
}

/// Numbers of one page: as many as a word has bits.
const PAGE: u64 = 64;
/// Entries of a page with more of which each has a place of its own, and with no more of which they are put together again.
const MOST_CLOSE: usize = 16;
const FEWEST_SPREAD: usize = 12;
/// Entries beside which the places of one page are few.
const MANY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    impl<V> Pages<V> {
        /// Takes an entry out.
        fn remove(&mut self, number: u64) -> Option<V> {
            self.remove_if(number, |_| true)
        }

        /// Places for entries, and pages.
        fn room(&self) -> (usize, usize) {
            let room = |page: &Page<V>| match &page.entries {
                Entries::Close(entries) => entries.capacity(),
                Entries::Spread(places) => places.capacity(),
            };
            (self.pages.values().map(room).sum(), self.pages.len())
        }
    }

    #[test]
    fn it_says_what_a_plain_map_says() {
        let mut random = 7_u64;
        let mut next = move |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        for span in [3, 64, 65, 200, 20_000] {
            let (mut pages, mut map) = (Pages::new(), BTreeMap::new());
            for step in 0..30_000 {
                let number = next(span);
                match next(6) {
                    0 | 1 => assert_eq!(pages.remove(number), map.remove(&number)),
                    5 => {
                        let goes = |value: &mut i32| {
                            *value += 1;
                            *value % 2 == 0
                        };
                        let gone = map.get_mut(&number).is_some_and(goes);
                        let gone = if gone { map.remove(&number) } else { None };
                        assert_eq!(pages.remove_if(number, goes), gone);
                    }
                    2 => {
                        let some = [number, next(span), number, next(span + 70)];
                        assert_eq!(pages.get_some(some), some.map(|number| map.get(&number)));
                        assert_eq!(pages.get(number), map.get(&number));
                    }
                    3 => assert_eq!(pages.get_mut(number), map.get_mut(&number)),
                    _ => assert_eq!(pages.insert(number, step), map.insert(number, step)),
                }
                assert_eq!(pages.len(), map.len());
                if step % 1000 == 0 {
                    let below = next(span + 70);
                    assert!(pages.below(below).eq(map.range(..below).rev().map(|(at, value)| (*at, value))));
                }
            }
            let mut all: Vec<_> = pages.iter().map(|(number, value)| (number, *value)).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(map.iter().map(|(number, value)| (*number, *value))));
            pages.values_mut().for_each(|value| *value += 1);
            let mut values: Vec<_> = pages.take_values().collect();
            values.sort_unstable();
            let mut expected: Vec<_> = map.into_values().map(|value| value + 1).collect();
            expected.sort_unstable();
            assert_eq!((values, pages.len(), pages.room()), (expected, 0, (0, 0)));
        }
    }

    #[test]
    fn what_stays_far_apart_takes_no_room_for_what_lay_between() {
        let mut pages = Pages::new();
        (0..100_000).for_each(|number| assert_eq!(pages.insert(number, number), None));
        let (room, held) = pages.room();
        assert!(
            room < 100_000 + 2 * PAGE as usize && held == 100_000_usize.div_ceil(PAGE as usize),
            "{room}"
        );
        (0..100_000)
            .filter(|number| number % 100 != 0)
            .for_each(|number| assert_eq!(pages.remove(number), Some(number)));
        let (room, held) = pages.room();
        assert!(held <= 1000 && room <= 4000, "{room} places in {held} pages for 1000");
        assert!((0..100_000).all(|number| pages.get(number).is_some() == (number % 100 == 0)));
    }

    /// Only the newest page is sure to be filled.
    #[test]
    fn what_comes_again_far_apart_takes_no_room_for_what_lies_between() {
        let mut pages = Pages::new();
        (100_000..100_000 + 2 * MANY as u64)
            .for_each(|number| assert_eq!(pages.insert(number, number), None));
        let (before, _) = pages.room();
        (0..1000).for_each(|page| assert_eq!(pages.insert(page * PAGE, page), None));
        let (room, held) = pages.room();
        assert!(held >= 1000 && room == before + 1000, "{before} -> {room} places");
    }

    /// Numbers go up for ever, and so many are held at a time.
    #[test]
    fn who_holds_few_at_a_time_takes_room_for_few() {
        for few in [1_u64, 5, 64, 1000] {
            let mut pages = Pages::new();
            for number in 0..50_000 {
                assert_eq!(pages.insert(number, number), None);
                if let Some(gone) = number.checked_sub(few) {
                    assert_eq!(pages.remove(gone), Some(gone));
                }
                let (_, held) = pages.room();
                assert!(held as u64 <= few.div_ceil(PAGE) + 1, "{held} pages for {few}");
            }
            assert_eq!(pages.len() as u64, few);
        }
    }

    #[test]
    fn one_that_stays_is_met_once_going_down_whatever_comes_and_goes() {
        let mut pages = Pages::new();
        (1..=500).for_each(|number| assert_eq!(pages.insert(number, ()), None));
        let (mut met, mut below, mut come) = (Vec::new(), u64::MAX, 501);
        loop {
            let next = pages.below(below).map(|(number, _)| number).next();
            let Some(number) = next else { break };
            met.push(number);
            below = number;
            pages.remove(number - number % 7);
            pages.insert(come, ());
            come += 1;
        }
        let stays = |number: &u64| !number.is_multiple_of(7);
        assert!(met.iter().is_sorted_by(|a, b| a > b));
        assert!((1..=500).filter(stays).all(|number| met.contains(&number)));
        assert!(met.iter().all(|number| *number <= 500));
    }
}
