//! The task that reads: frames into the tables, and everything that must happen in their order.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::alarm::Alarm;
use super::batches::Finished;
use super::busy_wait::{BusyWait, Looked};
use super::chunks::Chunks;
use super::counters;
use super::lanes::{Lanes, Share};
use super::line::{Line, Rest, STALL, Turn};
use super::link::Link;
use super::ready::{Ready, run_ready};
use super::stranger;
use crate::message::{AbortCode, Failure, FailureKind, Ran};
use crate::proto::{Silent, Violation};
use crate::reactor::{Direct, ReadHalf};
use crate::wire::frame::{self, Decoded, MAGIC, Malformed};

/// Why reading ended.
#[derive(Debug, Error)]
enum End {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the other side closed the connection before its hello; perhaps it speaks another protocol")]
    Wordless,
    #[error("the connection was lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("the peer sent a frame that is no message: {0}")]
    Malformed(#[from] Malformed),
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("the other side does not speak this protocol; the one that its first bytes are of is {0}")]
    Stranger(&'static str),
    #[error("the peer sent no hello within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the connection is dead: {0}")]
    Dead(#[from] Silent),
    #[error("the rest of a frame did not come within {} s", STALL.as_secs())]
    Stalled,
}

impl End {
    fn abort_code(&self) -> Option<AbortCode> {
        match self {
            End::Closed | End::Wordless | End::Lost(_) | End::Stranger(_) => None,
            End::Malformed(malformed) => Some(malformed.abort_code()),
            End::Violation(violation) => Some(violation.abort_code()),
            End::Silent(_) | End::Dead(_) | End::Stalled => Some(AbortCode::Timeout),
        }
    }

    fn kind(&self) -> FailureKind {
        match self {
            End::Closed | End::Wordless | End::Lost(_) | End::Dead(_) => FailureKind::Disconnected,
            _ => FailureKind::Protocol,
        }
    }
}

/// Ends the connection when its reading task goes, for whatever reason: a runtime that shuts down drops tasks in the middle.
struct Ending(Arc<Line>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Failure::runtime_ended(), None);
        run_ready(&self.0);
    }
}

/// Reads until the connection ends. `stay` holds it open meanwhile.
pub(super) async fn run(
    line: Arc<Line>,
    stay: Option<Arc<Link>>,
    lanes: Option<Lanes>,
    half: ReadHalf,
    direct: Option<Direct>,
    busy_wait: Duration,
) {
    let ending = Ending(Arc::clone(&line));
    let busy_wait = if half.is_socket() { busy_wait } else { Duration::ZERO };
    let mut reading = Reading {
        line: &line,
        half,
        direct,
        buffer: BytesMut::new(),
        grown: false,
        paid: 0,
        batch: Chunks::of(line.chunk_bytes()),
        held: None,
        ready: Ready::default(),
        rest: None,
        read_bytes: FIRST_READ_BYTES,
        most_read_bytes: READ_BYTES.min(line.frame_bytes as usize),
        due: None,
        due_from: 0,
        alarm: Alarm::at(Instant::now() + line.handshake),
        busy: BusyWait::new(busy_wait),
        share: Share::new(lanes),
        came: false,
        left: false,
        tired: false,
    };
    let mut may_have_said_why = true;
    if let Err(end) = reading.run().await {
        let text = end.to_string();
        tracing::debug!(peer = line.peer_address(), reason = text, "connection ended");
        let abort = end.abort_code().map(|code| (code, text.as_str()));
        may_have_said_why = abort.is_some();
        line.end(Failure::new(end.kind(), Ran::Maybe, text.as_str()), abort);
        // On the heap, as what comes once at the end: a connection has room for it as long as it lives, else.
        Box::pin(reading.ready.run_by_turns(&line, &mut reading.share)).await;
    }
    reading.share.has_waited();
    drop((ending, stay));
    reading.direct = None;
    if may_have_said_why {
        Box::pin(reading.linger()).await;
    }
}

