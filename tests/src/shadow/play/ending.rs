//! How a run ends, and what must hold then.

use std::rc::Rc;

use pb_core::message::{Cause, Failure, FailureKind};

use super::super::graph;
use super::super::{End, How, Method, Ref, Tally};
use super::{Made, Play};
use crate::net::{Ended, TOO_MANY_HOPS};

impl Play {
    /// Everything ends: what is under way arrives, methods that wait are answered until none does, and every reference is called once more.
    pub(super) fn wind_up(&mut self) -> Result<(), String> {
        for (from, to) in self.links.clone().into_iter().flat_map(|(one, other)| [(one, other), (other, one)])
        {
            self.network.unblock(from, to);
        }
        self.end_all()?;
        self.let_all_time_pass()?;
        for at in 0..self.programs.len() {
            self.programs[at].hurry = None;
            for held in self.programs[at].held.clone().into_iter().rev().take(PROBES) {
                self.send(at, How::Value, Method::Say, &held, &[]);
                self.look()?;
            }
        }
        self.end_all()?;
        // What was lost without a word is known at last.
        if self.shadow.lenient {
            self.tell_all();
            self.end_all()?;
        }
        self.judge()
    }

    /// So much that nobody's clock runs any more, however late a call was read.
    fn let_all_time_pass(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            self.pass(1000)?;
            self.end_all()?;
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), String> {
        loop {
            self.settle()?;
            let waits = |at: &usize| self.network.node(*at).waiting_count() > 0;
            let Some(at) = (0..self.programs.len()).find(waits) else { return Ok(()) };
            // Each second one with something that is held: a promise at times, and so a circle.
            let (_, given) = self.network.node(at).waiting_at(0);
            let end = if given.is_empty() { End::One(Ref::Held(self.made.len() as u8)) } else { End::Given };
            self.answer(at, 0, end);
            self.look()?;
        }
    }

    fn tell_all(&mut self) {
        for (one, other) in self.links.clone() {
            if self.network.is_damaged(one, other) {
                self.network.tell(one, other);
                self.network.tell(other, one);
            }
        }
    }

    /// Every call that was not given up has ended as it must, or waits for itself.
    fn judge(&mut self) -> Result<(), String> {
        let (mut circles, mut late) = (0, 0);
        for program in &self.programs {
            for Made { call, tag, .. } in &program.calls {
                let Some(ended) = call.ended() else {
                    self.shadow.waits_for_itself(*tag)?;
                    circles += 1;
                    continue;
                };
                let shadow = self.shadow.get(*tag).ended.clone();
                let right = match (&ended, &shadow) {
                    (Ended::Value(handles, _), Some(graph::Ended::Value(given)))
                    | (Ended::App(handles, _), Some(graph::Ended::Error(given))) => {
                        handles.len() == given.len()
                    }
                    (Ended::Reference(_), Some(graph::Ended::Reference(_))) => true,
                    (Ended::Failed(failure), _) if failure.kind == FailureKind::DeadlineExceeded => {
                        late += 1;
                        self.shadow.is_late(*tag)
                    }
                    (Ended::Failed(failure), _) => self.shadow.may_fail(*tag) || is_far(failure),
                    _ => false,
                };
                if !right {
                    return Err(format!("call {tag} has ended wrongly: {call:?}; the shadow: {shadow:?}"));
                }
            }
        }
        (self.tally.circles, self.tally.late) = (circles, late);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Tally, String> {
        let mut tally = self.tally;
        let programs = std::mem::take(&mut self.programs);
        drop(programs);
        if self.shadow.is_stuck() {
            self.links.iter().for_each(|(one, other)| self.network.cut(*one, *other));
        }
        let nodes: Vec<_> = (0..self.network.count()).map(|at| Rc::clone(self.network.node(at))).collect();
        // What runs at the end counts too; but a network that has finished is gone.
        let sent = |message_type| self.network.sent(message_type);
        (tally.calls, tally.resolved, tally.rejected) = (sent(2), sent(4), sent(5));
        (tally.cancels, tally.embargoes) = (sent(7), sent(8) / 2);
        self.network.finish();
        for node in nodes {
            tally.arrived += node.arrived_since(0).len();
            tally.passed_on += node.passed_on();
            if node.living() > 0 {
                return Err(format!("{} objects live on at {}", node.living(), node.name()));
            }
        }
        match self.own.iter().position(|(object, _)| object.strong_count() > 0) {
            Some(at) => Err(format!("object o{at} lives on")),
            None => Ok(tally),
        }
    }
}

/// A path that grew over too many middlemen fails by rule; or what broke for that.
fn is_far(failure: &Failure) -> bool {
    failure.message.contains(TOO_MANY_HOPS)
        || failure.cause.as_deref().is_some_and(|cause| match cause {
            Cause::Broker(cause) => is_far(cause),
            Cause::App(_) => false,
        })
}

/// References of each node that are called once more in the end: the newest.
const PROBES: usize = 16;
