//! The frames that a connection has made and not written, and who is to write them.

use std::time::Instant;

use bytes::Bytes;

use super::chunks::Chunks;
use super::counters::Traffic;
use crate::message::{Body, Message};
use crate::proto::{Outbox, SAMPLED};
use crate::wire::frame;

/// Frames on their way out, in their order. One at a time writes: the writing task, or the reading task at the end of a batch.
pub(super) struct Outgoing {
    waiting: Chunks,
    /// How many bytes of `waiting` the peer made us send: answers. Our own calls and casts are not held against it.
    answers: usize,
    /// How many bytes of answers there ever were.
    all_answers: u64,
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
    /// Begins with `hello`, for which the writing task is called already. `waiting` is empty.
    pub(super) fn new(mut waiting: Chunks, hello: &Message<&[u8]>) -> Self {
        waiting.room(frame::MAGIC.len()).extend_from_slice(&frame::MAGIC);
        frame::encode_into(hello, |bytes| waiting.room(bytes));
        let mut sent = Traffic::default();
        sent.count(hello, waiting.len() - frame::MAGIC.len());
        Outgoing {
            waiting,
            answers: 0,
            all_answers: 0,
            taken: 0,
            taken_answers: 0,
            writer: Writer::Called,
            batching: false,
            sent,
        }
    }

    /// Whether the caller must call the writing task now. `more`: there are bytes that are not made yet.
    pub(super) fn must_call(&mut self, more: bool) -> bool {
        let must = (more || !self.waiting.is_empty()) && self.writer == Writer::Idle && !self.batching;
        if must {
            self.writer = Writer::Called;
        }
        must
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.taken
    }

    /// Bytes of answers that the peer has not taken.
    pub(super) fn backlog(&self) -> usize {
        self.answers + self.taken_answers
    }

    /// Moves all chunks into `batch`, or as many as one look at the peer's reading is worth, for the writing task.
    pub(super) fn take(&mut self, batch: &mut Chunks) -> Taken {
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

    /// The same for the reading task, unless somebody else writes.
    pub(super) fn end_batch(&mut self, batch: &mut Chunks) -> bool {
        self.batching = false;
        if self.writer != Writer::Idle || self.waiting.is_empty() {
            return false;
        }
        self.move_into(batch);
        self.writer = Writer::Direct;
        true
    }

    /// The reading task has written what `batch` has no more; the rest goes back to the front. Says whether the writing task must be called.
    pub(super) fn end_direct(&mut self, batch: &mut Chunks, more: bool) -> bool {
        if !batch.is_empty() {
            // The rest may begin with any part of the batch, so as many of its bytes count as answers as can be.
            self.answers += self.taken_answers.min(batch.len());
            self.waiting.put_back(batch);
        }
        (self.taken, self.taken_answers) = (0, 0);
        self.writer = Writer::Idle;
        self.must_call(more)
    }

    fn move_into(&mut self, batch: &mut Chunks) {
        self.waiting.move_into(batch, BATCH_BYTES);
        self.taken = batch.len();
        // Where chunks are left, as many of their bytes count as answers as can be.
        self.taken_answers = self.answers.saturating_sub(self.waiting.len());
        self.answers -= self.taken_answers;
    }
}

impl Outbox for Outgoing {
    /// Inlined where calls and values are sent, which then need not be told apart from others.
    #[inline(always)]
    fn send(&mut self, message: Message<Body<'_>>) {
        match &message {
            Message::Call(_) | Message::Resolve(_) => self.append(&message),
            _ => self.append_other(&message),
        }
    }

    fn unread(&self) -> u64 {
        self.backlog() as u64
    }

    fn prompted(&self) -> u64 {
        self.all_answers
    }

    #[inline]
    fn now(&self, due: bool) -> Option<(Instant, u32)> {
        let weight = match (self.batching, due) {
            (false, _) => 1,
            (true, true) => SAMPLED,
            (true, false) => return None,
        };
        Some((tokio::time::Instant::now().into_std(), weight))
    }
}

impl Outgoing {
    #[inline(never)]
    fn append_other(&mut self, message: &Message<Body<'_>>) {
        self.append(message);
    }

