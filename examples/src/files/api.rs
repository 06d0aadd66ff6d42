//! The interfaces: a directory, a walk through its entries, a file, and who wants to know what changes.

use pb_server::remote_interface;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::Shown;
pub use super::name::{BadName, Name};

/// The most bytes that one [`File::read`] gives; far below the frame limit of 1 MiB.
pub const MAX_READ_BYTES: u32 = 256 * 1024;
/// The most bytes that one [`File::digest`] reads: it takes the server some ten milliseconds.
pub const MAX_DIGEST_BYTES: u32 = 4 * 1024 * 1024;
/// The most entries of one [`Page`]: each may be a reference, and a message carries at most 1,024.
pub const MAX_PAGE_ENTRIES: usize = 200;
/// Names and link targets of one [`Page`] together; one entry may pass it, by at most a name and a target.
pub const MAX_PAGE_BYTES: usize = 128 * 1024;
/// The most runs of one [`Runs`]: 16 KiB.
pub const MAX_RUNS: usize = 512;
/// The most changes that wait for one watcher, and that one [`Watcher::changed`] tells.
pub const MAX_CHANGES: usize = 1024;

/// A directory.
#[remote_interface]
pub trait Dir {
    /// What the directory itself is like.
    #[remote(idempotent)]
    async fn stat(&self) -> Result<Stat, FilesError>;
    /// Begins a walk through the entries. The server keeps the directory open until the listing is released.
    #[remote(idempotent)]
    async fn list(&self) -> Result<ListingRef, FilesError>;
    /// The directory `name` in this one. What is called on it before it has come travels along: a path of any length takes
    /// one round trip.
    #[remote(idempotent)]
    async fn dir(&self, name: Name) -> Result<DirRef, FilesError>;
    /// The file `name` in this directory.
    #[remote(idempotent)]
    async fn file(&self, name: Name) -> Result<FileRef, FilesError>;
    /// Tells `watcher` of what changes in this directory and below it from now on, for as long as the watch is held.
    #[remote(idempotent)]
    async fn watch(&self, watcher: WatcherRef) -> Result<WatchRef, FilesError>;
}

/// A walk through the entries of one directory, in no order.
#[remote_interface]
pub trait Listing {
    /// The next entries: at most 200, and about 128 KiB of names.
    #[remote(answer_bytes = 262_144)]
    async fn next_page(&self) -> Result<Page, FilesError>;
}

/// A file, as it was when it was listed or asked for.
#[remote_interface]
pub trait File {
    /// The bytes from `offset` on, `len` of them or as many as there are. `len` is at most 262,144.
    #[remote(answer_bytes = 262_400, idempotent)]
    async fn read(&self, offset: u64, len: u32) -> Result<ByteBuf, FilesError>;
    /// What it was like then.
    #[remote(idempotent)]
    async fn stat(&self) -> Result<FileStat, FilesError>;
    /// Where it has data from `offset` on, in rising order, at most 512 runs. What lies between them are holes: zeros that
    /// take no room, and need not be read.
    #[remote(idempotent)]
    async fn runs(&self, offset: u64) -> Result<Runs, FilesError>;
    /// SHA-256 of the `len` bytes from `offset` on, or of as many as there are. `len` is at most 4,194,304.
    #[remote(idempotent)]
    async fn digest(&self, offset: u64, len: u32) -> Result<Digest, FilesError>;
}

/// Somebody who wants to know what changes: an object of the client's, which the server calls.
#[remote_interface]
pub trait Watcher {
    /// This has changed, in this order. `missed` more changes are told to nobody, since they came while this was answered and
    /// 1,024 others waited, or the system lost them: who keeps a picture of the directory should look again.
    async fn changed(&self, changes: Vec<Change>, missed: u64);
}

/// A watch. It ends when the last reference to it is dropped, or the connection ends.
#[remote_interface]
pub trait Watch {
    /// How many changes the watcher was told of so far, and how many it has missed.
    #[remote(idempotent)]
    async fn told(&self) -> Told;
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
    /// A file.
    File(FileRef, FileStat),
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

/// What is kept of a file's metadata.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileStat {
    /// Mode and time.
    pub stat: Stat,
    /// How many bytes it has, those in holes included.
    pub size: u64,
    /// Whether it takes less room than it has bytes: there are holes in it, or it is compressed.
    pub sparse: bool,
}

/// Some of the places where a file has data.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Runs {
    /// The places.
    pub runs: Vec<Run>,
    /// Whether they are the last.
    pub last: bool,
}

/// Bytes of a file that are there.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where they begin.
    pub start: u64,
    /// How many they are: at least one.
    pub len: u64,
}

/// A SHA-256.
pub type Digest = ByteArray<32>;

/// Where a symbolic link points, as written in it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct LinkTarget(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// One change.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What happened.
    pub what: What,
    /// To which entry: its path below the watched directory, as the system has it. Empty, it is the directory itself.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
}

/// What happened to an entry.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// It is new there, or was moved there.
    Came,
    /// Its contents or metadata are others.
    Changed,
    /// It was removed, or moved away.
    Went,
}

/// What became of the changes that a watch has seen.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// Changes that the watcher was told of.
    pub told: u64,
    /// Changes that it missed.
    pub missed: u64,
}

/// Why the server could not do it.
#[derive(Serialize, Deserialize, thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum FilesError {
    /// The server's user has no right to it.
    #[error("the server may not read it")]
    Denied,
    /// No directory of this name is there. A link is none: the server follows no links.
    #[error("there is no directory {}", Shown(&.name.to_path()))]
    NoDir {
        /// The name.
        name: Name,
    },
    /// No file of this name is there. A link is none: the server follows no links.
    #[error("there is no file {}", Shown(&.name.to_path()))]
    NoFile {
        /// The name.
        name: Name,
    },
    /// Nothing can have this name.
    #[error("no entry can have this name: {0}")]
    BadName(BadName),
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
    /// Wait until some watches are released.
    #[error("the server has {open} watches open, the most it allows")]
    Watched {
        /// Watches open.
        open: usize,
    },
    /// Ask for less.
    #[error("{asked} bytes were asked for, more than the {most} that one call takes")]
    TooLong {
        /// Bytes asked for.
        asked: u32,
        /// Bytes that one call takes.
        most: u32,
    },
    /// The server's system refused for another reason.
    #[error("the server cannot read it: {reason}")]
    System {
        /// What its system said.
        reason: String,
    },
}
