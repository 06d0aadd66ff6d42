//! The numbers by which people name objects.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pb_core::objects::{Distant, Leads, Promise, Reference};
use pb_core::proto::Key;

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
    /// What is broken stays so, and its name is never used again.
    Always,
}

impl Alive {
    fn of(reference: &Reference) -> Alive {
        match reference.leads() {
            Leads::Local(object) => Alive::Object(Arc::downgrade(&object.object())),
            Leads::Distant(distant) => Alive::Distant(Arc::downgrade(distant)),
            Leads::Promise(promise) => Alive::Promise(Arc::downgrade(promise)),
            Leads::Broken(_) => Alive::Always,
        }
    }

    fn is(&self) -> bool {
        match self {
            Alive::Object(object) => object.strong_count() > 0,
            Alive::Distant(distant) => distant.strong_count() > 0,
            Alive::Promise(promise) => promise.strong_count() > 0,
            Alive::Always => true,
        }
    }
}

/// Numbers that were given out, of objects that were shown to somebody. What is gone is forgotten.
#[derive(Default)]
pub(super) struct Ids(Mutex<Given>);

#[derive(Default)]
struct Given {
    last: u64,
    of: HashMap<Name, (u64, Alive)>,
    named: HashMap<u64, Name>,
    /// How many there may be before those that are gone are looked for.
    sweep_at: usize,
}

impl Ids {
    /// The number of what is there now, which `reference` leads to where it is not broken.
    pub(super) fn number(&self, name: Name, reference: Option<&Reference>) -> u64 {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, alive)) = given.of.get(&name)
            && alive.is()
        {
            return *id;
        }
        given.sweep();
        given.last += 1;
        let id = given.last;
        let before = given.of.insert(name, (id, reference.map_or(Alive::Always, Alive::of)));
        if let Some((before, _)) = before {
            given.named.remove(&before);
        }
        given.named.insert(id, name);
        id
    }

    /// What has that number and is still there.
    pub(super) fn name(&self, id: u64) -> Option<Name> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = given.named.get(&id)?;
        given.of.get(name).filter(|(_, alive)| alive.is()).map(|_| *name)
    }
}

impl Given {
    fn sweep(&mut self) {
        if self.of.len() < self.sweep_at.max(FEWEST) {
            return;
        }
        self.of.retain(|_, (_, alive)| alive.is());
        if self.of.len() > MOST {
            self.of.clear();
        }
        let of = &self.of;
        self.named.retain(|id, name| of.get(name).is_some_and(|(known, _)| known == id));
        self.sweep_at = self.of.len() * 2;
    }
}

const FEWEST: usize = 4096;
/// Numbers that are remembered, at the most: beyond, all of them are given anew.
const MOST: usize = 1 << 20;
