//! The disk that a copy is written to: everything here blocks, and nothing here leaves the destination.
//!
//! Directories are held as descriptors and entered without following links, and names are single components. So whatever names a
//! server sends, and in whatever order, a link made earlier is never written through.
//!
//! What is unfinished is marked by the sticky bit, which nothing finished has: a directory has mode 1700 until all is made in it, the
//! destination itself until all is copied, and a file has mode 1600 and another name. So a later run knows what it may go on with, and replaces
//! files and links only in a destination that it knows as its own. All else is left as it is.

mod file;
mod partial;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::CopyError;
use super::api::{FileStat, Stat};
pub use file::LocalFile;
pub use partial::Partial;

/// A directory that is being filled.
pub struct TargetDir {
    fd: OwnedFd,
    path: PathBuf,
    place: PathBuf,
    stat: Stat,
    /// An earlier run has been here: entries may be there already.
    found: bool,
    /// The listing was begun anew: entries may be listed a second time.
    again: AtomicBool,
    seen: Mutex<HashSet<(u64, u64)>>,
    hashers: (RandomState, RandomState),
    /// Names of unfinished files. A name of the server's may be among them: then its file waits for the unfinished one.
    partials: Mutex<HashSet<OsString>>,
    partial_gone: Condvar,
}

/// Whether something was made, or is there from an earlier run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Made {
    /// It was made.
    New,
    /// It was there.
    Found,
}

/// How often an entry was listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Now, for the first time.
    First,
    /// Before the listing was begun anew.
    Before,
    /// Twice, by a server that gives two entries one name.
    Twice,
}

/// What has a file's name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileThere {
    /// Nothing.
    Nothing,
    /// A file of the same size and time.
    Same,
    /// A file, which an earlier run copied when the server's was another, or could not finish.
    Other,
}

impl TargetDir {
    /// Makes `path`, or takes it if it is an empty directory or an unfinished copy. It will get the mode and time of `stat`.
    ///
    /// # Errors
    /// [`CopyError`] when something else is there, or it cannot be made or written to.
    pub fn destination(path: &Path, stat: Stat) -> Result<Self, CopyError> {
        match fs::mkdir(path, UNFINISHED_DIR) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(unwritten(path, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|error| unwritten(path, error))?;
        // Held with the descriptor. File systems that know no locks give none.
        if let Err(Errno::WOULDBLOCK) = fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            return Err(CopyError::UnderWay { path: path.to_owned() });
        }
        let is_empty = is_empty(&fd).map_err(|error| unwritten(path, error))?;
        let mode = fs::fstat(&fd).map_err(|error| unwritten(path, error))?.st_mode;
        if !is_empty && mode_of(mode) != UNFINISHED_DIR {
            return Err(CopyError::NotEmpty { path: path.to_owned() });
        }
        TargetDir::new(fd, path.to_owned(), PathBuf::new(), stat, !is_empty)
    }

    fn new(fd: OwnedFd, path: PathBuf, place: PathBuf, stat: Stat, found: bool) -> Result<Self, CopyError> {
        // Also what the umask took away.
        fs::fchmod(&fd, UNFINISHED_DIR).map_err(|error| unwritten(&path, error))?;
        Ok(TargetDir {
            fd,
            path,
            place,
            stat,
            found,
            again: AtomicBool::new(false),
            seen: Mutex::default(),
            hashers: Default::default(),
            partials: Mutex::default(),
            partial_gone: Condvar::new(),
        })
    }

