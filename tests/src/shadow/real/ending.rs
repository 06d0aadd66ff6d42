//! How a run ends, and what must hold then.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use pb_server::TableSizes;

use super::link::Link;
use super::things::{Name, lock};
use super::{Play, settle};
use crate::shadow::{End, How, Method, Ref};

impl Play {
    pub(super) async fn wind_up(&mut self) -> Result<(), String> {
        (0..2 * self.links.len() as u8).for_each(|way| self.block(way, false));
        self.end_all().await?;
        // So much time that nobody's clock runs any more, however late a call was read.
        for _ in 0..2 {
            self.pass(1000).await?;
            self.end_all().await?;
        }
        for at in 0..self.programs.len() {
            self.programs[at].hurry = None;
            for held in self.programs[at].held.clone().into_iter().rev().take(8) {
                self.call(at, How::Value, Method::Say, &held, &[]);
            }
        }
        self.end_all().await?;
        for at in 0..self.programs.len() {
            for made in std::mem::take(&mut self.programs[at].calls) {
                if let Some(made) = self.judge(at, made)? {
                    self.shadow.waits_for_itself(made.tag)?;
                    self.programs[at].calls.push(made);
                }
            }
        }
        Ok(())
    }

    async fn end_all(&mut self) -> Result<(), String> {
        loop {
            settle().await;
            self.look()?;
            let waits = |at: &usize| !self.world.waiting_at(*at).is_empty();
            let Some(at) = (0..self.programs.len()).find(waits) else { return Ok(()) };
            self.answer(
                at,
                0,
                if self.made.len().is_multiple_of(3) { End::One(Ref::Held(7)) } else { End::Given },
            );
        }
    }

    /// Drops everything: the tables are empty and every object is gone.
    pub(super) async fn finish(mut self) -> Result<(), String> {
        self.world.forget_kept();
        self.programs.clear();
        settle().await;
        self.world.forget_kept();
        settle().await;
        if self.shadow.is_stuck() {
            self.links.iter().for_each(|link| link.brokers[0].close());
            settle().await;
        }
        for Link { nodes, brokers, .. } in &self.links {
            for (node, broker) in nodes.iter().zip(brokers) {
                if broker.tables() != TableSizes::default() {
                    return Err(format!("at {node} of link {nodes:?} is left: {:?}", broker.tables()));
                }
            }
        }
        self.links.iter().for_each(|link| link.brokers[0].close());
        self.links.clear();
        settle().await;
        match self.world.alive.load(Ordering::SeqCst) {
            0 => Ok(()),
            alive => {
                let living = |(node, name, kept): &(usize, Name, Weak<_>)| {
                    (kept.strong_count() > 0).then_some((*node, *name))
                };
                let living: Vec<_> = lock(&self.world.things).iter().filter_map(living).collect();
                let waiting = lock(&self.world.waiting).len();
                Err(format!("{alive} objects live on: {living:?}; {waiting} methods wait"))
            }
        }
    }
}
