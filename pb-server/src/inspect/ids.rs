//! The numbers by which people name objects.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pb_core::objects::{Distant, Leads, Promise, Reference};
use pb_core::proto::Key;
use tokio::time::Instant;

/// What tells objects apart across the connections that hold them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Name {
    /// Something that can be called.
    Lives(Key),
    /// What is broken, and is known by its connection and its id there only.
    Broken(u64, i64),
}

/// Tells whether what has a number is still there: addresses are used again.
enum Alive {
    Object(Weak<dyn Any + Send + Sync>),
    Distant(Weak<dyn Distant>),
    Promise(Weak<Promise>),
    /// What is broken stays so, and its name is never used again while its connection lives.
    Broken,
}

/// What has a number, held so that nothing else takes its place while it is looked for.
pub(super) struct Kept {
    pub(super) name: Name,
    _object: Option<Box<dyn Any + Send>>,
}

impl Alive {
    fn of(reference: &Reference) -> Alive {
        match reference.leads() {
            Leads::Local(object) => Alive::Object(Arc::downgrade(&object.object())),
            Leads::Distant(distant) => Alive::Distant(Arc::downgrade(distant)),
            Leads::Promise(promise) => Alive::Promise(Arc::downgrade(promise)),
            Leads::Broken(_) => Alive::Broken,
        }
    }

    fn is(&self) -> bool {
        match self {
            Alive::Object(object) => object.strong_count() > 0,
            Alive::Distant(distant) => distant.strong_count() > 0,
            Alive::Promise(promise) => promise.strong_count() > 0,
            Alive::Broken => true,
        }
    }

    /// Holds it; nothing where it has gone.
    fn keep(&self, name: Name) -> Option<Kept> {
        let object: Option<Box<dyn Any + Send>> = match self {
            Alive::Object(object) => Some(Box::new(object.upgrade()?)),
            Alive::Distant(distant) => Some(Box::new(distant.upgrade()?)),
            Alive::Promise(promise) => Some(Box::new(promise.upgrade()?)),
            Alive::Broken => None,
        };
        Some(Kept { name, _object: object })
    }
}

/// Numbers that were given out, of objects that were shown to somebody. What is gone is forgotten: at the latest a minute after, where anybody
/// looks then. Until that its memory is kept, which is why.
#[derive(Default)]
pub(super) struct Ids(Mutex<Given>);

#[derive(Default)]
struct Given {
    last: u64,
    of: HashMap<Name, (u64, Alive)>,
    named: HashMap<u64, Name>,
    /// How many there may be before those that are gone are looked for.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl Ids {
    /// The number of what is there now, which `reference` leads to where it is not broken.
    pub(super) fn number(&self, name: Name, reference: Option<&Reference>) -> u64 {
        let mut given = self.lock();
        if let Some((id, alive)) = given.of.get(&name)
            && alive.is()
        {
            return *id;
        }
        given.last += 1;
        let id = given.last;
        let before = given.of.insert(name, (id, reference.map_or(Alive::Broken, Alive::of)));
        if let Some((before, _)) = before {
            given.named.remove(&before);
        }
        given.named.insert(id, name);
        if given.of.len() > given.sweep_at.max(FEWEST) {
            given.sweep(|_| true);
        }
        id
    }

    /// What has that number and is still there.
    pub(super) fn keep(&self, id: u64) -> Option<Kept> {
        let given = self.lock();
        let name = given.named.get(&id)?;
        given.of.get(name)?.1.keep(*name)
    }

    /// Forgets what has gone, if that was not done in the last minute. What is broken goes with its connection, of which `open` tells.
    pub(super) fn tidy(&self, open: impl Fn(u64) -> bool) {
        let mut given = self.lock();
        let now = Instant::now();
        if given.swept.is_none_or(|swept| now.duration_since(swept) >= EVERY) {
            given.swept = Some(now);
            given.sweep(open);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().of.len()
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    fn sweep(&mut self, open: impl Fn(u64) -> bool) {
        self.of.retain(|name, (_, alive)| match name {
            // Nothing tells whether a reference that leads nowhere is the same one: it gets another number.
            Name::Lives(_) => !matches!(alive, Alive::Broken) && alive.is(),
            Name::Broken(connection, _) => open(*connection),
        });
        if self.of.len() > MOST {
            self.of.clear();
        }
        let of = &self.of;
        self.named.retain(|id, name| of.get(name).is_some_and(|(known, _)| known == id));
        self.sweep_at = self.of.len() * 2;
        self.of.shrink_to(self.sweep_at);
        self.named.shrink_to(self.sweep_at);
    }
}

const FEWEST: usize = 4096;
const EVERY: Duration = Duration::from_secs(60);
/// Numbers that are remembered, at the most: beyond, all of them are given anew.
const MOST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use pb_core::{Referenceable, Stub as _};

    use super::*;
    use crate::inspect::{InspectError, InspectorDoor, InspectorDoorRef, InspectorRef};

    #[derive(Referenceable)]
    #[referenceable(crate = pb_core)]
    struct Nobody;

    impl InspectorDoor for Nobody {
        async fn enter(&self, _: String) -> Result<InspectorRef, InspectError> {
            Err(InspectError::Token)
        }
    }

    fn reference() -> (Reference, Name) {
        let reference = InspectorDoorRef::new(Nobody).as_reference().clone();
        let name = Name::Lives(reference.key());
        (reference, name)
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_what_has_gone_goes_a_minute_later_where_anybody_looks() {
        let ids = Ids::default();
        ids.tidy(|_| true);
        let (reference, name) = reference();
        let id = ids.number(name, Some(&reference));
        assert_eq!(ids.number(name, Some(&reference)), id);
        assert!(ids.keep(id).is_some_and(|kept| kept.name == name));
        drop(reference);
        assert!(ids.keep(id).is_none());
        ids.tidy(|_| true);
        let known = || {
            let given = ids.lock();
            (given.of.len(), given.named.len())
        };
        assert_eq!(known(), (1, 1));
        tokio::time::advance(EVERY).await;
        ids.tidy(|_| true);
        assert_eq!(known(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_broken_is_forgotten_with_its_connection() {
        let ids = Ids::default();
        let (stays, goes) = (ids.number(Name::Broken(1, -5), None), ids.number(Name::Broken(2, -5), None));
        tokio::time::advance(EVERY).await;
        ids.tidy(|connection| connection == 1);
        assert!(ids.keep(stays).is_some() && ids.keep(goes).is_none());
    }

    #[test]
    fn what_is_looked_for_is_not_taken_for_another_meanwhile() {
        let ids = Ids::default();
        let (reference, name) = reference();
        let kept = ids.keep(ids.number(name, Some(&reference)));
        drop(reference);
        // Its address is taken as long as it is kept.
        assert!((0..64).map(|_| self::reference()).all(|(_, other)| other != name));
        drop(kept);
    }
}