struct Reading<'a> {
    line: &'a Arc<Line>,
    half: ReadHalf,
    direct: Option<Direct>,
    buffer: BytesMut,
    /// `buffer` was made for one large frame.
    grown: bool,
    /// Bytes of the large frame that came last, if no other has come since: for as many the peer has paid.
    paid: usize,
    /// What this task writes itself, empty between batches.
    batch: Chunks,
    /// A message that begins the next turn of the tables' lock, with the bytes of its frame.
    held: Option<(Decoded, usize)>,
    /// What it has taken out of the tables to do, empty between turns of their lock.
    ready: Ready,
    /// What to wait for, where the batch's end has left nothing to do.
    rest: Option<Rest>,
    /// Bytes that one read may take: few at first, twice as many each time that a buffer is used up. A connection that was hardly used keeps no
    /// more than it needed, and one that is used makes no new buffer for every few calls.
    read_bytes: usize,
    /// The most of them: no more than the largest frame needs.
    most_read_bytes: usize,
    /// When the hello, or more of a started frame, must have come.
    due: Option<Instant>,
    /// How much of a started frame there was when `due` was set.
    due_from: usize,
    /// Rings when the tables have something to do, or something is due, or before.
    alarm: Alarm,
    busy: BusyWait,
    share: Share,
    /// A whole frame has come since this waited.
    came: bool,
    /// There is something in the buffer that was not looked at.
    left: bool,
    /// Others must have their turn before this goes on.
    tired: bool,
}

