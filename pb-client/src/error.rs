use std::fmt;
use std::io;
use std::time::Duration;

use pb_core::reactor::{Address, AddressError};
use pb_core::{CallError, Failure, FailureKind, Ran};
use thiserror::Error;

/// Why there is no connection. `{:?}` is the sentence too, for that is what a `main` that returns it prints.
#[derive(Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Where to.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers, but does not want the connection, or does not speak this protocol.
    #[error("{address} gives no connection: {failure}")]
    Handshake {
        /// Where to.
        address: Address,
        /// What went wrong.
        failure: Failure,
    },
    /// Neither a connection nor an error came in the time for it ([`Connect::timeout`](crate::Connect::timeout)).
    #[error("no connection to {address} within {} s", .after.as_secs_f64())]
    TimedOut {
        /// Where to.
        address: Address,
        /// The time that it had.
        after: Duration,
    },
    /// None of several addresses gave a connection.
    #[error("none of {} addresses gave a connection: {}", .0.len(), Listed(.0))]
    All(Vec<ConnectError>),
}

/// For methods that connect to somebody else in the middle: what was to be called there has not run.
impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        let kind = match &error {
            ConnectError::Handshake { failure, .. } => failure.kind,
            _ => FailureKind::Disconnected,
        };
        Failure::new(kind, Ran::No, error.to_string())
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Errors one behind the other.
struct Listed<'a>(&'a [ConnectError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// An error that may be the broker's: what [`Reconnecting::retry`](crate::Reconnecting::retry) looks at. A program that wraps call errors in its own implements
/// it for that.
pub trait HasFailure {
    /// The broker's failure, if it is one.
    fn failure(&self) -> Option<&Failure>;
}

impl HasFailure for Failure {
    fn failure(&self) -> Option<&Failure> {
        Some(self)
    }
}

impl<E> HasFailure for CallError<E> {
    fn failure(&self) -> Option<&Failure> {
        CallError::failure(self)
    }
}
