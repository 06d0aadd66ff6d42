//! References to objects, local or not: what a stub holds, what a served struct becomes, and how a typed call turns into an
//! encoded one and back. Knows no socket, no task and no clock; connections come in as [`Carrier`]s, and the
//! means to run, to wait and to know the time as an [`Executor`].

#[macro_use]
mod tuples;

mod access;
mod again;
mod call_error;
mod called;
mod circular;
mod context;
mod crossing;
mod distant;
mod dynamic;
mod encoded;
mod executor;
mod fate;
mod incoming;
mod interface;
mod local;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "names are served to connections"))]
mod names;
mod object;
mod promise;
mod promised;
mod queued;
mod reference;
mod remote;
mod revoke;
mod scope;
mod scratch;
mod sending;
mod shown;
mod signature;
mod slot;
mod stub;
mod terms;
pub mod trace;
mod watch;

pub use access::Access;
pub use again::{Renewal, WhyNot};
pub use call_error::{AppError, CallError};
use called::Called;
pub use context::CallContext;
pub use crossing::Argument;
pub use distant::{Carrier, Distant, Encoded, NotSent, Onward, Pledge, Readiness, Waiter, Waiting};
pub(crate) use dynamic::dynamic_reference;
pub use dynamic::{
    AnyRef, ArgumentDescription, ArgumentError, Arguments, Description, DescriptionError, DynamicCall,
    DynamicObject, Given, InterfaceDescription, Invoked, MethodDescription, Value,
};
pub(crate) use executor::drop_quietly;
pub use executor::{BoxTask, Executor, Stop, first_poll, first_poll_or, install};
pub use fate::Fate;
pub use incoming::{Answerer, Bound, Incoming, Responder, Started, WireAnswer};
pub use interface::{Agreed, Interface, Method, MethodFlags, MethodShape};
pub use names::{NameError, Names, named};
pub use object::{IntoObject, Object, Offer, Referenceable, bind};
pub use promise::{Promise, Source};
pub use queued::Queued;
pub use reference::{Leads, Reference};
pub use remote::{Broken, Remote};
pub use revoke::Revoker;
pub use scope::{decode_with, encode_with};
pub use sending::survivor;
pub use shown::{Shown, ShownField};
pub use signature::{
    AnswerCodec, App, Codec, Codecs, EncodedDefault, ErrorCodec, Errors, Needed, NoError, ResultAlias,
    Signature, Values, no_errors,
};
pub use slot::{AnswerBody, Delivered, HeldBody};
pub use stub::Stub;
#[doc(hidden)]
pub use stub::{deserialize as deserialize_stub, serialize as serialize_stub};
pub use terms::Terms;
pub use watch::{Watcher, Watchers};
