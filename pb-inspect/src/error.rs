use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use pb_client::{AppError as _, CallError, ConnectError, Failure};
use pb_server::inspect::InspectError;
use thiserror::Error;

/// Why a command did not do what it was to do. Each is a sentence, and has an exit status.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for is not there, or cannot be done: status 1.
    #[error("{0}")]
    Answer(InspectError),
    /// What was written is no value, object or call: status 2, as clap's own.
    #[error("{0}")]
    Usage(String),
    /// Nobody serves there, or the connection was lost: status 3.
    #[error("{}", not_reached(.url, .source))]
    Connect {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// The server failed to answer: status 3 where the connection was lost, else 1.
    #[error("{0}")]
    Failed(Failure),
    /// The token's file cannot be read: status 4.
    #[error("the token cannot be read from {path}: {source}", path = path.display())]
    Token {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The called method failed with its own error: status 5.
    #[error("{method} failed with its own error: {error}")]
    Method {
        /// Its name.
        method: String,
        /// The error, as JSON.
        error: String,
    },
    /// Lines of a script have failed, which was said of each: the status of the last.
    #[error("lines have failed; the last one with status {status}")]
    Lines {
        /// The status.
        status: u8,
    },
    /// Something is wrong with the server, which was said: status 6.
    #[error("something is wrong with the server")]
    Found,
    /// A file cannot be read, or made: status 1.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not, or not to its end, what can be decoded: status 1. What stands before is printed.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The output cannot be written: status 1, without a word where its reader has gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Why nobody can be looked into there, and what to look at.
fn not_reached(url: &str, source: &ConnectError) -> String {
    match source {
        ConnectError::Unreachable { source, .. } => format!(
            "cannot look into {url}: {source}; it must be the address that a server was given for its inspector, with `Server::inspect`, and that server must run"
        ),
        source => format!("cannot look into {url}: {source}"),
    }
}

impl Error {
    /// What it says, of which a terminal obeys nothing: parts may be a server's words.
    pub fn sentence(&self) -> String {
        self.to_string().lines().map(crate::out::plain).collect::<Vec<_>>().join("\n")
    }

    /// The process' exit status.
    pub fn status(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The same as a number.
    pub fn code(&self) -> u8 {
        match self {
            Error::Answer(
                InspectError::Filter { .. } | InspectError::Sort { .. } | InspectError::Event { .. },
            )
            | Error::Usage(_) => 2,
            Error::Answer(InspectError::Token | InspectError::NotAllowed { .. }) | Error::Token { .. } => 4,
            Error::Connect { .. } => 3,
            Error::Failed(failure) if failure.kind == pb_client::FailureKind::Disconnected => 3,
            Error::Method { .. } => 5,
            Error::Found => 6,
            Error::Lines { status } => *status,
            Error::Answer(_)
            | Error::Failed(_)
            | Error::File { .. }
            | Error::Damaged { .. }
            | Error::Output(_) => 1,
        }
    }

    /// Whether there is nobody to tell, or nothing that was not said.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Lines { .. } | Error::Found)
            || matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<CallError<InspectError>> for Error {
    fn from(error: CallError<InspectError>) -> Self {
        match error {
            CallError::App(error) => Error::Answer(error),
            CallError::Broker(failure) => failure.into(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        // What was called on the inspector fails with the door's own words.
        let refused = failure.app::<InspectError>();
        refused.map_or(Error::Failed(failure), Error::Answer)
    }
}
