//! The core of the broker: what stubs, servers and clients are made of.
//!
//! Most programs use [`pb-server`](https://docs.rs/pb-server) and [`pb-client`](https://docs.rs/pb-client), which give out everything here that
//! a program names. `ARCHITECTURE.md` in the repository shows the floors that the modules stand on; `docs/protocol.md` is the protocol.

#![deny(missing_docs)]

extern crate self as pb_core;

#[cfg(feature = "net")]
pub mod broker;
pub mod defer;
mod macros;
pub mod message;
pub mod objects;
pub mod proto;
#[cfg(feature = "net")]
pub mod reactor;
pub mod wire;

#[cfg(feature = "net")]
pub use broker::{Broker, Counters, Leaving, Limits, TableSizes, Traffic};
pub use bytes::Bytes;
pub use defer::{Deferred, DeferredExt, Resolver};
pub use macros::{Referenceable, remote_interface};
pub use message::{AppCause, Cause, Failure, FailureKind, Ran};
pub use objects::trace;
pub use objects::{
    AnyRef, AppError, ArgumentDescription, ArgumentError, Arguments, CallContext, CallError, Description,
    DescriptionError, DynamicCall, DynamicObject, Given, InterfaceDescription, Invoked, MethodDescription,
    MethodFlags, NameError, Names, Referenceable, Remote, Revoker, Stub, Value,
};
#[cfg(feature = "net")]
pub use reactor::{Address, AddressError};
pub use wire::shape::{Content, Field, Misfit, Opaque, Plain, Problem, Shape, Variant, Why};

/// What the macros name. No part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use core::clone::Clone;
    pub use core::concat;
    pub use core::fmt::{Debug, Formatter, Result as FmtResult};
    pub use core::future::Future;
    pub use core::marker::{Send, Sized, Sync};
    pub use core::result::Result::{self, Err, Ok};
    pub use serde;
    pub use std::sync::Arc;
    pub use std::time::Duration;

    pub use crate::__pb_stub as stub;
    pub use crate::defer::Deferred;
    pub use crate::message::Failure;
    pub use crate::objects::{
        Access, App, Argument, CallContext, CallError, Errors, Incoming, Interface, IntoObject, Method,
        MethodFlags, NoError, Offer, Reference, Referenceable, Remote, ResultAlias, Shown, Signature,
        Started, Stub, no_errors,
    };
    pub use crate::objects::{deserialize_stub, serialize_stub};

    /// A reference to an object of this process, whose calls can run from here on.
    pub fn reference<O: IntoObject>(object: O, first: Offer<O::Object>) -> Access {
        #[cfg(feature = "net")]
        crate::broker::install_executor();
        Access::new(Reference::new(object, first))
    }
}

impl AnyRef {
    /// A reference to an object of this process that has no trait. The object lives as long as somebody, here or elsewhere, holds a reference to
    /// it. [`cast`](Remote::cast) makes the stub of a trait of it that the object describes.
    ///
    /// # Errors
    /// [`DescriptionError`] where the object's description does not hold together; it is not handed out.
    pub fn dynamic<T: DynamicObject>(object: std::sync::Arc<T>) -> Result<Self, DescriptionError> {
        #[cfg(feature = "net")]
        broker::install_executor();
        objects::dynamic_reference(object).map(Self::from_reference)
    }
}
