//! The frames that a connection has made and not written, and who is to write them.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::chunks::Chunks;
use super::counters::Traffic;
use super::onlookers::{Passing, Recorder, record};
use crate::message::{Body, Message};
use crate::proto::{Outbox, SAMPLED};
use crate::reactor::Direct;
use crate::wire::frame;

/// Frames on their way out, in their order. One at a time writes: the writing task, the reading task at the end of a batch, or whoever sends what is
/// alone.
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
    /// How many frames wait.
    frames: usize,
    /// Whether what was taken last was one frame: then a single one may well be all that comes.
    was_one: bool,
    /// The means to write a frame that is alone; none while somebody does, and without a socket.
    alone: Option<Box<Alone>>,
    /// Nothing more is written.
    retired: bool,
    /// What has been sent since the connection began.
    pub(super) sent: Traffic,
    /// Those who see the frames that pass, both ways.
    pub(super) recorders: Vec<Arc<dyn Recorder>>,
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Nobody.
    Idle,
    /// The writing task, or it has been called: what is appended now leaves with the rest.
    Called,
    /// The reading task, or whoever sends what is alone: they call the writing task if anything is left.
    Direct,
}

/// What somebody needs who writes one frame himself.
pub(super) struct Alone {
    direct: Direct,
    bytes: Vec<u8>,
    written: usize,
}

impl Alone {
    /// Writes what the socket takes at once. Where that fails, it fails for the writing task, too, which tells.
    pub(super) fn write(&mut self) {
        self.written = self.direct.try_write_vectored(&[IoSlice::new(&self.bytes)]).unwrap_or(0);
    }
}

/// Who is to write what waits.
pub(super) enum Call {
    /// Nothing waits, or whoever writes knows.
    Nobody,
    /// The writing task.
    Task,
    /// Whoever has sent it.
    Alone(Box<Alone>),
}

/// What the writing task gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something to write.
    Batch,
    /// Nothing; it will be called again.
    Nothing,
    /// Somebody else writes, who calls the writing task if anything is left, or if the connection has ended.
    Busy,
}

impl Outgoing {
    /// Begins with `hello`, for which the writing task is called already. `waiting` is empty.
    pub(super) fn new(mut waiting: Chunks, hello: &Message<&[u8]>, direct: Option<Direct>) -> Self {
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
            frames: 1,
            was_one: false,
            alone: direct.map(|direct| Box::new(Alone { direct, bytes: Vec::new(), written: 0 })),
            retired: false,
            sent,
            recorders: Vec::new(),
        }
    }

    /// Whom the caller must call now. `more`: there are bytes that are not made yet. `quiet`: whether no more than one call is under way, and a
    /// frame that waits alone so is all that there is; to call the writing task for that takes longer than to write it.
    #[inline]
    pub(super) fn call(&mut self, more: bool, quiet: impl FnOnce() -> bool) -> Call {
        if !self.must_call(more) {
            return Call::Nobody;
        }
        if !more && self.is_alone() && quiet() {
            return self.begin_alone().map_or(Call::Task, Call::Alone);
        }
        Call::Task
    }

    /// Whether the caller must call the writing task now, which counts as called then.
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
            self.frames += 1;
            self.waiting.put_back(batch);
        }
        (self.taken, self.taken_answers) = (0, 0);
        self.writer = Writer::Idle;
        self.must_call(more)
    }

    fn move_into(&mut self, batch: &mut Chunks) {
        if self.frames > 0 {
            self.was_one = self.frames == 1;
            self.frames = 0;
        }
        self.waiting.move_into(batch, BATCH_BYTES);
        self.taken = batch.len();
        // Where chunks are left, as many of their bytes count as answers as can be.
        self.taken_answers = self.answers.saturating_sub(self.waiting.len());
        self.answers -= self.taken_answers;
    }

    /// Whether one frame waits, as one did before, that whoever has sent it may write.
    fn is_alone(&self) -> bool {
        self.frames == 1 && self.was_one && self.waiting.len() <= MOST_ALONE
    }

    /// The frame that waits, for whoever has sent it; he must [end](Outgoing::end_alone) it. `None` where somebody else is at that, or there is no
    /// socket.
    #[cold]
    fn begin_alone(&mut self) -> Option<Box<Alone>> {
        let mut alone = self.alone.take()?;
        self.waiting.take_all(&mut alone.bytes);
        self.frames = 0;
        (self.taken, self.taken_answers) = (alone.bytes.len(), self.answers);
        self.answers = 0;
        self.writer = Writer::Direct;
        Some(alone)
    }

    /// Who has written what was alone says whether the writing task must be called. Gives back what is to be dropped.
    pub(super) fn end_alone(&mut self, mut alone: Box<Alone>, more: bool) -> (bool, Option<Box<Alone>>) {
        let mut rest = self.waiting.like();
        if let left @ [_, ..] = &alone.bytes[alone.written..] {
            rest.room(left.len()).extend_from_slice(left);
        }
        alone.bytes.clear();
        let call = self.end_direct(&mut rest, more);
        if self.retired {
            return (call, Some(alone));
        }
        self.alone = Some(alone);
        (call, None)
    }

    /// Nothing more is written. Gives back what is to be dropped.
    pub(super) fn retire(&mut self) -> Option<Box<Alone>> {
        self.retired = true;
        self.alone.take()
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
        match message.body().and_then(Body::end) {
            Some(end) => {
                frame::encode_front(message, |bytes| waiting.room(bytes));
                waiting.push(Bytes::clone(end));
            }
            None => frame::encode_into(message, |bytes| waiting.room(bytes)),
        }
        let bytes = self.waiting.len() - before;
        self.frames += 1;
        self.sent.count(message, bytes);
        if !self.recorders.is_empty() {
            record(&self.recorders, Passing::Sent(message), bytes);
        }
        if message.is_prompted() {
            self.answers += bytes;
            self.all_answers += bytes as u64;
        }
    }
}

