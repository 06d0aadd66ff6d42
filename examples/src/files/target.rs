//! The disk that a copy is written to: everything here blocks, and nothing here leaves the destination.
//!
//! Directories are held as descriptors and entered without following links, names are single components, and nothing that
//! exists is replaced. So whatever names a server sends, and in whatever order, a link made earlier is never written through.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::CopyError;
use super::api::Stat;

/// A directory that is being filled.
pub struct TargetDir {
    fd: OwnedFd,
    path: PathBuf,
    stat: Stat,
    finished: bool,
    /// Names of unfinished files. A name of the server's may be among them: then its file waits for the unfinished one.
    partials: Mutex<HashSet<OsString>>,
    partial_gone: Condvar,
}

impl TargetDir {
    /// Makes `path`, or takes it as it is if it is an empty directory. It will get the mode and time of `stat`.
    ///
    /// # Errors
    /// [`CopyError`] when something is there already, or it cannot be made or written to.
    pub fn destination(path: &Path, stat: Stat) -> Result<Self, CopyError> {
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(unwritten(path, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|error| unwritten(path, error))?;
        let mut entries = fs::Dir::read_from(&fd).map_err(|error| unwritten(path, error))?;
        let is_own = |name: &[u8]| name == b"." || name == b"..";
        if entries.any(|entry| entry.is_ok_and(|entry| !is_own(entry.file_name().to_bytes()))) {
            return Err(CopyError::NotEmpty { path: path.to_owned() });
        }
        Ok(TargetDir::new(fd, path.to_owned(), stat))
    }

    fn new(fd: OwnedFd, path: PathBuf, stat: Stat) -> Self {
        let (partials, partial_gone) = (Mutex::default(), Condvar::new());
        TargetDir { fd, path, stat, finished: false, partials, partial_gone }
    }

    /// Where the directory is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the entry `name` is, for messages.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory `name` in this one.
    ///
    /// # Errors
    /// [`CopyError::ListedTwice`] when there is something of that name, [`CopyError::Write`] for what the system says.
    pub fn make_dir(&self, name: &OsStr) -> Result<(), CopyError> {
        fs::mkdirat(&self.fd, name, Mode::RWXU)
            .map_err(|error| unwritten_or_twice(&self.path_of(name), error))
    }

    /// Opens the directory `name` in this one, to fill it. It will get the mode and time of `stat`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn open_dir(&self, name: &OsStr, stat: Stat) -> Result<TargetDir, CopyError> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty()).map_err(|error| unwritten(&path, error))?;
        Ok(TargetDir::new(fd, path, stat))
    }

    /// Makes the symbolic link `name`, which says `target`.
    ///
    /// # Errors
    /// As [`make_dir`](Self::make_dir).
    pub fn make_link(&self, name: &OsStr, target: &[u8], stat: Stat) -> Result<(), CopyError> {
        let path = self.path_of(name);
        fs::symlinkat(OsStr::from_bytes(target), &self.fd, name)
            .map_err(|error| unwritten_or_twice(&path, error))?;
        fs::utimensat(&self.fd, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unwritten(&path, error))
    }

    /// Begins the file `name`, under another name until it is [finished](Partial::finish).
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn begin_file(self: &Arc<Self>, name: &OsStr) -> Result<Partial, CopyError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut partials = self.partials();
        for attempt in 0..PARTIAL_ATTEMPTS {
            let partial_name = partial_name(name, attempt);
            match fs::openat(&self.fd, &partial_name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => {
                    partials.insert(partial_name.clone());
                    let (dir, file, name) = (Arc::clone(self), File::from(fd), name.to_owned());
                    return Ok(Partial { dir, file, name, partial_name, finished: AtomicBool::new(false) });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(unwritten(&self.path_of(name), error)),
            }
        }
        Err(unwritten(&self.path_of(name), Errno::EXIST))
    }

    /// Gives the directory its mode and time, now that nothing more is made in it.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn finish(mut self) -> Result<(), CopyError> {
        self.finished = true;
        self.set_mode_and_time().map_err(|error| unwritten(&self.path, error))
    }

    fn partials(&self) -> MutexGuard<'_, HashSet<OsString>> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_mode_and_time(&self) -> Result<(), Errno> {
        fs::fchmod(&self.fd, mode(self.stat))?;
        fs::futimens(&self.fd, &times(self.stat))
    }
}

impl Drop for TargetDir {
    fn drop(&mut self) {
        if !self.finished {
            // The last to hold it was a write whose file had failed already, which is what the user is told.
            let _ = self.set_mode_and_time();
        }
    }
}

/// A file that is being written. Dropped before it is finished, it is removed.
pub struct Partial {
    dir: Arc<TargetDir>,
    file: File,
    name: OsString,
    partial_name: OsString,
    finished: AtomicBool,
}

