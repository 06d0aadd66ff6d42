//! The client's side of the broker: [`connect`] to a server and get its root object.
//!
//! A guide that begins at nothing is `docs/README.md` in the repository.
//!
//! ```no_run
//! # #[pb_client::remote_interface]
//! # pub trait Greeter { async fn greet(&self, name: String) -> String; }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = pb_client::connect("tcp://127.0.0.1:8787").await?;
//! let greeter: GreeterRef = broker.root();
//! println!("{}", greeter.greet("Ada".into()).await?);
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod connect;
mod driving;
mod error;
mod reconnect;
mod reconnecting;
mod renewal;

pub use connect::{Connect, connect};
pub use error::{ConnectError, HasFailure};
#[doc(hidden)]
pub use pb_core::__private;
pub use pb_core::trace;
pub use pb_core::{
    Address, AddressError, AnyRef, AppCause, AppError, ArgumentDescription, ArgumentError, Arguments, Broker,
    Bytes, CallContext, CallError, Cause, Content, Counters, Deferred, DeferredExt, Description,
    DescriptionError, DynamicCall, DynamicObject, Failure, FailureKind, Field, Given, InterfaceDescription,
    Invoked, Leaving, Limits, MethodDescription, MethodFlags, Misfit, Opaque, Plain, Problem, Ran,
    Referenceable, Remote, Resolver, Revoker, Shape, Stub, TableSizes, Traffic, Value, Variant, Why, defer,
    remote_interface,
};
pub use reconnect::{Reconnect, Reconnected, State, WhileDown};
pub use reconnecting::Reconnecting;
