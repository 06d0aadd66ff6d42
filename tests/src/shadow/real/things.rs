//! The objects of the programs, and what they share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pb_server::{Referenceable, remote_interface};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// What every object of a run can do; see [`Method`].
#[remote_interface]
pub(super) trait Thing {
    async fn say(&self, tag: u64) -> u64;
    async fn keep(&self, tag: u64, first: Option<ThingRef>, second: Option<ThingRef>) -> u64;
    async fn forget(&self, tag: u64) -> u64;
    async fn open(&self, tag: u64) -> Result<ThingRef, Told>;
    async fn kept(&self, tag: u64) -> Result<ThingRef, Told>;
    async fn echo(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told>;
    async fn fail(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told>;
    async fn hold(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told>;
    #[remote(oneway)]
    async fn note(&self, tag: u64);
}

/// A method's own error: the references that it was given, or none.
#[derive(Serialize, Deserialize, Default, Debug)]
pub(super) struct Told {
    pub(super) given: Vec<ThingRef>,
}

/// Which object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Root(usize),
    Own(usize),
    /// By the call that made it.
    Made(u64),
}

/// What a thing keeps, as long as it lives.
pub(super) type Kept = Weak<Mutex<Vec<ThingRef>>>;

/// What all objects of a run share.
#[derive(Default)]
pub(super) struct World {
    pub(super) alive: AtomicUsize,
    pub(super) arrived: Mutex<Vec<(usize, Name, u64)>>,
    pub(super) waiting: Mutex<Vec<Waiting>>,
    /// Of every object which it is, and what it keeps.
    pub(super) things: Mutex<Vec<(usize, Name, Kept)>>,
}

pub(super) struct Waiting {
    pub(super) node: usize,
    pub(super) tag: u64,
    pub(super) given: Vec<ThingRef>,
    pub(super) answer: oneshot::Sender<Result<ThingRef, Told>>,
}

#[derive(Referenceable)]
struct MyThing {
    node: usize,
    name: Name,
    world: Arc<World>,
    kept: Arc<Mutex<Vec<ThingRef>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn thing(self: &Arc<Self>, node: usize, name: Name) -> ThingRef {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let kept = Arc::default();
        lock(&self.things).push((node, name, Arc::downgrade(&kept)));
        ThingRef::new(MyThing { node, name, world: Arc::clone(self), kept })
    }

    /// The calls that wait at a node; what was cancelled waits no more.
    pub(super) fn waiting_at(&self, node: usize) -> Vec<u64> {
        let mut waiting = lock(&self.waiting);
        let gone: Vec<_> = waiting.extract_if(.., |one| one.answer.is_closed()).collect();
        let tags = waiting.iter().filter(|one| one.node == node).map(|one| one.tag).collect();
        drop((waiting, gone).0);
        tags
    }

    pub(super) fn forget_kept(&self) {
        let all: Vec<_> = lock(&self.things).iter().filter_map(|(_, _, kept)| kept.upgrade()).collect();
        for kept in all {
            let dropped = std::mem::take(&mut *lock(&kept));
            drop(dropped);
        }
    }
}

impl MyThing {
    fn started(&self, tag: u64) {
        lock(&self.world.arrived).push((self.node, self.name, tag));
    }
}

impl Drop for MyThing {
    fn drop(&mut self) {
        self.world.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Thing for MyThing {
    async fn say(&self, tag: u64) -> u64 {
        self.started(tag);
        tag
    }
    async fn note(&self, tag: u64) {
        self.started(tag);
    }
    async fn keep(&self, tag: u64, first: Option<ThingRef>, second: Option<ThingRef>) -> u64 {
        self.started(tag);
        lock(&self.kept).extend(first.into_iter().chain(second));
        tag
    }
    async fn forget(&self, tag: u64) -> u64 {
        self.started(tag);
        let dropped = std::mem::take(&mut *lock(&self.kept));
        drop(dropped);
        tag
    }
    async fn open(&self, tag: u64) -> Result<ThingRef, Told> {
        self.started(tag);
        Ok(self.world.thing(self.node, Name::Made(tag)))
    }
    async fn kept(&self, tag: u64) -> Result<ThingRef, Told> {
        self.started(tag);
        lock(&self.kept).first().cloned().ok_or_else(Told::default)
    }
    async fn echo(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told> {
        self.started(tag);
        first.or(second).ok_or_else(Told::default)
    }
    async fn fail(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told> {
        self.started(tag);
        Err(Told { given: first.into_iter().chain(second).collect() })
    }
    async fn hold(
        &self,
        tag: u64,
        first: Option<ThingRef>,
        second: Option<ThingRef>,
    ) -> Result<ThingRef, Told> {
        self.started(tag);
        let (answer, answered) = oneshot::channel();
        let given = first.into_iter().chain(second).collect();
        lock(&self.world.waiting).push(Waiting { node: self.node, tag, given, answer });
        answered.await.unwrap_or_else(|_| Err(Told::default()))
    }
}
