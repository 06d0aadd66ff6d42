//! The client that is told what changes.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pb_client::Referenceable;
use tokio::sync::Notify;

use super::Shown;
use super::api::{Change, Watcher, What};

/// Writes a line for each change. The server calls it: it is an object of this process.
#[derive(Referenceable)]
pub struct Printer<W: Write + Send + 'static> {
    out: Mutex<W>,
    unread: Notify,
}

impl<W: Write + Send + 'static> Printer<W> {
    /// One that writes to `out`.
    pub fn new(out: W) -> Self {
        Printer { out: Mutex::new(out), unread: Notify::new() }
    }

    /// Waits until a line could not be written: whoever reads them has gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn unread(&self) {
        self.unread.notified().await;
    }
}

impl<W: Write + Send + 'static> Watcher for Printer<W> {
    async fn changed(&self, changes: Vec<Change>, missed: u64) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if print(&mut *out, &changes, missed).is_err() {
            self.unread.notify_one();
        }
    }
}

fn print(out: &mut impl Write, changes: &[Change], missed: u64) -> std::io::Result<()> {
    for Change { what, path } in changes {
        let what = match what {
            What::Came => "came",
            What::Changed => "changed",
            What::Went => "went",
        };
        let path = match path.as_slice() {
            [] => Path::new("."),
            path => Path::new(OsStr::from_bytes(path)),
        };
        writeln!(out, "{what} {}", Shown(path))?;
    }
    if missed > 0 {
        writeln!(out, "missed {missed} changes: look again")?;
    }
    out.flush()
}
