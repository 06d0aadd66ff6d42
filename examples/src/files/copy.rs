//! The client: copies what a [`DirRef`] shows to this disk.
//!
//! One loop owns the plan: a stack of directories to look into and a queue of files to copy. It never starts more than a fixed
//! number of either, and looks into a directory only while few files wait; the stack is taken from its top. So what is held of
//! the server's is bounded by the depth of the tree, not by its size, however many entries one directory has.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{TryStreamExt, stream};
use pb_client::CallError;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::api::{DirRef, Entry, FileRef, FileStat, FilesError, Kind, ListingRef, Page, Stat};
use super::progress::Progress;
use super::target::TargetDir;
use super::{CopyError, Shown};

/// What was copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Files with all their bytes.
    pub files: u64,
    /// Directories, the root not among them.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// Pipes, sockets and devices, which are not copied.
    pub specials: u64,
    /// Entries that the server could not give. A notice was printed for each.
    pub missing: u64,
}

/// Copies all that `root` shows to `destination`, which must not exist or be an empty directory.
///
/// # Errors
/// [`CopyError`]: nothing that is incomplete has its final name then. Entries that the server could not give are no error but
/// counted in the summary.
///
/// # Cancel safety
/// Dropped half-way, it leaves what an error would leave.
pub async fn copy(root: DirRef, destination: &Path, progress: Progress) -> Result<Summary, CopyError> {
    let stat = root.stat().await.map_err(|error| CopyError::call(destination, error))?;
    let path = destination.to_owned();
    let target = Arc::new(blocking(move || TargetDir::destination(&path, stat)).await?);
    let mut copying = Copying {
        progress,
        summary: Summary::default(),
        reads: Arc::new(Semaphore::new(READS)),
        places: vec![Place::Root { target, dir: root }],
        waiting: VecDeque::new(),
        running: JoinSet::new(),
        running_pages: 0,
        running_files: 0,
    };
    copying.run().await?;
    Ok(copying.summary)
}

/// A directory of the server's that is to be looked into. Ours is opened only then: many may wait, and descriptors are few.
enum Place {
    Root { target: Arc<TargetDir>, dir: DirRef },
    New { parent: Arc<TargetDir>, name: OsString, stat: Stat, dir: DirRef },
    Begun { target: Arc<TargetDir>, listing: ListingRef },
}

/// A file that is to be copied.
struct Waiting {
    target: Arc<TargetDir>,
    name: OsString,
    file: FileRef,
    stat: Stat,
    size: u64,
}

/// What a page became: directories and links were made already.
#[derive(Default)]
struct Unpacked {
    places: Vec<Place>,
    files: Vec<Waiting>,
    dirs: u64,
    links: u64,
    specials: Vec<PathBuf>,
    missing: Vec<CopyError>,
}

enum Done {
    Page(Arc<TargetDir>, Result<Unpacked, CopyError>),
    NoPlace(CopyError),
    File(Arc<TargetDir>, u64, Result<(), CopyError>),
}

