//! What a change of the tables leads to, done where the lock is held no more.

use std::hint::black_box;

use super::breaking::ExportWatch;
use super::line::{Line, State};
use super::outgoing::Call;
use super::room::Room;
use super::wiring::Wiring;
use crate::defer::quietly;
use crate::message::{ExportId, Failure};
use crate::objects::{Leads, Reference, drop_quietly};
use crate::proto::{Garbage, TOGETHER};

/// What is to be done behind the lock, for what was done under it.
pub(super) struct After {
    /// There is something to write, or to start and to tell, and whose task it is has not been called.
    write: Call,
    read: bool,
    /// Mostly there is nothing else, and nothing is moved about for it.
    rest: Option<Box<Aftermath>>,
}

struct Aftermath {
    garbage: Vec<Garbage<Wiring>>,
    /// To be watched.
    exported: Vec<(ExportId, Reference)>,
    /// What has been freed of the peer's grants, where somebody waits for that.
    room: u64,
    /// Nothing remains, and somebody waits for that.
    idle: bool,
    /// The connection has ended, for this.
    left: Option<Failure>,
}

impl State {
    /// What follows from a change. `left`: the connection has ended by it. `write`, `read`: who is to be called.
    #[inline(always)]
    pub(super) fn after(&mut self, room: &Room, left: Option<Failure>, write: Call, read: bool) -> After {
        let State { connection, idlers, .. } = self;
        let any = room.is_awaited() || *idlers > 0 || left.is_some() || connection.has_garbage();
        let rest = if any { Some(Box::new(self.aftermath(room, left))) } else { None };
        After { write, read, rest }
    }

    #[inline(never)]
    fn aftermath(&mut self, room: &Room, left: Option<Failure>) -> Aftermath {
        let State { connection, idlers, told, in_hand, .. } = self;
        let freed = connection.freed() - std::mem::replace(told, connection.freed());
        Aftermath {
            garbage: connection.take_garbage(),
            exported: connection.take_exported(),
            room: if room.is_awaited() { freed } else { 0 },
            idle: *idlers > 0 && !*in_hand && connection.is_idle(),
            left,
        }
    }
}

impl Line {
    /// Does it, under no lock.
    #[inline(always)]
    pub(super) fn follow(&self, after: After) {
        let After { write, read, rest } = after;
        match write {
            Call::Nobody => {}
            Call::Task => self.write.ring(),
            Call::Alone(alone) => self.write_alone(alone),
        }
        if read {
            self.read.ring();
        }
        if let Some(rest) = rest {
            self.follow_rest(*rest);
        }
    }

    #[inline(never)]
    fn follow_rest(&self, rest: Aftermath) {
        // Wakers are anybody's: a panic of one ends nothing but what it was to tell.
        if rest.room > 0 {
            quietly(|| self.room.open(rest.room, &self.read));
        }
        if rest.idle {
            quietly(|| self.changed.notify_waiters());
        }
        if let Some(reason) = rest.left {
            self.finish(reason);
        }
        let mut left = rest.garbage.into_iter();
        while left.len() > 0 {
            if left.len() > 1 {
                bring(&left.as_slice()[..left.len().min(TOGETHER)]);
            }
            left.by_ref().take(TOGETHER).for_each(discard);
        }
        rest.exported.into_iter().for_each(|(id, reference)| ExportWatch::begin(self, id, reference));
    }
}

/// Looks at the objects that are about to be dropped. They have lain for long, and who drops one after the other waits for memory for each; here nothing lies
/// between the looks, and memory brings them together.
#[inline(never)]
fn bring(garbage: &[Garbage<Wiring>]) {
    let holders = garbage.iter().map(|one| match one {
        Garbage::Handle(reference) => match reference.leads() {
            Leads::Local(object) => object.holders(),
            _ => 0,
        },
        _ => 0,
    });
    black_box(holders.sum::<usize>());
}

/// Drops what left the tables, where it may run a user's `Drop`: under no lock.
pub(super) fn discard(garbage: Garbage<Wiring>) {
    match garbage {
        Garbage::Handles(references) => references.into_iter().for_each(|one| discard(Garbage::Handle(one))),
        Garbage::Handle(reference) => drop_quietly(reference),
        Garbage::Waiter(waiter) => drop_quietly(waiter),
        Garbage::Canceller(stop) => drop_quietly(stop),
        Garbage::Proxy(proxy) => drop(proxy),
        Garbage::Watch(watch) => drop_quietly(watch),
    }
}
