use std::error::Error;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::message::{AppCause, Cause, Failure};
use crate::wire::body;

/// Why a call of a method that returns `Result` has no value.
///
/// Wire: docs/protocol.md, section 11.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError<E> {
    /// The method ran and returned this error.
    App(E),
    /// The broker failed the call; [`Failure::ran`] says whether the method has run.
    Broker(Failure),
}

impl<E> CallError<E> {
    /// The broker's failure, if it is one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            CallError::App(_) => None,
            CallError::Broker(failure) => Some(failure),
        }
    }
}

impl<E> From<Failure> for CallError<E> {
    fn from(failure: Failure) -> Self {
        CallError::Broker(failure)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::App(error) => error.fmt(f),
            CallError::Broker(failure) => failure.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure().and_then(Error::source)
    }
}

/// Reads a method's own error out of what it brought about.
pub trait AppError {
    /// The error of the method that failed first, where its type is `E` and it holds no references: for example that of `open` when
    /// `open(..).deposit(..)` failed `Broken`.
    fn app<E: DeserializeOwned>(&self) -> Option<E>;
}

impl AppError for AppCause {
    fn app<E: DeserializeOwned>(&self) -> Option<E> {
        let mut rest = &self.body[..];
        let error = body::decode(&mut rest).ok()?;
        rest.is_empty().then_some(error)
    }
}

impl AppError for Failure {
    fn app<E: DeserializeOwned>(&self) -> Option<E> {
        match self.cause.as_deref()? {
            Cause::App(cause) => cause.app(),
            Cause::Broker(failure) => failure.app(),
        }
    }
}
