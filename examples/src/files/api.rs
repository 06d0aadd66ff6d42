//! The interfaces: a directory, a walk through its entries, a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pb_server::remote_interface;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The most bytes that one [`File::read`] gives; far below the frame limit of 1 MiB.
pub const MAX_READ_BYTES: u32 = 256 * 1024;
/// The most entries of one [`Page`]: each may be a reference, and a message carries at most 1,024.
pub const MAX_PAGE_ENTRIES: usize = 200;
/// Names and link targets of one [`Page`] together; one entry may pass it, by at most a name and a target.
pub const MAX_PAGE_BYTES: usize = 128 * 1024;

/// A directory.
#[remote_interface]
pub trait Dir {
    /// What the directory itself is like.
    async fn stat(&self) -> Result<Stat, FilesError>;
    /// Begins a walk through the entries. The server keeps the directory open until the listing is released.
    async fn list(&self) -> Result<ListingRef, FilesError>;
}

/// A walk through the entries of one directory, in no order.
#[remote_interface]
pub trait Listing {
    /// The next entries: at most 200, and about 128 KiB of names.
    #[remote(answer_bytes = 262_144)]
    async fn next_page(&self) -> Result<Page, FilesError>;
}

/// A file, as it was when it was listed.
#[remote_interface]
pub trait File {
    /// The bytes from `offset` on, `len` of them or as many as there are. `len` is at most 262,144.
    #[remote(answer_bytes = 262_400)]
    async fn read(&self, offset: u64, len: u32) -> Result<ByteBuf, FilesError>;
}

/// Some entries of a directory.
#[derive(Serialize, Deserialize, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether they are the last: another call would give none.
    pub last: bool,
}

/// One entry of a directory.
#[derive(Serialize, Deserialize, Debug)]
pub struct Entry {
    /// Its name in that directory.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Serialize, Deserialize, Debug)]
pub enum Kind {
    /// A directory.
    Dir(DirRef, Stat),
    /// A file with so many bytes.
    File(FileRef, Stat, u64),
    /// A symbolic link. The server never follows one, so it may dangle or lead out of the tree.
    Link(LinkTarget, Stat),
    /// A pipe, socket or device. It is only mentioned.
    Special,
    /// The server could not look at it.
    Unknown(FilesError),
}

/// What is kept of an entry's metadata.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// The permission bits, 0 to 0o7777.
    pub mode: u32,
    /// When the contents changed last: seconds since 1970, negative before.
    pub modified: i64,
    /// Nanoseconds on top of `modified`, below 10^9.
    pub modified_nanos: u32,
}

/// A name as the system has it: bytes, which need not be UTF-8.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Name(#[serde(with = "serde_bytes")] Vec<u8>);

/// Where a symbolic link points, as written in it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct LinkTarget(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Why a name is not one that a directory entry can have.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadName {
    /// No bytes.
    #[error("it is empty")]
    Empty,
    /// `.` or `..`, which every directory has of its own.
    #[error("it stands for another directory")]
    Dots,
    /// A slash: a path, not a name.
    #[error("there is a slash in it")]
    Slash,
    /// A zero byte, which ends names on Unix.
    #[error("there is a zero byte in it")]
    Zero,
}

impl Name {
    /// The name `bytes`, not looked at: it is the reader who must not trust it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Name(bytes.into())
    }

    /// The bytes as a path, whatever they are: only to be shown.
    pub fn to_path(&self) -> PathBuf {
        OsStr::from_bytes(&self.0).into()
    }

    /// The name as one component of a path.
    ///
    /// # Errors
    /// [`BadName`] for what would lead elsewhere than into the directory that lists it.
    pub fn component(&self) -> Result<&OsStr, BadName> {
        match self.0.as_slice() {
            [] => Err(BadName::Empty),
            b"." | b".." => Err(BadName::Dots),
            name if name.contains(&b'/') => Err(BadName::Slash),
            name if name.contains(&0) => Err(BadName::Zero),
            name => Ok(OsStr::from_bytes(name)),
        }
    }
}

/// Why the server could not do it.
#[derive(Serialize, Deserialize, thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum FilesError {
    /// The server's user has no right to it.
    #[error("the server may not read it")]
    Denied,
    /// Something else is there now, or nothing.
    #[error("it is no longer what it was when it was listed")]
    Gone,
    /// Its size, contents or identity are others than when it was listed.
    #[error("it changed while it was copied")]
    Changed,
    /// Wait until some listings are released.
    #[error("the server has {open} listings open, the most it allows")]
    Busy {
        /// Listings open.
        open: usize,
    },
    /// Ask for less.
    #[error("{asked} bytes were asked for, more than the {most} that one read gives")]
    TooLong {
        /// Bytes asked for.
        asked: u32,
        /// Bytes that one read gives.
        most: u32,
    },
    /// The server's system refused for another reason.
    #[error("the server cannot read it: {reason}")]
    System {
        /// What its system said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_no_component() {
        let refused = |bytes: &[u8]| Name::new(bytes).component().unwrap_err();
        assert_eq!(refused(b""), BadName::Empty);
        assert_eq!(refused(b"."), BadName::Dots);
        assert_eq!(refused(b".."), BadName::Dots);
        assert_eq!(refused(b"../evil"), BadName::Slash);
        assert_eq!(refused(b"/etc/passwd"), BadName::Slash);
        assert_eq!(refused(b"a\0b"), BadName::Zero);
    }

    #[test]
    fn any_other_bytes_are_a_component() {
        for bytes in [&b"a"[..], b"...", b"..a", b"a b\n", b"\xff\xfe"] {
            assert_eq!(Name::new(bytes).component().map(OsStr::as_bytes), Ok(bytes));
        }
    }
}
