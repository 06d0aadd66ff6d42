//! What a method takes and gives, as values: the codecs that the macro collects, one mention of each type a method.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::interface::MethodShape;
use super::{CallError, Reference, Stub, scope};
use crate::message::Failure;
use crate::wire::body::{self, BodyError};
use crate::wire::shape::{self, Shape};

/// How one type is encoded, decoded and described.
pub struct Codec<T> {
    pub(super) encode: fn(&T, &mut Vec<u8>) -> Result<(), BodyError>,
    pub(super) decode: fn(&mut &[u8]) -> Result<T, BodyError>,
    shape: fn() -> Shape,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

/// A type in a method's signature. Its codec is taken by an inherent method, so that a type without serde is one error at the type.
pub struct Argument<T>(PhantomData<T>);

impl<T> Argument<T> {
    #[doc(hidden)]
    pub const NEW: Self = Argument(PhantomData);
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Argument<T> {
    #[doc(hidden)]
    pub fn must_be_serialize_and_deserialize(self) -> Codec<T> {
        Codec {
            encode: |value, out| body::encode(value, out),
            decode: |input| body::decode(input),
            shape: || scope::trace_with(shape::trace::<T>),
        }
    }
}

/// How a method's value is answered: as a value, or as the reference that it is.
pub struct AnswerCodec<R> {
    pub(super) codec: Codec<R>,
    pub(super) reference: Option<AsReference<R>>,
}

/// A stub and the reference in it.
pub(super) struct AsReference<R> {
    pub(super) from: fn(Reference) -> R,
    pub(super) to: fn(&R) -> Reference,
}

impl<R> Clone for AnswerCodec<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for AnswerCodec<R> {}

impl<R> Clone for AsReference<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for AsReference<R> {}

/// A method's value type; `with` finds out whether it is a stub: the inherent method is there for stubs, the trait's for all.
pub struct Returned<R>(PhantomData<R>);

impl<R> Returned<R> {
    #[doc(hidden)]
    pub const NEW: Self = Returned(PhantomData);
}

impl<R: Stub> Returned<R> {
    #[doc(hidden)]
    pub fn with(self, codec: Codec<R>) -> AnswerCodec<R> {
        let reference = AsReference { from: R::from_reference, to: |stub| stub.as_reference().clone() };
        AnswerCodec { codec, reference: Some(reference) }
    }
}

/// See [`Returned`].
pub trait DetectValue<R> {
    #[doc(hidden)]
    fn with(self, codec: Codec<R>) -> AnswerCodec<R>;
}

impl<R> DetectValue<R> for Returned<R> {
    fn with(self, codec: Codec<R>) -> AnswerCodec<R> {
        AnswerCodec { codec, reference: None }
    }
}

/// The two halves of a `Result`, also behind an alias.
pub trait ResultAlias {
    /// The value.
    type Ok;
    /// The error.
    type Err;
}

impl<T, E> ResultAlias for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// Which errors a method has of its own.
pub trait Errors: Send + Sync + 'static {
    /// What the method returns.
    type Method: Send + 'static;
    /// What its caller gets.
    type Caller: Send + 'static;
    #[doc(hidden)]
    fn app(error: Self::Method) -> Self::Caller;
    #[doc(hidden)]
    fn failed(failure: Failure) -> Self::Caller;
}

/// A method without errors of its own.
pub enum NoError {}

impl Errors for NoError {
    type Method = NoError;
    type Caller = Failure;
    fn app(error: NoError) -> Failure {
        match error {}
    }
    fn failed(failure: Failure) -> Failure {
        failure
    }
}

/// A method that returns `Result<_, E>`.
pub struct App<E>(PhantomData<fn() -> E>);

impl<E: Send + 'static> Errors for App<E> {
    type Method = E;
    type Caller = CallError<E>;
    fn app(error: E) -> CallError<E> {
        CallError::App(error)
    }
    fn failed(failure: Failure) -> CallError<E> {
        CallError::Broker(failure)
    }
}

/// How a method's own error is encoded.
pub struct ErrorCodec<K: Errors> {
    pub(super) codec: Option<Codec<K::Method>>,
}

impl<K: Errors> Clone for ErrorCodec<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Errors> Copy for ErrorCodec<K> {}

#[doc(hidden)]
pub fn errors<E: Send + 'static>(codec: Codec<E>) -> ErrorCodec<App<E>> {
    ErrorCodec { codec: Some(codec) }
}

#[doc(hidden)]
pub fn no_errors() -> ErrorCodec<NoError> {
    ErrorCodec { codec: None }
}

/// A method's arguments: a tuple of up to twelve.
pub trait Values: Send + Sized + 'static {
    /// The tuple of their codecs.
    type Codecs: Codecs<Self>;
}

/// The codecs of a method's arguments.
pub trait Codecs<A>: Copy + Send + Sync + 'static {
    /// How many there are.
    const COUNT: usize;
    /// Encodes all, one behind the other.
    ///
    /// # Errors
    /// What the body codec says; `out` may have grown.
    fn encode(&self, values: &A, out: &mut Vec<u8>) -> Result<(), BodyError>;
    /// Decodes all.
    ///
    /// # Errors
    /// What the body codec says.
    fn decode(&self, input: &mut &[u8]) -> Result<A, BodyError>;
    /// The shape of each.
    fn shapes(&self) -> Vec<Shape>;
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Send + 'static),*> Values for ($($name,)*) {
            type Codecs = ($(Codec<$name>,)*);
        }
        impl<$($name: Send + 'static),*> Codecs<($($name,)*)> for ($(Codec<$name>,)*) {
            const COUNT: usize = 0 $(+ { let _ = $index; 1 })*;
            #[allow(unused_variables, reason = "the empty tuple uses none")]
            fn encode(&self, values: &($($name,)*), out: &mut Vec<u8>) -> Result<(), BodyError> {
                $((self.$index.encode)(&values.$index, out)?;)*
                Ok(())
            }
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple uses none")]
            fn decode(&self, input: &mut &[u8]) -> Result<($($name,)*), BodyError> {
                Ok(($((self.$index.decode)(input)?,)*))
            }
            fn shapes(&self) -> Vec<Shape> {
                vec![$((self.$index.shape)()),*]
            }
        }
    )*};
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}

/// What a method takes and gives.
pub struct Signature<A: Values, R, K: Errors> {
    pub(super) arguments: A::Codecs,
    pub(super) ok: AnswerCodec<R>,
    pub(super) err: ErrorCodec<K>,
}

impl<A: Values, R, K: Errors> Signature<A, R, K> {
    #[doc(hidden)]
    pub fn new(arguments: A::Codecs, ok: AnswerCodec<R>, err: ErrorCodec<K>) -> Self {
        Signature { arguments, ok, err }
    }

    #[doc(hidden)]
    pub fn shape(&self) -> MethodShape {
        MethodShape {
            arguments: self.arguments.shapes(),
            ok: (self.ok.codec.shape)(),
            err: self.err.codec.map(|codec| (codec.shape)()),
        }
    }
}

impl<A: Values, R, K: Errors> Clone for Signature<A, R, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Values, R, K: Errors> Copy for Signature<A, R, K> {}
