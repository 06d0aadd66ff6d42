//! What lasts from line to line: the connection, the objects that were named, the results.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use pb_client::AnyRef;
use serde_json::Value as Json;

use crate::cli::Common;
use crate::error::Error;
use crate::link::Link;

tokio::task_local! {
    static CURRENT: Arc<Session>;
}

/// A shell's session. Objects that are named stay while it holds them, and so do their numbers.
pub(crate) struct Session {
    common: Common,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    link: Option<Link>,
    held: BTreeMap<u64, AnyRef>,
    /// Results by their numbers, which are never used again.
    results: BTreeMap<usize, Json>,
    last: usize,
}

/// The session that this command is a line of, if it is one.
pub(crate) fn current() -> Option<Arc<Session>> {
    CURRENT.try_with(Arc::clone).ok()
}

impl Session {
    pub(super) fn new(common: Common) -> Arc<Session> {
        Arc::new(Session { common, kept: Mutex::default() })
    }

    /// Makes commands lines of this session.
    pub(super) async fn within<F: Future>(self: &Arc<Self>, command: F) -> F::Output {
        CURRENT.scope(Arc::clone(self), command).await
    }

    /// The session's connection, another one where that was lost: what was named over it has gone then.
    ///
    /// # Errors
    /// Those of [`Link::connect`].
    pub(crate) async fn link(&self) -> Result<Link, Error> {
        let known = self.lock().link.clone();
        if let Some(link) = known.filter(|link| link.broker.closed().now_or_never().is_none()) {
            return Ok(link);
        }
        let link = Link::connect(&self.common).await?;
        let gone = {
            let mut kept = self.lock();
            let before = kept.link.replace(link.clone());
            before.map(|before| (before, std::mem::take(&mut kept.held), std::mem::take(&mut kept.results)))
        };
        if gone.is_some() {
            eprintln!("pb: the connection was lost, and made again: what @ and $ named before has gone");
        }
        Ok(link)
    }

    /// The object of that number, which is held from now on.
    ///
    /// # Errors
    /// It is not there, or the server does not let it be called.
    pub(crate) async fn reference(&self, link: &Link, id: u64) -> Result<AnyRef, Error> {
        let known = self.lock().held.get(&id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let reference = link.inspector.reference(id).await?;
        self.hold(id, reference.clone());
        Ok(reference)
    }

    pub(crate) fn hold(&self, id: u64, reference: AnyRef) {
        let before = self.lock().held.insert(id, reference);
        drop(before);
    }

    /// What is held.
    pub(super) fn held(&self) -> Vec<u64> {
        self.lock().held.keys().copied().collect()
    }

    /// Lets go of an object; whether it was held.
    pub(super) fn forget(&self, id: u64) -> bool {
        let gone = self.lock().held.remove(&id);
        gone.is_some()
    }

    /// Lets go of all objects; how many there were.
    pub(super) fn forget_all(&self) -> usize {
        let gone = std::mem::take(&mut self.lock().held);
        gone.len()
    }

    /// Gives a result its number.
    pub(crate) fn keep(&self, result: Json) -> usize {
        let mut kept = self.lock();
        kept.last += 1;
        let number = kept.last;
        kept.results.insert(number, result);
        let oldest = if kept.results.len() > MOST_RESULTS { kept.results.pop_first() } else { None };
        drop(kept);
        drop(oldest);
        number
    }

    pub(super) fn result(&self, number: usize) -> Option<Json> {
        self.lock().results.get(&number).cloned()
    }

    pub(super) fn results(&self) -> Vec<usize> {
        self.lock().results.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Results that are kept; the oldest go first.
const MOST_RESULTS: usize = 1000;
