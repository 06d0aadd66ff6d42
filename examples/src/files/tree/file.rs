//! One file of the tree, open for one call.

use std::os::fd::OwnedFd;

use rustix::fs;
use rustix::io::Errno;

use super::{Identity, identity_of, refused};
use crate::files::api::{FilesError, MAX_RUNS, Runs};
use crate::files::disk;

/// A file that was opened. What is read of it counts only if it is still the file that was listed, which is looked at
/// after the reading: so what was written between two reads is seen by the second.
pub struct OpenFile {
    file: OwnedFd,
    identity: Identity,
}

impl OpenFile {
    pub(super) fn new(file: OwnedFd, identity: Identity) -> Self {
        OpenFile { file, identity }
    }

    /// At most `len` bytes from `offset` on; fewer only where the file ends.
    ///
    /// # Errors
    /// [`FilesError::Changed`] when it is another file, or was written to since.
    pub fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, FilesError> {
        let mut data = vec![0; len as usize];
        let filled = disk::fill(&self.file, offset, &mut data).map_err(unread)?;
        data.truncate(filled);
        self.still_the_same().map(|()| data)
    }

    /// SHA-256 of at most `len` bytes from `offset` on.
    ///
    /// # Errors
    /// As [`OpenFile::read`].
    pub fn digest(&self, offset: u64, len: u32) -> Result<[u8; 32], FilesError> {
        let digest = disk::digest(&self.file, offset, len).map_err(unread)?;
        self.still_the_same().map(|()| digest)
    }

    /// Where it has data from `offset` on. File systems that do not know say that it is all data.
    ///
    /// # Errors
    /// As [`OpenFile::read`].
    pub fn runs(&self, offset: u64) -> Result<Runs, FilesError> {
        let (mut runs, mut at, mut last) = (Vec::new(), offset, false);
        while runs.len() < MAX_RUNS && !last {
            match disk::next_run(&self.file, at).map_err(unread)? {
                Some(run) => {
                    at = run.start + run.len;
                    runs.push(run);
                }
                None => last = true,
            }
        }
        self.still_the_same().map(|()| Runs { runs, last })
    }

    fn still_the_same(&self) -> Result<(), FilesError> {
        let stat = fs::fstat(&self.file).map_err(refused)?;
        if identity_of(&stat) == self.identity { Ok(()) } else { Err(FilesError::Changed) }
    }
}

/// What was a file when it was listed is none now, or the system refuses.
fn unread(error: Errno) -> FilesError {
    match error {
        Errno::ISDIR | Errno::SPIPE => FilesError::Gone,
        error => refused(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn open(file: &std::fs::File) -> OpenFile {
        let file = OwnedFd::from(file.try_clone().unwrap());
        let identity = identity_of(&fs::fstat(&file).unwrap());
        OpenFile::new(file, identity)
    }

    #[test]
    fn runs_and_holes_cover_a_file_in_as_many_answers_as_it_takes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        for number in 0..600 {
            file.write_all_at(b"data", number << 20).unwrap();
        }
        let open = open(&file);
        let (mut at, mut found, mut answers) = (0, Vec::new(), 0);
        loop {
            let Runs { runs, last } = open.runs(at).unwrap();
            at = runs.last().map_or(at, |run| run.start + run.len);
            found.extend(runs);
            answers += 1;
            if last {
                break;
            }
        }
        assert!(found.iter().all(|run| run.len > 0) && found.is_sorted_by_key(|run| run.start));
        for number in 0..600_u64 {
            assert!(found.iter().any(|run| (run.start..run.start + run.len).contains(&(number << 20))));
        }
        // Where the file system tells of holes, nearly all of it is one.
        if found.len() > 1 {
            assert_eq!((found.len(), answers), (600, 2));
            assert!(found.iter().map(|run| run.len).sum::<u64>() <= 600 << 16);
        }
        assert_eq!(open.runs(1 << 40).unwrap(), Runs { runs: Vec::new(), last: true });
        assert_eq!(open.runs(u64::MAX).unwrap(), Runs { runs: Vec::new(), last: true });
    }

    #[test]
    fn a_digest_is_that_of_the_bytes_that_are_there() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let open = open(&file);
        assert_eq!(open.digest(0, 200_000).unwrap()[..], Sha256::digest(&bytes)[..]);
        assert_eq!(open.digest(70_000, 65_537).unwrap()[..], Sha256::digest(&bytes[70_000..135_537])[..]);
        assert_eq!(open.digest(199_999, u32::MAX).unwrap()[..], Sha256::digest(&bytes[199_999..])[..]);
        assert_eq!(open.digest(u64::MAX, 0).unwrap()[..], Sha256::digest(b"")[..]);
        file.write_all_at(b"more", 200_000).unwrap();
        assert_eq!(open.digest(0, 200_000), Err(FilesError::Changed));
        assert_eq!(open.runs(0), Err(FilesError::Changed));
    }
}