/// Bytes that are taken to be written at once, but that a chunk is never cut: what was taken counts as unread until all of it is written.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of a frame that whoever sends it may write himself: it is copied for that.
const MOST_ALONE: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ExportId, Hello, Payload, Ping, Resolve};
    use crate::proto::Limits;

    /// Frames on their way, with the hello gone and nobody writing.
    fn idle() -> Outgoing {
        let hello = Hello { versions: (1, 1), features: 0, grants: Limits::default().grants() };
        let mut out = Outgoing::new(Chunks::default(), &Message::Hello(hello), None);
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
        let payload = Payload { caps: Vec::new(), body: Body::lent(&[0; 100]) };
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
            let body = if number % 2 == 0 { Body::lent(&own) } else { Body::own(&own) };
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
            let payload = Payload { caps: Vec::new(), body: Body::own(&own) };
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

    /// The same with a socket, and what comes out of it.
    #[cfg(unix)]
    fn idle_on_a_socket() -> (Outgoing, tokio::net::UnixStream) {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("two sockets");
        let half = crate::reactor::WriteHalf::Unix(std::sync::Arc::new(ours.into_split().1));
        let mut out = idle();
        out.alone = half.direct().map(|direct| Box::new(Alone { direct, bytes: Vec::new(), written: 0 }));
        (out, theirs)
    }

    /// What whoever has sent the frame that waits gets, if he is to write it.
    #[cfg(unix)]
    fn alone_of(out: &mut Outgoing) -> Option<Box<Alone>> {
        match out.call(false, || true) {
            Call::Alone(alone) => Some(alone),
            Call::Nobody | Call::Task => None,
        }
    }

    #[cfg(unix)]
    fn read(stream: &tokio::net::UnixStream) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let read = stream.try_read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn one_frame_behind_one_is_written_by_who_sends_it() {
        let (mut out, peer) = idle_on_a_socket();
        out.send(ping(1));
        let mut alone = alone_of(&mut out).expect("the hello was one frame, too");
        assert!(!out.must_call(false) && out.take(&mut Chunks::default()) == Taken::Busy);
        alone.write();
        peer.readable().await.expect("something came");
        assert_eq!(read(&peer), [3, 11, 0, 1]);
        let (call, dropped) = out.end_alone(alone, false);
        assert!(!call && dropped.is_none() && out.waiting() == 0);
        out.send(ping(2));
        assert!(matches!(out.call(false, || false), Call::Task), "other calls are under way");
        assert!(matches!(out.call(false, || true), Call::Nobody), "it has been called");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_comes_while_one_is_written_is_the_writing_tasks() {
        let (mut out, _peer) = idle_on_a_socket();
        out.send(ping(1));
        let mut alone = alone_of(&mut out).expect("nothing else waits");
        alone.write();
        out.send(ping(2));
        assert!(alone_of(&mut out).is_none(), "somebody writes");
        assert!(out.end_alone(alone, false).0, "the second is left");
        out.send(ping(3));
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        out.written();
        batch.advance(batch.len());
        assert!(out.take(&mut batch) == Taken::Nothing);
        out.send(ping(4));
        assert!(alone_of(&mut out).is_none(), "two came at a time just now");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_the_socket_does_not_take_of_a_frame_goes_out_first() {
        let (mut out, _peer) = idle_on_a_socket();
        let payload = Payload { caps: Vec::new(), body: Body::lent(&[0; 100]) };
        out.send(Message::Resolve(Resolve { export: ExportId(1), payload }));
        let backlog = out.backlog();
        let mut alone = alone_of(&mut out).expect("nothing else waits");
        assert_eq!(out.backlog(), backlog, "taken is not written");
        let whole = alone.bytes.clone();
        alone.written = 7;
        out.send(ping(2));
        assert!(out.end_alone(alone, false).0);
        assert!((backlog - 7..=backlog).contains(&out.backlog()));
        let mut batch = Chunks::default();
        assert!(out.take(&mut batch) == Taken::Batch);
        assert!(batch.bytes().starts_with(&whole[7..]) && batch.len() == whole.len() - 7 + 4);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_is_written_as_the_connection_goes_keeps_no_socket() {
        let (mut out, peer) = idle_on_a_socket();
        out.send(ping(1));
        let alone = alone_of(&mut out).expect("nothing else waits");
        assert!(out.retire().is_none(), "it is in use");
        let (_, dropped) = out.end_alone(alone, false);
        drop(dropped.expect("nobody needs it any more"));
        peer.readable().await.expect("the end is something to read");
        assert_eq!(peer.try_read(&mut [0; 1]).expect("the end"), 0);
        assert!(alone_of(&mut out).is_none());
    }
}
