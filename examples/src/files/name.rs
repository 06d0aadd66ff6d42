//! Names, which cross as the bytes that they are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A name as the system has it: bytes, which need not be UTF-8.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Name(#[serde(with = "serde_bytes")] Vec<u8>);

/// Why a name is not one that a directory entry can have.
#[derive(Serialize, Deserialize, thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
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
    /// No file system has such long ones: 255 bytes are usual.
    #[error("it has more than {MAX_NAME_BYTES} bytes")]
    Long,
}

/// The longest name that is looked at.
pub const MAX_NAME_BYTES: usize = 1024;

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
            name if name.len() > MAX_NAME_BYTES => Err(BadName::Long),
            name => Ok(OsStr::from_bytes(name)),
        }
    }
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
        assert_eq!(refused(&[b'l'; MAX_NAME_BYTES + 1]), BadName::Long);
    }

    #[test]
    fn any_other_bytes_are_a_component() {
        for bytes in [&b"a"[..], b"...", b"..a", b"a b\n", b"\xff\xfe"] {
            assert_eq!(Name::new(bytes).component().map(OsStr::as_bytes), Ok(bytes));
        }
    }
}