    /// Where the directory is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the server's directories it is: the path below the root of what is served.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Where the entry `name` is, for messages.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// The server's listing was lost, and is begun anew: what was seen may come again.
    pub fn list_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Takes note of the entry `name`. It costs 16 bytes, and their room in a table, until the directory is finished: two hashes
    /// under keys that no server knows, which two names share in one of 2^64 directories with 2^32 entries.
    pub fn see(&self, name: &OsStr) -> Seen {
        let hash = (self.hashers.0.hash_one(name), self.hashers.1.hash_one(name));
        match self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hash) {
            true => Seen::First,
            false if self.again.load(Ordering::Relaxed) => Seen::Before,
            false => Seen::Twice,
        }
    }

    /// Makes the directory `name` in this one.
    ///
    /// # Errors
    /// [`CopyError::ListedTwice`] or [`CopyError::Occupied`] when there is something else of that name, [`CopyError::Write`] for
    /// what the system says.
    pub fn make_dir(&self, name: &OsStr) -> Result<Made, CopyError> {
        match fs::mkdirat(&self.fd, name, UNFINISHED_DIR) {
            Ok(()) => Ok(Made::New),
            Err(Errno::EXIST) if self.found => match self.type_of(name)? {
                Some(FileType::Directory) => Ok(Made::Found),
                _ => Err(CopyError::Occupied { path: self.path_of(name) }),
            },
            Err(error) => Err(unwritten_or_twice(&self.path_of(name), error)),
        }
    }

    /// Opens the directory `name` in this one, to fill it. It will get the mode and time of `stat`.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn open_dir(&self, name: &OsStr, stat: Stat, made: Made) -> Result<TargetDir, CopyError> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            // An earlier run has given it a mode that locks us out.
            Err(Errno::ACCESS) if made == Made::Found && self.type_of(name)? == Some(FileType::Directory) => {
                fs::chmodat(&self.fd, name, UNFINISHED_DIR, AtFlags::empty())
                    .and_then(|()| fs::openat(&self.fd, name, flags, Mode::empty()))
            }
            opened => opened,
        };
        let fd = opened.map_err(|error| unwritten(&path, error))?;
        TargetDir::new(fd, path, self.place.join(name), stat, made == Made::Found)
    }

    /// Makes the symbolic link `name`, which says `target`.
    ///
    /// # Errors
    /// As [`make_dir`](Self::make_dir).
    pub fn make_link(&self, name: &OsStr, target: &[u8], stat: Stat) -> Result<Made, CopyError> {
        let path = self.path_of(name);
        let link = || fs::symlinkat(OsStr::from_bytes(target), &self.fd, name);
        let made = match link() {
            Err(Errno::EXIST) if self.found => match fs::readlinkat(&self.fd, name, Vec::new()) {
                Ok(there) if there.as_bytes() == target => Ok(Made::Found),
                // The server's is another by now. Only the link itself goes.
                Ok(_) => {
                    fs::unlinkat(&self.fd, name, AtFlags::empty()).and_then(|()| link()).map(|()| Made::New)
                }
                Err(_) => return Err(CopyError::Occupied { path }),
            },
            linked => linked.map(|()| Made::New),
        };
        let made = made.map_err(|error| unwritten_or_twice(&path, error))?;
        fs::utimensat(&self.fd, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unwritten(&path, error))?;
        Ok(made)
    }

    /// What has the name of a file that is to be copied. The same file gets its mode, should it not have it yet.
    ///
    /// # Errors
    /// [`CopyError::Occupied`] when it is no file, [`CopyError::Write`] for what the system says.
    pub fn look(&self, name: &OsStr, file: FileStat) -> Result<FileThere, CopyError> {
        if !self.found {
            return Ok(FileThere::Nothing);
        }
        if self.partials().contains(name) {
            // What has the name is another file that is being written, and will have its own.
            return Ok(FileThere::Other);
        }
        let path = self.path_of(name);
        let there = match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(FileThere::Nothing),
            Err(error) => return Err(unwritten(&path, error)),
        };
        if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
            return Err(CopyError::Occupied { path });
        }
        let time = (there.st_mtime, u32::try_from(there.st_mtime_nsec).unwrap_or_default());
        if (u64::try_from(there.st_size), time)
            != (Ok(file.size), (file.stat.modified, file.stat.modified_nanos))
        {
            return Ok(FileThere::Other);
        }
        if mode_of(there.st_mode) == mode(file.stat) {
            return Ok(FileThere::Same);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(there) => {
                fs::fchmod(there, mode(file.stat)).map_err(|error| unwritten(&path, error))?;
                Ok(FileThere::Same)
            }
            Err(_) => Ok(FileThere::Other),
        }
    }

    /// Opens the file `name`, to look at its contents; nothing where that is not possible.
    pub fn open_file(&self, name: &OsStr) -> Option<LocalFile> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = fs::openat(&self.fd, name, flags, Mode::empty());
        opened.ok().map(|file| LocalFile::new(file, self.path_of(name)))
    }

    /// Gives the directory its mode and time, now that nothing more is made in it. Unfinished files of an earlier run are removed: the
    /// server has no such file any more.
    ///
    /// # Errors
    /// [`CopyError::Write`] for what the system says.
    pub fn finish(self) -> Result<(), CopyError> {
        let cleaned = if self.found { partial::remove_left(&self.fd) } else { Ok(()) };
        cleaned
            .and_then(|()| fs::futimens(&self.fd, &times(self.stat)))
            .and_then(|()| fs::fchmod(&self.fd, mode(self.stat)))
            .map_err(|error| unwritten(&self.path, error))
    }

    fn partials(&self) -> MutexGuard<'_, HashSet<OsString>> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn type_of(&self, name: &OsStr) -> Result<Option<FileType>, CopyError> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(unwritten(&self.path_of(name), error)),
        }
    }
}

