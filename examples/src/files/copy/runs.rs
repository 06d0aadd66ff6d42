//! Where a file has data.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::files::CopyError;
use crate::files::api::Run;
use crate::files::source::RemoteFile;

/// The runs of data of a file, asked for as they are needed. A file without holes is one, and nothing is asked.
pub(super) struct RunsOf {
    remote: Arc<RemoteFile>,
    path: PathBuf,
    known: VecDeque<Run>,
    last: bool,
    /// Where the next may begin.
    at: u64,
}

impl RunsOf {
    /// Those of `remote` from `at` on. `path` is where the copy will be, for messages.
    pub(super) fn new(remote: Arc<RemoteFile>, path: PathBuf, at: u64) -> Self {
        let mut known = VecDeque::new();
        let last = !remote.stat.sparse;
        if last && at < remote.stat.size {
            known.push_back(Run { start: at, len: remote.stat.size - at });
        }
        RunsOf { remote, path, known, last, at }
    }

    /// The next one: behind those before, not empty and within the file, whatever the server says.
    pub(super) async fn next(&mut self) -> Result<Option<Run>, CopyError> {
        while self.known.is_empty() && !self.last {
            let at = self.at;
            let answer = self.remote.ask(|file| file.runs(at)).await?;
            let answer = answer.map_err(|error| CopyError::call(&self.path, error))?;
            if answer.runs.is_empty() && !answer.last {
                return Err(CopyError::Runs { path: self.path.clone() });
            }
            (self.known, self.last) = (answer.runs.into(), answer.last);
        }
        let Some(run) = self.known.pop_front() else { return Ok(None) };
        match run.start.checked_add(run.len) {
            Some(end) if run.len > 0 && run.start >= self.at && end <= self.remote.stat.size => {
                self.at = end;
                Ok(Some(run))
            }
            _ => Err(CopyError::Runs { path: self.path.clone() }),
        }
    }
}
