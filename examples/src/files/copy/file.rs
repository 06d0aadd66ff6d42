//! Copying one file: its runs of data, some reads on their way at a time, written in their order. So the length of an unfinished
//! file says how much of it is there, and holes stay holes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use futures::{TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::compare::same_up_to;
use super::runs::RunsOf;
use super::{Done, blocking};
use crate::files::CopyError;
use crate::files::place::{FileThere, Partial, TargetDir};
use crate::files::progress::Progress;
use crate::files::source::RemoteFile;

/// A file that is to be copied.
pub(super) struct Waiting {
    pub(super) target: Arc<TargetDir>,
    pub(super) name: OsString,
    pub(super) remote: Arc<RemoteFile>,
    pub(super) there: FileThere,
}

/// What an earlier run had of a file under its name.
pub(super) enum Had {
    Nothing,
    All,
}

impl Waiting {
    pub(super) fn size(&self) -> u64 {
        self.remote.stat.size
    }

    fn path(&self) -> PathBuf {
        self.target.path_of(&self.name)
    }

    fn begin(&self) -> Result<Partial, CopyError> {
        self.target.begin_file(&self.name, self.there != FileThere::Nothing)
    }
}

/// Copies a file, unless it turns out to be there.
pub(super) async fn copy_file(file: Waiting, reads: Arc<Semaphore>, progress: Progress) -> Done {
    let (target, size) = (Arc::clone(&file.target), file.size());
    let result = match is_there(&file).await {
        Ok(true) => {
            progress.wrote(size);
            Ok(Had::All)
        }
        Ok(false) if size <= CHUNK_BYTES => copy_whole(file, reads, &progress).await.map(|()| Had::Nothing),
        Ok(false) => copy_in_runs(file, reads, &progress).await.map(|()| Had::Nothing),
        Err(error) => Err(error),
    };
    Done::File(target, size, result)
}

/// Whether what has the file's name is the same by its contents.
async fn is_there(file: &Waiting) -> Result<bool, CopyError> {
    if file.there != FileThere::Same {
        return Ok(false);
    }
    let (target, name) = (Arc::clone(&file.target), file.name.clone());
    let Some(there) = blocking(move || Ok(target.open_file(&name))).await? else { return Ok(false) };
    Ok(same_up_to(file.size(), &Arc::new(there), &file.remote, &file.path()).await? == file.size())
}

/// A file of one chunk: one call and one trip to the disk.
async fn copy_whole(file: Waiting, reads: Arc<Semaphore>, progress: &Progress) -> Result<(), CopyError> {
    let permit = reads.acquire_owned().await;
    let data = read(&file.remote, 0, file.size(), file.path()).await?;
    let progress = progress.clone();
    let written = blocking(move || {
        let partial = file.begin()?;
        partial.cut(0)?;
        partial.write(0, &data)?;
        progress.wrote(data.len() as u64);
        partial.finish(file.remote.stat)
    })
    .await;
    drop(permit);
    written
}

/// A file of many chunks.
async fn copy_in_runs(file: Waiting, reads: Arc<Semaphore>, progress: &Progress) -> Result<(), CopyError> {
    let file = Arc::new(file);
    let of = Arc::clone(&file);
    let partial = Arc::new(blocking(move || of.begin()).await?);
    let copied = fill(&file, &partial, reads, progress).await;
    if copied.as_ref().is_err_and(CopyError::is_of_one_entry) {
        partial.discard();
    }
    copied?;
    blocking(move || partial.finish(file.remote.stat)).await
}

/// Writes what the unfinished file has not yet.
async fn fill(
    file: &Arc<Waiting>,
    partial: &Arc<Partial>,
    reads: Arc<Semaphore>,
    progress: &Progress,
) -> Result<(), CopyError> {
    let there = partial.there().min(file.size());
    let same = same_up_to(there, partial.file(), &file.remote, &file.path()).await?;
    let of = Arc::clone(partial);
    blocking(move || of.cut(same)).await?;
    progress.wrote(same);

    let pieces =
        Pieces { runs: RunsOf::new(Arc::clone(&file.remote), file.path(), same), at: 0, end: 0, reads };
    let pieces = stream::try_unfold(pieces, Pieces::next).map_ok(async |(offset, len, permit)| {
        let data = read(&file.remote, offset, len, file.path()).await?;
        Ok((offset, data, permit))
    });
    let mut pieces = pin!(pieces.try_buffered(READS_OF_ONE_FILE));
    let mut written = same;
    while let Some((offset, data, permit)) = pieces.try_next().await? {
        let (partial, len) = (Arc::clone(partial), data.len() as u64);
        blocking(move || partial.write(offset, &data)).await?;
        written += len;
        progress.wrote(len);
        // Held until the bytes are written: so it bounds the memory as well.
        drop(permit);
    }
    progress.wrote(file.size().saturating_sub(written));
    let (partial, size) = (Arc::clone(partial), file.size());
    if file.remote.stat.sparse { blocking(move || partial.extend(size)).await } else { Ok(()) }
}

/// The chunks of a file that are to be read, in their order. Each has its permit from here, so that a read never waits for one
/// that a later read of the file has.
struct Pieces {
    runs: RunsOf,
    at: u64,
    end: u64,
    reads: Arc<Semaphore>,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<((u64, u64, Option<OwnedSemaphorePermit>), Self)>, CopyError> {
        if self.at == self.end {
            let Some(run) = self.runs.next().await? else { return Ok(None) };
            (self.at, self.end) = (run.start, run.start + run.len);
        }
        // Never closed.
        let permit = Arc::clone(&self.reads).acquire_owned().await.ok();
        let (offset, len) = (self.at, CHUNK_BYTES.min(self.end - self.at));
        self.at += len;
        Ok(Some(((offset, len, permit), self)))
    }
}

/// Reads exactly `len` bytes, at most a chunk. An empty file is read as well: the server may have no right to it.
async fn read(remote: &RemoteFile, offset: u64, len: u64, path: PathBuf) -> Result<Vec<u8>, CopyError> {
    let asked = u32::try_from(len).expect("a chunk is far below 2^32");
    let data = remote.ask(|file| file.read(offset, asked)).await?;
    let data = data.map_err(|error| CopyError::call(&path, error))?;
    if data.len() as u64 != len {
        let written = offset.saturating_add(data.len() as u64);
        return Err(CopyError::Size { path, written, size: remote.stat.size });
    }
    Ok(data.into_vec())
}

/// Bytes of one read. Enough that a call costs little beside it, and far below the frame limit of 1 MiB.
const CHUNK_BYTES: u64 = 128 * 1024;
/// Reads of one file on their way, so that a big one does not hold up all small ones.
const READS_OF_ONE_FILE: usize = 8;
