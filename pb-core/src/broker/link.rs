use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::line::Line;
use crate::message::{Failure, ImportId};
use crate::objects::{self, Distant, Pledge, Reference, Renewal, Watcher, Watchers};

/// What holds a connection open: every handle, reference and running call of ours on it.
pub(super) struct Link {
    line: Arc<Line>,
    me: Weak<Link>,
}

impl Link {
    pub(super) fn new(line: impl FnOnce(Weak<Link>) -> Arc<Line>) -> Arc<Self> {
        Arc::new_cyclic(|me| Link { line: line(me.clone()), me: me.clone() })
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The peer's root.
    pub(super) fn root(&self) -> Reference {
        Reference::distant(Arc::new(self.root_proxy()))
    }

    /// The same, which leads elsewhere once the connection is lost.
    pub(super) fn renewed_root(&self, renewal: Arc<dyn Renewal>) -> Reference {
        Reference::distant(Arc::new(RenewedRoot { proxy: self.root_proxy(), renewal }))
    }

    fn root_proxy(&self) -> Proxy {
        match self.me.upgrade() {
            Some(link) => Proxy::new(link, ImportId::ROOT, 0),
            None => unreachable!("a link that is called is alive"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.close("its last handle was dropped");
    }
}

/// An object of the peer's that we hold. As it dies it gives back the mentions that it received, no more and no less: later ones are
/// another handle's.
pub(super) struct Proxy {
    link: Arc<Link>,
    id: ImportId,
    mentions: AtomicU64,
    /// Only references that broke, or that somebody watches, have this.
    fate: Mutex<Option<Box<Fate>>>,
}

#[derive(Default)]
struct Fate {
    broken: Option<Failure>,
    watchers: Watchers,
}

impl Proxy {
    pub(super) fn new(link: Arc<Link>, id: ImportId, mentions: u64) -> Self {
        Proxy { link, id, mentions: AtomicU64::new(mentions), fate: Mutex::new(None) }
    }

    /// One more mention has come. Called under the connection's lock only.
    pub(super) fn mentioned(&self) {
        self.mentions.fetch_add(1, Ordering::Relaxed);
    }

    /// It is broken from now on.
    pub(super) fn break_with(&self, failure: Failure) {
        let watchers = {
            let mut fate = self.fate.lock();
            let fate = fate.get_or_insert_default();
            if fate.broken.is_some() {
                return;
            }
            fate.broken = Some(failure);
            std::mem::take(&mut fate.watchers)
        };
        watchers.wake();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.id != ImportId::ROOT {
            let mentions = *self.mentions.get_mut();
            let left = self.link.line.with(|connection, _| connection.let_go(self.id, mentions));
            drop(left);
        }
    }
}

impl Distant for Proxy {
    fn id(&self) -> ImportId {
        self.id
    }

    fn line(&self) -> &dyn objects::Carrier {
        self.link.line.as_ref()
    }

    fn broken(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure> {
        {
            let mut fate = self.fate.lock();
            let fate = fate.get_or_insert_default();
            if let Some(failure) = &fate.broken {
                return Some(failure.clone());
            }
            fate.watchers.add(watcher);
        }
        // The end of the connection is told to references that stand in the tables; the root does not.
        if self.id == ImportId::ROOT { self.link.line.watch_root(watcher) } else { self.link.line.lost() }
    }

    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference {
        promise_of(&self.link, id, call)
    }

    fn settled(&self) -> Option<Reference> {
        None
    }

    fn alone(&self) -> Option<Arc<dyn Distant>> {
        None
    }

    fn expect_cast(&self) {}

    fn ready(&self) -> objects::Readiness {
        ready(&self.link)
    }
}

/// The peer's root, on a connection behind which there will be another one.
struct RenewedRoot {
    proxy: Proxy,
    renewal: Arc<dyn Renewal>,
}

impl Distant for RenewedRoot {
    fn id(&self) -> ImportId {
        self.proxy.id()
    }

    fn line(&self) -> &dyn objects::Carrier {
        self.proxy.line()
    }

    fn broken(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure> {
        self.proxy.broken(watcher)
    }

    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference {
        self.proxy.promise_of(id, call)
    }

    fn settled(&self) -> Option<Reference> {
        None
    }

    fn alone(&self) -> Option<Arc<dyn Distant>> {
        None
    }

    fn expect_cast(&self) {}

    fn ready(&self) -> objects::Readiness {
        self.proxy.ready()
    }

    fn renewal(&self) -> Option<Arc<dyn Renewal>> {
        Some(Arc::clone(&self.renewal))
    }
}

fn ready(link: &Arc<Link>) -> objects::Readiness {
    let link = Arc::clone(link);
    Box::pin(async move { link.line.ready().await })
}

/// The result of a call of ours that is not known yet.
struct PromisedResult {
    link: Arc<Link>,
    id: ImportId,
    /// The call, which lives as long as somebody names its result.
    call: Arc<dyn Pledge>,
}

fn promise_of(link: &Arc<Link>, id: ImportId, call: Arc<dyn Pledge>) -> Reference {
    Reference::distant(Arc::new(PromisedResult { link: Arc::clone(link), id, call }))
}

impl Distant for PromisedResult {
    fn id(&self) -> ImportId {
        self.id
    }

    fn line(&self) -> &dyn objects::Carrier {
        self.link.line.as_ref()
    }

    fn broken(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure> {
        // The end of the connection ends the call.
        self.call.watch(watcher);
        self.link.line.lost()
    }

    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference {
        // Who waits for a call on this promise wants the promised call too.
        promise_of(&self.link, id, call)
    }

    fn settled(&self) -> Option<Reference> {
        // The tables know first, and forget it with the end of the connection; the call remembers.
        self.call.given().or_else(|| {
            let settled = self.link.line.with(|connection, _| connection.settled(self.id))?;
            Some(settled.unwrap_or_else(|failure| Reference::broken(Arc::new(failure))))
        })
    }

    fn alone(&self) -> Option<Arc<dyn Distant>> {
        Some(Arc::new(Proxy::new(Arc::clone(&self.link), ImportId::ROOT, 0)))
    }

    fn expect_cast(&self) {
        self.link.line.with(|connection, _| connection.want_run(self.id));
    }

    fn ready(&self) -> objects::Readiness {
        ready(&self.link)
    }

    fn renewal(&self) -> Option<Arc<dyn Renewal>> {
        Arc::clone(&self.call).renewal()
    }
}
