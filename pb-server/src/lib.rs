//! The server's side of the broker: [`Server`] hands a root object to everyone who connects.
//!
//! A guide that begins at nothing is `docs/README.md` in the repository.
//!
//! ```no_run
//! use pb_server::{Referenceable, Server, remote_interface};
//!
//! #[remote_interface]
//! pub trait Greeter {
//!     async fn greet(&self, name: String) -> String;
//! }
//!
//! #[derive(Referenceable)]
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     async fn greet(&self, name: String) -> String {
//!         format!("Good day, {name}!")
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! Server::new(GreeterRef::new(Polite)).listen("tcp://127.0.0.1:8787").await?.run().await?;
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod accept;
mod capacity;
mod departed;
mod guests;
#[cfg(all(feature = "systemd", unix))]
mod handed_in;
mod hooks;
mod house;
pub mod inspect;
mod pair;
mod peer;
mod running;
mod server;
mod session;
mod signals;
mod statistics;
mod stop;

pub use capacity::Capacity;
pub use hooks::Ended;
pub use pair::pair;
#[doc(hidden)]
pub use pb_core::__private;
pub use pb_core::reactor::{ListenOptions, Listener};
pub use pb_core::trace;
pub use pb_core::{
    Address, AddressError, AnyRef, AppCause, AppError, ArgumentDescription, ArgumentError, Arguments, Broker,
    Bytes, CallContext, CallError, Cause, Content, Counters, Deferred, DeferredExt, Description,
    DescriptionError, DynamicCall, DynamicObject, Failure, FailureKind, Field, Given, InterfaceDescription,
    Invoked, Leaving, Limits, MethodDescription, MethodFlags, Misfit, NameError, Names, Opaque, Plain,
    Problem, Ran, Referenceable, Remote, Resolver, Revoker, Shape, Stub, TableSizes, Traffic, Value, Variant,
    Why, defer, remote_interface,
};
pub use peer::Peer;
pub use running::{Running, Stopped};
pub use server::{ServeError, Server};
pub use statistics::{Meter, Statistics};