impl Reading<'_> {
    /// Returns without an error where the connection was ended from elsewhere.
    async fn run(&mut self) -> Result<(), End> {
        let handshake = self.line.handshake;
        self.due = Some(Instant::now() + handshake);
        while !self.take_magic()? {
            match self.more(|| End::Silent(handshake)).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(End::Closed) => return Err(End::Wordless),
                Err(end) => return Err(end),
            }
        }
        let mut greeted = false;
        loop {
            // One look at the clock for all that was read.
            let now = Instant::now().into_std();
            let taken = self.take_frames(greeted, now);
            self.ready.run_some(self.line, taken.is_ok());
            match &taken {
                Ok(_) => self.finish_batch(),
                // Nothing more is taken out: the tables may say that all is done and the connection closed, where it ends for this.
                Err(_) => self.write_batch(),
            }
            self.line.watchdog.is_done(self.line.peer_address(), now, Instant::now().into_std());
            greeted = taken?;
            if !self.left {
                self.set_due(greeted);
            }
            match self.more(|| if greeted { End::Stalled } else { End::Silent(handshake) }).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(End::Closed) if greeted && self.buffer.is_empty() => {
                    return Box::pin(self.answer_out()).await;
                }
                Err(End::Closed) if !greeted => return Err(End::Wordless),
                Err(end) => return Err(end),
            }
        }
    }

    /// Writes what a batch of frames has led to so far.
    fn write_batch(&mut self) {
        let Reading { line, direct, batch, share, .. } = self;
        let written = line.write_batch(direct.as_ref(), batch, share);
        self.has_written(written);
    }

    /// The same at its end, with a look at what comes next.
    fn finish_batch(&mut self) {
        let Reading { line, direct, batch, share, ready, .. } = self;
        let Finished { written, rest } = line.finish_batch(direct.as_ref(), batch, share, ready);
        self.rest = rest;
        self.has_written(written);
    }

    fn has_written(&mut self, written: std::io::Result<usize>) {
        match written {
            Ok(written) => self.tired |= self.share.spend_bytes(written),
            // The writer meets the same, and ends the connection; what the peer has said before, which may be why, is read until then.
            Err(_) => self.direct = None,
        }
    }

    /// The peer has said its last: what it asked for before is still answered, until the tables close the connection.
    ///
    /// # Errors
    /// It does not hear either.
    async fn answer_out(&mut self) -> Result<(), End> {
        let reason = Failure::new(End::Closed.kind(), Ran::Maybe, End::Closed.to_string());
        self.line.hear_no_more(reason);
        loop {
            let Rest { ended, timeout } = self.ready.run_by_turns(self.line, &mut self.share).await;
            if ended {
                return Ok(());
            }
            self.alarm.set(timeout);
            self.share.has_waited();
            tokio::select! {
                biased;
                () = self.line.read.heard() => {}
                () = poll_fn(|cx| self.alarm.poll_rung(false, cx)), if timeout.is_some() => {
                    let now = Instant::now().into_std();
                    self.line.handle_timeout(now).expect("who cannot be heard any more is not taken for dead");
                }
                error = self.half.reset() => return Err(End::Lost(error)),
            }
        }
    }

    /// Reads on for a moment without looking: a socket closed over unread bytes may lose the abort that says why.
    async fn linger(&mut self) {
        let until = Instant::now() + LINGER;
        let mut left = LINGER_BYTES;
        self.buffer = BytesMut::new();
        while left > 0 {
            self.buffer.clear();
            self.buffer.reserve(LINGER_STEP);
            match timeout_at(until, self.half.read_buf(&mut self.buffer)).await {
                Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    }

    fn take_magic(&mut self) -> Result<bool, End> {
        let seen = self.buffer.len().min(MAGIC.len());
        if self.buffer[..seen] != MAGIC[..seen] {
            return Err(End::Stranger(stranger::guess(&self.buffer)));
        }
        if seen < MAGIC.len() {
            return Ok(false);
        }
        bytes::Buf::advance(&mut self.buffer, seen);
        Ok(true)
    }

    /// Handles whole frames: all of them, or as many as a turn has. Says whether the hello was among them, or before.
    fn take_frames(&mut self, mut greeted: bool, now: std::time::Instant) -> Result<bool, End> {
        self.left = false;
        loop {
            let (frames, turn, taken) = self.take_run(greeted, now);
            if turn.ended
                && let Some(reason) = self.line.ended()
            {
                self.line.finish(reason);
            }
            let plain = self.held.is_none() && (self.buffer.is_empty() || frame::is_plain(&self.buffer));
            let done = self.ready.run(self.line);
            self.left |= done == Some(false);
            if done.is_some() && !plain {
                // What comes next may depend on all that this has led to.
                self.left |= !self.ready.run_some(self.line, taken.is_ok());
            }
            taken?;
            if frames == 0 {
                return Ok(greeted);
            }
            if turn.full {
                self.write_batch();
            }
            if !greeted {
                self.line.open();
                greeted = true;
            }
            if self.left || (self.held.is_none() && self.buffer.is_empty()) {
                return Ok(greeted);
            }
        }
    }

    /// Puts some whole frames into the tables in one turn of the lock: calls and answers, of which there may be many, or one of another kind,
    /// behind which the tables may be others. What names a result begins a turn of its own: those before it may settle that. So does an answer
    /// behind calls: they are started before it is told. Says how many, and what the last one led to.
    fn take_run(&mut self, greeted: bool, now: std::time::Instant) -> (usize, Turn, Result<(), End>) {
        let Reading { line, buffer, grown, paid, due, share, came, left, tired, held, ready, .. } = self;
        let limit = if greeted { line.frame_bytes } else { HELLO_BYTES };
        let (mut frames, mut bytes, mut alone, mut calls) = (0, 0, !greeted, false);
        let (turn, taken) = line.take(now, ready, |intake| {
            if frames > 0
                && (alone
                    || *left
                    || frames == RUN
                    || bytes > RUN_BYTES
                    || !frame::is_plain(buffer)
                    || (buffer.len() as u64 > intake.slack
                        && frame::whole_len(buffer).is_some_and(|whole| whole as u64 > intake.slack)))
            {
                return Ok(false);
            }
            // Looked at before it is taken out: it is large, and would be moved though it is not there.
            if held.is_some()
                && let Some((mut decoded, whole)) = held.take()
            {
                calls |= !decoded.is_answer();
                (frames, bytes) = (frames + 1, bytes + whole);
                intake.put(&mut decoded, whole)?;
                return Ok::<_, End>(true);
            }
            alone |= !frame::is_plain(buffer);
            let Some(frame) = frame::split(buffer, limit)? else { return Ok(false) };
            *due = None;
            *came = greeted;
            *paid = 0;
            if *grown {
                // While the frame waits or is worked on nothing else holds its bytes.
                *grown = false;
                *paid = counters::whole(frame.len());
                *buffer = BytesMut::from(&buffer[..]);
            }
            if share.spend_step() || line.arrivals.are_late() {
                (*left, *tired) = (true, true);
            }
            let whole = counters::whole(frame.len());
            let mut came = frame::decode(frame);
            let decoded = match &mut came {
                Ok(decoded) => decoded,
                Err(malformed) => return Err((*malformed).into()),
            };
            let answers = decoded.is_answer();
            if frames > 0 && ((answers && calls) || decoded.names_result()) {
                *held = came.ok().map(|decoded| (decoded, whole));
                return Ok(false);
            }
            calls |= !answers;
            (frames, bytes) = (frames + 1, bytes + whole);
            intake.put(decoded, whole)?;
            Ok(true)
        });
        (frames, turn, taken)
    }

    /// A hello must be whole within its time; a later frame must go on coming, some kilobytes each time.
    fn set_due(&mut self, greeted: bool) {
        let have = self.buffer.len();
        if greeted && have == 0 {
            self.due = None;
        } else if self.due.is_none() || (greeted && have >= self.due_from + PROGRESS_BYTES) {
            self.due = Some(Instant::now() + if greeted { STALL } else { self.line.handshake });
            self.due_from = have;
        }
    }

    /// Makes room for the next read: for what a small connection reads at once, or for more of a large frame. Behind a large frame only the
    /// beginning of the next is read at first: where that is large, too, the rest of it comes to where it stays.
    ///
    /// # Errors
    /// As [`Reading::grow`].
    fn make_room(&mut self) -> Result<(), Violation> {
        let (have, room) = (self.buffer.len(), self.buffer.capacity() - self.buffer.len());
        let large = frame::whole_len(&self.buffer).filter(|&whole| whole > have.max(self.read_bytes / 4));
        match large {
            Some(whole) if self.paid > 0 && !self.grown => self.grow(whole)?,
            Some(_) if room > 0 && (self.grown || have >= self.read_bytes / 4) => {}
            Some(whole) if have >= self.read_bytes / 4 => self.grow(whole)?,
            None if have == 0 && self.paid > 0 => self.buffer.reserve(FIRST_READ_BYTES),
            _ if room < self.read_bytes / 4 => {
                if self.buffer.capacity() > 0 {
                    self.read_bytes = (2 * self.read_bytes).min(self.most_read_bytes);
                }
                self.buffer.reserve(self.read_bytes);
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes room for a frame of `whole` bytes that has begun. A claimed length costs little: the buffer is four times what has come, and as much more as the
    /// frame before had, and ends at the frame's length.
    ///
    /// # Errors
    /// The frame is an answer that will be refused: it need not come first.
    fn grow(&mut self, whole: usize) -> Result<(), Violation> {
        if let Some((id, bytes)) = frame::begun_answer(&self.buffer) {
            self.line.lock().connection.expect_answer(id, bytes)?;
        }
        let mut larger = BytesMut::with_capacity(whole.min(4 * self.buffer.len() + self.paid));
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
        self.grown = true;
        Ok(())
    }

    /// Reads some bytes, unless whole frames are left, or learns that there is something to start or to tell. `false` once the connection
    /// was ended from elsewhere.
    async fn more(&mut self, late: impl Fn() -> End) -> Result<bool, End> {
        let mut patience = PATIENCE;
        loop {
            let Rest { ended, timeout } = match self.rest.take() {
                Some(rest) => {
                    self.line.send_parked();
                    rest
                }
                None => self.ready.run_by_turns(self.line, &mut self.share).await,
            };
            if ended {
                return Ok(false);
            }
            if self.line.arrivals.are_late() && patience > 0 {
                // With the lane, if there is one: while what this peer has begun is on its way, nobody else begins more. Where it does
                // not arrive, on another runtime, the connection goes on.
                patience -= 1;
                yield_now().await;
                continue;
            }
            if self.tired {
                self.tired = false;
                self.share.turn().await;
                continue;
            }
            if self.left {
                return Ok(true);
            }
            self.alarm.set(self.due.map(Instant::into_std).into_iter().chain(timeout).min());
            self.make_room()?;
            match self.wait(timeout.is_some() || self.due.is_some()).await {
                Woken::Called => {}
                Woken::Read(Err(error)) => return Err(End::Lost(error)),
                Woken::Read(Ok(0)) => return Err(End::Closed),
                Woken::Read(Ok(read)) => {
                    self.tired = self.share.spend_bytes(read);
                    if !self.tired {
                        return Ok(true);
                    }
                    self.left = true;
                }
                Woken::Alarm => {
                    if self.due.is_some_and(|due| due <= Instant::now()) {
                        return Err(late());
                    }
                    self.line.handle_timeout(Instant::now().into_std())?;
                    if self.buffer.is_empty() {
                        // Silence is what mostly rings it: a peer that has nothing to say keeps no more than one that never had.
                        (self.buffer, self.read_bytes, self.paid) = (BytesMut::new(), FIRST_READ_BYTES, 0);
                    }
                }
            }
        }
    }

    /// Waits for bytes, for a call, or for what is due; `timed`: for the alarm, too. By hand, since most calls wait here once, and a future of each
    /// would be polled twice.
    async fn wait(&mut self, timed: bool) -> Woken {
        let Reading { line, half, buffer, grown, paid, share, alarm, busy, came, .. } = self;
        // Large frames take far longer than waking a thread does; and who lets a frame come by bytes does not keep a thread from its sleep by them.
        let soon = mem::take(came) && !*grown && *paid == 0;
        let (mut first, mut look) = (true, busy.look(soon));
        let woken = poll_fn(|cx| {
            if line.read.poll_heard(cx).is_ready() {
                return Poll::Ready(Woken::Called);
            }
            // How much comes is known of a large frame only.
            let most = share.most_bytes(if *grown { buffer.capacity() - buffer.len() } else { 0 });
            let mut room = (&mut *buffer).limit(most);
            if let Poll::Ready(read) = pin!(half.read_buf(&mut room)).poll(cx) {
                return Poll::Ready(Woken::Read(read));
            }
            share.has_waited();
            // Behind the reading: where this side was held up, what the peer has said meanwhile counts first.
            if timed && alarm.poll_rung(mem::take(&mut first), cx).is_ready() {
                return Poll::Ready(Woken::Alarm);
            }
            match look.poll(cx, || read_now(half, buffer)) {
                Looked::Found(read) => Poll::Ready(Woken::Read(read)),
                Looked::Again | Looked::Over => Poll::Pending,
            }
        })
        .await;
        line.busy_waits.add(look.end());
        woken
    }
}

/// Reads some of what the socket has at this moment, its end and its error included, if anything, as far as there is room.
fn read_now(half: &ReadHalf, buffer: &mut BytesMut) -> Option<std::io::Result<usize>> {
    let mut piece = [0; PIECE_BYTES];
    let room = (buffer.capacity() - buffer.len()).min(PIECE_BYTES);
    let read = half.read_now(&mut piece[..room])?;
    if let Ok(read) = read {
        buffer.extend_from_slice(&piece[..read]);
    }
    Some(read)
}

/// What the reading task has waited for.
enum Woken {
    /// There is something to start or to tell.
    Called,
    Read(std::io::Result<usize>),
    /// The tables have something to do, or nearly so, or what was due has not come.
    Alarm,
}

/// Turns of the runtime that what was begun may take to arrive there.
const PATIENCE: usize = 64;
/// A hello is small; nothing is read before one that is larger than this.
const HELLO_BYTES: u64 = 4096;
/// Frames that are put into the tables in one turn of their lock: enough that the turn costs each of them little, and so few that who
/// makes a call meanwhile waits some microseconds.
const RUN: usize = 16;
/// Bytes of them, behind which there is no further one.
const RUN_BYTES: usize = 16 << 10;
/// Bytes that one read may take.
const READ_BYTES: usize = 64 << 10;
/// The first: hello and some calls, a small part of a page.
const FIRST_READ_BYTES: usize = 512;
/// Bytes that one look takes: those of many small frames.
const PIECE_BYTES: usize = 2048;
/// How long, and how much, is read without looking after an abort.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
const LINGER_STEP: usize = 4096;
/// Bytes of a started frame that must have come before its time is set anew.
const PROGRESS_BYTES: usize = 4096;
