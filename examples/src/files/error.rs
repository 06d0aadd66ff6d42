use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pb_client::{CallError, Failure, FailureKind};

use super::api::{BadName, FilesError};
use super::walk::why;
use super::{Shown, reason};

/// Why a client ended early, or one entry was left out of a copy.
#[derive(thiserror::Error, Debug)]
pub enum CopyError {
    /// Copy to another place, or empty it.
    #[error("{} is not empty, and no unfinished copy: nothing was copied", Shown(.path))]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// Wait for the other copy, or copy to another place.
    #[error("another copy to {} is under way: nothing was copied", Shown(.path))]
    UnderWay {
        /// The destination.
        path: PathBuf,
    },
    /// Move it out of the way.
    #[error("cannot copy {}: something else is there, which was left as it is", Shown(.path))]
    Occupied {
        /// Where the entry would have been.
        path: PathBuf,
    },
    /// Our disk refused: it is full, or there is no right to write.
    #[error("cannot write {}: {}", Shown(.path), reason(.source))]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server broke the rules of names. Nothing of its was written under that name.
    #[error("the server sent a name that none of its entries can have ({why}): {}", Shown(.name))]
    Name {
        /// The name.
        name: PathBuf,
        /// What is wrong with it.
        why: BadName,
    },
    /// The server gave two entries of a directory one name, or this disk cannot tell their names apart.
    #[error("{} is there already: the server listed the name twice, or this disk does not tell capitals apart", Shown(.path))]
    ListedTwice {
        /// The second's path.
        path: PathBuf,
    },
    /// The server gave another number of bytes than it had said.
    #[error("{} has {written} bytes, not {size} as the server had said", Shown(.path))]
    Size {
        /// Where it would have been.
        path: PathBuf,
        /// Bytes received.
        written: u64,
        /// Bytes announced.
        size: u64,
    },
    /// The server gave places for a file's data where none can be.
    #[error("cannot copy {}: the server said that its data lie where they cannot", Shown(.path))]
    Runs {
        /// Where it would have been.
        path: PathBuf,
    },
    /// The server could not give this entry; others it may.
    #[error("cannot copy {}: {why}", Shown(.path))]
    Entry {
        /// Where it would have been.
        path: PathBuf,
        /// Why.
        why: FilesError,
    },
    /// The server could not give what was asked for by its path.
    #[error("cannot read {}: {why}", Shown(.path))]
    Read {
        /// The path, as it was asked for.
        path: PathBuf,
        /// Why.
        why: FilesError,
    },
    /// The path names no file: it is empty.
    #[error("{} names no file", Shown(.path))]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// There is no server, or none that lets us in.
    #[error("{why}")]
    Unreachable {
        /// What the connecting said, a sentence.
        why: String,
    },
    /// The server is gone, and has not come back. What was copied stays, and another run goes on with it.
    #[error("the server went away before all was copied{}: {lost}", Waited(*.waited))]
    Gone {
        /// How the connection was lost.
        lost: Failure,
        /// For how long it was tried to get another one.
        waited: Duration,
    },
    /// The server was told to end, and has not come back. What was copied stays, and another run goes on with it.
    #[error("the server was told to end before all was copied: {reason}")]
    Left {
        /// What it said.
        reason: String,
    },
    /// A call failed for a reason that is none of the files'. Files that are complete stay.
    #[error("a call to the server failed: {0}")]
    Call(Failure),
}

impl CopyError {
    pub(super) fn unreachable(why: &impl std::fmt::Display) -> Self {
        CopyError::Unreachable { why: why.to_string() }
    }

    /// Whether only this entry is missing, and the copy may go on.
    pub(super) fn is_of_one_entry(&self) -> bool {
        use CopyError::{Entry, Occupied, Runs, Size};
        matches!(self, Entry { .. } | Size { .. } | Occupied { .. } | Runs { .. })
    }

    /// Whether another run of the same, when the server is back, would go on where this one has ended.
    pub fn may_go_on(&self) -> bool {
        matches!(self, CopyError::Gone { .. } | CopyError::Left { .. })
    }

    /// What a failed call for what was asked for as `path` means to who asked.
    pub fn read(path: &Path, error: CallError<FilesError>) -> Self {
        match Self::call(path, error) {
            CopyError::Entry { path, why } => CopyError::Read { path, why },
            other => other,
        }
    }

    /// What a failed call for what would be at `path` means to the copy.
    pub(super) fn call(path: &Path, error: CallError<FilesError>) -> Self {
        match why(error) {
            Ok(why) => CopyError::Entry { path: path.to_owned(), why },
            Err(lost) if lost.kind == FailureKind::Disconnected => {
                CopyError::Gone { lost, waited: Duration::ZERO }
            }
            Err(failure) => CopyError::Call(failure),
        }
    }
}

/// For how long it was tried to go on, if at all.
struct Waited(Duration);

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            Ok(())
        } else {
            write!(f, ", and was not back within {} s", self.0.as_secs_f64())
        }
    }
}