impl Partial {
    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says, a full disk among it.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), CopyError> {
        self.file.write_all_at(data, offset).map_err(|source| CopyError::Write { path: self.path(), source })
    }

    /// Gives the file its mode and time and then its name.
    ///
    /// # Errors
    /// [`CopyError::Size`] when it has not `size` bytes, [`CopyError::ListedTwice`] when there is something of that name,
    /// [`CopyError::Write`] for what the system says.
    pub fn finish(&self, size: u64, stat: Stat) -> Result<(), CopyError> {
        let written =
            self.file.metadata().map_err(|source| CopyError::Write { path: self.path(), source })?.len();
        if written != size {
            return Err(CopyError::Size { path: self.path(), written, size });
        }
        fs::fchmod(&self.file, mode(stat))
            .and_then(|()| fs::futimens(&self.file, &times(stat)))
            .map_err(|error| unwritten(&self.path(), error))?;
        self.rename().map_err(|error| unwritten_or_twice(&self.path(), error))
    }

    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.name)
    }

    fn rename(&self) -> Result<(), Errno> {
        let is_taken = |partials: &mut HashSet<OsString>| partials.contains(&self.name);
        let waited = self.dir.partial_gone.wait_while(self.dir.partials(), is_taken);
        let mut partials = waited.unwrap_or_else(PoisonError::into_inner);
        let dir = &self.dir.fd;
        match fs::renameat_with(dir, &self.partial_name, dir, &self.name, RenameFlags::NOREPLACE) {
            // Some file systems cannot promise it. Only this process writes here, so looking first will do.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match fs::statat(dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => return Err(Errno::EXIST),
                    Err(Errno::NOENT) => fs::renameat(dir, &self.partial_name, dir, &self.name)?,
                    Err(error) => return Err(error),
                }
            }
            renamed => renamed?,
        }
        self.finished.store(true, Ordering::Release);
        partials.remove(&self.partial_name);
        self.dir.partial_gone.notify_all();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !*self.finished.get_mut() {
            let mut partials = self.dir.partials();
            // If this fails as well there is nobody to tell; the name says what it is.
            let _ = fs::unlinkat(&self.dir.fd, &self.partial_name, AtFlags::empty());
            partials.remove(&self.partial_name);
            self.dir.partial_gone.notify_all();
        }
    }
}

/// The name of the unfinished file `name`: `.NAME.pb-partial`, with a number if the server has a file of that name too, and
/// cut where the system's 255 bytes would not hold it.
fn partial_name(name: &OsStr, attempt: u32) -> OsString {
    let bytes = name.as_bytes();
    let mut partial = b".".to_vec();
    partial.extend_from_slice(&bytes[..bytes.len().min(PARTIAL_NAME_BYTES)]);
    if attempt > 0 {
        partial.extend_from_slice(format!(".{attempt}").as_bytes());
    }
    partial.extend_from_slice(PARTIAL_SUFFIX);
    OsStr::from_bytes(&partial).to_owned()
}

/// Permission bits only: that a program runs as its owner is not for a server to say.
#[allow(clippy::useless_conversion, reason = "modes have another type on other systems")]
fn mode(stat: Stat) -> Mode {
    Mode::from_bits_truncate((stat.mode & 0o777).try_into().unwrap_or_default())
}

fn times(stat: Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: stat.modified,
            tv_nsec: stat.modified_nanos.min(999_999_999).into(),
        },
    }
}

fn unwritten(path: &Path, error: Errno) -> CopyError {
    CopyError::Write { path: path.to_owned(), source: io::Error::from(error) }
}

fn unwritten_or_twice(path: &Path, error: Errno) -> CopyError {
    match error {
        Errno::EXIST => CopyError::ListedTwice { path: path.to_owned() },
        error => unwritten(path, error),
    }
}

const PARTIAL_SUFFIX: &[u8] = b".pb-partial";
/// 255, the longest name on all usual file systems, less the dot, the suffix and an attempt's number.
const PARTIAL_NAME_BYTES: usize = 255 - 1 - PARTIAL_SUFFIX.len() - 4;
/// Names tried for an unfinished file. A second is needed only if the server has files named as ours are.
const PARTIAL_ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: Stat = Stat { mode: 0o600, modified: 0, modified_nanos: 0 };

    #[test]
    fn a_file_named_like_an_unfinished_one_waits_for_it() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Arc::new(TargetDir::destination(scratch.path(), STAT).unwrap());
        let first = dir.begin_file("a".as_ref()).unwrap();
        let second = dir.begin_file(".a.pb-partial".as_ref()).unwrap();
        let waiting = std::thread::spawn(move || second.finish(0, STAT));
        first.write(0, b"first").unwrap();
        first.finish(5, STAT).unwrap();
        waiting.join().unwrap().unwrap();
        // Its unfinished name is taken by a finished file now: another is found.
        dir.begin_file("a".as_ref()).unwrap();
        assert_eq!(std::fs::read(scratch.path().join("a")).unwrap(), b"first");
        assert_eq!(std::fs::read(scratch.path().join(".a.pb-partial")).unwrap(), b"");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_of_another_size_never_gets_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Arc::new(TargetDir::destination(scratch.path(), STAT).unwrap());
        let partial = dir.begin_file("a".as_ref()).unwrap();
        partial.write(0, b"four").unwrap();
        let refused = partial.finish(5, STAT).unwrap_err();
        assert!(matches!(refused, CopyError::Size { written: 4, size: 5, .. }), "{refused}");
        drop(partial);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
