//! The tracer: makes a type over and over out of answers of its own, and writes down what the type asks for.
//!
//! Each pass goes where something is still unknown: into `Some`, into one element of a sequence, into the variant
//! least visited, and to the unseen fields of a struct first, for structs can be given by name in any order. What a
//! type refuses it gets otherwise at the next pass. Types ask before they refuse, so even what no sample can make is
//! known; only what lies *behind* it in a tuple is not.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::Shape;
use super::asks::{Refused, Tracer};
use super::nodes::{At, Kind, Nodes, ROOT};

/// Finds out the shape of a type, by running its `Deserialize` some ten times. Do it once and keep the shape.
///
/// It never fails: what it cannot find out is [`Shape::Opaque`]. A panic in the type's `Deserialize` is caught, and
/// counts as a refusal; the hook of the process has reported it by then.
pub fn trace<T: DeserializeOwned>() -> Shape {
    trace_by(std::any::type_name::<T>(), |tracer| T::deserialize(tracer).map(drop))
}

/// The same for whatever is made by `make`. No part of it is compiled for each type: programs have many, and trace each once.
fn trace_by(type_name: &'static str, make: fn(Tracer<'_>) -> Result<(), Refused>) -> Shape {
    let _tracing = TracingNow::begin();
    let state = RefCell::new(State::new(type_name));
    for _ in 0..MOST_PASSES {
        let outcome = catch_unwind(AssertUnwindSafe(|| make(Tracer::new(&state, ROOT, 0))));
        if !state.borrow_mut().ended(&outcome.map_err(|_| ())) {
            break;
        }
    }
    let state = state.into_inner();
    state.nodes.shape(ROOT)
}

/// Whether a `Deserialize` on this thread is being traced, and not fed from a message: for types whose making has
/// effects, or needs a message around it.
pub fn tracing() -> bool {
    TRACING.get()
}

thread_local! {
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// Raises the flag of this thread, and puts it back as it was, whatever happens between.
struct TracingNow {
    before: bool,
}

impl TracingNow {
    fn begin() -> Self {
        TracingNow { before: TRACING.replace(true) }
    }
}

impl Drop for TracingNow {
    fn drop(&mut self) {
        TRACING.set(self.before);
    }
}

/// What lasts from pass to pass, and where the present one is.
pub(super) struct State {
    pub(super) nodes: Nodes,
    /// The containers that the present place stands in, from the outermost.
    path: Vec<Entry>,
    /// Where something was asked last; a panic is put down to it.
    pub(super) last: At,
    /// Whether this pass found out, or tried, anything new.
    pub(super) progress: bool,
    /// Whether the refusal that ends this pass has been put down to a place.
    pub(super) blamed: bool,
    /// How many containers around the present place are made within themselves. Nothing is learnt there, for the
    /// path is longer than the shape's.
    pub(super) repeats: u32,
    /// See [`State::modest`].
    modest: bool,
    idle: u32,
    asks: u32,
    panics: u32,
}

/// A container on the path.
struct Entry {
    visitor: &'static str,
    at: At,
    newtype: bool,
}

/// What a container is, seen from the path to it.
pub(super) enum Met {
    New,
    Again(u32, At),
    TooDeep,
}

impl State {
    fn new(type_name: &'static str) -> Self {
        let mut nodes = Nodes::new();
        nodes.at_mut(ROOT).type_name = type_name;
        let (progress, blamed, modest) = (false, false, false);
        State {
            nodes,
            path: Vec::new(),
            last: ROOT,
            progress,
            blamed,
            repeats: 0,
            modest,
            idle: 0,
            asks: 0,
            panics: 0,
        }
    }

    /// Takes a pass in, and says whether another one is worth it.
    fn ended(&mut self, outcome: &Result<Result<(), Refused>, ()>) -> bool {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.blame(ROOT),
            Err(()) => {
                self.panics += 1;
                self.blame(self.last);
            }
        }
        self.idle = if self.progress { 0 } else { self.idle + 1 };
        // Every other fruitless pass is modest: it leaves unknown what it cannot make.
        self.modest = self.idle % 2 == 1;
        self.progress = false;
        self.blamed = false;
        self.path.clear();
        self.repeats = 0;
        let bounded = self.idle < MOST_IDLE_PASSES && self.asks < MOST_ASKS && self.panics < MOST_PANICS;
        bounded && !self.nodes.known(ROOT)
    }

    /// Whether one only wants to make a value here, so as to see what lies behind, and leaves alone what is unknown.
    pub(super) fn modest(&self) -> bool {
        self.modest || self.repeats > 0
    }

    /// Counts a question. False when there were too many.
    pub(super) fn asked(&mut self, at: At) -> bool {
        self.last = at;
        self.asks += 1;
        self.asks < MOST_ASKS
    }

    /// Puts the refusal of this pass down to the first, that is innermost, place it comes through.
    pub(super) fn blame(&mut self, at: At) {
        if !self.blamed {
            self.blamed = true;
            self.progress |= self.nodes.turn(at);
        }
    }

    /// Writes down what a place is.
    pub(super) fn learn(&mut self, at: At, kind: Kind) {
        self.nodes.at_mut(at).kind = kind;
        self.progress = true;
    }

    /// Looks for a container of the same visitor around this one.
    pub(super) fn meet(&self, visitor: &'static str) -> Met {
        match self.path.iter().position(|entry| entry.visitor == visitor) {
            Some(outer) => {
                let between = self.path[outer..].iter().filter(|entry| !entry.newtype).count();
                Met::Again(u32::try_from(between).unwrap_or(u32::MAX), self.path[outer].at)
            }
            None if self.path.len() >= MOST_DEPTH => Met::TooDeep,
            None => Met::New,
        }
    }

    pub(super) fn enter(&mut self, visitor: &'static str, at: At, newtype: bool) {
        self.path.push(Entry { visitor, at, newtype });
    }

    pub(super) fn leave(&mut self) {
        self.path.pop();
    }
}

/// As deep as bodies go.
const MOST_DEPTH: usize = crate::wire::body::MAX_DEPTH as usize;
/// Each pass finds something or tries something; a type of some ten containers takes about as many.
const MOST_PASSES: u32 = 10_000;
/// Passes that find nothing, after which nothing will be found: enums rotate through their variants meanwhile.
const MOST_IDLE_PASSES: u32 = 32;
/// Some 50 ms at the worst.
const MOST_ASKS: u32 = 500_000;
/// Each panic is reported by the hook of the process, which should not become a flood.
const MOST_PANICS: u32 = 8;
