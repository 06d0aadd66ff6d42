//! Files that are being written.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{LocalFile, TargetDir, mode, mode_of, times, unwritten, unwritten_or_twice};
use crate::files::CopyError;
use crate::files::api::FileStat;

/// A file that is being written, under another name until it is [finished](Partial::finish). Dropped before that, it stays for a later run
/// to go on with, if there is something in it.
pub struct Partial {
    dir: Arc<TargetDir>,
    file: Arc<LocalFile>,
    name: OsString,
    partial_name: OsString,
    there: u64,
    replaces: bool,
    finished: AtomicBool,
    discarded: AtomicBool,
}

impl TargetDir {
    /// Begins the file `name`, or goes on with it where an earlier run has left it unfinished. It takes the place of another file of that
    /// name if it `replaces`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn begin_file(self: &Arc<Self>, name: &OsStr, replaces: bool) -> Result<Partial, CopyError> {
        let mut partials = self.partials();
        for attempt in 0..PARTIAL_ATTEMPTS {
            let partial_name = partial_name(name, attempt);
            if partials.contains(&partial_name) {
                continue;
            }
            let opened =
                self.open_partial(&partial_name).map_err(|error| unwritten(&self.path_of(name), error))?;
            if let Some((file, there)) = opened {
                partials.insert(partial_name.clone());
                return Ok(Partial {
                    dir: Arc::clone(self),
                    file: Arc::new(LocalFile::new(file, self.path_of(name))),
                    name: name.to_owned(),
                    partial_name,
                    there,
                    replaces,
                    finished: AtomicBool::new(false),
                    discarded: AtomicBool::new(false),
                });
            }
        }
        Err(unwritten(&self.path_of(name), Errno::EXIST))
    }

    /// Makes the unfinished file, or takes the one that is there. With its length; nothing if the name is a finished file's.
    fn open_partial(&self, name: &OsStr) -> Result<Option<(OwnedFd, u64)>, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags | OFlags::CREATE | OFlags::EXCL, UNFINISHED_FILE) {
            Ok(file) => {
                // Also what the umask took away.
                fs::fchmod(&file, UNFINISHED_FILE)?;
                return Ok(Some((file, 0)));
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        if !self.found || !is_unfinished(&fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            return Ok(None);
        }
        let file = fs::openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        Ok(is_unfinished(&stat).then(|| (file, u64::try_from(stat.st_size).unwrap_or_default())))
    }
}

impl Partial {
    /// How many bytes an earlier run has written.
    pub fn there(&self) -> u64 {
        self.there
    }

    /// Its contents, to look at.
    pub fn file(&self) -> &Arc<LocalFile> {
        &self.file
    }

    /// Takes away what is behind the first `len` bytes.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn cut(&self, len: u64) -> Result<(), CopyError> {
        if self.there == len { Ok(()) } else { self.extend(len) }
    }

    /// Gives it `len` bytes: a hole where it had fewer.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn extend(&self, len: u64) -> Result<(), CopyError> {
        fs::ftruncate(&self.file.file, len).map_err(|error| unwritten(&self.path(), error))
    }

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says, a full disk among it.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), CopyError> {
        let mut written = 0;
        while written < data.len() {
            match rustix::io::pwrite(&self.file.file, &data[written..], offset + written as u64) {
                Ok(0) => return Err(unwritten(&self.path(), Errno::NOSPC)),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(unwritten(&self.path(), error)),
            }
        }
        Ok(())
    }

    /// Gives the file its time, then its name, and at last its mode.
    ///
    /// # Errors
    /// [`CopyError::Size`] when it has not the bytes that `file` has, [`CopyError::ListedTwice`] when there is something of that name,
    /// [`CopyError::Write`] for what the system says.
    pub fn finish(&self, file: FileStat) -> Result<(), CopyError> {
        let unwritten = |error| unwritten(&self.path(), error);
        let written =
            u64::try_from(fs::fstat(&self.file.file).map_err(unwritten)?.st_size).unwrap_or_default();
        if written != file.size {
            return Err(CopyError::Size { path: self.path(), written, size: file.size });
        }
        fs::futimens(&self.file.file, &times(file.stat)).map_err(unwritten)?;
        self.rename().map_err(|error| unwritten_or_twice(&self.path(), error))?;
        // Last: until then it is marked, also under its own name.
        fs::fchmod(&self.file.file, mode(file.stat)).map_err(unwritten)
    }

    /// What is written of it is of no use: it goes as this is dropped.
    pub fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.name)
    }

    fn rename(&self) -> Result<(), Errno> {
        let waited =
            self.dir.partial_gone.wait_while(self.dir.partials(), |partials| partials.contains(&self.name));
        let mut partials = waited.unwrap_or_else(PoisonError::into_inner);
        let dir = &self.dir.fd;
        if self.replaces {
            fs::renameat(dir, &self.partial_name, dir, &self.name)?;
        } else {
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
        }
        self.finished.store(true, Ordering::Release);
        partials.remove(&self.partial_name);
        self.dir.partial_gone.notify_all();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if *self.finished.get_mut() {
            return;
        }
        let mut partials = self.dir.partials();
        let is_empty = fs::fstat(&self.file.file).is_ok_and(|stat| stat.st_size == 0);
        if *self.discarded.get_mut() || is_empty {
            // If this fails as well there is nobody to tell; the name says what it is.
            let _ = fs::unlinkat(&self.dir.fd, &self.partial_name, AtFlags::empty());
        }
        partials.remove(&self.partial_name);
        self.dir.partial_gone.notify_all();
    }
}

/// Removes the unfinished files of an earlier run.
pub(super) fn remove_left(dir: &OwnedFd) -> Result<(), Errno> {
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".")
            && name.ends_with(PARTIAL_SUFFIX)
            && is_unfinished(&fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?)
        {
            fs::unlinkat(dir, entry.file_name(), AtFlags::empty())?;
        }
    }
    Ok(())
}

fn is_unfinished(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && mode_of(stat.st_mode) == UNFINISHED_FILE
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

/// The mode of a file until it is finished. No finished one has the sticky bit.
const UNFINISHED_FILE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::SVTX);
const PARTIAL_SUFFIX: &[u8] = b".pb-partial";
/// 255, the longest name on all usual file systems, less the dot, the suffix and an attempt's number.
const PARTIAL_NAME_BYTES: usize = 255 - 1 - PARTIAL_SUFFIX.len() - 4;
/// Names tried for an unfinished file. A second is needed only if the server has files named as ours are.
const PARTIAL_ATTEMPTS: u32 = 100;
