//! Programs and their connections without bytes on a wire, tasks or clock: what the tests of the tables run on.
//!
//! Each side is a [`Connection`](pb_core::proto::Connection) driven as the broker drives it. A [`Network`] has any number of programs, each
//! with several connections, between which it passes calls on as the broker does; a [`Net`] has two and one connection. Messages wait
//! in links, which deliver one message when told to, and can be blocked. Every message crosses as a real frame: an [`Oracle`] watches them,
//! and [`Network::dump`] and [`Net::dialogue`] have them in the style of `docs/protocol.md`, section 15.
//!
//! Time is virtual: it stands still until [`Net::advance`] moves it.
//!
//! A side's tables stand in a `RefCell` where the broker has a lock: dropping a handle, a waiter or a canceller
//! while it is borrowed, which would be a deadlock there, is a panic here.
//!
//! Every test is a leak test: [`Net::finish`] delivers what is left, and asserts that all tables of all sides are
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

use std::rc::Rc;
use std::time::{Duration, Instant};

use pb_core::message::{Abort, Failure, Message, Reply};
use pb_core::proto::{Farewell, Limits, TableSizes, Violation};

mod call;
mod handle;
mod lent;
mod log;
mod network;
mod node;
pub mod oracle;
mod side;
mod timed;
mod way;

pub use call::{Call, Ended};
pub use handle::{Handle, Object};
pub use lent::Lent;
pub use network::Network;
pub use node::{Answering, Arrival, Node, Started, TOO_MANY_HOPS};
pub use oracle::Oracle;
pub use pb_core::message::line;
pub use side::Side;

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

/// Two sides and the links between them: a [`Network`] of two.
pub struct Net {
    network: Network,
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
        net.network.clear_log();
        net
    }

    /// Two sides whose hellos are still on their way.
    pub fn strangers(a: Limits, b: Limits) -> Self {
        let mut network = Network::new(2);
        network.connect_with(0, 1, a, b);
        Net { network }
    }

    /// The same as a network of two.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// One side.
    pub fn side(&self, who: Who) -> &Rc<Side> {
        self.network.side(who as usize, who.peer() as usize)
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

    /// Everything that `who` calls in `work` must have ended `within` so long from now.
    pub fn within<T>(&self, who: Who, within: Duration, work: impl FnOnce() -> T) -> T {
        self.network.within(who as usize, within, work)
    }

    /// Holds back what `from` has sent, and what it will send.
    pub fn block(&self, from: Who) {
        self.network.block(from as usize, from.peer() as usize);
    }

    /// Lets [`Net::run`] deliver again what `from` sends.
    pub fn unblock(&self, from: Who) {
        self.network.unblock(from as usize, from.peer() as usize);
    }

    /// Delivers the next message from `from`, blocked or not. Says whether there was one.
    ///
    /// # Errors
    /// What the message broke, by the other side's judgement; that side has said so and has ended.
    pub fn try_deliver(&self, from: Who) -> Result<bool, Violation> {
        self.network.try_deliver(from as usize, from.peer() as usize)
    }

    /// Delivers the next message from `from`, blocked or not. Says whether there was one.
    ///
    /// # Panics
    /// When the other side calls it a violation.
    pub fn deliver(&self, from: Who) -> bool {
        self.network.deliver(from as usize, from.peer() as usize)
    }

    /// Delivers everything on links that are not blocked, in turns, until nothing moves.
    ///
    /// # Panics
    /// When a side calls a message a violation.
    pub fn run(&self) {
        self.network.run();
    }

    /// Lets `duration` pass. What falls due on a side meanwhile is done at its very time, the earlier first; messages stay where they are.
    pub fn advance(&self, duration: Duration) {
        self.network.advance(duration);
    }

    /// Lets `duration` pass in which no side looks at the clock, as on a machine that stood still; then all do.
    pub fn sleep(&self, duration: Duration) {
        self.network.sleep(duration);
    }

    /// Puts a message of the test's own on the link from `from`, behind what is there; that side's tables know nothing of it.
    pub fn inject(&self, from: Who, message: Message) {
        self.network.inject(from as usize, from.peer() as usize, &message);
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
                Ok(false) => panic!("nothing was wrong\n{}", self.network.dump()),
            }
        }
    }

    /// Lets `who` leave: see [`Connection::leave`](pb_core::proto::Connection::leave).
    pub fn leave(&self, who: Who, reason: &str, time: Duration) {
        self.side(who).leave(reason, time);
    }

    /// What the other side said when it began to leave, as `who` knows it.
    pub fn farewell(&self, who: Who) -> Option<Farewell> {
        self.side(who).farewell()
    }

    /// Ends the stream of the other side, as `who` reads it; `who` goes on sending, for at most `time`.
    pub fn hear_no_more(&self, who: Who, time: Duration) {
        self.side(who).hear_no_more(time);
    }

    /// Whether nothing remains on the connection, by the tables of `who`.
    pub fn is_idle(&self, who: Who) -> bool {
        self.side(who).is_idle()
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.network.now()
    }

    /// Ends the connection on one side, as the end of the stream does.
    pub fn cut(&self, who: Who) {
        self.network.tell(who as usize, who.peer() as usize);
    }

    /// The messages in the order in which they were sent.
    pub fn dialogue(&self) -> Vec<String> {
        self.network.dialogue()
    }

    /// Entries in the tables of one side.
    pub fn sizes(&self, who: Who) -> TableSizes {
        self.side(who).sizes()
    }

    /// Calls on one side that have no answer yet.
    pub fn running(&self, who: Who) -> usize {
        self.side(who).running()
    }

    /// Delivers what is left, and asserts that nothing is: no entry, no waiting method, no open call, no promise to be settled.
    pub fn finish(self) {
        self.network.finish();
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
