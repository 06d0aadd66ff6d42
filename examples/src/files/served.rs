//! The objects that are served. They hold a path below the root each, and open it anew for every call.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pb_server::Referenceable;
use serde_bytes::ByteBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::{
    Digest, Dir, DirRef, Entry, File, FileRef, FileStat, FilesError, Kind, LinkTarget, Listing, ListingRef,
    MAX_DIGEST_BYTES, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, MAX_READ_BYTES, Name, Page, Runs, Stat, WatchRef,
    WatcherRef,
};
use super::tree::{Entries, Found, Identity, Listed, OpenFile, Tree, below};
use super::watching::ServedWatch;

/// Listings that may be open at a time, by all clients together: each holds descriptors, of which a process has 1,024.
const MAX_LISTINGS: usize = 256;
/// Watches that may be open at a time, by all clients together: each holds an inotify instance, of which a user has 128.
const MAX_WATCHES: usize = 32;

/// What all objects of one served tree share.
struct Serving {
    tree: Tree,
    listings: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    busy: Arc<AtomicUsize>,
}

/// Counts the calls that a served tree is at. Clones count the same.
#[derive(Clone, Default)]
pub struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// How many calls there are that wait for the disk, at this moment.
    pub fn calls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The root of `tree` as a live object, and what it is at.
pub fn root(tree: Tree) -> (DirRef, Busy) {
    let busy = Busy::default();
    let serving = Serving {
        tree,
        listings: Arc::new(Semaphore::new(MAX_LISTINGS)),
        watches: Arc::new(Semaphore::new(MAX_WATCHES)),
        busy: Arc::clone(&busy.0),
    };
    (DirRef::new(ServedDir { serving: Arc::new(serving), path: PathBuf::new() }), busy)
}

#[derive(Referenceable)]
struct ServedDir {
    serving: Arc<Serving>,
    #[inspect]
    path: PathBuf,
}

impl Dir for ServedDir {
    async fn stat(&self) -> Result<Stat, FilesError> {
        let path = self.path.clone();
        self.serving.on_disk(move |tree| tree.stat_dir(&path)).await
    }

    async fn list(&self) -> Result<ListingRef, FilesError> {
        let permit = Arc::clone(&self.serving.listings)
            .try_acquire_owned()
            .map_err(|_| FilesError::Busy { open: MAX_LISTINGS })?;
        let path = self.path.clone();
        let entries = self.serving.on_disk(move |tree| tree.read_dir(&path)).await?;
        let (serving, path) = (Arc::clone(&self.serving), self.path.clone());
        let walk = Walk { entries, serving: Arc::clone(&serving), path: path.clone() };
        let walk = Arc::new(Mutex::new(walk));
        Ok(ListingRef::new(ServedListing { serving, path, walk, _permit: permit }))
    }

    async fn dir(&self, name: Name) -> Result<DirRef, FilesError> {
        let path = self.path.join(name.component().map_err(FilesError::BadName)?);
        let (serving, looked_at) = (Arc::clone(&self.serving), path.clone());
        match self.serving.on_disk(move |tree| tree.find(&looked_at)).await {
            Ok(Found::Dir(_)) => Ok(DirRef::new(ServedDir { serving, path })),
            Ok(_) | Err(FilesError::Gone) => Err(FilesError::NoDir { name }),
            Err(error) => Err(error),
        }
    }

    async fn file(&self, name: Name) -> Result<FileRef, FilesError> {
        let path = self.path.join(name.component().map_err(FilesError::BadName)?);
        let (serving, looked_at) = (Arc::clone(&self.serving), path.clone());
        match self.serving.on_disk(move |tree| tree.find(&looked_at)).await {
            Ok(Found::File(stat, identity)) => Ok(FileRef::new(ServedFile { serving, path, stat, identity })),
            Ok(_) | Err(FilesError::Gone) => Err(FilesError::NoFile { name }),
            Err(error) => Err(error),
        }
    }

