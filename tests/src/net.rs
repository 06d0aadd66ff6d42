//! Two sides of a connection without bytes on a wire, tasks or clock: what the tests of the tables run on.
//!
//! Each side is a [`Connection`](pb_core::proto::Connection) driven as the broker drives it. Messages wait in two
//! links, which deliver one message when told to, and can be blocked. Every message crosses as a real frame, and
//! [`Net::dialogue`] has them in the style of `docs/protocol.md`, section 15.
//!
//! Time is virtual: it stands still until [`Net::advance`] moves it.
//!
//! A side's tables stand in a `RefCell` where the broker has a lock: dropping a handle, a waiter or a canceller
//! while it is borrowed, which would be a deadlock there, is a panic here.
//!
//! Every test is a leak test: [`Net::finish`] delivers what is left, and asserts that all tables of both sides are
//! empty, that every call has ended, and that no promise was forgotten.
//!
//! ```
//! use pb_tests::net::{A, B, Net};
//!
//! let net = Net::new();
//! let account = net.refer(A, &net.root(A), "open", "ada", &[]);
//! let balance = net.call(A, &account.promised(), "say", "100", &[]);
//! net.run();
//! assert_eq!(balance.value(), "100");
//! assert_eq!(net.dialogue()[..2], [
//!     "A: call 0 → 1, reference, \"open\", (ada)",
//!     "A: call 1 → 2, value, \"say\", (100)",
//! ]);
//! drop((account, balance));
//! net.finish();
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pb_core::message::{Abort, Failure, FailureKind, Message, Ran, Reply};
use pb_core::proto::{Limits, TableSizes, Violation};
use pb_core::wire::frame;

mod call;
mod dialogue;
mod handle;
mod side;

pub use call::{Call, Ended};
pub use dialogue::line;
pub use handle::{Handle, Object};
pub use side::{Answering, Side, Started};

/// One of the two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The side that calls first in most tests.
    A,
    /// The other one.
    B,
}

pub use Who::{A, B};

impl Who {
    /// The other side.
    pub fn peer(self) -> Who {
        match self {
            A => B,
            B => A,
        }
    }
}

/// Two sides and the links between them.
pub struct Net {
    sides: [Rc<Side>; 2],
    blocked: [Cell<bool>; 2],
    dialogue: Rc<RefCell<Vec<String>>>,
    now: Rc<Cell<Instant>>,
    finished: Cell<bool>,
}

impl Net {
    /// Two sides that have greeted each other; each serves a root object.
    #[allow(clippy::new_without_default, reason = "what is made here must be finished")]
    pub fn new() -> Self {
        Net::with_limits(Limits::default(), Limits::default())
    }

    /// The same, with what each side grants the other.
    pub fn with_limits(a: Limits, b: Limits) -> Self {
        let net = Net::strangers(a, b);
        net.run();
        net.dialogue.borrow_mut().clear();
        net
    }

    /// Two sides whose hellos are still on their way.
    pub fn strangers(a: Limits, b: Limits) -> Self {
        let dialogue = Rc::new(RefCell::new(Vec::new()));
        let now = Rc::new(Cell::new(Instant::now()));
        let sides = [Side::new(A, a, &dialogue, &now), Side::new(B, b, &dialogue, &now)];
        Net { sides, blocked: Default::default(), dialogue, now, finished: Cell::new(false) }
    }

    /// One side.
    pub fn side(&self, who: Who) -> &Rc<Side> {
        &self.sides[who as usize]
    }

    /// What `who` calls the other side's root object by.
    pub fn root(&self, who: Who) -> Handle {
        self.side(who).peers_root()
    }

    /// Calls a method whose result is a value.
    pub fn call(&self, who: Who, on: &Handle, method: &str, body: &str, with: &[Handle]) -> Call {
        self.side(who).call(on, method, body, with, Reply::Value)
    }

    /// Calls a method whose result is a reference.
    pub fn refer(&self, who: Who, on: &Handle, method: &str, body: &str, with: &[Handle]) -> Call {
        self.side(who).call(on, method, body, with, Reply::Reference)
    }

    /// Calls a method that is not answered.
    pub fn cast(&self, who: Who, on: &Handle, method: &str, body: &str, with: &[Handle]) {
        self.side(who).cast(on, method, body, with);
    }

