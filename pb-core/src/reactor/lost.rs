use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Why a connection is over. [`Protocol::connection_lost`](super::Protocol::connection_lost) hears it once.
///
/// Twisted: `ConnectionDone`, `ConnectionLost`, `ConnectionAborted` (internet/error.py).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Lost {
    /// The other side closed in good order.
    #[error("the other side closed the connection")]
    Closed,
    /// This side did ([`Transport::lose_connection`](super::Transport::lose_connection)), and what it had written has left.
    #[error("this side closed the connection")]
    Done,
    /// This side ended it at once ([`Transport::abort`](super::Transport::abort)): what it had written may be lost.
    #[error("this side aborted the connection")]
    Aborted,
    /// The system has lost it, or the other side reset it.
    #[error("the connection was lost: {0}")]
    Broken(#[source] Arc<io::Error>),
    /// The other side did not read, and more was written than may wait ([`Settings::limit_bytes`](super::Settings::limit_bytes)).
    #[error("the other side does not read: {waiting_bytes} bytes wait, and {limit_bytes} may")]
    Unread {
        /// What waited when the next write came.
        waiting_bytes: usize,
        /// How much may.
        limit_bytes: usize,
    },
    /// It was closing, and the other side took nothing of what was left for too long ([`Settings::close_time`](super::Settings::close_time)).
    #[error("the other side took none of the last {waiting_bytes} bytes for {} s", close_time.as_secs_f64())]
    Stalled {
        /// What was left.
        waiting_bytes: usize,
        /// How long it took nothing.
        close_time: Duration,
    },
    /// The protocol had a reason of its own ([`Transport::fail`](super::Transport::fail)): what the other side said was wrong, as a rule.
    #[error("{0}")]
    Failed(#[source] Arc<dyn StdError + Send + Sync>),
    /// The protocol panicked.
    #[error("the protocol of the connection panicked")]
    Panicked,
    /// The factory made no protocol for it.
    #[error("the factory refused the connection")]
    Refused,
    /// The reactor stopped, or its runtime ended.
    #[error("this side is shutting down")]
    Shutdown,
}

/// Why there is no connection. [`ClientFactory::connection_failed`](super::ClientFactory::connection_failed) hears it.
///
/// Twisted: `ConnectError`, `TimeoutError`, `UserError` (internet/error.py).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectFailed {
    /// Nobody answers there, or nobody can be reached.
    #[error("cannot connect: {0}")]
    Unreachable(#[source] Arc<io::Error>),
    /// Nobody answered in time ([`ClientFactory::connect_timeout`](super::ClientFactory::connect_timeout)).
    #[error("nobody answered within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// This side gave up ([`Connector::disconnect`](super::Connector::disconnect)).
    #[error("this side gave up connecting")]
    GaveUp,
    /// The reactor stops, or has stopped.
    #[error("this side is shutting down")]
    Shutdown,
}