    async fn watch(&self, watcher: WatcherRef) -> Result<WatchRef, FilesError> {
        let permit = Arc::clone(&self.serving.watches)
            .try_acquire_owned()
            .map_err(|_| FilesError::Watched { open: MAX_WATCHES })?;
        let path = self.path.clone();
        let dir = self.serving.on_disk(move |tree| tree.open_dir(&path)).await?;
        // It looks into all directories below this one.
        let watch = self.serving.on_disk(move |_| ServedWatch::begin(dir, permit)).await?;
        Ok(WatchRef::new(watch.tell(watcher)))
    }
}

#[derive(Referenceable)]
struct ServedListing {
    serving: Arc<Serving>,
    /// What it lists.
    #[inspect]
    path: PathBuf,
    walk: Arc<Mutex<Walk>>,
    _permit: OwnedSemaphorePermit,
}

impl Listing for ServedListing {
    async fn next_page(&self) -> Result<Page, FilesError> {
        let walk = Arc::clone(&self.walk);
        self.serving.on_disk(move |_| walk.lock().unwrap_or_else(PoisonError::into_inner).next_page()).await
    }
}

struct Walk {
    entries: Entries,
    serving: Arc<Serving>,
    path: PathBuf,
}

impl Walk {
    fn next_page(&mut self) -> Result<Page, FilesError> {
        let mut page = Page { entries: Vec::new(), last: false };
        let mut page_bytes = 0;
        while page.entries.len() < MAX_PAGE_ENTRIES && page_bytes < MAX_PAGE_BYTES {
            let Some(Listed { name, found }) = self.entries.next_entry()? else {
                page.last = true;
                break;
            };
            let kind = self.offer(&name, found);
            page_bytes += name.len() + if let Kind::Link(target, _) = &kind { target.0.len() } else { 0 };
            page.entries.push(Entry { name: Name::new(name), kind });
        }
        Ok(page)
    }

    fn offer(&self, name: &[u8], found: Result<Found, FilesError>) -> Kind {
        let (serving, path) = (Arc::clone(&self.serving), below(&self.path, name));
        match found {
            Ok(Found::Dir(stat)) => Kind::Dir(DirRef::new(ServedDir { serving, path }), stat),
            Ok(Found::File(stat, identity)) => {
                Kind::File(FileRef::new(ServedFile { serving, path, stat, identity }), stat)
            }
            Ok(Found::Link(stat, target)) => Kind::Link(LinkTarget(target), stat),
            Ok(Found::Special) => Kind::Special,
            Err(why) => Kind::Unknown(why),
        }
    }
}

#[derive(Referenceable)]
struct ServedFile {
    serving: Arc<Serving>,
    #[inspect]
    path: PathBuf,
    #[inspect]
    stat: FileStat,
    identity: Identity,
}

impl File for ServedFile {
    async fn read(&self, offset: u64, len: u32) -> Result<ByteBuf, FilesError> {
        self.open_for(len, MAX_READ_BYTES, move |file| file.read(offset, len)).await.map(ByteBuf::from)
    }

    async fn stat(&self) -> Result<FileStat, FilesError> {
        Ok(self.stat)
    }

    async fn runs(&self, offset: u64) -> Result<Runs, FilesError> {
        self.open_for(0, 0, move |file| file.runs(offset)).await
    }

    async fn digest(&self, offset: u64, len: u32) -> Result<Digest, FilesError> {
        self.open_for(len, MAX_DIGEST_BYTES, move |file| file.digest(offset, len)).await.map(Digest::new)
    }
}

impl ServedFile {
    async fn open_for<T: Send + 'static>(
        &self,
        asked: u32,
        most: u32,
        work: impl FnOnce(OpenFile) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        if asked > most {
            return Err(FilesError::TooLong { asked, most });
        }
        let (path, identity) = (self.path.clone(), self.identity);
        self.serving.on_disk(move |tree| work(tree.open_file(&path, identity)?)).await
    }
}

impl Serving {
    /// Runs what waits for the disk where it holds up no calls.
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Tree) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let (serving, counted) = (Arc::clone(self), Counted::new(&self.busy));
        let work = move || {
            let _counted = counted;
            work(&serving.tree)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(stopped) => Err(FilesError::System { reason: stopped.to_string() }),
        }
    }
}

/// Counted for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
