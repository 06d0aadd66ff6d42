//! The client: copies what a server shows to this disk.
//!
//! One loop owns the plan: a stack of directories to look into and a queue of files to copy. It never starts more than a fixed
//! number of either, and looks into a directory only while few files wait; the stack is taken from its top. So what is held of
//! the server's is bounded by the depth of the tree, not by its size, however many entries one directory has.
//!
//! What is guaranteed, whenever a copy ends and for whatever reason but a loss of power: a file that has its name has all its
//! bytes, its mode and its time, as they were at one moment. What was begun has another name or mode ([`place`](super::place)),
//! by which a further run into the same destination knows it, and goes on there.

mod compare;
mod file;
mod page;
mod runs;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::place::TargetDir;
use super::progress::Progress;
use super::source::Source;
use super::{CopyError, Shown};
use file::{Had, Waiting, copy_file};
use page::{Place, Unpacked, unpack_page};

/// How to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// How long the server may be away; default 60 s.
    pub patience: Duration,
    /// Whether files of an earlier run are compared with the server's by their SHA-256, not only by size and time; default: not.
    pub verify: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Manner { patience: Duration::from_secs(60), verify: false }
    }
}

/// What was copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Files with all their bytes, not counting those that were there.
    pub files: u64,
    /// Directories, the root not among them.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes in the files, those in holes included.
    pub bytes: u64,
    /// Files that an earlier run had copied.
    pub kept: u64,
    /// Pipes, sockets and devices, which are not copied.
    pub specials: u64,
    /// Entries that could not be copied. A notice was printed for each.
    pub missing: u64,
    /// How often the connection was lost and made again.
    pub reconnections: u64,
}

/// Copies all that the server at `url` shows to `destination`, which must not exist, be an empty directory, or be what an earlier
/// run has left unfinished. What that has finished is not copied again: files of the same size and time are taken for the
/// same ([`Manner::verify`] looks at their contents), and of an unfinished file what has the same SHA-256 as the server's.
///
/// # Errors
/// [`CopyError`]: nothing that is incomplete has its final name then, and another run goes on. Entries that could not be copied are no
/// error but counted in the summary.
///
/// # Cancel safety
/// Dropped half-way, it leaves what an error would leave.
pub async fn copy(
    url: &str,
    destination: &Path,
    manner: Manner,
    progress: Progress,
) -> Result<Summary, CopyError> {
    let source = Source::connect(url, manner.patience, progress.clone()).await?;
    let (root, stat) = source.root().await?.map_err(|error| CopyError::call(destination, error))?;
    let path = destination.to_owned();
    let target = Arc::new(blocking(move || TargetDir::destination(&path, stat)).await?);
    let mut copying = Copying {
        root: Arc::clone(&target),
        manner,
        progress,
        summary: Summary::default(),
        reads: Arc::new(Semaphore::new(READS)),
        places: vec![Place::Root { target, dir: root }],
        waiting: VecDeque::new(),
        running: JoinSet::new(),
        running_pages: 0,
        running_files: 0,
        source,
    };
    copying.run().await?;
    let Copying { root, source, summary, .. } = copying;
    finish(root).await?;
    Ok(Summary { reconnections: source.reconnections(), ..summary })
}

enum Done {
    Page(Arc<TargetDir>, Result<Unpacked, CopyError>),
    NoPlace(CopyError),
    File(Arc<TargetDir>, u64, Result<Had, CopyError>),
}

struct Copying {
    source: Arc<Source>,
    /// Held to the end: it gets its mode last, for that says whether all is there.
    root: Arc<TargetDir>,
    manner: Manner,
    progress: Progress,
    summary: Summary,
    reads: Arc<Semaphore>,
    places: Vec<Place>,
    waiting: VecDeque<Waiting>,
    running: JoinSet<Done>,
    running_pages: usize,
    running_files: usize,
}

