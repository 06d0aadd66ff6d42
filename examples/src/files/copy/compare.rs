//! How much of a file is there already, by its contents: SHA-256 of parts of both sides, so that little travels.

use std::path::Path;
use std::sync::Arc;

use super::blocking;
use super::runs::RunsOf;
use crate::files::CopyError;
use crate::files::api::MAX_DIGEST_BYTES;
use crate::files::place::LocalFile;
use crate::files::source::RemoteFile;

/// Up to where `local` has the bytes of `remote`, at most `end`. Where the server's has a hole, this one must have one too.
/// The answer may be too low, by a part of 4 MiB, never too high.
pub(super) async fn same_up_to(
    end: u64,
    local: &Arc<LocalFile>,
    remote: &Arc<RemoteFile>,
    path: &Path,
) -> Result<u64, CopyError> {
    let mut runs = RunsOf::new(Arc::clone(remote), path.to_owned(), 0);
    let mut at = 0;
    while at < end {
        let (start, run_end) = match runs.next().await? {
            Some(run) => (run.start.min(end), (run.start + run.len).min(end)),
            None => (end, end),
        };
        let of = Arc::clone(local);
        if start > at && !blocking(move || of.is_hole(at, start)).await? {
            return Ok(at);
        }
        at = start;
        while at < run_end {
            let len = u64::from(MAX_DIGEST_BYTES).min(run_end - at) as u32;
            let theirs = remote.ask(|file| file.digest(at, len)).await?;
            let theirs = theirs.map_err(|error| CopyError::call(path, error))?;
            let of = Arc::clone(local);
            if blocking(move || of.digest(at, len)).await? != theirs {
                return Ok(at);
            }
            at += u64::from(len);
        }
    }
    Ok(at)
}
