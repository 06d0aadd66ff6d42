//! Random programs on random networks, beside a shadow: plain pointers that say where every call must arrive.
//!
//! A [`Run`] is a network and a list of [`Action`]s, made from a seed or written down. Numbers in actions are taken modulo what there is, and an
//! action without anything to act on does nothing: so a run stays a run when actions are taken out of it. One that fails is shrunk
//! ([`shrink`]) and prints itself as a test.

mod graph;
mod play;
mod real;
mod shrink;

use std::fmt;

pub use play::{Tally, play};
pub use real::play_for_real;
pub use shrink::{Player, fault, hunt, shrink};

use crate::hostile::Dice;

/// What a program calls, or passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ref {
    /// The root of one of the nodes that it has a connection with.
    Root(u8),
    /// A new object of its own.
    Own,
    /// Something that it holds; a root where it holds nothing.
    Held(u8),
}

/// How a method is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// For a value.
    Value,
    /// For a reference.
    Reference,
    /// For nothing.
    Cast,
}

/// What the programs' objects can do; see [`Node`](crate::net::Node).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the method of that name; `Forget` is `drop`")]
pub enum Method {
    Say,
    Echo,
    Open,
    Fail,
    Keep,
    Kept,
    Forget,
    Hold,
}

impl Method {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::Say => "say",
            Method::Echo => "echo",
            Method::Open => "open",
            Method::Fail => "fail",
            Method::Keep => "keep",
            Method::Kept => "kept",
            Method::Forget => "drop",
            Method::Hold => "hold",
        }
    }
}

/// What a method that waited ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The references that it was given.
    Given,
    /// Some reference.
    One(Ref),
    /// Its own error, with the references that it was given.
    Error,
}

/// One step of a run. `at` is a node, `way` one direction of a link; other numbers pick one of what the node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are said once, above")]
pub enum Action {
    /// A call.
    Call { at: u8, how: How, method: Method, on: Ref, with: [Option<Ref>; 2] },
    /// The program holds the promise of a call's result.
    Promise { at: u8, call: u8 },
    /// It holds what a call ended with, and drops the call.
    Take { at: u8, call: u8 },
    /// It drops a call.
    Cancel { at: u8, call: u8 },
    /// It lets a call run.
    Detach { at: u8, call: u8 },
    /// It drops a reference.
    Release { at: u8, held: u8 },
    /// The next call of its must have ended so many milliseconds after it is made.
    Hurry { at: u8, millis: u8 },
    /// So many milliseconds pass.
    Pass { millis: u8 },
    /// It holds a form of a reference that it can take back.
    Lend { at: u8, held: u8 },
    /// It takes one back.
    Revoke { at: u8, lent: u8 },
    /// It holds the references that a waiting method was given.
    Arguments { at: u8, waiting: u8 },
    /// A waiting method ends.
    Answer { at: u8, waiting: u8, end: End },
    /// The next message of some way arrives.
    Deliver { way: u8 },
    /// Everything arrives that is not held back.
    Settle,
    /// Releases that have gathered leave.
    Flush { way: u8 },
    /// A way is held back.
    Block { way: u8 },
    /// It goes on.
    Unblock { way: u8 },
    /// Both ends learn that a link is gone, and what was under way is lost.
    Cut { link: u8 },
    /// What goes this way is lost, and nobody learns it.
    Lose { way: u8 },
    /// One end learns that its link is gone.
    Tell { way: u8 },
}

/// A network, and what happens on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// How many nodes.
    pub nodes: u8,
    /// Which of them are connected.
    pub links: Vec<(u8, u8)>,
    /// Whether all grants are the smallest.
    pub small: bool,
    /// In order.
    pub actions: Vec<Action>,
}

impl Run {
    /// The run of a seed.
    pub fn random(seed: u64) -> Run {
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..4).for_each(|_| _ = dice.roll());
        let nodes = 2 + dice.below(4) as u8;
        let links = links(nodes, dice.below(4));
        let cuts = dice.below(4) == 0;
        let small = dice.below(8) == 0;
        let count = 30 + dice.below(130);
        let actions = (0..count).map(|_| action(&mut dice, cuts)).collect();
        Run { nodes, links, small, actions }
    }
}

fn links(nodes: u8, shape: usize) -> Vec<(u8, u8)> {
    match shape {
        0 => (1..nodes).map(|other| (other - 1, other)).collect(),
        1 => (1..nodes).map(|other| (0, other)).collect(),
        2 if nodes > 2 => (0..nodes).map(|one| (one, (one + 1) % nodes)).collect(),
        _ => (0..nodes).flat_map(|one| (one + 1..nodes).map(move |other| (one, other))).collect(),
    }
}

fn action(dice: &mut Dice, cuts: bool) -> Action {
    let at = dice.below(256) as u8;
    let number = dice.below(256) as u8;
    match dice.below(100) {
        0..30 => {
            let (method, on) = (METHODS[dice.below(METHODS.len())], reference(dice));
            let first = (method == Method::Echo || dice.below(2) == 0).then(|| reference(dice));
            let second = (dice.below(4) == 0).then(|| reference(dice));
            let gives = matches!(method, Method::Echo | Method::Open | Method::Kept | Method::Hold);
            let how = match dice.below(10) {
                0 => How::Cast,
                1 => How::Value,
                2 => How::Reference,
                _ if gives => How::Reference,
                _ => How::Value,
            };
            Action::Call { at, how, method, on, with: [first, second] }
        }
        30..43 => Action::Promise { at, call: number },
        43..48 => Action::Take { at, call: number },
        48..51 => Action::Cancel { at, call: number },
        51 => Action::Detach { at, call: number },
        52..57 => Action::Release { at, held: number },
        57..61 => Action::Arguments { at, waiting: number },
        61..68 => {
            let end = match dice.below(8) {
                0 => End::Given,
                1 => End::Error,
                _ => End::One(reference(dice)),
            };
            Action::Answer { at, waiting: number, end }
        }
        68..85 => Action::Deliver { way: at },
        85..88 => Action::Hurry { at, millis: number },
        88 => Action::Pass { millis: number },
        89 | 90 => Action::Lend { at, held: number },
        91 => Action::Revoke { at, lent: number },
        92 => Action::Settle,
        93 | 94 => Action::Flush { way: at },
        95 => Action::Block { way: at },
        96 => Action::Unblock { way: at },
        97 if cuts => Action::Cut { link: at },
        98 if cuts => Action::Lose { way: at },
        99 if cuts => Action::Tell { way: at },
        _ => Action::Deliver { way: at },
    }
}

fn reference(dice: &mut Dice) -> Ref {
    match dice.below(10) {
        0 | 1 => Ref::Root(dice.below(4) as u8),
        2 => Ref::Own,
        _ => Ref::Held(dice.below(256) as u8),
    }
}

const METHODS: [Method; 12] = [
    Method::Say,
    Method::Say,
    Method::Echo,
    Method::Echo,
    Method::Echo,
    Method::Open,
    Method::Fail,
    Method::Keep,
    Method::Kept,
    Method::Forget,
    Method::Hold,
    Method::Hold,
];

/// As Rust code for a test.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { nodes, links, small, actions } = self;
        writeln!(
            f,
            "    let run = Run {{ nodes: {nodes}, links: vec!{links:?}, small: {small}, actions: vec!["
        )?;
        actions.iter().try_for_each(|action| writeln!(f, "        {action:?},"))?;
        writeln!(f, "    ] }};")
    }
}