impl Copying {
    async fn run(&mut self) -> Result<(), CopyError> {
        loop {
            self.start();
            match self.running.join_next().await {
                None => return Ok(()),
                Some(Ok(Done::Page(target, unpacked))) => self.settle_page(target, unpacked).await?,
                Some(Ok(Done::NoPlace(error))) => return Err(error),
                Some(Ok(Done::File(target, size, result))) => self.settle_file(target, size, result).await?,
                Some(Err(stopped)) => unwind(stopped).await,
            }
        }
    }

    fn start(&mut self) {
        while self.running_files < FILES
            && let Some(file) = self.waiting.pop_front()
        {
            self.running_files += 1;
            self.running.spawn(copy_file(file, Arc::clone(&self.reads), self.progress.clone()));
        }
        while self.running_pages < PAGES
            && self.waiting.len() < WAITING
            && let Some(place) = self.places.pop()
        {
            self.running_pages += 1;
            self.running.spawn(unpack_page(place, Arc::clone(&self.source), self.manner.verify));
        }
    }

    async fn settle_page(
        &mut self,
        target: Arc<TargetDir>,
        unpacked: Result<Unpacked, CopyError>,
    ) -> Result<(), CopyError> {
        self.running_pages -= 1;
        match unpacked {
            Ok(unpacked) => self.plan(unpacked)?,
            Err(error) => self.leave_out(error)?,
        }
        finish(target).await
    }

    fn plan(&mut self, unpacked: Unpacked) -> Result<(), CopyError> {
        for path in &unpacked.specials {
            self.progress.notice(format_args!("left out {}: it is no file, directory or link", Shown(path)));
        }
        for error in unpacked.missing {
            self.leave_out(error)?;
        }
        self.summary.specials += unpacked.specials.len() as u64;
        self.summary.links += unpacked.links;
        self.summary.dirs += unpacked.dirs;
        self.summary.kept += unpacked.kept;
        self.progress.found(unpacked.files.iter().map(Waiting::size).fold(0, u64::saturating_add));
        self.places.extend(unpacked.places);
        self.waiting.extend(unpacked.files);
        Ok(())
    }

    async fn settle_file(
        &mut self,
        target: Arc<TargetDir>,
        size: u64,
        result: Result<Had, CopyError>,
    ) -> Result<(), CopyError> {
        self.running_files -= 1;
        match result {
            Ok(Had::Nothing) => {
                self.summary.files += 1;
                self.summary.bytes += size;
                self.progress.finished(self.summary.files);
            }
            Ok(Had::All) => self.summary.kept += 1,
            Err(error) => self.leave_out(error)?,
        }
        finish(target).await
    }

    fn leave_out(&mut self, error: CopyError) -> Result<(), CopyError> {
        if !error.is_of_one_entry() {
            return Err(error);
        }
        self.progress.notice(&error);
        self.summary.missing += 1;
        Ok(())
    }
}

/// Gives a directory its mode if this was the last that is made in it.
async fn finish(target: Arc<TargetDir>) -> Result<(), CopyError> {
    match Arc::into_inner(target) {
        Some(target) => blocking(move || target.finish()).await,
        None => Ok(()),
    }
}

/// Runs what waits for the disk where it holds up no calls.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CopyError> + Send + 'static,
) -> Result<T, CopyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => unwind(stopped).await,
    }
}

/// Goes on with another task's panic. Only a runtime that is being dropped stops tasks otherwise, and this one with them.
async fn unwind<T>(stopped: JoinError) -> T {
    match stopped.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => std::future::pending().await,
    }
}

/// Reads on their way or being written, by all files together: 1.5 MiB, which a server keeps for a peer that reads slowly.
const READS: usize = 12;
/// Files that are copied at a time.
const FILES: usize = 64;
/// Pages that are asked for at a time.
const PAGES: usize = 8;
/// Files waiting; with so many no further page is asked for.
const WAITING: usize = 256;
