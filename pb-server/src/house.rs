//! What the connections of one server share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pb_core::broker::{Config, Lanes, Onlooker};
use pb_core::objects::Reference;
use pb_core::{Limits, Names};
use tokio::sync::Semaphore;

use crate::capacity::Crowd;
use crate::guests::Guests;
use crate::hooks::Hooks;
use crate::peer::Peer;
use crate::statistics::Counters;

pub(crate) struct House {
    pub(crate) roots: Roots,
    pub(crate) names: Names,
    pub(crate) limits: Limits,
    pub(crate) hooks: Hooks,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) counters: Arc<Counters>,
    /// Who may be told at the same time that there is no room, and be waited for.
    pub(crate) door: Arc<Semaphore>,
    /// Who may be told so in passing.
    pub(crate) passing: Arc<Semaphore>,
    pub(crate) lanes: Lanes,
    pub(crate) guests: Arc<Guests>,
}

/// Who gets which root.
pub(crate) enum Roots {
    /// The same for all.
    One(Reference),
    /// Each the one that is made for him.
    Each(Box<dyn Fn(&Peer) -> Reference + Send + Sync>),
}

impl Roots {
    /// The one that all have.
    pub(crate) fn one(&self) -> Option<&Reference> {
        match self {
            Roots::One(root) => Some(root),
            Roots::Each(_) => None,
        }
    }

    /// The root of `peer`; nothing where making it panicked.
    fn of(&self, peer: &Peer) -> Option<Reference> {
        match self {
            Roots::One(root) => Some(root.clone()),
            Roots::Each(make) => catch_unwind(AssertUnwindSafe(|| make(peer))).ok(),
        }
    }
}

impl House {
    /// How the connection of `peer` is set up, which `onlookers` look at; nothing where its root cannot be made.
    pub(crate) fn config(&self, peer: &Peer, onlookers: Vec<Onlooker>) -> Option<Config> {
        Some(Config {
            root: Some(self.roots.of(peer)?),
            names: self.names.clone(),
            limits: self.limits,
            handshake: self.crowd.capacity().handshake,
            stays: true,
            lanes: Some(self.lanes.clone()),
            onlookers,
        })
    }
}
