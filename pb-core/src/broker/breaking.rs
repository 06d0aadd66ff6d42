//! Tells the peer when something that it holds of us is no object of this process, and breaks.

use std::mem;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::line::Line;
use crate::message::ExportId;
use crate::objects::{Fate, Reference, Watcher};

/// Watches one export. The connection's table holds it, so it lives as long as the export is open.
pub(super) struct ExportWatch {
    line: Weak<Line>,
    id: ExportId,
    /// As far along its promises as they have settled.
    at: Mutex<Reference>,
}

impl ExportWatch {
    /// Watches an export that was sent just now, unless it never breaks. Called under no lock.
    pub(super) fn begin(line: &Line, id: ExportId, reference: Reference) {
        let watch = Arc::new(ExportWatch { line: line.weak(), id, at: Mutex::new(reference) });
        if watch.look() {
            // Whoever has broken or released it meanwhile has no use for it.
            let unused = line.with(|connection, _| connection.watch_export(id, Arc::clone(&watch)));
            drop(unused);
        }
    }

    /// Tells the peer if the export is broken. Says whether it may break later.
    fn look(self: &Arc<Self>) -> bool {
        let watcher = Arc::clone(self) as Arc<dyn Watcher>;
        let mut at = self.at.lock().clone();
        let fate = at.watch(&watcher);
        // What was held before may be the last of its kind, and must not be dropped under the lock.
        let before = mem::replace(&mut *self.at.lock(), at);
        drop(before);
        match fate {
            Fate::Open => true,
            Fate::Lasts => false,
            Fate::Broken(failure) => {
                if let Some(line) = self.line.upgrade() {
                    line.with(|connection, out| connection.break_export(self.id, &failure, out));
                }
                false
            }
        }
    }
}

impl Watcher for ExportWatch {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}
