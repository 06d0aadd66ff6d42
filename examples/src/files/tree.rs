//! The disk under the served objects: everything here blocks, and nothing here leaves the tree.
//!
//! A path is walked from the root's descriptor, one component after the other, and no component is followed if it is a link.
//! So it does not matter what becomes of the tree meanwhile: a directory that is swapped for a link is refused.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::api::{FileStat, FilesError, Stat};

pub use file::OpenFile;

mod file;

/// A directory of this disk that is served, with all below it.
pub struct Tree {
    root: OwnedFd,
}

/// What a file was when it was listed. A file for which it is another is not the same any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u32),
}

/// An entry as it lies on the disk.
#[derive(Debug)]
pub enum Found {
    /// A directory.
    Dir(Stat),
    /// A regular file.
    File(FileStat, Identity),
    /// A link with the bytes of its target.
    Link(Stat, Vec<u8>),
    /// Anything else.
    Special,
}

/// An entry of a directory.
#[derive(Debug)]
pub struct Listed {
    /// Its name: neither `.` nor `..`.
    pub name: Vec<u8>,
    /// What it is, or why it cannot be looked at.
    pub found: Result<Found, FilesError>,
}

impl Tree {
    /// Opens `dir` as the root. This one path may lead through links: it comes from our own user.
    ///
    /// # Errors
    /// What the system says: no such directory, not a directory, no right to read it.
    pub fn open(dir: &Path) -> std::io::Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Tree { root: fs::open(dir, flags, Mode::empty())? })
    }

    /// What the directory at `path` is like. `path` is relative to the root; empty, it is the root.
    ///
    /// # Errors
    /// [`FilesError`] when it is no directory any more or may not be read.
    pub fn stat_dir(&self, path: &Path) -> Result<Stat, FilesError> {
        let stat = fs::fstat(self.open_dir(path)?).map_err(refused)?;
        Ok(stat_of(&stat))
    }

    /// Opens the directory at `path` to read its entries.
    ///
    /// # Errors
    /// [`FilesError`] when it is no directory any more or may not be read.
    pub fn read_dir(&self, path: &Path) -> Result<Entries, FilesError> {
        let dir = self.open_dir(path)?;
        let names = fs::Dir::read_from(&dir).map_err(refused)?;
        Ok(Entries { dir, names })
    }

    /// What lies at `path`.
    ///
    /// # Errors
    /// [`FilesError::Gone`] when there is nothing, or no way to it.
    pub fn find(&self, path: &Path) -> Result<Found, FilesError> {
        let (dir, name) = self.open_parent(path)?;
        look_at(&dir, name).map_err(refused)
    }

    /// Opens the file at `path`, which was listed as `identity`.
    ///
    /// # Errors
    /// [`FilesError`] when it is no file any more, or may not be read.
    pub fn open_file(&self, path: &Path, identity: Identity) -> Result<OpenFile, FilesError> {
        let (dir, name) = self.open_parent(path)?;
        // NONBLOCK, because a pipe may be there by now, which would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = fs::openat(dir, name, flags, Mode::empty()).map_err(refused)?;
        Ok(OpenFile::new(file, identity))
    }

    /// The directory at `path`, open.
    ///
    /// # Errors
    /// [`FilesError`] when it is no directory any more or may not be read.
    pub fn open_dir(&self, path: &Path) -> Result<OwnedFd, FilesError> {
        let mut dir =
            self.root.try_clone().map_err(|error| FilesError::System { reason: super::reason(&error) })?;
        for component in path {
            dir = open_child(dir.as_fd(), component)?;
        }
        Ok(dir)
    }

    fn open_parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), FilesError> {
        let (parent, name) =
            (path.parent().unwrap_or(Path::new("")), path.file_name().ok_or(FilesError::Gone)?);
        Ok((self.open_dir(parent)?, name))
    }
}

/// The entries of one directory, read one after the other.
pub struct Entries {
    dir: OwnedFd,
    names: fs::Dir,
}

impl Entries {
    /// The next entry, `None` behind the last. What vanishes while it is looked at is left out.
    ///
    /// # Errors
    /// [`FilesError`] when the directory cannot be read on.
    pub fn next_entry(&mut self) -> Result<Option<Listed>, FilesError> {
        while let Some(entry) = self.names.read() {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match look_at(&self.dir, OsStr::from_bytes(name)) {
                Err(Errno::NOENT) => {}
                found => return Ok(Some(Listed { name: name.to_owned(), found: found.map_err(refused) })),
            }
        }
        Ok(None)
    }
}

/// The path of the entry `name` in the directory at `path`.
pub fn below(path: &Path, name: &[u8]) -> PathBuf {
    path.join(OsStr::from_bytes(name))
}

