//! What both sides do with open files of their disks. Everything here blocks.

use std::os::fd::AsFd;

use rustix::fs::{self, SeekFrom};
use rustix::io::{self, Errno};
use sha2::{Digest as _, Sha256};

use super::api::Run;

/// Reads from `offset` on until `data` is full or the file ends, and says how much that is.
pub(super) fn fill(file: impl AsFd, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < data.len() {
        // A position that no file can have is behind the end of every file.
        let Some(position) = offset.checked_add(filled as u64).filter(is_position) else { break };
        match io::pread(&file, &mut data[filled..], position) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// SHA-256 of at most `len` bytes from `offset` on; of fewer only where the file ends.
pub(super) fn digest(file: impl AsFd, offset: u64, len: u32) -> Result<[u8; 32], Errno> {
    let (mut at, mut left) = (offset, len as usize);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; left.min(STEP)]);
    while left > 0 {
        let step = left.min(STEP);
        let filled = fill(&file, at, &mut buffer[..step])?;
        hash.update(&buffer[..filled]);
        if filled < step {
            break;
        }
        (at, left) = (at + filled as u64, left - filled);
    }
    Ok(hash.finalize().into())
}

/// The first run of data at or behind `offset`, `None` where there is no more. File systems that know no holes have one run.
pub(super) fn next_run(file: impl AsFd, offset: u64) -> Result<Option<Run>, Errno> {
    if !is_position(&offset) {
        return Ok(None);
    }
    let start = match fs::seek(&file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    let end = fs::seek(&file, SeekFrom::Hole(start))?;
    Ok((end > start).then_some(Run { start, len: end - start }))
}

fn is_position(offset: &u64) -> bool {
    i64::try_from(*offset).is_ok()
}

/// What is read at a time to be hashed.
const STEP: usize = 64 * 1024;
