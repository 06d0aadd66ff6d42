use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::files::CopyError;
use crate::files::api::Digest;
use crate::files::{disk, place::unwritten};

/// A file of this disk whose contents are looked at.
pub struct LocalFile {
    pub(super) file: OwnedFd,
    pub(super) path: PathBuf,
}

impl LocalFile {
    pub(super) fn new(file: OwnedFd, path: PathBuf) -> Self {
        LocalFile { file, path }
    }

    /// SHA-256 of at most `len` bytes from `offset` on.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn digest(&self, offset: u64, len: u32) -> Result<Digest, CopyError> {
        let digest = disk::digest(&self.file, offset, len).map_err(|error| unwritten(&self.path, error))?;
        Ok(Digest::new(digest))
    }

    /// Whether there are no data between `start` and `end`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn is_hole(&self, start: u64, end: u64) -> Result<bool, CopyError> {
        let run = disk::next_run(&self.file, start).map_err(|error| unwritten(&self.path, error))?;
        Ok(run.is_none_or(|run| run.start >= end))
    }
}
