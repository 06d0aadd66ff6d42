use std::hash::BuildHasher;
use std::hint::black_box;
use std::mem;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::pages::Pages;
use super::table::Table;
use super::usage::Use;
use super::{Host, Key};
use crate::message::{Cause, ExportId};

/// Objects of ours that the peer holds, broken ones too, by their ids: -1, -2 and so on, in the order in which they were exported, and never one again.
/// Those that are not broken are found by their keys as well.
///
/// There may be a million of them, so an entry is small (56 bytes in the broker), and what few have stands beside it. What they take together is bounded by
/// what a peer's budget is charged for each (`OBJECT_BYTES`), whichever of them it keeps.
pub(super) struct Objects<H: Host> {
    held: Pages<Object<H>>,
    /// The numbers of those that are not broken. Their keys are those of their handles, and not kept here once more.
    by_key: HashTable<u64>,
    hasher: DefaultHashBuilder,
    /// What tells when one that is not of this process breaks.
    watches: Table<u64, H::Watch>,
    /// How many there ever were: the number of the last one.
    last: u64,
}

/// One of them.
pub(super) struct Object<H: Host> {
    pub(super) leads: Leads<H>,
    /// What the peer has not given back.
    pub(super) mentions: u64,
    pub(super) used: Use,
}

/// Where an object's id leads.
pub(super) enum Leads<H: Host> {
    To(H::Handle),
    /// It is broken, until the peer has given back what it holds.
    Nowhere(Box<Cause>),
}

/// What an object that is gone, or broken, leaves to be dropped.
pub(super) type Left<H> = (Option<<H as Host>::Handle>, Option<<H as Host>::Watch>);

impl<H: Host> Objects<H> {
    pub(super) fn new() -> Self {
        Objects {
            held: Pages::new(),
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            watches: Table::new(),
            last: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The id of the last one that was exported; 0 before the first.
    #[inline]
    pub(super) fn last(&self) -> ExportId {
        id_of(self.last)
    }

    #[inline]
    pub(super) fn get(&self, id: ExportId) -> Option<&Object<H>> {
        self.held.get(number_of(id))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ExportId) -> Option<&mut Object<H>> {
        self.held.get_mut(number_of(id))
    }

    /// The id of the object of this key, where it is not broken.
    pub(super) fn find(&self, host: &H, key: Key) -> Option<ExportId> {
        let is_it = |number: &u64| self.key(host, *number) == Some(key);
        self.by_key.find(self.hasher.hash_one(key), is_it).map(|number| id_of(*number))
    }

    fn key(&self, host: &H, number: u64) -> Option<Key> {
        self.held.get(number).and_then(|object| object.key(host))
    }

    /// Exports `handle`, of which the peer holds nothing, or only what is broken. It has one mention.
    pub(super) fn export(&mut self, host: &H, handle: H::Handle, used: Use) -> ExportId {
        if self.by_key.len() == self.by_key.capacity() {
            // It is full, or places of those that are gone are used up: room for some more of either.
            self.rebuild(host, self.by_key.len() + self.by_key.len() / 8 + 1);
        }
        self.last += 1;
        let hash = self.hasher.hash_one(host.key(&handle));
        self.held.insert(self.last, Object { leads: Leads::To(handle), mentions: 1, used });
        self.by_key.insert_unique(hash, self.last, |_| unreachable!("there is room for one"));
        id_of(self.last)
    }

    /// Looks at what taking some out needs: the entry of each, the object behind it, and its key's place. What a peer lets go of it has mostly held for long,
    /// and nothing of it is near: who takes out one after the other waits for memory three times for each. Here each look is at all of them before the next,
    /// with little between, so that memory brings together what they need.
    pub(super) fn bring<const SOME: usize>(&self, host: &H, ids: [ExportId; SOME]) {
        let numbers = ids.map(number_of);
        let keys = self.held.get_some(numbers).map(|object| object.and_then(|object| object.key(host)));
        let hashes = keys.map(|key| key.map(|key| self.hasher.hash_one(key)));
        let found = hashes.into_iter().zip(numbers).filter(|(hash, number)| {
            hash.is_some_and(|hash| self.by_key.find(hash, |one| one == number).is_some())
        });
        black_box(found.count());
    }

    /// Changes one, and takes it out if it is to go then.
    pub(super) fn remove_if(
        &mut self,
        host: &H,
        id: ExportId,
        goes: impl FnOnce(&mut Object<H>) -> bool,
    ) -> Option<(Use, Left<H>)> {
        let object = self.held.remove_if(number_of(id), goes)?;
        Some((object.used, self.leave(host, id, object.leads)))
    }

    /// One is broken from now on: mentioned again it is a new export. `None` where the peer does not hold it, or it is broken.
    pub(super) fn break_with(&mut self, host: &H, id: ExportId, cause: Cause) -> Option<Left<H>> {
        let object = self.held.get_mut(number_of(id))?;
        let Leads::To(_) = object.leads else { return None };
        let leads = mem::replace(&mut object.leads, Leads::Nowhere(Box::new(cause)));
        Some(self.leave(host, id, leads))
    }

    /// It leads there no more.
    fn leave(&mut self, host: &H, id: ExportId, leads: Leads<H>) -> Left<H> {
        let Leads::To(handle) = leads else { return (None, None) };
        let (number, hash) = (number_of(id), self.hasher.hash_one(host.key(&handle)));
        if let Ok(found) = self.by_key.find_entry(hash, |one| *one == number) {
            found.remove();
        }
        if self.by_key.capacity() > KEPT && self.by_key.len() < self.by_key.capacity() / 4 {
            self.rebuild(host, self.by_key.len() * 2);
        }
        let watch = if self.watches.is_empty() { None } else { self.watches.remove(&number) };
        (Some(handle), watch)
    }

    /// Finds all of them places in a new table. They are gone through as they lie, which is faster than by the places that they have.
    #[cold]
    fn rebuild(&mut self, host: &H, room: usize) {
        let mut by_key = HashTable::with_capacity(room);
        for (number, object) in self.held.iter() {
            if let Some(key) = object.key(host) {
                by_key.insert_unique(self.hasher.hash_one(key), number, |_| {
                    unreachable!("there is room for all")
                });
            }
        }
        self.by_key = by_key;
    }

    /// Keeps what watches one, as long as it is there and not broken. Returns what watched it before.
    ///
    /// # Errors
    /// The watch, where it is not.
    pub(super) fn watch(&mut self, id: ExportId, watch: H::Watch) -> Result<Option<H::Watch>, H::Watch> {
        match self.get(id) {
            Some(Object { leads: Leads::To(_), .. }) => Ok(self.watches.insert(number_of(id), watch)),
            _ => Err(watch),
        }
    }

    /// Those that were exported before `id`, the last one first.
    pub(super) fn before(&self, id: ExportId) -> impl Iterator<Item = (ExportId, &Object<H>)> {
        self.held.below(number_of(id)).map(|(number, object)| (id_of(number), object))
    }

    /// Empties it.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Left<H>> + use<H> {
        self.by_key = HashTable::new();
        let watches = self.watches.take_values().map(|watch| (None, Some(watch)));
        let handles = self.held.take_values().map(|object| match object.leads {
            Leads::To(handle) => (Some(handle), None),
            Leads::Nowhere(_) => (None, None),
        });
        watches.chain(handles)
    }
}

impl<H: Host> Object<H> {
    fn key(&self, host: &H) -> Option<Key> {
        match &self.leads {
            Leads::To(handle) => Some(host.key(handle)),
            Leads::Nowhere(_) => None,
        }
    }

