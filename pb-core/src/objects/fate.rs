use std::sync::Arc;

use super::reference::{Circle, Leads};
use super::{Reference, Watcher};
use crate::message::Failure;

/// What is known of a reference's end.
pub enum Fate {
    /// It leads to an object of this process, and nobody can take it back: it never breaks.
    Lasts,
    /// It has not broken, and may.
    Open,
    /// It is broken.
    Broken(Failure),
}

impl Reference {
    /// Whether the reference is broken; while it is [`Fate::Open`], `watcher` is woken when that may have changed. Moves on along promises
    /// that have settled, so that each is walked once.
    pub fn watch(&mut self, watcher: &Arc<dyn Watcher>) -> Fate {
        let mut at = self.clone();
        let (mut lent, mut circle) = (false, Circle::default());
        loop {
            if circle.closes_at(&at) {
                return Fate::Broken(Failure::circular());
            }
            let next = match at.leads() {
                Leads::Local(_) if lent => return Fate::Open,
                Leads::Local(_) => return Fate::Lasts,
                Leads::Broken(failure) => return Fate::Broken(failure.clone()),
                Leads::Distant(distant) => {
                    // In this order: what happens in between wakes the watcher.
                    let broken = distant.broken(watcher);
                    match (distant.settled(), broken) {
                        (Some(reference), _) => reference,
                        (None, Some(failure)) => return Fate::Broken(failure),
                        (None, None) => return Fate::Open,
                    }
                }
                Leads::Promise(promise) => match promise.settled_or_watch(watcher) {
                    Some(Ok(reference)) => reference,
                    Some(Err(failure)) => return Fate::Broken(failure),
                    None => match promise.lent() {
                        // It breaks with what it leads to, and by itself: it must be looked at again.
                        Some(target) => {
                            lent = true;
                            target
                        }
                        None => return Fate::Open,
                    },
                },
            };
            at = next;
            if !lent {
                *self = at.clone();
            }
        }
    }
}
