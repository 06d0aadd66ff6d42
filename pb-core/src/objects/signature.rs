//! What a method takes and gives, as values: the codecs that the macro collects, one mention of each type a method.

use std::marker::PhantomData;

use super::interface::MethodShape;
use super::{Access, CallContext, CallError, Incoming, Method, Reference, Started, scope};
use crate::defer::Deferred;
use crate::message::{Failure, Reply};
use crate::wire::body::{BodyError, Draft, Received};
use crate::wire::shape::Shape;

/// How one type is encoded, decoded and described.
pub struct Codec<T> {
    pub(super) encode: fn(&T, &mut Draft) -> Result<(), BodyError>,
    pub(super) decode: fn(&mut Received<'_>) -> Result<T, BodyError>,
    pub(super) shape: fn() -> Shape,
    /// What an argument is that an older caller does not send; `None` where it may not be missing.
    pub(super) default: Option<fn() -> T>,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

/// How a method's value is answered: as a value, or as the reference that it is.
pub struct AnswerCodec<R> {
    pub(super) codec: Codec<R>,
    pub(super) reference: Option<AsReference<R>>,
}

/// A stub and the reference in it.
pub(super) struct AsReference<R> {
    /// `None` where only serde knows how it is made.
    pub(super) from: Option<fn(Reference) -> R>,
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

/// Encodes what a method ended with: the part of a signature that a running call keeps.
pub(super) struct AnswerWriter<R, K: Errors> {
    pub(super) value: Encode<R>,
    /// Of a stub: the reference in it is what travels.
    pub(super) reference: Option<fn(&R) -> Reference>,
    pub(super) error: Option<Encode<K::Method>>,
}

/// Decodes an answer: the part of a signature that a caller keeps.
pub(super) struct AnswerReader<R, K: Errors> {
    pub(super) value: Decode<R>,
    pub(super) reference: Option<AsReference<R>>,
    pub(super) error: Option<Decode<K::Method>>,
    /// Of an object in this process: what calls on the promise of its result fail with.
    pub(super) cause: Option<Encode<K::Method>>,
}

type Encode<T> = fn(&T, &mut Draft) -> Result<(), BodyError>;
type Decode<T> = fn(&mut Received<'_>) -> Result<T, BodyError>;

impl<R, K: Errors> AnswerReader<R, K> {
    pub(super) fn new(ok: AnswerCodec<R>, err: ErrorCodec<K>) -> Self {
        let (error, cause) = err.codec.map(|codec| (codec.decode, codec.encode)).unzip();
        AnswerReader { value: ok.codec.decode, reference: ok.reference, error, cause }
    }
}

impl<R, K: Errors> AnswerWriter<R, K> {
    pub(super) fn new(ok: AnswerCodec<R>, err: ErrorCodec<K>) -> Self {
        let (reference, error) =
            (ok.reference.map(|reference| reference.to), err.codec.map(|codec| codec.encode));
        AnswerWriter { value: ok.codec.encode, reference, error }
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
pub fn no_errors() -> ErrorCodec<NoError> {
    ErrorCodec { codec: None }
}

/// A method's arguments: a tuple of up to twelve.
pub trait Values: Send + Sized + 'static {
    /// The tuple of their codecs.
    type Codecs: Codecs<Values = Self>;
}

/// The codecs of a method's arguments.
pub trait Codecs: Copy + Send + Sync + 'static {
    /// The arguments.
    type Values: Values<Codecs = Self>;
    /// How many there are.
    const COUNT: usize;
    /// Encodes all, one behind the other, and tells `needed` each.
    ///
    /// # Errors
    /// What the body codec says; `out` may have grown.
    fn encode(
        &self,
        values: &Self::Values,
        out: &mut Draft,
        needed: &mut Needed<'_>,
    ) -> Result<(), BodyError>;
    /// Decodes the first `count`; the others get their defaults.
    ///
    /// # Errors
    /// What the body codec says.
    fn decode(&self, input: &mut Received<'_>, count: usize) -> Result<Self::Values, BodyError>;
    /// The shape of each.
    fn shapes(&self) -> Vec<Shape>;
    /// How many at the end may be missing.
    fn optional(&self) -> usize;
    /// The defaults of those at the end that may be missing, encoded; `None` for one that cannot be.
    fn defaults(&self) -> Box<[EncodedDefault]>;
}

/// The default of an argument that may be missing, encoded; `None` where that failed: such an argument counts as never at its default.
pub type EncodedDefault = Option<Box<[u8]>>;

/// Finds out, while arguments are encoded, how many of them a callee must know: all but those at the end that are at their defaults.
pub struct Needed<'a> {
    defaults: &'a [EncodedDefault],
    /// Arguments that may not be missing.
    fixed: usize,
    /// So many must be known.
    count: usize,
}

impl<'a> Needed<'a> {
    /// For a method of `total` arguments, of which the last may be missing, with these defaults.
    pub(super) fn new(total: usize, defaults: &'a [EncodedDefault]) -> Self {
        let fixed = total - defaults.len();
        Needed { defaults, fixed, count: fixed }
    }

    /// How many of the arguments that may be missing must be known.
    pub(super) fn optional(&self) -> usize {
        self.count - self.fixed
    }

    /// Where an argument begins that is about to be encoded; only that of one that may be missing is looked at.
    #[inline]
    fn begin(&self, index: usize, out: &mut Draft) -> usize {
        if index < self.fixed { 0 } else { out.bytes().len() }
    }

    #[inline]
    fn see(&mut self, index: usize, out: &mut Draft, start: usize) {
        if let Some(at) = index.checked_sub(self.fixed)
            && self.defaults[at].as_deref() != Some(&out.bytes()[start..])
        {
            self.count = index + 1;
        }
    }
}

impl<T> Codec<T> {
    fn decode_or_default(&self, input: &mut Received<'_>, there: bool) -> Result<T, BodyError> {
        match self.default {
            Some(default) if !there => Ok(default()),
            _ => (self.decode)(input),
        }
    }

    /// The default, encoded, where it may be missing.
    fn encoded_default(&self) -> Option<EncodedDefault> {
        let default = self.default?;
        let mut out = Draft::over(Vec::new());
        let (encoded, references) = scope::encode_with(|| (self.encode)(&default(), &mut out));
        Some((encoded.is_ok() && references.is_empty()).then(|| std::mem::take(out.bytes()).into()))
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Send + 'static),*> Values for ($($name,)*) {
            type Codecs = ($(Codec<$name>,)*);
        }
        impl<$($name: Send + 'static),*> Codecs for ($(Codec<$name>,)*) {
            type Values = ($($name,)*);
            const COUNT: usize = 0 $(+ { let _ = $index; 1 })*;
            #[allow(unused_variables, reason = "the empty tuple uses none")]
            fn encode(
                &self,
                values: &Self::Values,
                out: &mut Draft,
                needed: &mut Needed<'_>,
            ) -> Result<(), BodyError> {
                $(
                    let start = needed.begin($index, out);
                    (self.$index.encode)(&values.$index, out)?;
                    needed.see($index, out, start);
                )*
                Ok(())
            }
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple uses none")]
            fn decode(&self, input: &mut Received<'_>, count: usize) -> Result<Self::Values, BodyError> {
                Ok(($(self.$index.decode_or_default(input, $index < count)?,)*))
            }
            fn shapes(&self) -> Vec<Shape> {
                vec![$((self.$index.shape)()),*]
            }
            fn optional(&self) -> usize {
                0 $(+ usize::from(self.$index.default.is_some()))*
            }
            fn defaults(&self) -> Box<[EncodedDefault]> {
                let all: Vec<Option<EncodedDefault>> = vec![$(self.$index.encoded_default()),*];
                all.into_iter().flatten().collect()
            }
        }
    )*};
}

all_tuples!(tuples);

/// What a method takes and gives.
pub struct Signature<A: Values, R, K: Errors> {
    pub(super) arguments: A::Codecs,
    pub(super) ok: AnswerCodec<R>,
    pub(super) err: ErrorCodec<K>,
}

impl<R> AnswerCodec<R> {
    /// The signature of a method that answers this.
    #[doc(hidden)]
    pub fn signature<C: Codecs, K: Errors>(
        self,
        arguments: C,
        err: ErrorCodec<K>,
    ) -> Signature<C::Values, R, K> {
        Signature { arguments, ok: self, err }
    }
}

impl<A: Values, R: Send + 'static, K: Errors> Signature<A, R, K> {
    #[doc(hidden)]
    pub fn shape(self) -> MethodShape {
        MethodShape {
            arguments: self.arguments.shapes(),
            optional: self.arguments.optional(),
            ok: (self.ok.codec.shape)(),
            err: self.err.codec.map(|codec| (codec.shape)()),
        }
    }

    /// What a call of it asks for.
    pub(super) fn reply(&self) -> Reply {
        if self.ok.reference.is_some() { Reply::Reference } else { Reply::Value }
    }

    /// Calls a method through a stub. The call is on its way when this returns; where it cannot be sent, the Deferred fails.
    #[doc(hidden)]
    pub fn call(self, through: &Access, method: &'static Method, arguments: A) -> Deferred<R, K::Caller> {
        through.call(method, self, arguments)
    }

    /// Decodes the arguments of a call and makes the method ready to run.
    #[doc(hidden)]
    pub fn run<F, Fut>(self, call: &mut Incoming<'_>, method: F) -> Started
    where
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<R, K::Method>> + Send + 'static,
    {
        call.run(self, method)
    }

    /// The same for a method that asks where the call comes from.
    #[doc(hidden)]
    pub fn run_asking<F, Fut>(self, call: &mut Incoming<'_>, method: F) -> Started
    where
        F: FnOnce(A, CallContext) -> Fut,
        Fut: Future<Output = Result<R, K::Method>> + Send + 'static,
    {
        let context = call.context();
        call.run(self, |arguments| method(arguments, context))
    }
}

impl<A: Values> Signature<A, (), NoError> {
    /// Calls a method that is never answered.
    #[doc(hidden)]
    pub fn cast(self, through: &Access, method: &'static Method, arguments: A) {
        through.cast(method, self, arguments);
    }
}

impl<A: Values, R, K: Errors> Clone for Signature<A, R, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Values, R, K: Errors> Copy for Signature<A, R, K> {}
