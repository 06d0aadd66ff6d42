//! What a flood is.

use crate::peer::Peer;
use pb_core::message::{Call, Message};
use std::time::Duration;

/// One way to make a server work and keep things. Its peer asks it for more again and again, and writes what it gave.
pub struct Flood {
    /// The name on the command line and in the tables.
    pub name: &'static str,
    /// One line for people.
    pub what: &'static str,
    /// How the connection begins.
    pub greeting: Greeting,
    /// Whether the peer reads what the server sends.
    pub reads: bool,
    /// Calls that may be in flight when the flood is asked for more.
    pub window: Window,
    /// Appends the next frames.
    pub fill: fn(&mut Peer),
    /// What comes between two rounds.
    pub then: Then,
    /// What the server's own calls are answered with; nothing without.
    pub reply: Option<fn(&Call) -> Message>,
}

/// How a connection begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// With a hello that grants everything, and the server's is read.
    Polite,
    /// Whatever the flood sends.
    None,
}

/// How many calls the peer keeps without an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// It does not look.
    Any,
    /// At most what the server granted.
    Granted,
    /// None: a round begins when the last one is answered.
    Answered,
}

/// What comes between two rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next.
    More,
    /// A pause.
    Pause(Duration),
    /// The peer closes, and connects anew.
    HangUp,
}

/// A flood that most others differ from in one point: a polite peer that reads, and keeps to the grant of calls.
pub const POLITE: Flood = Flood {
    name: "",
    what: "",
    greeting: Greeting::Polite,
    reads: true,
    window: Window::Granted,
    fill: |_| {},
    then: Then::More,
    reply: None,
};

/// One that does not look at what comes back.
pub const DEAF: Flood = Flood { reads: false, window: Window::Any, ..POLITE };
