//! A watch: the system tells of changes on a thread of its own, they wait in a bounded queue, and one call at a time hands
//! them to the client's watcher. So a slow watcher costs 1,024 changes and a count, never more.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{Flag, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use pb_server::Referenceable;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;

use super::api::{Change, FilesError, MAX_CHANGES, Told, Watch, WatcherRef, What};

/// A watch that is open. It ends as it is dropped: the client has let go of it, or is gone.
#[derive(Referenceable)]
pub struct ServedWatch {
    queue: Arc<Queue>,
    teller: Option<JoinHandle<()>>,
    _system: RecommendedWatcher,
    /// The system's watcher knows the directory by this one's number.
    _dir: OwnedFd,
    _permit: OwnedSemaphorePermit,
}

impl ServedWatch {
    /// Begins to watch `dir` and all directories below it. Links are not followed.
    ///
    /// # Errors
    /// [`FilesError`], for example because the system watches too many already.
    pub(super) fn begin(dir: OwnedFd, permit: OwnedSemaphorePermit) -> Result<Self, FilesError> {
        // By its descriptor: the path could lead elsewhere by now.
        let base = PathBuf::from(format!("/proc/self/fd/{}/.", dir.as_raw_fd()));
        let queue = Arc::new(Queue::default());
        let (filled, below) = (Arc::clone(&queue), base.clone());
        let config = notify::Config::default().with_follow_symlinks(false);
        let system = RecommendedWatcher::new(move |event| filled.put(event, &below), config)
            .and_then(|mut system| system.watch(&base, RecursiveMode::Recursive).map(|()| system))
            .map_err(|error| FilesError::System { reason: reason(error) })?;
        Ok(ServedWatch { queue, teller: None, _system: system, _dir: dir, _permit: permit })
    }

    /// Hands what changes to `watcher` from now on.
    pub(super) fn tell(mut self, watcher: WatcherRef) -> Self {
        let queue = Arc::clone(&self.queue);
        let teller = tokio::spawn(async move {
            loop {
                let (changes, missed) = queue.take().await;
                let count = changes.len() as u64;
                // Who cannot be told once is told no more.
                let Ok(()) = watcher.changed(changes, missed).await else { return };
                queue.lock().told += count;
            }
        });
        self.teller = Some(teller);
        self
    }
}

impl Watch for ServedWatch {
    async fn told(&self) -> Told {
        let waiting = self.queue.lock();
        Told { told: waiting.told, missed: waiting.missed }
    }
}

impl Drop for ServedWatch {
    fn drop(&mut self) {
        if let Some(teller) = &self.teller {
            teller.abort();
        }
    }
}

/// Changes that wait for their watcher.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<Change>,
    /// Bytes of their paths.
    bytes: usize,
    told: u64,
    /// Missed altogether, and those of them that the watcher knows of.
    missed: u64,
    missed_told: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: notify::Result<Event>, base: &Path) {
        let mut waiting = self.lock();
        match event {
            Ok(event) if event.attrs.flag() == Some(Flag::Rescan) => waiting.missed += 1,
            Ok(event) => {
                let Some(what) = what(event.kind) else { return };
                for path in event.paths {
                    let path = path.strip_prefix(base).unwrap_or(Path::new(""));
                    waiting.put(Change { what, path: path.as_os_str().as_bytes().to_vec() });
                }
            }
            Err(_) => waiting.missed += 1,
        }
        self.came.notify_one();
    }

    /// All that waits, and how much was missed since the last time; waits until there is something.
    async fn take(&self) -> (Vec<Change>, u64) {
        loop {
            {
                let mut waiting = self.lock();
                let missed = waiting.missed - waiting.missed_told;
                if missed > 0 || !waiting.changes.is_empty() {
                    waiting.missed_told = waiting.missed;
                    waiting.bytes = 0;
                    return (waiting.changes.drain(..).collect(), missed);
                }
            }
            self.came.notified().await;
        }
    }
}

impl Waiting {
    fn put(&mut self, change: Change) {
        // A file that is written to makes many events, of which one is enough.
        if self.changes.contains(&change) && self.changes.back().is_some_and(|last| last.path == change.path)
        {
            return;
        }
        if self.changes.len() == MAX_CHANGES || self.bytes + change.path.len() > MAX_WAITING_BYTES {
            self.missed += 1;
            return;
        }
        self.bytes += change.path.len();
        self.changes.push_back(change);
    }
}

/// What an event is to a watcher; `None` for what changes nothing.
fn what(kind: EventKind) -> Option<What> {
    match kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(What::Came),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(What::Went),
        // Told as two already.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
        EventKind::Modify(_) => Some(What::Changed),
        EventKind::Access(_) | EventKind::Any | EventKind::Other => None,
    }
}

/// What the system says, without the paths, which are ours.
fn reason(error: notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::Io(error) => super::reason(&error),
        notify::ErrorKind::MaxFilesWatch => "it watches as many directories as it may already".to_owned(),
        kind => notify::Error::new(kind).to_string(),
    }
}

/// Bytes of the paths that wait for one watcher: with its numbers, one call stays far below the frame limit of 1 MiB.
const MAX_WAITING_BYTES: usize = 256 * 1024;
