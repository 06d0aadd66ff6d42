//! What is to be told and to be started: taken out of the tables, and done in its order under no lock.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::forward::{self, Request};
use super::lanes::Share;
use super::line::{Line, Rest};
use super::owed::Casting;
use super::parked::Echo;
use super::wiring::Wiring;
use crate::objects::{Delivered, Leads, Names, drop_quietly};
use crate::proto::{self, Notice, Outcome, Start, Task};

/// What was taken out and is not done yet.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) notices: VecDeque<Notice<Wiring>>,
    pub(super) tasks: VecDeque<Task<Wiring>>,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.tasks.is_empty()
    }

    /// Does it. What must not start any more, or is too much for one go, goes back into the tables. Says, where there was anything, whether that was all.
    pub(super) fn run(&mut self, line: &Arc<Line>) -> Option<bool> {
        if self.is_empty() {
            return None;
        }
        Some(Doing { line, ready: self }.steps(MOST_STEPS) < MOST_STEPS)
    }

    /// Does some of what the tables have ready: as much as goes without others having their turn. `well`: the peer has done nothing
    /// wrong. Says whether that was all.
    pub(super) fn run_some(&mut self, line: &Arc<Line>, well: bool) -> bool {
        let mut left = STEPS;
        loop {
            if line.is_stirred() {
                line.take_ready(self, well);
            }
            if self.is_empty() {
                line.send_parked();
                return true;
            }
            left -= Doing { line, ready: self }.steps(left);
            if left == 0 {
                return false;
            }
        }
    }

    /// Does everything that the tables have ready; others have their turns between. Says what to wait for then. Of the reading task alone.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest in the tables.
    pub(super) async fn run_by_turns(&mut self, line: &Arc<Line>, share: &mut Share) -> Rest {
        loop {
            if self.is_empty()
                && let Some(rest) = line.take_or_rest(self)
            {
                line.send_parked();
                return rest;
            }
            let now = || Instant::now().into_std();
            let mut from = now();
            let mut doing = Doing { line, ready: self };
            while doing.steps(1) > 0 {
                if share.spend_step() {
                    line.watchdog.is_done(line.peer_address(), from, now());
                    share.turn().await;
                    from = now();
                }
            }
            line.watchdog.is_done(line.peer_address(), from, now());
        }
    }

    /// Does everything that the tables have ready.
    pub(super) fn run_all(&mut self, line: &Arc<Line>) {
        loop {
            line.take_ready(self, true);
            if self.run(line).is_none() {
                break;
            }
        }
        line.send_parked();
    }
}

/// Does everything that the tables have ready.
pub(super) fn run_ready(line: &Arc<Line>) {
    Ready::default().run_all(line);
}

/// What is being done. Whatever is left of it, after a panic too, goes back into the tables.
struct Doing<'a> {
    line: &'a Arc<Line>,
    ready: &'a mut Ready,
}

impl Doing<'_> {
    /// Does as many things, or all that there are. Says how many. No panic of a user's `Deserialize`, constructor or waker passes: it fails what it
    /// was in, which is done with; the others go on.
    fn steps(&mut self, most: usize) -> usize {
        let mut done = 0;
        while done < most {
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                while done < most {
                    if !self.step() {
                        return false;
                    }
                    done += 1;
                }
                true
            }));
            match stepped {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => done += 1,
            }
        }
        done
    }

    /// Does one thing, notices first. Says whether there was one.
    fn step(&mut self) -> bool {
        if let Some(notice) = self.ready.notices.pop_front() {
            tell(self.line, notice);
            return true;
        }
        if self.line.is_halted() {
            return false;
        }
        let Some(task) = self.ready.tasks.pop_front() else { return false };
        start(self.line, task);
        true
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if !self.ready.is_empty() {
            self.line.put_back(self.ready);
        }
    }
}

fn start(line: &Arc<Line>, mut task: Task<Wiring>) {
    // What most are, taken from where it lies.
    if let Task::Start(start) = &mut task
        && !line.is_over()
        && begin_here(line, start)
    {
        return;
    }
    match task {
        Task::Start(start) if line.is_over() => drop_quietly(start),
        Task::Start(start) => begin(line, start),
        Task::Settle(promise, result) => {
            if let Leads::Promise(promise) = promise.leads() {
                promise.settle(result);
            }
        }
        Task::Echo(number) => Echo::send(line, number),
    }
}

fn tell(line: &Arc<Line>, notice: Notice<Wiring>) {
    match notice {
        Notice::Settled(waiter, outcome) => {
            let delivered = match outcome {
                Outcome::Value(carried) => Delivered::Value(carried.handles, line.hold_answer(carried.body)),
                Outcome::Reference(reference) => Delivered::Reference(reference),
                Outcome::Embargoed(promise) => return waiter.settle_embargoed(promise),
                Outcome::App(carried) => Delivered::App(carried.handles, line.hold_answer(carried.body)),
                Outcome::Failed(failure) => Delivered::Failed(failure),
            };
            waiter.settle(delivered);
        }
        Notice::Cancel(stop) => stop(),
        Notice::Pong(nonce) => line.ponged(nonce),
        Notice::RootBroken => line.wake_watchers(),
        Notice::Broken(held, failure) => {
            if let Some(held) = held.upgrade() {
                held.break_with(failure);
            }
        }
    }
}

/// Begins a call on an object of this process. Says whether it is one.
fn begin_here(line: &Arc<Line>, start: &mut Start<Wiring>) -> bool {
    let Start { target, on_root, request: call } = start;
    if *on_root && is_by_name(call) {
        return false;
    }
    let Leads::Local(object) = target.leads() else { return false };
    let casting = call.answer.is_none().then(|| Casting::new(line, call.cost));
    forward::start(line, object, call, casting);
    true
}

fn begin(line: &Arc<Line>, start: Start<Wiring>) {
    let Start { target, on_root, request: call } = start;
    let target = if on_root && is_by_name(&call) { line.names.as_reference() } else { target };
    let casting = call.answer.is_none().then(|| Casting::new(line, call.cost));
    forward::deliver(&target, Request { line: Arc::clone(line), call, casting });
}

/// Whether a call on the root asks for an object by name.
fn is_by_name(call: &proto::Request<Wiring>) -> bool {
    &*call.method.text.name == Names::METHOD
}

/// What is done in one go of what a few frames led to.
const STEPS: usize = 16;
/// The same of what they led to and what could not be done before.
const MOST_STEPS: usize = 64;
