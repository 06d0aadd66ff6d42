//! Ways through a served tree: from the root to what a path names, in no round trip at all.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use pb_client::{AppError, CallError, Failure};

use super::api::{DirRef, FileRef, FilesError, Name};

/// The directory at `path` below `root`, as a promise: `dir` is asked of each directory before that has come, so the calls
/// travel together, and with them whatever is asked of this. Empty, `path` is the root.
pub fn dir_at(root: &DirRef, path: &Path) -> DirRef {
    names(path).fold(root.clone(), |dir, name| dir.dir(name).promised())
}

/// The file at `path` below `root`, likewise; `None` where `path` names none.
pub fn file_at(root: &DirRef, path: &Path) -> Option<FileRef> {
    let mut names: Vec<Name> = names(path).collect();
    let file = names.pop()?;
    let dir = names.into_iter().fold(root.clone(), |dir, name| dir.dir(name).promised());
    Some(dir.file(file).promised())
}

/// `..` stays in: it is the server that must refuse it.
fn names(path: &Path) -> impl Iterator<Item = Name> + '_ {
    path.components().filter_map(|component| match component {
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir | Component::Normal(_) => Some(Name::new(component.as_os_str().as_bytes())),
    })
}

/// Why a call on something that was walked to failed: the files' own error, be it that of a step on the way, or the broker's.
pub fn why(error: CallError<FilesError>) -> Result<FilesError, Failure> {
    match error {
        CallError::App(why) => Ok(why),
        CallError::Broker(failure) => failure.app().ok_or(failure),
    }
}