    pub(super) fn handle(&self) -> Option<&H::Handle> {
        match &self.leads {
            Leads::To(handle) => Some(handle),
            Leads::Nowhere(_) => None,
        }
    }
}

#[inline]
fn number_of(id: ExportId) -> u64 {
    id.0.unsigned_abs()
}

#[inline]
fn id_of(number: u64) -> ExportId {
    ExportId(-(number as i64))
}

/// Places that are kept though they are not used.
const KEPT: usize = 2048;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::message::{Failure, FailureKind, ImportId, Ran};
    use crate::proto::Place;

    /// An owner of plain numbers, each its own key.
    struct Numbers;

    impl Host for Numbers {
        type Handle = usize;
        type Waiter = ();
        type Canceller = ();
        type Proxy = ();
        type Watch = usize;
        type Memo = ();

        fn settled(&self, _: &usize) -> Option<usize> {
            None
        }
        fn place(&self, handle: &usize) -> Place {
            Place::Ours(self.key(handle))
        }
        fn key(&self, handle: &usize) -> Key {
            key(*handle)
        }
        fn mention(&self, _: ImportId, _: &mut Option<()>) -> (usize, bool) {
            (0, false)
        }
        fn promise(&self) -> usize {
            0
        }
        fn broken(&self, _: Failure) -> usize {
            0
        }
    }

    fn key(object: usize) -> Key {
        Key { object, facet: object / 3 }
    }

    fn cause() -> Cause {
        Cause::Broker(Failure::new(FailureKind::Broken, Ran::No, "broken"))
    }

    impl Objects<Numbers> {
        /// Takes one out.
        fn remove(&mut self, id: ExportId) -> Option<Left<Numbers>> {
            self.remove_if(&Numbers, id, |_| true).map(|(_, left)| left)
        }
    }

    fn exported(count: usize) -> Objects<Numbers> {
        let mut objects = Objects::new();
        for object in 1..=count {
            let id = objects.export(&Numbers, object, Use::default());
            assert_eq!(id, ExportId(-(object as i64)));
        }
        objects
    }