    /// Holds back what `from` has sent, and what it will send.
    pub fn block(&self, from: Who) {
        self.blocked[from as usize].set(true);
    }

    /// Lets [`Net::run`] deliver again what `from` sends.
    pub fn unblock(&self, from: Who) {
        self.blocked[from as usize].set(false);
    }

    /// Delivers the next message from `from`, blocked or not. Says whether there was one.
    ///
    /// # Errors
    /// What the message broke, by the other side's judgement; that side has said so and has ended.
    pub fn try_deliver(&self, from: Who) -> Result<bool, Violation> {
        let Some(frame) = self.side(from).next_frame() else { return Ok(false) };
        self.side(from.peer()).receive(frame).map(|()| true)
    }

    /// Delivers the next message from `from`, blocked or not. Says whether there was one.
    ///
    /// # Panics
    /// When the other side calls it a violation.
    pub fn deliver(&self, from: Who) -> bool {
        self.try_deliver(from).unwrap_or_else(|violation| {
            panic!("{from:?}: {violation}\n{}", self.dialogue().join("\n"));
        })
    }

    /// Delivers everything on links that are not blocked, in turns, until nothing moves.
    ///
    /// # Panics
    /// When a side calls a message a violation.
    pub fn run(&self) {
        while [A, B].into_iter().any(|from| !self.blocked[from as usize].get() && self.deliver(from)) {}
    }

    /// Lets `duration` pass. What falls due on a side meanwhile is done at its very time, the earlier first; messages stay where they are.
    pub fn advance(&self, duration: Duration) {
        let until = self.now.get() + duration;
        let next =
            || self.sides.iter().filter_map(|side| Some((side.timeout()?, side))).min_by_key(|due| due.0);
        while let Some((due, side)) = next().filter(|due| due.0 <= until) {
            self.now.set(due.max(self.now.get()));
            side.handle_timeout();
        }
        self.now.set(until);
    }

    /// Lets `duration` pass in which no side looks at the clock, as on a machine that stood still; then all do.
    pub fn sleep(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
        self.advance(Duration::ZERO);
    }

    /// Puts a message of the test's own on the link from `from`, behind what is there; that side's tables know nothing of it.
    pub fn inject(&self, from: Who, message: Message) {
        let mut frame = Vec::new();
        frame::encode(&message, &mut frame);
        self.side(from).put_on_the_wire(&frame);
    }

    /// Delivers what `from` has sent, and returns what the other side ended the connection for.
    ///
    /// # Panics
    /// When nothing was wrong.
    pub fn violation(&self, from: Who) -> Violation {
        loop {
            match self.try_deliver(from) {
                Err(violation) => return violation,
                Ok(true) => {}
                Ok(false) => panic!("nothing was wrong\n{}", self.dialogue().join("\n")),
            }
        }
    }

    /// Ends the connection on one side, as the end of the stream does.
    pub fn cut(&self, who: Who) {
        self.side(who).end(Failure::new(FailureKind::Disconnected, Ran::Maybe, "cut by the test"));
    }

    /// The messages in the order in which they were sent.
    pub fn dialogue(&self) -> Vec<String> {
        self.dialogue.borrow().clone()
    }

    /// Entries in the tables of one side.
    pub fn sizes(&self, who: Who) -> TableSizes {
        self.side(who).sizes()
    }

    /// Delivers what is left, and asserts that nothing is: no entry, no waiting method, no open call, no promise to be settled.
    pub fn finish(self) {
        self.finished.set(true);
        self.blocked.iter().for_each(|blocked| blocked.set(false));
        for side in &self.sides {
            side.forget_kept();
        }
        self.run();
        let dialogue = self.dialogue().join("\n");
        for who in [A, B] {
            let side = self.side(who);
            assert_eq!(side.sizes(), TableSizes::default(), "tables of {who:?} after\n{dialogue}");
            side.assert_idle(&dialogue);
        }
    }

    /// How the connection ended, as `who` knows it.
    pub fn ended(&self, who: Who) -> Option<Failure> {
        self.side(who).ended()
    }

    /// The last message that `who` sent, if it is an abort.
    pub fn last_abort(&self, who: Who) -> Option<Abort> {
        self.side(who).last_abort()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        assert!(self.finished.get() || std::thread::panicking(), "a test must end with Net::finish()");
    }
}
