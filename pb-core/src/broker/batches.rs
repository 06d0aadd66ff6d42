//! Writing what has gathered: by whom, and when.

use std::io::ErrorKind;
use std::time::Instant;

use super::chunks::Chunks;
use super::lanes::Share;
use super::line::{Line, Rest, State};
use super::outgoing::{Alone, Call, Taken};
use super::ready::Ready;
use crate::reactor::Direct;

/// How it stands with a connection whose batch has ended.
pub(super) struct Finished {
    /// So many bytes; or the socket's error.
    pub(super) written: std::io::Result<usize>,
    /// What to wait for, where nothing was taken out.
    pub(super) rest: Option<Rest>,
}

impl Line {
    /// Writes a frame that is alone, under no lock. What the socket does not take, or refuses, is left to the writing task.
    #[inline(never)]
    pub(super) fn write_alone(&self, mut alone: Box<Alone>) {
        alone.write();
        let (call, retired) = {
            let mut state = self.lock();
            let more = state.has_more();
            state.out.end_alone(alone, more)
        };
        drop(retired);
        if call {
            self.write.ring();
        }
    }

    /// Moves what is to be written into `batch`, which is empty.
    pub(super) fn take_batch(&self, batch: &mut Chunks) -> Taken {
        let (taken, after) = {
            let mut state = self.lock();
            let State { connection, out, .. } = &mut *state;
            connection.flush(out);
            (out.take(batch), state.after(&self.room, None, Call::Nobody, false))
        };
        self.follow(after);
        taken
    }

    /// Writes what a batch has led to so far, as [`Line::finish_batch`] does, and begins another by the next message.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn write_batch(
        &self,
        direct: Option<&Direct>,
        batch: &mut Chunks,
        share: &mut Share,
    ) -> std::io::Result<usize> {
        self.write_out(direct, batch, share, None).written
    }

    /// The batch ends: what has gathered is written from here, unless somebody writes already. What the socket does not take at once is
    /// left to the writer, as is everything without `direct` and what goes beyond what `share` has. What the tables have ready then goes into `ready`, which
    /// is empty, in the turn of the lock that all ends with.
    pub(super) fn finish_batch(
        &self,
        direct: Option<&Direct>,
        batch: &mut Chunks,
        share: &mut Share,
        ready: &mut Ready,
    ) -> Finished {
        self.write_out(direct, batch, share, Some(ready))
    }

    fn write_out(
        &self,
        direct: Option<&Direct>,
        batch: &mut Chunks,
        share: &mut Share,
        mut ready: Option<&mut Ready>,
    ) -> Finished {
        let (writes, (rest, after), call) = {
            let mut state = self.lock();
            let State { connection, out, .. } = &mut *state;
            connection.flush(out);
            let writes = out.end_batch(batch);
            let next = if writes { None } else { ready.as_deref_mut() };
            let next = self.take_next_if(&mut state, next);
            // Whoever had something for the writing task meanwhile, the end among it, has called nobody.
            let more = !writes && state.has_more();
            (writes, next, more && state.out.must_call(true))
        };
        self.follow(after);
        if call {
            self.write.ring();
        }
        if !writes {
            return Finished { written: Ok(0), rest };
        }
        let most = share.most_bytes(batch.len());
        let tried = match direct.map(|direct| direct.try_write_vectored(&batch.slices(most))) {
            None => Ok(0),
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Some(tried) => tried,
        };
        batch.advance(*tried.as_ref().unwrap_or(&0));
        let (call, (rest, after)) = {
            let mut state = self.lock();
            let more = state.has_more();
            // First, since calls are held back by what was not written.
            let call = state.out.end_direct(batch, more);
            (call, self.take_next_if(&mut state, ready))
        };
        if call {
            self.write.ring();
        }
        self.follow(after);
        Finished { written: tried, rest }
    }

    /// Whether so much waits that it is a batch, whoever else is about to send.
    pub(super) fn has_much(&self) -> bool {
        self.lock().out.waiting() >= MUCH
    }

    /// What was taken has been written. Says whether there is more.
    pub(super) fn written(&self) -> bool {
        let (waiting, more) = {
            let mut state = self.lock();
            state.out.written();
            (state.connection.has_tasks(), state.out.waiting() > 0 || state.has_more())
        };
        if waiting {
            self.read.ring();
        }
        more
    }

    /// Nothing more is written: who holds the connection's handles does not hold its socket.
    pub(super) fn retire(&self) {
        let alone = self.lock().out.retire();
        drop(alone);
    }
}

impl State {
    /// What was read at `now` goes into the tables: until [`Line::end_batch`] nobody is called to write. What was due before is done first.
    #[inline]
    pub(super) fn begin_batch(&mut self, now: Instant) {
        // Nothing is due before the reading task would have woken for it.
        let may_be_due = self.wakes_at.is_none_or(|wakes_at| wakes_at <= now);
        let State { connection, out, .. } = self;
        out.begin_batch();
        connection.heard(now);
        if may_be_due && connection.poll_timeout().is_some_and(|timeout| timeout <= now) {
            connection.handle_timeout(now, out).expect("a peer that was heard just now is not silent");
        }
    }

    /// Whether the writing task has something to do, whatever waits: last words to send, or the connection's end.
    fn has_more(&self) -> bool {
        self.connection.has_last_words() || self.connection.ended().is_some()
    }
}

/// Bytes that are written without waiting for others to join them: that takes longer than a write of its own, and wakes another thread of the
/// runtime, which finds nothing to do.
const MUCH: usize = 16 << 10;
