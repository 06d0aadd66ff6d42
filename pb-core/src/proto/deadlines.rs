//! What happens when a call's time is over (`docs/protocol.md`, section 7.1).

use std::time::Instant;

use super::imports::Wanted;
use super::timers::{earlier, exceeded};
use super::{Connection, Garbage, Host, Notice, Outbox, Outcome};
use crate::message::{Cancel, ExportId, FailureKind, ImportId, Message, Ran, Reply};

impl<H: Host> Connection<H> {
    /// The earliest deadline of a call, of either side's.
    pub fn next_deadline(&self) -> Option<Instant> {
        earlier(self.exports.due.next(), self.imports.due.next())
    }

    /// Ends the calls whose time is over.
    pub(super) fn expire(&mut self, now: Instant, out: &mut impl Outbox) {
        while let Some(id) = self.exports.due.take_due(now) {
            self.expire_running(ExportId(id), out);
        }
        while let Some(id) = self.imports.due.take_due(now) {
            self.expire_asked(ImportId(id), out);
        }
    }

    /// The time of a call of the peer's is over. One that waits for a promise is answered; one that runs is stopped, and answered when it has
    /// ended: until then it takes what its caller was granted.
    fn expire_running(&mut self, id: ExportId, out: &mut impl Outbox) {
        if let Some(request) = self.exports.take_queued(id) {
            self.garbage.push(Garbage::Handles(request.arguments.handles));
            return self.reject(id, exceeded(Ran::No), out);
        }
        self.notices.extend(self.exports.expire(id).map(Notice::Cancel));
    }

    /// The time of a call of ours is over: whoever waits is told now, whatever the peer does. This is our last word on it, unless a cast went
    /// down its promise, which must arrive.
    fn expire_asked(&mut self, id: ImportId, out: &mut impl Outbox) {
        if let Some(waiter) = self.end_asked(id, FailureKind::DeadlineExceeded, out) {
            self.notices.push_back(Notice::Settled(waiter, Outcome::Failed(exceeded(Ran::Maybe))));
        }
    }

    /// The caller takes a call of ours for ended, with a failure of this kind, whatever the peer does; it may still name the result, which is
    /// broken from now on. Nothing happens where the answer has come, or nobody waits for it. Who waited is told nothing.
    pub fn give_up(&mut self, id: ImportId, kind: FailureKind, out: &mut impl Outbox) {
        let waiter = self.end_asked(id, kind, out);
        self.garbage.extend(waiter.map(Garbage::Waiter));
    }

    fn end_asked(&mut self, id: ImportId, kind: FailureKind, out: &mut impl Outbox) -> Option<H::Waiter> {
        let asked = self.imports.asked(id).filter(|asked| asked.wanted == Wanted::Answer)?;
        asked.wanted = if asked.pinned { Wanted::Run } else { Wanted::Nothing };
        asked.over = Some(kind);
        if asked.wanted == Wanted::Nothing {
            out.send(Message::Cancel(Cancel { result: id }));
        }
        let waiter = asked.waiter.take()?;
        asked.named = asked.reply == Reply::Reference && self.host.names_result(&waiter);
        Some(waiter)
    }
}