    #[inline(always)]
    fn append(&mut self, message: &Message<Body<'_>>) {
        let Outgoing { waiting, .. } = self;
        let before = waiting.len();
        match message.body() {
            Some(Body::Own(body)) => {
                frame::encode_front(message, |bytes| waiting.room(bytes));
                waiting.push(Bytes::clone(body));
            }
            _ => frame::encode_into(message, |bytes| waiting.room(bytes)),
        }
        let bytes = self.waiting.len() - before;
        self.sent.count(message, bytes);
        if message.is_prompted() {
            self.answers += bytes;
            self.all_answers += bytes as u64;
        }
    }
}

/// Bytes that are taken to be written at once, but that a chunk is never cut: what was taken counts as unread until all of it is written.
const BATCH_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ExportId, Hello, Payload, Ping, Resolve};
    use crate::proto::Limits;

    /// Frames on their way, with the hello gone and nobody writing.
    fn idle() -> Outgoing {
        let hello = Hello { versions: (1, 1), features: 0, grants: Limits::default().grants() };
        let mut out = Outgoing::new(Chunks::default(), &Message::Hello(hello));
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        out.written();
        batch.advance(batch.len());
        assert!(out.take(&mut batch) == Taken::Nothing);
        out
    }

    fn ping(nonce: u64) -> Message<Body<'static>> {
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
        let mut batch = Chunks::default();
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
        let (mut direct, mut batch) = (Chunks::default(), Chunks::default());
        assert!(out.end_batch(&mut direct));
        out.send(ping(2));
        assert!(!out.must_call(false));
        assert!(out.take(&mut batch) == Taken::Busy);
        direct.advance(direct.len());
        assert!(out.end_direct(&mut direct, false), "the second ping is left");
        assert!(out.take(&mut batch) == Taken::Batch);
    }

    #[test]
    fn what_the_socket_did_not_take_goes_out_first() {
        let mut out = idle();
        out.begin_batch();
        out.send(ping(1));
        let mut direct = Chunks::default();
        assert!(out.end_batch(&mut direct));
        let whole = direct.bytes();
        out.send(ping(2));
        direct.advance(1);
        assert!(out.end_direct(&mut direct, false));
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert!(batch.bytes().starts_with(&whole[1..]) && batch.len() == 2 * whole.len() - 1);
    }

    #[test]
    fn only_answers_are_held_against_the_peer() {
        let mut out = idle();
        out.send(ping(1));
        assert_eq!(out.backlog(), 0);
        let payload = Payload { caps: Vec::new(), body: Body::Lent(&[0; 100]) };
        out.send(Message::Resolve(Resolve { export: ExportId(1), payload }));
        let backlog = out.backlog();
        assert!((100..120).contains(&backlog));
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert_eq!(out.backlog(), backlog, "taken is not written");
        assert_eq!(out.written(), backlog);
        assert_eq!(out.backlog(), 0);
    }

    /// Frames of all sizes, some with bodies that are chunks of their own.
    fn large_and_small(out: &mut Outgoing) -> Vec<u8> {
        let mut all = Vec::new();
        for (number, bytes) in
            [3, Body::LARGE_BYTES, 9, 40_000, 2 * Body::LARGE_BYTES, 1].into_iter().enumerate()
        {
            let own = Bytes::from(vec![number as u8; bytes]);
            let body = if number % 2 == 0 { Body::Lent(&own) } else { Body::Own(&own) };
            let resolve =
                Resolve { export: ExportId(number as i64 + 1), payload: Payload { caps: Vec::new(), body } };
            let message = Message::Resolve(resolve);
            frame::encode(&message, &mut all);
            out.send(message);
            frame::encode(&ping(number as u64), &mut all);
            out.send(ping(number as u64));
        }
        all
    }

    #[test]
    fn large_bodies_stand_between_their_frames_whoever_writes_and_however_little() {
        for step in [1, 7, 1000, 16_384, 30_000, usize::MAX] {
            let mut out = idle();
            let mut written = Vec::new();
            let all = large_and_small(&mut out);
            let mut direct = false;
            while out.waiting() > 0 {
                let mut batch = Chunks::default();
                direct = !direct;
                if direct {
                    out.writer = Writer::Idle;
                    out.begin_batch();
                    assert!(out.end_batch(&mut batch));
                } else {
                    assert!(out.take(&mut batch) == Taken::Batch);
                }
                let waiting = batch.bytes();
                // What is small is written in many steps at once, so that the test ends.
                let some = step.saturating_mul(if step < 100 { 499 } else { 1 }).min(waiting.len());
                if direct {
                    written.extend_from_slice(&waiting[..some]);
                    batch.advance(some);
                    out.end_direct(&mut batch, false);
                } else {
                    written.extend_from_slice(&waiting);
                    out.written();
                }
                assert_eq!(written.len() + out.waiting(), all.len());
                assert!(out.backlog() <= out.waiting());
            }
            assert!(written == all, "in steps of {step}");
            assert_eq!(out.backlog(), 0);
            assert_eq!(out.prompted() as usize, all.len() - 6 * 4);
        }
    }

    #[test]
    fn an_own_body_is_not_copied_and_a_batch_is_bounded() {
        let mut out = idle();
        let own = Bytes::from(vec![1; BATCH_BYTES]);
        for number in 1..=3 {
            let payload = Payload { caps: Vec::new(), body: Body::Own(&own) };
            out.send(Message::Resolve(Resolve { export: ExportId(number), payload }));
        }
        let backlog = out.backlog();
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert!(batch.len() < BATCH_BYTES, "the front of a frame, and not its body");
        batch.advance(batch.len());
        out.written();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert_eq!(batch.slices(usize::MAX)[0].as_ptr(), own.as_ptr());
        assert_eq!(batch.len(), BATCH_BYTES);
        assert!(out.backlog() < backlog, "what is written is not held against the peer");
    }
}