fn look_at(dir: &OwnedFd, name: &OsStr) -> Result<Found, Errno> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::Directory => Found::Dir(stat_of(&stat)),
        FileType::RegularFile => Found::File(file_stat_of(&stat), identity_of(&stat)),
        FileType::Symlink => Found::Link(stat_of(&stat), fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
        _ => Found::Special,
    })
}

fn open_child(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::empty()).map_err(refused)
}

#[allow(clippy::unnecessary_cast, reason = "the fields have other types on other systems")]
fn stat_of(stat: &fs::Stat) -> Stat {
    Stat {
        mode: stat.st_mode as u32 & 0o7777,
        modified: stat.st_mtime as i64,
        modified_nanos: stat.st_mtime_nsec as u32,
    }
}

#[allow(clippy::unnecessary_cast, reason = "the fields have other types on other systems")]
fn file_stat_of(stat: &fs::Stat) -> FileStat {
    let (size, stored) = (stat.st_size as u64, (stat.st_blocks as u64).saturating_mul(512));
    FileStat { stat: stat_of(stat), size, sparse: stored < size }
}

#[allow(clippy::unnecessary_cast, reason = "the fields have other types on other systems")]
fn identity_of(stat: &fs::Stat) -> Identity {
    Identity {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        size: stat.st_size as u64,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
    }
}

fn refused(error: Errno) -> FilesError {
    match error {
        Errno::ACCESS | Errno::PERM => FilesError::Denied,
        // What was no link when it was listed is one now (LOOP), and so on.
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR => FilesError::Gone,
        other => FilesError::System { reason: super::reason(&other.into()) },
    }
}

#[cfg(test)]
mod tests {
    use std::fs as disk;
    use std::os::unix::fs::symlink;

    use super::*;

    fn identity_in(tree: &Tree, dir: &str, file: &str) -> Identity {
        let mut entries = tree.read_dir(Path::new(dir)).unwrap();
        while let Some(Listed { name, found }) = entries.next_entry().unwrap() {
            if let (true, Ok(Found::File(_, identity))) = (name == file.as_bytes(), found) {
                return identity;
            }
        }
        panic!("{file} is not listed");
    }

    fn read(tree: &Tree, path: &str, identity: Identity, offset: u64) -> Result<Vec<u8>, FilesError> {
        tree.open_file(Path::new(path), identity)?.read(offset, 9)
    }

    #[test]
    fn a_directory_swapped_for_a_link_does_not_lead_out() {
        let scratch = tempfile::tempdir().unwrap();
        let (inside, outside) = (scratch.path().join("inside"), scratch.path().join("outside"));
        disk::create_dir_all(inside.join("dir")).unwrap();
        disk::create_dir(&outside).unwrap();
        disk::write(inside.join("dir/file"), "ours").unwrap();
        let tree = Tree::open(&inside).unwrap();
        let identity = identity_in(&tree, "dir", "file");
        disk::rename(inside.join("dir/file"), outside.join("file")).unwrap();
        disk::remove_dir(inside.join("dir")).unwrap();
        symlink(&outside, inside.join("dir")).unwrap();

        assert_eq!(tree.stat_dir(Path::new("dir")), Err(FilesError::Gone));
        assert!(tree.read_dir(Path::new("dir")).is_err());
        assert_eq!(read(&tree, "dir/file", identity, 0), Err(FilesError::Gone));
    }

    #[test]
    fn a_file_swapped_for_a_link_or_a_pipe_is_not_read() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        disk::write(&file, "ours").unwrap();
        let tree = Tree::open(scratch.path()).unwrap();
        let identity = identity_in(&tree, "", "file");
        disk::rename(&file, scratch.path().join("moved")).unwrap();
        symlink("moved", &file).unwrap();
        assert_eq!(read(&tree, "file", identity, 0), Err(FilesError::Gone));
        disk::remove_file(&file).unwrap();
        fs::mknodat(fs::CWD, &file, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(read(&tree, "file", identity, 0).is_err());
    }

    #[test]
    fn a_file_that_grew_since_it_was_listed_has_changed() {
        let scratch = tempfile::tempdir().unwrap();
        disk::write(scratch.path().join("file"), "four").unwrap();
        let tree = Tree::open(scratch.path()).unwrap();
        let identity = identity_in(&tree, "", "file");
        assert_eq!(read(&tree, "file", identity, 1), Ok(b"our".to_vec()));
        assert_eq!(read(&tree, "file", identity, u64::MAX), Ok(Vec::new()));
        disk::write(scratch.path().join("file"), "fours").unwrap();
        assert_eq!(read(&tree, "file", identity, 0), Err(FilesError::Changed));
    }
}
