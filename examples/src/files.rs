//! A directory tree of the real disk as live objects, and its copy: what the example `files` is made of. Unix only.
//!
//! [`api`] is the interface that both ends share, [`served`] the objects behind it, [`tree`] the disk under them, and [`watching`] what
//! tells of changes there. A client may [`walk`] to what a path names, [`cat`](mod@cat) a file, [`watch`](mod@watch) a directory, or
//! [`copy`](mod@copy) it all: to [`place`], over however many connections [`source`] needs, while its user sees [`progress`].

pub mod api;
pub mod cat;
pub mod copy;
mod disk;
mod error;
mod name;
pub mod place;
pub mod progress;
pub mod served;
pub mod source;
pub mod tree;
pub mod walk;
pub mod watch;
pub mod watching;

pub use error::CopyError;

use std::fmt;
use std::path::Path;

/// A path as it may be shown to people: control characters, which a peer may have put there, are escaped.
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.to_string_lossy().chars() {
            if char.is_control() { write!(f, "{}", char.escape_default())? } else { write!(f, "{char}")? }
        }
        Ok(())
    }
}

/// What the system says of an error, without the number that it puts behind it.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
