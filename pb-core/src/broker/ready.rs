//! What is to be told and to be started: taken out of the tables, and done in its order under no lock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::forward::{self, Request};
use super::line::Line;
use super::owed::Casting;
use super::parked::Echo;
use super::wiring::Wiring;
use crate::objects::{Delivered, Leads, Names};
use crate::proto::{Notice, Outcome, Start, Task};

/// What was taken out and is not done yet.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) notices: VecDeque<Notice<Wiring>>,
    pub(super) tasks: VecDeque<Task<Wiring>>,
}

impl Ready {
    fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.tasks.is_empty()
    }

    /// Does it. What must not start any more goes back into the tables. Says whether there was anything.
    pub(super) fn run(&mut self, line: &Arc<Line>) -> bool {
        if self.is_empty() {
            return false;
        }
        let doing = Doing { line, ready: self };
        while let Some(notice) = doing.ready.notices.pop_front() {
            tell(line, notice);
        }
        while !line.is_halted()
            && let Some(task) = doing.ready.tasks.pop_front()
        {
            start(line, task);
        }
        true
    }

    /// Does everything that the tables have ready.
    pub(super) fn run_all(&mut self, line: &Arc<Line>) {
        loop {
            line.take_ready(self);
            if !self.run(line) {
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
    line: &'a Line,
    ready: &'a mut Ready,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if !self.ready.is_empty() {
            self.line.put_back(self.ready);
        }
    }
}

fn start(line: &Arc<Line>, task: Task<Wiring>) {
    match task {
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

fn begin(line: &Arc<Line>, start: Start<Wiring>) {
    let Start { target, on_root, request } = start;
    let by_name = on_root && &*request.method.text.name == Names::METHOD;
    let target = if by_name { line.names.as_reference() } else { target };
    let request = Request {
        line: Arc::clone(line),
        answer: request.answer,
        known: request.method,
        options: request.options,
        deadline: request.deadline,
        references: request.arguments.handles,
        casting: request.answer.is_none().then(|| Casting::new(line, request.cost)),
        body: request.arguments.body,
    };
    forward::deliver_quietly(&target, request);
}
