//! The objects that are served. They hold a path below the root each, and open it anew for every call.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pb_server::Referenceable;
use serde_bytes::ByteBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::{
    Dir, DirRef, Entry, File, FileRef, FilesError, Kind, LinkTarget, Listing, ListingRef, MAX_PAGE_BYTES,
    MAX_PAGE_ENTRIES, MAX_READ_BYTES, Name, Page, Stat,
};
use super::tree::{Entries, Found, Identity, Listed, Tree, below};

/// Listings that may be open at a time, by all clients together: each holds descriptors, of which a process has 1,024.
const MAX_LISTINGS: usize = 256;

/// What all objects of one served tree share.
struct Serving {
    tree: Tree,
    listings: Arc<Semaphore>,
}

/// The root of `tree` as a live object.
pub fn root(tree: Tree) -> DirRef {
    let listings = Arc::new(Semaphore::new(MAX_LISTINGS));
    DirRef::new(ServedDir { serving: Arc::new(Serving { tree, listings }), path: PathBuf::new() })
}

#[derive(Referenceable)]
struct ServedDir {
    serving: Arc<Serving>,
    path: PathBuf,
}

impl Dir for ServedDir {
    async fn stat(&self) -> Result<Stat, FilesError> {
        let (serving, path) = (Arc::clone(&self.serving), self.path.clone());
        blocking(move || serving.tree.stat_dir(&path)).await
    }

    async fn list(&self) -> Result<ListingRef, FilesError> {
        let permit = Arc::clone(&self.serving.listings)
            .try_acquire_owned()
            .map_err(|_| FilesError::Busy { open: MAX_LISTINGS })?;
        let (serving, path) = (Arc::clone(&self.serving), self.path.clone());
        let entries = blocking(move || serving.tree.read_dir(&path)).await?;
        Ok(ListingRef::new(ServedListing {
            walk: Arc::new(Mutex::new(Walk {
                entries,
                serving: Arc::clone(&self.serving),
                path: self.path.clone(),
            })),
            _permit: permit,
        }))
    }
}

#[derive(Referenceable)]
struct ServedListing {
    walk: Arc<Mutex<Walk>>,
    _permit: OwnedSemaphorePermit,
}

impl Listing for ServedListing {
    async fn next_page(&self) -> Result<Page, FilesError> {
        let walk = Arc::clone(&self.walk);
        blocking(move || walk.lock().unwrap_or_else(PoisonError::into_inner).next_page()).await
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
                Kind::File(FileRef::new(ServedFile { serving, path, identity }), stat, identity.size())
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
    path: PathBuf,
    identity: Identity,
}

impl File for ServedFile {
    async fn read(&self, offset: u64, len: u32) -> Result<ByteBuf, FilesError> {
        if len > MAX_READ_BYTES {
            return Err(FilesError::TooLong { asked: len, most: MAX_READ_BYTES });
        }
        let (serving, path, identity) = (Arc::clone(&self.serving), self.path.clone(), self.identity);
        blocking(move || serving.tree.read(&path, identity, offset, len)).await.map(ByteBuf::from)
    }
}

/// Runs what waits for the disk where it holds up no calls.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => Err(FilesError::System { reason: stopped.to_string() }),
    }
}
