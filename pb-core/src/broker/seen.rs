//! A connection as references and running methods see it.

use super::after::discard;
use super::line::Line;
use super::wiring::Wiring;
use crate::message::{ExportId, Failure, FailureKind, ImportId, Reply};
use crate::objects::{self, Answerer, Encoded, NotSent, Onward, Waiting, WireAnswer};
use crate::proto::{self, Refused, TimeLimit};

impl objects::Carrier for Line {
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn is_lost(&self) -> bool {
        self.lost().is_some()
    }

    fn was_lost_by(&self, failure: &Failure) -> bool {
        self.lost().is_some_and(|reason| reason.kind == failure.kind && reason.message == failure.message)
    }

    fn is_left(&self) -> bool {
        self.lock().connection.farewell().is_some()
    }

    fn call(
        &self,
        target: ImportId,
        mut call: Encoded<'_>,
        reply: Reply,
        waiter: Waiting,
    ) -> Result<ImportId, NotSent> {
        // By reference: it was put together just now, and would be moved for nothing.
        let call = &mut call;
        let sent = self.with(|connection, out| connection.call(outgoing(target, call), reply, waiter, out));
        sent.map_err(|unsent| not_sent(unsent.0))
    }

    fn cast(&self, target: ImportId, mut call: Encoded<'_>) -> Result<(), NotSent> {
        self.with(|connection, out| connection.cast(outgoing(target, &mut call), out)).map_err(not_sent)
    }

    fn is_crowded(&self) -> bool {
        self.room.is_crowded()
    }

    fn ticket(&self) -> u64 {
        self.room.ticket()
    }

    fn park(&self, ticket: u64, call: Box<dyn Onward>) -> Option<Box<dyn Onward>> {
        let stopped = self.room.park(ticket, call);
        // Room may have come meanwhile, or the end, behind which nobody looks any more.
        if self.lost().is_some() {
            self.send_parked();
        } else {
            self.read.ring();
        }
        stopped
    }

    fn unpark(&self, ticket: u64) -> Option<Box<dyn Onward>> {
        let call = self.room.unpark(ticket);
        // The one behind it may have room.
        self.read.ring();
        call
    }

    fn cancel(&self, id: ImportId) {
        self.with(|connection, out| connection.cancel(id, out)).into_iter().for_each(discard);
    }

    fn give_up(&self, id: ImportId, kind: FailureKind) {
        self.with(|connection, out| connection.give_up(id, kind, out));
    }

    fn detach(&self, id: ImportId) {
        self.with(|connection, _| connection.detach(id)).into_iter().for_each(discard);
    }

    fn break_result(&self, id: ImportId, failure: Failure) {
        self.with(|connection, _| connection.break_result(id, failure));
    }
}

impl Answerer for Line {
    fn answer(&self, id: ExportId, answer: WireAnswer<'_>) {
        self.with(|connection, out| connection.answer(id, answer, out));
    }

    fn peer(&self) -> &str {
        self.peer_address()
    }
}

#[inline]
fn outgoing<'a>(target: ImportId, call: &mut Encoded<'a>) -> proto::OwnCall<'a, Wiring> {
    let Encoded { method, options, deadline, references, body } = call;
    let (options, deadline) = (options.take(), *deadline);
    let within = deadline.map(|deadline| TimeLimit { deadline, now: tokio::time::Instant::now().into_std() });
    proto::OwnCall { target, method, options, within, handles: references, body: *body }
}

fn not_sent(refused: Refused<Wiring>) -> NotSent {
    match refused {
        Refused::Failed(failure) => NotSent::Failed(failure),
        Refused::Moved(reference) => NotSent::Moved(reference),
        Refused::Full(failure) => NotSent::Full(failure),
    }
}
