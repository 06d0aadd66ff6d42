//! `stub.remote().call("method", (arguments,))`.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Arguments, shape_of, shape_of_call};
use crate::defer::Deferred;
use crate::message::{Failure, FailureKind, MAX_NAME_BYTES, MethodText, Ran, Reply};
use crate::objects::called::Named;
use crate::objects::encoded::{EncodedCall, Payload};
use crate::objects::signature::{AnswerCodec, AsReference, Codec, ErrorCodec};
use crate::objects::slot::{Origin, Slot};
use crate::objects::{App, CallError, Called, Errors, MethodFlags, MethodShape, Remote, Stub, no_errors};
use crate::wire::body::BodyError;
use crate::wire::shape::{self, Shape};

impl<S: Stub> Remote<'_, S> {
    /// Calls a method by its name, with arguments and a result of the caller's choice. The call is on its way when this returns, as one of the
    /// stub's own methods is; where `R` is a stub, methods can be called on the Deferred before it has settled, by name too.
    ///
    /// `method` is `Interface/method`, or `method` alone: then, where the stub's interface has no such method, all interfaces of the object are
    /// searched, and a name found in two is ambiguous.
    ///
    /// Where the interface is known the types are compared with the method's, and others than those fail `Incompatible`. With a bare name, or
    /// an [`AnyRef`](crate::AnyRef) among the types, there is nothing to compare by: values of other types than the method's may be refused, or
    /// be **read as something else**: give the interface, or call by the object's description ([`invoke`](Remote::invoke)). Arguments that have defaults may be left out at the end where the types are compared.
    ///
    /// Its answer may take 64 KiB, or as much as the method's trait says where the stub has it; more where
    /// [`with_answer_bytes`](Remote::with_answer_bytes) says so.
    ///
    /// A method with an error of its own is called by [`try_call`](Remote::try_call); here its error is `Incompatible`, too.
    ///
    /// # Errors
    /// The Deferred fails as a method of a stub does. Nothing was sent where an argument cannot be encoded, or the name cannot be one: it has 1 to
    /// 256 bytes, no control characters, and no `$` at its beginning (`Failed`).
    ///
    /// ```
    /// # use pb_core::{AnyRef, Referenceable, remote_interface};
    /// # #[remote_interface]
    /// # trait Bank { async fn open(&self, owner: String) -> AccountRef; }
    /// # #[remote_interface]
    /// # trait Account { async fn deposit(&self, cents: u64) -> u64; }
    /// # #[derive(Referenceable)] struct MyBank;
    /// # impl Bank for MyBank { async fn open(&self, _: String) -> AccountRef { AccountRef::new(MyAccount) } }
    /// # #[derive(Referenceable)] struct MyAccount;
    /// # impl Account for MyAccount { async fn deposit(&self, cents: u64) -> u64 { cents } }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let bank: AnyRef = BankRef::new(MyBank).remote().cast();
    /// let account = bank.remote().call::<AnyRef>("Bank/open", ("ada".to_owned(),));
    /// let cents = account.remote().call::<u64>("Account/deposit", (100u64,)).await;
    /// assert_eq!(cents, Ok(100));
    /// # });
    /// ```
    pub fn call<R>(self, method: &str, arguments: impl Arguments) -> Deferred<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        self.by_name(method, arguments, no_errors(), || None)
    }

    /// The same for a method that returns a `Result`.
    ///
    /// # Errors
    /// As [`call`](Remote::call), and [`CallError::App`] with what the method returned.
    pub fn try_call<R, E>(self, method: &str, arguments: impl Arguments) -> Deferred<R, CallError<E>>
    where
        R: DeserializeOwned + Send + 'static,
        E: DeserializeOwned + Send + 'static,
    {
        let codec = Some(decoder());
        self.by_name(method, arguments, ErrorCodec::<App<E>> { codec }, || Some(shape_of::<E>()))
    }

    fn by_name<A, R, K>(
        self,
        method: &str,
        arguments: A,
        err: ErrorCodec<K>,
        err_shape: impl FnOnce() -> Option<Shape>,
    ) -> Deferred<R, K::Caller>
    where
        A: Arguments,
        R: DeserializeOwned + Send + 'static,
        K: Errors,
    {
        let known = S::interface().find(method).map(|index| &S::interface().methods()[index]);
        let name = known.map_or(method, |known| known.name());
        let flags = known.map_or(MethodFlags::NONE, |known| known.flags());
        let shape = shape_of_call::<A, R, K>(err_shape);
        let reply = if is_reference(&shape.ok) { Reply::Reference } else { Reply::Value };
        let reference = (reply == Reply::Reference).then_some(AsReference {
            from: None,
            to: |_| unreachable!("a result that came encoded is a reference already"),
        });
        let ok = AnswerCodec { codec: decoder(), reference };
        let access = self.access();
        let named = Named { name: name.into(), shape: Some(Arc::clone(&shape)) };
        let slot = Slot::new(Called::Named(Arc::new(named)), ok, err, access.options(), Origin::Nowhere);
        let call = access.terms().and_then(|terms| {
            let method = text(name, &shape)?;
            let encoded = Payload::encode(|out| arguments.encode(out));
            let arguments = encoded
                .map_err(|error| refused(format!("the arguments of {name} cannot be sent: {error}")))?;
            let MethodFlags { idempotent, .. } = flags;
            let answer_bytes = access.answer_bytes().unwrap_or(flags.answer_bytes);
            Ok(EncodedCall { method, idempotent, answer_bytes, arguments, reply, terms })
        });
        EncodedCall::begin(call, access.reference(), &slot);
        Deferred::waiting_for(slot)
    }
}

/// The name with its print, where there is something to compare by.
fn text(name: &str, shape: &MethodShape) -> Result<Arc<MethodText>, Failure> {
    check_name(name)?;
    if !name.contains('/') || shape.is_loose() {
        return Ok(Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::new([]) }));
    }
    let print = shape::print(name, &shape.arguments, &shape.ok, shape.err.as_ref());
    let fewest = shape.arguments.len() as u32;
    Ok(Arc::new(MethodText { name: name.into(), fewest, prints: Box::new([print]) }))
}

/// A peer ends the connection over a name that cannot be one.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let problem = match name {
        "" => "the name of a method has at least one byte".into(),
        _ if name.len() > MAX_NAME_BYTES => {
            format!("the name of a method has {} bytes; {MAX_NAME_BYTES} are allowed", name.len())
        }
        _ if name.chars().any(char::is_control) => {
            format!("the name of a method has no control characters; {name:?} has")
        }
        _ if name.starts_with('$') => {
            format!(
                "{name} is not called by name: what begins with `$` is the broker's, such as remote().describe()"
            )
        }
        _ => return Ok(()),
    };
    Err(refused(problem))
}

pub(super) fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Failed, Ran::No, message)
}

fn is_reference(shape: &Shape) -> bool {
    matches!(shape, Shape::Reference(_))
}

/// A codec of what is only received.
pub(super) fn decoder<T: DeserializeOwned + Send + 'static>() -> Codec<T> {
    Codec {
        encode: |_, _| Err(BodyError::Value { message: "only received".into() }),
        decode: |input| input.read(),
        shape: shape_of::<T>,
        default: None,
    }
}