fn is_empty(fd: &OwnedFd) -> Result<bool, Errno> {
    let is_own = |name: &[u8]| name == b"." || name == b"..";
    let mut entries = fs::Dir::read_from(fd)?;
    Ok(!entries.any(|entry| entry.is_ok_and(|entry| !is_own(entry.file_name().to_bytes()))))
}

/// Permission bits only: that a program runs as its owner is not for a server to say.
#[allow(clippy::useless_conversion, reason = "modes have another type on other systems")]
fn mode(stat: Stat) -> Mode {
    Mode::from_bits_truncate((stat.mode & 0o777).try_into().unwrap_or_default())
}

/// All twelve bits of a mode as the system has it.
fn mode_of(raw: fs::RawMode) -> Mode {
    Mode::from_raw_mode(raw)
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

/// The mode of a directory until it is finished.
const UNFINISHED_DIR: Mode = Mode::RWXU.union(Mode::SVTX);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;

    const STAT: Stat = Stat { mode: 0o600, modified: 0, modified_nanos: 0 };

    fn file(size: u64) -> FileStat {
        FileStat { stat: STAT, size, sparse: false }
    }

    fn open(path: &Path) -> Arc<TargetDir> {
        Arc::new(TargetDir::destination(path, STAT).unwrap())
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_named_like_an_unfinished_one_waits_for_it() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        let first = dir.begin_file("a".as_ref(), false).unwrap();
        let second = dir.begin_file(".a.pb-partial".as_ref(), false).unwrap();
        let waiting = std::thread::spawn(move || second.finish(file(0)));
        first.write(0, b"first").unwrap();
        first.finish(file(5)).unwrap();
        waiting.join().unwrap().unwrap();
        // Its unfinished name is taken by a finished file now: another is found.
        dir.begin_file("a".as_ref(), false).unwrap();
        assert_eq!(std::fs::read(scratch.path().join("a")).unwrap(), b"first");
        assert_eq!(std::fs::read(scratch.path().join(".a.pb-partial")).unwrap(), b"");
        assert_eq!(names(scratch.path()), [".a.pb-partial", "a"]);
    }

    #[test]
    fn a_file_of_another_size_never_gets_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        let partial = dir.begin_file("a".as_ref(), false).unwrap();
        partial.write(0, b"four").unwrap();
        let refused = partial.finish(file(5)).unwrap_err();
        assert!(matches!(refused, CopyError::Size { written: 4, size: 5, .. }), "{refused}");
        partial.discard();
        drop(partial);
        assert!(names(scratch.path()).is_empty());
    }

    #[test]
    fn an_unfinished_file_is_gone_on_with_and_a_finished_one_of_that_name_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        let theirs = dir.begin_file(".b.pb-partial".as_ref(), false).unwrap();
        theirs.write(0, b"theirs").unwrap();
        theirs.finish(file(6)).unwrap();
        dir.begin_file("a".as_ref(), false).unwrap().write(0, b"half").unwrap();
        dir.begin_file("empty".as_ref(), false).unwrap();
        drop((theirs, dir));
        assert_eq!(names(scratch.path()), [".a.pb-partial", ".b.pb-partial"]);

        let dir = open(scratch.path());
        let half = dir.begin_file("a".as_ref(), false).unwrap();
        assert_eq!((half.there(), dir.begin_file("b".as_ref(), false).unwrap().there()), (4, 0));
        half.write(4, b" done").unwrap();
        half.finish(file(9)).unwrap();
        drop(half);
        assert_eq!(dir.look("a".as_ref(), file(9)).unwrap(), FileThere::Same);
        assert_eq!(dir.look("a".as_ref(), file(8)).unwrap(), FileThere::Other);
        assert_eq!(dir.look("c".as_ref(), file(8)).unwrap(), FileThere::Nothing);
        assert_eq!(std::fs::read(scratch.path().join("a")).unwrap(), b"half done");
        assert_eq!(std::fs::read(scratch.path().join(".b.pb-partial")).unwrap(), b"theirs");
    }

    #[test]
    fn what_the_server_has_no_more_does_not_stay_unfinished() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        dir.begin_file("gone".as_ref(), false).unwrap().write(0, b"half").unwrap();
        let theirs = dir.begin_file(".x.pb-partial".as_ref(), false).unwrap();
        theirs.finish(file(0)).unwrap();
        drop((theirs, dir));
        let dir = Arc::into_inner(open(scratch.path())).unwrap();
        dir.finish().unwrap();
        assert_eq!(names(scratch.path()), [".x.pb-partial"]);
        // It is finished: no later run touches it.
        let refused = TargetDir::destination(scratch.path(), STAT).err().unwrap();
        assert!(matches!(refused, CopyError::NotEmpty { .. }), "{refused}");
    }

    #[test]
    fn only_a_destination_of_its_own_is_gone_on_with_and_by_one_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        let refused = TargetDir::destination(scratch.path(), STAT).err().unwrap();
        assert!(matches!(refused, CopyError::UnderWay { .. }), "{refused}");
        drop(dir);
        std::fs::write(scratch.path().join("file"), "a user's").unwrap();
        for mode in [0o700, 0o1777, 0o1755, 0o755] {
            std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = TargetDir::destination(scratch.path(), STAT).err().unwrap();
            assert!(matches!(refused, CopyError::NotEmpty { .. }), "{mode:o}: {refused}");
        }
    }

    #[test]
    fn what_is_no_file_or_directory_where_one_should_be_is_left_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        assert_eq!(dir.make_dir("dir".as_ref()).unwrap(), Made::New);
        assert_eq!(dir.make_link("link".as_ref(), b"old", STAT).unwrap(), Made::New);
        drop(dir);
        let dir = open(scratch.path());
        let occupied = |error: CopyError| assert!(matches!(error, CopyError::Occupied { .. }), "{error}");
        occupied(dir.make_dir("link".as_ref()).unwrap_err());
        occupied(dir.look("link".as_ref(), file(0)).unwrap_err());
        occupied(dir.look("dir".as_ref(), file(0)).unwrap_err());
        occupied(dir.make_link("dir".as_ref(), b"new", STAT).unwrap_err());
        assert_eq!(dir.make_dir("dir".as_ref()).unwrap(), Made::Found);
        assert_eq!(dir.make_link("link".as_ref(), b"old", STAT).unwrap(), Made::Found);
        assert_eq!(dir.make_link("link".as_ref(), b"new", STAT).unwrap(), Made::New);
        assert_eq!(std::fs::read_link(scratch.path().join("link")).unwrap(), Path::new("new"));
    }

    #[test]
    fn a_name_that_is_listed_again_is_told_from_one_that_is_listed_twice() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = open(scratch.path());
        assert_eq!(dir.see("a".as_ref()), Seen::First);
        assert_eq!(dir.see("a".as_ref()), Seen::Twice);
        dir.list_again();
        assert_eq!((dir.see("a".as_ref()), dir.see("b".as_ref())), (Seen::Before, Seen::First));
    }
}
