//! A connection's tables and rules, without I/O, tasks or a clock of their own (`docs/protocol.md`, sections 6 to 9 and 12 to 14).
//!
//! [`Connection`] is a plain value: `handle` takes a message in, an [`Outbox`] takes messages out, `poll_task` and `poll_notice`
//! hand out what is to be done. Time comes in as `now`, and `poll_timeout` says when `handle_timeout` wants to be called. It never runs a method, never drops what its owner handed in (see [`Connection::take_garbage`])
//! and never sees a byte of a body.
//!
//! What every message goes through is inlined where it would hand something on in a large result: what is put together in pieces and moved at once, as a
//! whole, waits for its pieces (docs/performance.md, "What a call consists of").

mod answering;
mod breaking;
mod budget;
mod casts;
mod connection;
mod deadlines;
mod dense;
mod exports;
mod imports;
mod incoming;
mod lagging;
mod last_words;
mod leaving;
mod limits;
mod looking;
mod names;
mod objects;
mod onward;
mod outgoing;
mod pages;
mod payload;
mod queue;
mod silence;
mod table;
mod timers;
mod usage;
mod violation;
mod watching;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use casts::Cost;
pub use connection::Connection;
pub use leaving::Farewell;
pub use limits::{DEFAULT_ANSWER_BYTES, LONGEST_TIME, Limits, MAX_HOPS};
pub use looking::{Held, InFlight, MethodUse, NotStopped};
pub use names::Known;
pub use outgoing::{OwnCall, Refused, Unsent};
pub use silence::Silent;
pub use timers::{TimeLimit, exceeded};
pub use usage::SAMPLED;
pub use violation::Violation;
pub use watching::{End, Happening, Numbered};

use crate::message::{Body, CallOptions, ExportId, Failure, ImportId, Message, Reply};

/// What the tables keep for their owner and never look into.
pub trait Host {
    /// Whatever a payload can carry: an object of ours, one of the peer's, one of somebody else's, a promise.
    type Handle: Clone;
    /// Who is told the answer of a call of ours.
    type Waiter;
    /// What stops a method of ours that runs.
    type Canceller;
    /// The owner's weak hold on the handles of one import.
    type Proxy;
    /// What tells the owner that an exported handle has broken; kept as long as the export is open.
    type Watch;
    /// What the owner remembers with a method's name that the peer defined.
    type Memo: Default;

    /// What `handle` has settled to, if it is a promise of this side's and has.
    fn settled(&self, handle: &Self::Handle) -> Option<Self::Handle>;
    /// Where `handle` lives, seen from this connection. It is no promise that has settled to something.
    fn place(&self, handle: &Self::Handle) -> Place;
    /// What tells a handle apart that [`Host::place`] calls ours, the same as long as it lives: the key that it had as it was exported, whatever it may have settled to
    /// since.
    fn key(&self, handle: &Self::Handle) -> Key;
    /// Counts one mention of the peer's object on the handles behind `proxy`, or makes a new handle with a count of one and replaces
    /// `proxy`. Says whether it made one.
    fn mention(&self, id: ImportId, proxy: &mut Option<Self::Proxy>) -> (Self::Handle, bool);
    /// A promise that a [`Task::Settle`] will settle.
    fn promise(&self) -> Self::Handle;
    /// A handle that is broken from the start, by `failure`.
    fn broken(&self, failure: Failure) -> Self::Handle;
    /// Whether an exported handle may break by itself: then it is handed out by [`Connection::take_exported`], to be watched.
    fn may_break(&self, handle: &Self::Handle) -> bool {
        let _ = handle;
        false
    }
    /// Whether `waiter` may go on naming a reference result after it was told, until it calls [`Connection::cancel`].
    fn names_result(&self, waiter: &Self::Waiter) -> bool {
        let _ = waiter;
        true
    }
    /// Something has happened, while [`Connection::set_watched`] says that somebody wants to know. The tables are in the middle of it: what is called here
    /// must neither wait nor run anybody's code, a `Drop` included.
    fn happened(&self, happening: Happening<'_, Self::Handle>) {
        let _ = happening;
    }
}

/// Where a handle lives, seen from one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// With us, or behind us: the peer gets it as an export. Handles of equal keys are one object.
    Ours(Key),
    /// With the peer: an object we hold, or the result of a call that is not settled yet.
    Peers(ImportId),
}

/// What tells exported objects apart: the object, and the facet it is handed out by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The same number for the same object as long as it lives.
    pub object: usize,
    /// The same number for the same facet.
    pub facet: usize,
}

