//! The client that reads one file.

use std::io::Write;
use std::path::Path;

use futures::{StreamExt, stream};

use super::api::{DirRef, FileRef};
use super::error::CopyError;
use super::walk::file_at;

/// Writes the bytes of the file at `path` below `root` to `out`, and says how many they were. The way there and the first
/// bytes take one round trip; then some reads are on their way at a time.
///
/// # Errors
/// [`CopyError`]: what was read up to there has been written.
///
/// # Cancel safety
/// Dropped half-way, it has written the beginning.
pub async fn cat(root: &DirRef, path: &Path, out: &mut impl Write) -> Result<u64, CopyError> {
    let no_name = || CopyError::NoFile { path: path.to_owned() };
    let file = file_at(root, path).ok_or_else(no_name)?;
    let reads = stream::iter((0_u64..).step_by(CHUNK_BYTES as usize));
    let mut reads = reads.map(|offset| read(&file, path, offset)).buffered(READS);
    let mut written = 0;
    while let Some(data) = reads.next().await {
        let data = data?;
        out.write_all(&data).map_err(|source| CopyError::Write { path: "standard output".into(), source })?;
        written += data.len() as u64;
        if data.len() < CHUNK_BYTES as usize {
            break;
        }
    }
    Ok(written)
}

async fn read(file: &FileRef, path: &Path, offset: u64) -> Result<Vec<u8>, CopyError> {
    let data = file.read(offset, CHUNK_BYTES).await.map_err(|error| CopyError::read(path, error))?;
    Ok(data.into_vec())
}

/// Bytes of one read.
const CHUNK_BYTES: u32 = 128 * 1024;
/// Reads on their way at a time.
const READS: usize = 4;
