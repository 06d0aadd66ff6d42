//! Sockets, and what runs on them: addresses, listeners, streams; [`Protocol`]s that the bytes of a connection are handed to, [`Factory`]s
//! that make them, and the [`Reactor`] that brings both together. tokio is the event loop; this is its thin face.
//!
//! A protocol is written once, and runs over `tcp://`, `unix://` and `mem://`. [`LineReceiver`] and [`LengthPrefixedReceiver`] cut the
//! stream for those that speak in lines or messages. `docs/from-twisted-reactor.md` leads people from Twisted through all of it, name by name.

mod address;
mod connector;
mod driver;
mod hub;
mod later;
mod lines;
mod lost;
mod mem;
mod piped;
mod port;
mod prefixed;
mod protocol;
mod shutdown;
mod stream;
mod transport;
#[cfg(unix)]
mod unix;

pub use address::{Address, AddressError};
pub use connector::Connector;
pub use hub::{Reactor, TriggerId};
pub use later::DelayedCall;
pub use lines::{LineProtocol, LineReceiver, LineTooLong, Lines, NotRaw};
pub use lost::{ConnectFailed, Lost};
pub use piped::{Piped, PipedRead, PipedWrite};
pub use port::{ListenError, Port};
pub use prefixed::{LengthPrefixedReceiver, MessageProtocol, MessageTooLong, Messages, Prefix};
pub use protocol::{ClientFactory, Factory, ForProtocol, Protocol, Settings, for_protocol};
pub use shutdown::{Phase, Signal, Stopped};
pub use stream::{Direct, ListenOptions, Listener, ReadHalf, Stream, WriteHalf};
pub use transport::{Transport, Written};

/// The code on that page compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-twisted-reactor.md")]
struct FromTwisted;
