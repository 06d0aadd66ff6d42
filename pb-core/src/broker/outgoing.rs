//! The frames that a connection has made and not written, and who is to write them.

use super::counters::Traffic;
use crate::message::Message;
use crate::proto::Outbox;
use crate::wire::frame;

/// Frames on their way out, in their order. One at a time writes: the writing task, or the reading task at the end of a batch.
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of `bytes` the peer made us send: answers. Our own calls and casts are not held against it.
    answers: usize,
    /// Bytes that somebody took and has not written, and how many of them are answers.
    taken: usize,
    taken_answers: usize,
    writer: Writer,
    /// The reading task handles a batch of frames, and writes at its end what came of them.
    batching: bool,
    /// What has been sent since the connection began.
    pub(super) sent: Traffic,
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Nobody.
    Idle,
    /// The writing task, or it has been called: what is appended now leaves with the rest.
    Called,
    /// The reading task, which calls the writing task if anything is left.
    Direct,
}

/// What the writing task gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something to write.
    Batch,
    /// Nothing; it will be called again.
    Nothing,
    /// The reading task writes. It calls the writing task if anything is left, or if the connection has ended.
    Busy,
}

impl Outgoing {
    /// Begins with `hello`, for which the writing task is called already.
    pub(super) fn new(hello: &Message<&[u8]>) -> Self {
        let mut bytes = frame::MAGIC.to_vec();
        frame::encode(hello, &mut bytes);
        let mut sent = Traffic::default();
        sent.count(hello, bytes.len() - frame::MAGIC.len());
        Outgoing {
            bytes,
            answers: 0,
            taken: 0,
            taken_answers: 0,
            writer: Writer::Called,
            batching: false,
            sent,
        }
    }

    /// Whether the caller must call the writing task now. `more`: there are bytes that are not made yet.
    pub(super) fn must_call(&mut self, more: bool) -> bool {
        let must = (more || !self.bytes.is_empty()) && self.writer == Writer::Idle && !self.batching;
        if must {
            self.writer = Writer::Called;
        }
        must
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() + self.taken
    }

    /// Bytes of answers that the peer has not taken.
    pub(super) fn backlog(&self) -> usize {
        self.answers + self.taken_answers
    }

    /// Moves everything into `batch`, for the writing task.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>) -> Taken {
        if self.writer == Writer::Direct {
            return Taken::Busy;
        }
        self.move_into(batch);
        self.writer = if batch.is_empty() { Writer::Idle } else { Writer::Called };
        if batch.is_empty() { Taken::Nothing } else { Taken::Batch }
    }

    /// What was taken is written. Says how many bytes of answers waited before.
    pub(super) fn written(&mut self) -> usize {
        let before = self.backlog();
        (self.taken, self.taken_answers) = (0, 0);
        before
    }

    pub(super) fn begin_batch(&mut self) {
        self.batching = true;
    }

    /// Moves everything into `batch`, for the reading task, unless somebody else writes.
    pub(super) fn end_batch(&mut self, batch: &mut Vec<u8>) -> bool {
        self.batching = false;
        if self.writer != Writer::Idle || self.bytes.is_empty() {
            return false;
        }
        self.move_into(batch);
        self.writer = Writer::Direct;
        true
    }

    /// The reading task has written the first `written` bytes of `batch`; the rest goes back to the front. Says whether the writing task
    /// must be called.
    pub(super) fn end_direct(&mut self, written: usize, batch: &mut Vec<u8>, more: bool) -> bool {
        if written < batch.len() {
            // The rest may begin with any part of the batch, so as many of its bytes count as answers as can be.
            self.answers += self.taken_answers.min(batch.len() - written);
            batch.drain(..written);
            batch.append(&mut self.bytes);
            std::mem::swap(&mut self.bytes, batch);
        }
        (self.taken, self.taken_answers) = (0, 0);
        self.writer = Writer::Idle;
        self.must_call(more)
    }

    fn move_into(&mut self, batch: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, batch);
        self.taken = batch.len();
        self.taken_answers = std::mem::take(&mut self.answers);
    }
}

impl Outbox for Outgoing {
    fn send(&mut self, message: Message<&[u8]>) {
        let before = self.bytes.len();
        frame::encode(&message, &mut self.bytes);
        let bytes = self.bytes.len() - before;
        self.sent.count(&message, bytes);
        if message.is_prompted() {
            self.answers += bytes;
        }
    }

    fn unread(&self) -> u64 {
        self.backlog() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ExportId, Hello, Payload, Ping, Resolve};
    use crate::proto::Limits;

    /// Frames on their way, with the hello gone and nobody writing.
    fn idle() -> Outgoing {
        let hello = Hello { versions: (1, 1), features: 0, grants: Limits::default().grants() };
        let mut out = Outgoing::new(&Message::Hello(hello));
        let mut batch = Vec::new();
        assert!(out.take(&mut batch) == Taken::Batch);
        out.written();
        batch.clear();
        assert!(out.take(&mut batch) == Taken::Nothing);
        out
    }

    fn ping(nonce: u64) -> Message<&'static [u8]> {
        Message::Ping(Ping { nonce })
    }

    #[test]
    fn the_writing_task_is_called_once_for_what_gathers() {
        let mut out = idle();
        assert!(!out.must_call(false), "there is nothing");
        out.send(ping(1));
        assert!(out.must_call(false));
        out.send(ping(2));
        assert!(!out.must_call(false), "it has been called");
        let mut batch = Vec::new();
        assert!(out.take(&mut batch) == Taken::Batch);
        out.send(ping(3));
        assert!(!out.must_call(false), "it looks again when it has written");
    }

    #[test]
    fn nobody_writes_while_the_reading_task_does() {
        let mut out = idle();
        out.begin_batch();
        out.send(ping(1));
        assert!(!out.must_call(false), "the batch's end writes it");
        let (mut direct, mut batch) = (Vec::new(), Vec::new());
        assert!(out.end_batch(&mut direct));
        out.send(ping(2));
        assert!(!out.must_call(false));
        assert!(out.take(&mut batch) == Taken::Busy);
        let written = direct.len();
        assert!(out.end_direct(written, &mut direct, false), "the second ping is left");
        assert!(out.take(&mut batch) == Taken::Batch);
    }

    #[test]
    fn what_the_socket_did_not_take_goes_out_first() {
        let mut out = idle();
        out.begin_batch();
        out.send(ping(1));
        let mut direct = Vec::new();
        assert!(out.end_batch(&mut direct));
        let whole = direct.clone();
        out.send(ping(2));
        assert!(out.end_direct(1, &mut direct, false));
        let mut batch = Vec::new();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert!(batch.starts_with(&whole[1..]) && batch.len() == 2 * whole.len() - 1);
    }

    #[test]
    fn only_answers_are_held_against_the_peer() {
        let mut out = idle();
        out.send(ping(1));
        assert_eq!(out.backlog(), 0);
        let payload = Payload { caps: Vec::new(), body: &[0u8; 100][..] };
        out.send(Message::Resolve(Resolve { export: ExportId(1), payload }));
        let backlog = out.backlog();
        assert!((100..120).contains(&backlog));
        let mut batch = Vec::new();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert_eq!(out.backlog(), backlog, "taken is not written");
        assert_eq!(out.written(), backlog);
        assert_eq!(out.backlog(), 0);
    }
}
