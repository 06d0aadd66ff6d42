//! Which types may stand in a method's signature. The macro asks for each type at that type's place, so that one which may not is one
//! error, there, in our words.
//!
//! How: `Argument::<T>::NEW.argument()` finds, by way of `Deref`, the first of [`Argument`], [`Value`], [`Stuck`], [`Kept`] and [`Strange`] that has
//! the method for `T`, and what that returns says what `T` is. Only [`Found`] has `crosses`. The call of `crosses` that is refused has no type, and
//! whatever is built on it, in the stub as in the dispatcher, is silent.

use std::marker::PhantomData;
use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::signature::{AnswerCodec, App, AsReference, Codec, ErrorCodec};
use super::{Referenceable, Stub, scope};
use crate::wire::shape;

type Of<T> = PhantomData<fn() -> T>;

/// A type in a method's signature: a stub as an answer, one with a default as an argument that may be missing, any that crosses as the rest.
pub struct Argument<T>(Of<T>);

/// A type whose values cross to other processes.
pub struct Value<T>(Of<T>);

/// A type that serde knows.
pub struct Stuck<T>(Of<T>);

/// A type whose objects stay in their process.
pub struct Kept<T>(Of<T>);

/// Any type.
pub struct Strange<T>(Of<T>);

/// A codec that was found.
pub struct Found<C>(C);

/// A type without serde's two traits.
pub struct NotSerialisable<T>(Of<T>);

/// An object where its stub should stand.
pub struct ByReference<T>(Of<T>);

/// A type that is bound to its thread.
pub struct BoundToThread<T>(Of<T>);

/// A type without a default.
pub struct NoDefault<T>(Of<T>);

/// What [`NotSerialisable`] lacks: nothing implements it.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be sent to another process: it is not serialisable",
    label = "add `#[derive(serde::Serialize, serde::Deserialize)]` to it, or to what it holds; in the place of an object write its stub, `…Ref`",
    note = "arguments, answers and errors implement `serde::Serialize` and `serde::de::DeserializeOwned`"
)]
pub trait Serialisable<T> {}

/// What [`ByReference`] lacks: nothing implements it.
#[diagnostic::on_unimplemented(
    message = "`{T}` is passed by reference: write the stub of its interface here, not the struct",
    label = "an object stays where it is; of an interface `Bank` the stub is `BankRef`, and `BankRef::new(object)` makes one",
    note = "it has `#[derive(Referenceable)]`; what is to be sent as a copy derives `serde::Serialize` and `serde::Deserialize` instead"
)]
pub trait Copied<T> {}

/// What [`BoundToThread`] lacks: nothing implements it.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be sent to another thread",
    label = "this is not `Send`: take `Arc` for `Rc`, `Mutex` or atomics for cells",
    note = "methods run on any thread of the runtime, and so do those who wait for their answers"
)]
pub trait Sendable<T> {}

/// What [`NoDefault`] lacks: nothing implements it.
#[diagnostic::on_unimplemented(
    message = "`{T}` has no default that an argument could have which an older caller does not send",
    label = "implement `Default` for it, or take an `Option`",
    note = "`#[remote(default)]` gives a missing argument `Default::default()`"
)]
pub trait HasDefault<T> {}

impl<T> Argument<T> {
    #[doc(hidden)]
    pub const NEW: Self = Argument(PhantomData);
}

/// A stub is answered as the reference that it is.
impl<T: Stub> Argument<T> {
    #[doc(hidden)]
    pub fn answer(self) -> Found<AnswerCodec<T>> {
        let reference = AsReference { from: Some(T::from_reference), to: |stub| stub.as_reference().clone() };
        Found(AnswerCodec { codec: codec(), reference: Some(reference) })
    }
}

impl<T: Serialize + DeserializeOwned + Default + Send + 'static> Argument<T> {
    #[doc(hidden)]
    pub fn optional(self) -> Found<Codec<T>> {
        Found(Codec { default: Some(T::default), ..codec() })
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Value<T> {
    #[doc(hidden)]
    pub fn argument(&self) -> Found<Codec<T>> {
        Found(codec())
    }

    #[doc(hidden)]
    pub fn answer(&self) -> Found<AnswerCodec<T>> {
        Found(AnswerCodec { codec: codec(), reference: None })
    }

    #[doc(hidden)]
    pub fn error(&self) -> Found<ErrorCodec<App<T>>> {
        Found(ErrorCodec { codec: Some(codec()) })
    }

    #[doc(hidden)]
    pub fn optional(&self) -> NoDefault<T> {
        NoDefault(PhantomData)
    }
}

fn codec<T: Serialize + DeserializeOwned + Send + 'static>() -> Codec<T> {
    Codec {
        encode: |value, out| out.write(value),
        decode: |input| input.read(),
        shape: || scope::trace_with(shape::trace::<T>),
        default: None,
    }
}

impl<C> Found<C> {
    #[doc(hidden)]
    pub fn crosses(self) -> C {
        self.0
    }
}

/// What each level falls back to.
macro_rules! fallbacks {
    ($($level:ident => $next:ident)*) => {$(
        impl<T> Deref for $level<T> {
            type Target = $next<T>;
            fn deref(&self) -> &$next<T> {
                &$next(PhantomData)
            }
        }
    )*};
}

fallbacks! {
    Argument => Value
    Value => Stuck
    Stuck => Kept
    Kept => Strange
}

/// What those find that get as far as a level.
macro_rules! lacks {
    ($($level:ident: ($($bound:tt)*) finds $lack:ident)*) => {$(
        impl<T: $($bound)*> $level<T> {
            #[doc(hidden)]
            pub fn argument(&self) -> $lack<T> {
                $lack(PhantomData)
            }
            #[doc(hidden)]
            pub fn answer(&self) -> $lack<T> {
                $lack(PhantomData)
            }
            #[doc(hidden)]
            pub fn error(&self) -> $lack<T> {
                $lack(PhantomData)
            }
            #[doc(hidden)]
            pub fn optional(&self) -> $lack<T> {
                $lack(PhantomData)
            }
        }
    )*};
}

lacks! {
    Stuck: (Serialize + DeserializeOwned) finds BoundToThread
    Kept: (Referenceable) finds ByReference
    Strange: () finds NotSerialisable
}

impl<T> NotSerialisable<T>
where
    NotSerialisable<T>: Serialisable<T>,
{
    #[doc(hidden)]
    pub fn crosses(self) {}
}

impl<T> ByReference<T>
where
    ByReference<T>: Copied<T>,
{
    #[doc(hidden)]
    pub fn crosses(self) {}
}

impl<T> BoundToThread<T>
where
    BoundToThread<T>: Sendable<T>,
{
    #[doc(hidden)]
    pub fn crosses(self) {}
}

impl<T> NoDefault<T>
where
    NoDefault<T>: HasDefault<T>,
{
    #[doc(hidden)]
    pub fn crosses(self) {}
}