    #[test]
    fn it_says_what_a_plain_map_says() {
        let mut random = 3_u64;
        let mut next = move |most: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % most
        };
        for span in [2, 30, 500] {
            // By number: the object, unless it is broken, and its watch.
            let (mut objects, mut map) =
                (Objects::new(), BTreeMap::<i64, (Option<usize>, Option<usize>)>::new());
            for step in 0..5_000 {
                let object = next(span);
                let known = map.iter().find(|(_, (one, _))| *one == Some(object)).map(|(number, _)| *number);
                assert_eq!(objects.find(&Numbers, key(object)), known.map(|number| ExportId(-number)));
                objects.bring(&Numbers, [object, 0, step + 1].map(|number| ExportId(-(number as i64))));
                let any = ExportId(-(next(step + 2) as i64));
                let there = map.get(&-any.0).copied();
                match next(5) {
                    0 | 1 if known.is_none() => {
                        let id = objects.export(&Numbers, object, Use::default());
                        assert_eq!(map.insert(-id.0, (Some(object), None)), None);
                        assert!(
                            id == objects.last() && map.last_key_value().is_some_and(|last| *last.0 == -id.0)
                        );
                    }
                    2 => {
                        assert_eq!(objects.remove(any), map.remove(&-any.0));
                    }
                    3 => {
                        let broken = objects.break_with(&Numbers, any, cause());
                        let expected = there.filter(|(object, _)| object.is_some());
                        assert_eq!(broken, expected);
                        if expected.is_some() {
                            map.insert(-any.0, (None, None));
                        }
                    }
                    _ => match there {
                        Some((Some(object), watch)) => {
                            assert_eq!(objects.watch(any, step), Ok(watch));
                            map.insert(-any.0, (Some(object), Some(step)));
                        }
                        _ => assert_eq!(objects.watch(any, step), Err(step)),
                    },
                }
                assert_eq!(objects.len(), map.len());
            }
            let ids =
                objects.before(ExportId(i64::MIN)).map(|(id, object)| (-id.0, object.handle().copied()));
            assert!(ids.eq(map.iter().rev().map(|(number, (object, _))| (*number, *object))));
            let left: Vec<_> = objects.take().collect();
            let (handles, watches): (Vec<_>, Vec<_>) = left.into_iter().unzip();
            let mut all = [handles, watches].map(|all| all.into_iter().flatten().collect::<Vec<_>>());
            all.iter_mut().for_each(|all| all.sort_unstable());
            let mut expected = [Vec::new(), Vec::new()];
            map.into_values().for_each(|(object, watch)| {
                expected[0].extend(object);
                expected[1].extend(watch);
            });
            expected.iter_mut().for_each(|all| all.sort_unstable());
            assert_eq!(all, expected);
            assert_eq!((objects.len(), objects.find(&Numbers, key(1))), (0, None));
        }
    }

    /// Whoever gives back all but some keeps room for those only.
    #[test]
    fn the_keys_take_room_for_those_that_are_held() {
        let mut objects = exported(100_000);
        let most = objects.by_key.capacity();
        assert!(most < 200_000, "{most} places");
        for object in (1..=100_000).filter(|object| object % 100 != 0) {
            let left = objects.remove(ExportId(-object));
            assert_eq!(left, Some((Some(object as usize), None)));
        }
        assert!(objects.by_key.capacity() <= 4 * 1000, "{} places for 1000", objects.by_key.capacity());
        for object in 1..=100_000 {
            let known = (object % 100 == 0).then_some(ExportId(-(object as i64)));
            assert_eq!(objects.find(&Numbers, key(object)), known);
        }
    }

    /// Places of those that are gone are used again, however many come.
    #[test]
    fn who_holds_few_at_a_time_has_few_keys() {
        let mut objects = exported(0);
        for object in 1..=100_000_i64 {
            objects.export(&Numbers, object as usize, Use::default());
            if object > 50 {
                assert!(objects.remove(ExportId(50 - object)).is_some());
            }
            assert!(objects.by_key.capacity() <= 224, "{} places for 50", objects.by_key.capacity());
        }
        assert_eq!(objects.len(), 50);
    }

    #[test]
    fn what_breaks_takes_its_key_with_it_and_is_exported_anew() {
        let mut objects = exported(3);
        assert_eq!(objects.watch(ExportId(-2), 7), Ok(None));
        assert_eq!(objects.break_with(&Numbers, ExportId(-2), cause()), Some((Some(2), Some(7))));
        assert_eq!(objects.break_with(&Numbers, ExportId(-2), cause()), None);
        assert_eq!(objects.find(&Numbers, key(2)), None);
        assert_eq!(objects.export(&Numbers, 2, Use::default()), ExportId(-4));
        assert_eq!(objects.len(), 4);
        assert_eq!(objects.remove(ExportId(-2)), Some((None, None)));
        assert_eq!(objects.find(&Numbers, key(2)), Some(ExportId(-4)));
    }
}