/// Takes the messages that a connection sends, in their order.
pub trait Outbox {
    /// Takes one message.
    fn send(&mut self, message: Message<Body<'_>>);
    /// Bytes of what the peer made us send ([`Message::is_prompted`]) that have not left yet.
    fn unread(&self) -> u64;
    /// Bytes of such messages that were ever sent.
    fn prompted(&self) -> u64;
    /// What time it is, where reading the clock costs little beside what has led here, and for how many calls that stands: of those that are answered
    /// as soon as they come, only where one is `due` to be measured.
    fn now(&self, due: bool) -> Option<(Instant, u32)> {
        let _ = due;
        None
    }
}

/// A payload with its capabilities turned into handles.
pub struct Carried<H: Host> {
    /// In the order of the capability table.
    pub handles: Vec<H::Handle>,
    /// Not decoded yet.
    pub body: Bytes,
}

/// How a call ended.
pub enum Outcome<H: Host> {
    /// With a value.
    Value(Carried<H>),
    /// With the one reference that was asked for.
    Reference(H::Handle),
    /// The same, where it has come home and calls on it are on their way here: a promise that settles once they have come.
    Embargoed(H::Handle),
    /// With the method's own error.
    App(Carried<H>),
    /// With a failure of the broker.
    Failed(Failure),
}

/// What a method of ours ended with, on its way to the peer.
pub enum Answer<'a, T> {
    /// A value: the references in it and its encoded body.
    Value(&'a [T], Body<'a>),
    /// The one reference that was asked for.
    Reference(T),
    /// The method's own error, and the references in it.
    App(&'a [T], Body<'a>),
    /// A failure of the broker. What is rare is on the heap: answers are moved right after they are made.
    Failed(Box<Failure>),
}

/// What is to be done in exactly this order, by one task at a time.
pub enum Task<H: Host> {
    /// Start a method.
    Start(Start<H>),
    /// Settle a promise that [`Host::promise`] made.
    Settle(H::Handle, Result<H::Handle, Failure>),
    /// Everything before this has been sent on: tell the peer ([`Connection::echo`]).
    Echo(u64),
}

/// A method to be started.
pub struct Start<H: Host> {
    /// What is called.
    pub target: H::Handle,
    /// Whether the peer named it as our root.
    pub on_root: bool,
    /// The call.
    pub request: Request<H>,
}

/// A call of the peer's.
pub struct Request<H: Host> {
    /// Where the answer goes; a cast has none.
    pub answer: Option<(ExportId, Reply)>,
    /// The method's name, and what was remembered with it.
    pub method: Arc<Known<H::Memo>>,
    /// Deadline, limits, metadata.
    pub options: Option<Box<CallOptions>>,
    /// When it must have ended. The tables see to that for calls; a cast's is the owner's to keep.
    pub deadline: Option<Instant>,
    /// The arguments.
    pub arguments: Carried<H>,
    /// What it takes until it has ended; of a cast [`Connection::cast_ended`] wants it back.
    pub cost: Cost,
}

/// What is to be done as soon as possible, in any order with [`Task`]s.
pub enum Notice<H: Host> {
    /// A call of ours has ended.
    Settled(H::Waiter, Outcome<H>),
    /// A call of the peer's is not wanted any more.
    Cancel(H::Canceller),
    /// A reference to the peer's object is broken.
    Broken(H::Proxy, Failure),
    /// The peer answers the ping with this nonce.
    Pong(u64),
    /// The peer's root is broken: [`Connection::root_broken`].
    RootBroken,
}

/// What was taken out of the tables and must be dropped where no lock is held.
pub enum Garbage<H: Host> {
    /// A handle.
    Handle(H::Handle),
    /// Arguments or results nobody wants.
    Handles(Vec<H::Handle>),
    /// Somebody who does not wait any more.
    Waiter(H::Waiter),
    /// The means to stop what has ended.
    Canceller(H::Canceller),
    /// A hold on handles that are gone.
    Proxy(H::Proxy),
    /// The watch over an export that is gone.
    Watch(H::Watch),
}

/// How many entries each table has; all are 0 when a connection is idle or has ended.
///
/// Wire: docs/protocol.md, section 6.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableSizes {
    /// Objects of ours that the peer holds.
    pub exports: usize,
    /// Objects of the peer's that we hold.
    pub imports: usize,
    /// Calls of ours that are not answered, or whose reference result is still held as a promise.
    pub calls: usize,
    /// Calls of the peer's that are not answered, or whose reference result it has not released.
    pub answers: usize,
    /// Promises that wait for an echo.
    pub embargoes: usize,
}

/// How many things that have lain for long are looked at together before they are let go of: more than memory brings at a time, and few enough that the first is
/// near still when its turn comes.
pub(crate) const TOGETHER: usize = 32;
