//! Calls of the peer's that are passed on, whose results are called before they have come (`docs/protocol.md`, section 9).

use super::{Connection, Host, Start, Task};
use crate::message::{ExportId, Reply};

impl<H: Host> Connection<H> {
    /// The call `id` of the peer's was passed on, and `onward` is the promise of its result there: what waits for the result follows, and
    /// what names it from here on goes there at once.
    ///
    /// # Errors
    /// The handle, to be dropped: the call has ended, was cancelled, its time is over, or it asked for a value.
    pub fn set_onward(&mut self, id: ExportId, onward: H::Handle) -> Result<(), H::Handle> {
        let (queue, promise) = match self.exports.running(id) {
            Some(running) if running.reply == Reply::Reference && !running.cancelled && !running.expired => {
                let bonds = running.bonds();
                let before = bonds.onward.replace(onward.clone());
                debug_assert!(before.is_none(), "a call is passed on once");
                (bonds.queue.take_all(), bonds.promise.take())
            }
            _ => return Err(onward),
        };
        for request in queue {
            self.tasks.push_back(Task::Start(Start { target: onward.clone(), on_root: false, request }));
        }
        self.tasks.extend(promise.map(|promise| Task::Settle(promise, Ok(onward))));
        Ok(())
    }
}