struct Copying {
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
            self.running.spawn(unpack_page(place));
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
        self.progress.found(unpacked.files.iter().map(|file| file.size).fold(0, u64::saturating_add));
        self.places.extend(unpacked.places);
        self.waiting.extend(unpacked.files);
        Ok(())
    }

    async fn settle_file(
        &mut self,
        target: Arc<TargetDir>,
        size: u64,
        result: Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        self.running_files -= 1;
        match result {
            Ok(()) => {
                self.summary.files += 1;
                self.summary.bytes += size;
                self.progress.finished(self.summary.files);
            }
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

/// Asks for the next page of a place and makes the directories and links in it.
async fn unpack_page(place: Place) -> Done {
    let (target, asked) = match place {
        Place::Root { target, dir } => (target, first_page(dir).await),
        Place::New { parent, name, stat, dir } => match open(parent, name, stat).await {
            Ok(target) => (Arc::new(target), first_page(dir).await),
            Err(error) => return Done::NoPlace(error),
        },
        Place::Begun { target, listing } => {
            let page = listing.next_page().await;
            (target, page.map(|page| (listing, page)))
        }
    };
    let unpacked = match asked {
        Ok((listing, page)) => {
            let into = Arc::clone(&target);
            blocking(move || unpack(&into, page, listing)).await
        }
        Err(error) => Err(CopyError::call(target.path(), error)),
    };
    Done::Page(target, unpacked)
}

async fn open(parent: Arc<TargetDir>, name: OsString, stat: Stat) -> Result<TargetDir, CopyError> {
    let of = Arc::clone(&parent);
    let target = blocking(move || of.open_dir(&name, stat)).await?;
    finish(parent).await?;
    Ok(target)
}

async fn first_page(dir: DirRef) -> Result<(ListingRef, Page), CallError<FilesError>> {
    // The page is asked of a listing that nobody has yet: both calls take one round trip.
    let listing = dir.list();
    let page = listing.next_page();
    Ok((listing.await?, page.await?))
}

fn unpack(target: &Arc<TargetDir>, page: Page, listing: ListingRef) -> Result<Unpacked, CopyError> {
    let mut out = Unpacked::default();
    if !page.last {
        // The lowest of them: on a stack that is taken from its top, what is below this directory comes first.
        out.places.push(Place::Begun { target: Arc::clone(target), listing });
    }
    for Entry { name, kind } in page.entries {
        let component = name.component().map_err(|why| CopyError::Name { name: name.to_path(), why })?;
        match kind {
            Kind::Dir(dir, stat) => {
                target.make_dir(component)?;
                let (parent, name) = (Arc::clone(target), component.to_owned());
                out.places.push(Place::New { parent, name, stat, dir });
                out.dirs += 1;
            }
            Kind::File(file, FileStat { stat, size, .. }) => {
                let (target, name) = (Arc::clone(target), component.to_owned());
                out.files.push(Waiting { target, name, file, stat, size });
            }
            Kind::Link(link, stat) => {
                target.make_link(component, &link.0, stat)?;
                out.links += 1;
            }
            Kind::Special => out.specials.push(target.path_of(component)),
            Kind::Unknown(why) => out.missing.push(CopyError::Entry { path: target.path_of(component), why }),
        }
    }
    Ok(out)
}

async fn copy_file(waiting: Waiting, reads: Arc<Semaphore>, progress: Progress) -> Done {
    let (target, size) = (Arc::clone(&waiting.target), waiting.size);
    let result = match size {
        0..=CHUNK_BYTES => copy_whole(waiting, &reads, &progress).await,
        _ => copy_in_chunks(waiting, &reads, &progress).await,
    };
    Done::File(target, size, result)
}

/// A file of one chunk: one call and one trip to the disk.
async fn copy_whole(file: Waiting, reads: &Semaphore, progress: &Progress) -> Result<(), CopyError> {
    let permit = reads.acquire().await;
    let data = read(&file, 0, file.size).await?;
    let progress = progress.clone();
    let written = blocking(move || {
        let partial = file.target.begin_file(&file.name)?;
        partial.write(0, &data)?;
        progress.wrote(data.len() as u64);
        partial.finish(file.size, file.stat)
    })
    .await;
    drop(permit);
    written
}

/// A file of many chunks, several of them on their way at a time.
async fn copy_in_chunks(file: Waiting, reads: &Semaphore, progress: &Progress) -> Result<(), CopyError> {
    let file = Arc::new(file);
    let of = Arc::clone(&file);
    let partial = Arc::new(blocking(move || of.target.begin_file(&of.name)).await?);
    stream::iter((0..file.size).step_by(CHUNK_BYTES as usize).map(Ok))
        .try_for_each_concurrent(READS_OF_ONE_FILE, async |offset| {
            // Held until the bytes are written: so it bounds the memory as well.
            let _permit = reads.acquire().await;
            let data = read(&file, offset, CHUNK_BYTES.min(file.size - offset)).await?;
            let (partial, progress) = (Arc::clone(&partial), progress.clone());
            blocking(move || {
                partial.write(offset, &data)?;
                progress.wrote(data.len() as u64);
                Ok(())
            })
            .await
        })
        .await?;
    blocking(move || partial.finish(file.size, file.stat)).await
}

/// Reads exactly `len` bytes, at most a chunk. An empty file is read as well: the server may have no right to it.
async fn read(file: &Waiting, offset: u64, len: u64) -> Result<Vec<u8>, CopyError> {
    let path = || file.target.path_of(&file.name);
    let asked = u32::try_from(len).expect("a chunk is far below 2^32");
    let data = file.file.read(offset, asked).await.map_err(|error| CopyError::call(&path(), error))?;
    if data.len() as u64 != len {
        let written = offset.saturating_add(data.len() as u64);
        return Err(CopyError::Size { path: path(), written, size: file.size });
    }
    Ok(data.into_vec())
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

/// Bytes of one read. Enough that a call costs little beside it, and far below the frame limit of 1 MiB.
const CHUNK_BYTES: u64 = 128 * 1024;
/// Reads on their way or being written, by all files together: 1.5 MiB, which a server keeps for a peer that reads slowly.
const READS: usize = 12;
/// Reads of one file on their way, so that a big one does not hold up all small ones.
const READS_OF_ONE_FILE: usize = 8;
/// Files that are copied at a time.
const FILES: usize = 64;
/// Pages that are asked for at a time.
const PAGES: usize = 8;
/// Files waiting; with so many no further page is asked for.
const WAITING: usize = 256;
