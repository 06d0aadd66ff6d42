use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::after::After;
use super::arrivals::Arrivals;
use super::bell::Bell;
use super::busy_wait::Tally;
use super::chunks::Chunks;
use super::counters::{Counters, Traffic};
use super::link::Link;
use super::onlookers::{self, Passing, record};
use super::outgoing::{Call, Outgoing};
use super::owed::HeldAnswer;
use super::ready::Ready;
use super::room::Room;
use super::stages::Stages;
use super::watchdog::Watchdog;
use super::wiring::Wiring;
use super::{Config, reading, ready, writing};
use crate::defer::quietly;
use crate::message::{Abort, AbortCode, Failure, FailureKind, MAX_CAUSE_BYTES, Message, Ran};
use crate::objects::{AnswerBody, Names, Watcher, Watchers};
use crate::proto::{Connection, Outbox, Silent, TableSizes, Violation};
use crate::reactor::Stream;
use crate::wire::frame::Decoded;

/// One connection: its tables and its outgoing bytes under one lock, and the means to wake its two tasks.
pub(super) struct Line {
    me: Weak<Line>,
    state: Mutex<State>,
    /// There is something to write.
    pub(super) write: Bell,
    /// There is something to start or to tell, or the connection has ended.
    pub(super) read: Bell,
    /// Somebody's [`Line::when`] may have come true.
    pub(super) changed: Notify,
    /// See [`Line::is_over`].
    over: AtomicBool,
    /// See [`Line::is_halted`].
    halted: AtomicBool,
    /// See [`Line::is_stirred`].
    stirred: AtomicBool,
    stages: Stages,
    peer: String,
    pub(super) frame_bytes: u64,
    /// Outgoing bytes that are written in the middle of a batch.
    full_bytes: usize,
    /// What the peer gets here by name.
    pub(super) names: Names,
    /// The peer's hello must have come by then.
    pub(super) handshake: Duration,
    /// Calls that wait until a grant of the peer's has room.
    pub(super) room: Room,
    pub(super) watchdog: Watchdog,
    /// What the peer called a trace, and is none.
    pub(super) bad_traceparents: AtomicU64,
    pub(super) busy_waits: Tally,
    /// One-way calls of the peer's that failed before their method began.
    pub(super) lost_casts: AtomicU64,
    pub(super) arrivals: Arrivals,
    /// Who waits for the peer's root to break, with the connection or without.
    watchers: Mutex<Watchers>,
    /// Who waits for the answer to a ping, by its nonce. Locked within the lock of `state`, never around it.
    pings: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

pub(super) struct State {
    pub(super) connection: Connection<Wiring>,
    pub(super) out: Outgoing,
    /// What has been read since the connection began.
    received: Traffic,
    /// How many wait until nothing remains.
    pub(super) idlers: usize,
    /// What was freed of the peer's grants when somebody was told last.
    pub(super) told: u64,
    /// When the reading task looks at the tables again, at the latest.
    pub(super) wakes_at: Option<Instant>,
    /// Something was taken out of the tables that may not be done yet: they are neither idle nor done with, whatever they say.
    pub(super) in_hand: bool,
}

impl State {
    pub(super) fn out(&self) -> &Outgoing {
        &self.out
    }

    pub(super) fn parts(&mut self) -> (&mut Connection<Wiring>, &mut Outgoing) {
        (&mut self.connection, &mut self.out)
    }

    /// Whether the reading task must be woken for an earlier deadline.
    fn is_early(&mut self) -> bool {
        let Some(deadline) = self.connection.next_deadline() else { return false };
        let early = self.wakes_at.is_none_or(|wakes_at| deadline < wakes_at);
        if early {
            self.wakes_at = Some(deadline);
        }
        early
    }

    /// What the reading task waits for.
    fn rest(&mut self) -> Rest {
        self.wakes_at = self.connection.poll_timeout();
        Rest { ended: self.connection.ended().is_some(), timeout: self.wakes_at }
    }
}

/// How it stands with a connection after a turn of the lock.
pub(super) struct Turn {
    pub(super) ended: bool,
    /// Enough waits to be written for a batch of its own.
    pub(super) full: bool,
}

/// What the reading task waits for, where nothing is to be done.
pub(super) struct Rest {
    pub(super) ended: bool,
    /// When the tables have something to do.
    pub(super) timeout: Option<Instant>,
}

impl Line {
    /// Starts a connection's two tasks.
    pub(super) fn start(stream: Stream, config: Config) -> Arc<Link> {
        let peer = stream.peer().to_owned();
        let (read, write) = stream.into_split();
        let Config { root, names, limits, handshake, stays, lanes, onlookers } = config;
        let busy_wait = limits.at_least_minimum().busy_wait;
        let link = Link::new(|link| {
            Arc::new_cyclic(|line: &Weak<Line>| {
                let wiring = Wiring { link, address: line.as_ptr() as usize, witnesses: Vec::new() };
                let mut connection = Connection::new(wiring, root, limits);
                let hello = connection.hello();
                let frame_bytes = hello.grants.frame_bytes;
                let chunks = Chunks::of(chunk_bytes(frame_bytes));
                let hello = Message::Hello(hello);
                let mut out = Outgoing::new(chunks, &hello, write.direct());
                onlookers.into_iter().for_each(|one| onlookers::begin(&mut connection, &mut out, one));
                if !out.recorders.is_empty() {
                    record(&out.recorders, Passing::Hello(&hello), out.sent.bytes as usize);
                }
                Line {
                    me: line.clone(),
                    state: Mutex::new(State {
                        connection,
                        out,
                        received: Traffic::default(),
                        idlers: 0,
                        told: 0,
                        wakes_at: None,
                        in_hand: false,
                    }),
                    write: Bell::default(),
                    read: Bell::default(),
                    changed: Notify::new(),
                    over: AtomicBool::new(false),
                    halted: AtomicBool::new(false),
                    stirred: AtomicBool::new(false),
                    stages: Stages::default(),
                    peer,
                    frame_bytes,
                    full_bytes: FULL_BATCH.min(2 * frame_bytes as usize),
                    names,
                    handshake: handshake.clamp(SHORTEST_HANDSHAKE, LONGEST_HANDSHAKE),
                    room: Room::default(),
                    watchdog: Watchdog::default(),
                    bad_traceparents: AtomicU64::new(0),
                    busy_waits: Tally::default(),
                    lost_casts: AtomicU64::new(0),
                    arrivals: Arrivals::default(),
                    watchers: Mutex::new(Watchers::default()),
                    pings: Mutex::default(),
                }
            })
        });
        let line = link.line();
        line.write.ring();
        let stay = stays.then(|| Arc::clone(&link));
        tokio::spawn(reading::run(Arc::clone(line), stay, lanes.clone(), read, write.direct(), busy_wait));
        tokio::spawn(writing::run(Arc::clone(line), lanes, write));
        link
    }

    pub(super) fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Works on the tables. What they let go of is dropped behind the lock; whoever has something to do is woken.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection<Wiring>, &mut Outgoing) -> T) -> T {
        let (result, after) = {
            let mut state = self.state.lock();
            let State { connection, out, in_hand, .. } = &mut *state;
            let result = work(connection, out);
            let left = if *in_hand { None } else { connection.close_if_done(out) };
            let tasks = connection.has_tasks();
            if tasks || connection.has_notices() {
                self.stirred.store(true, Ordering::Relaxed);
            }
            let write = out.call(connection.has_last_words(), || connection.under_way() <= 1);
            if connection.is_unread(out) || connection.ended().is_some() {
                self.halted.store(true, Ordering::Relaxed);
                if connection.ended().is_some() {
                    self.over.store(true, Ordering::Relaxed);
                }
            }
            let read = state.is_early() || tasks;
            (result, state.after(&self.room, left, write, read))
        };
        self.follow(after);
        result
    }

    /// The line itself, for those that it must not keep alive.
    pub(super) fn weak(&self) -> Weak<Line> {
        self.me.clone()
    }

    /// Lets `next` put into the tables what was read at `now`, until it puts nothing more, or little of the peer's budget is left, and takes out what
    /// is to be done then: one turn of the lock. A batch begins by it, or goes on. `ready` is empty before.
    ///
    /// # Errors
    /// `next`'s, or what the peer did wrong. What came before is in `ready` all the same.
    pub(super) fn take<E: From<Violation>>(
        &self,
        now: Instant,
        ready: &mut Ready,
        mut next: impl FnMut(&mut Intake<'_>) -> Result<bool, E>,
    ) -> (Turn, Result<(), E>) {
        let mut put = |intake: &mut Intake<'_>| {
            while next(intake)? && intake.slack > 0 {}
            Ok(())
        };
        let goaway;
        let (worked, turn, after) = {
            let mut state = self.state.lock();
            state.begin_batch(now);
            let State { connection, out, received, .. } = &mut *state;
            let mut intake = Intake { connection, out, received, now, goaway: false, slack: u64::MAX };
            let worked = put(&mut intake);
            goaway = intake.goaway;
            let (turn, after) = self.take_out(&mut state, ready, worked.is_ok());
            (worked, turn, after)
        };
        self.follow(after);
        if goaway {
            quietly(|| self.changed.notify_waiters());
        }
        (turn, worked)
    }

    /// Takes out what is to be done: `ready`, which is empty before. `well`: the peer has done nothing wrong.
    pub(super) fn take_ready(&self, ready: &mut Ready, well: bool) {
        let (_, after) = self.take_out(&mut self.lock(), ready, well);
        self.follow(after);
    }

    /// The same for the reading task, which waits where there is nothing, and then learns what for.
    pub(super) fn take_or_rest(&self, ready: &mut Ready) -> Option<Rest> {
        let (rest, after) = self.take_next_if(&mut self.lock(), Some(ready));
        self.follow(after);
        rest
    }

    /// The same under the lock, if there is a `ready`.
    pub(super) fn take_next_if(&self, state: &mut State, ready: Option<&mut Ready>) -> (Option<Rest>, After) {
        let Some(ready) = ready else { return (None, state.after(&self.room, None, Call::Nobody, false)) };
        let (_, after) = self.take_out(state, ready, true);
        (if ready.is_empty() { Some(state.rest()) } else { None }, after)
    }

    /// Calls are not started while too much waits to be written. `well`: the peer has done nothing wrong.
    #[inline]
    fn take_out(&self, state: &mut State, ready: &mut Ready, well: bool) -> (Turn, After) {
        debug_assert!(ready.is_empty(), "what is in it would go back into the tables, out of its order");
        let State { connection, out, in_hand, .. } = state;
        let full = out.waiting() + connection.last_words_bytes() > self.full_bytes;
        let ended = connection.ended().is_some();
        let may_start = ended || !connection.is_unread(out);
        self.halted.store(!may_start, Ordering::Relaxed);
        self.stirred.store(false, Ordering::Relaxed);
        connection.take_notices(&mut ready.notices);
        if may_start {
            connection.take_tasks(&mut ready.tasks, out);
        }
        *in_hand = !ready.is_empty();
        let left = if well && !*in_hand { connection.close_if_done(out) } else { None };
        let ended = ended || left.is_some();
        if ended {
            self.over.store(true, Ordering::Relaxed);
        }
        let write = out.call(connection.has_last_words(), || false);
        (Turn { ended, full }, state.after(&self.room, left, write, false))
    }

    /// Whether there may be something to start or to tell that was not there when it was last taken out. Asked under no lock: who waits for it looks
    /// under it before.
    #[inline]
    pub(super) fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed)
    }

    /// Whether what was taken out must go back into the tables: too much waits to be written, or the connection has ended, where they drop the calls.
    #[inline]
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Whether the connection has ended: no call is started any more, though it was taken out before.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Gives back what was taken out and is not done.
    pub(super) fn put_back(&self, ready: &mut Ready) {
        self.lock().in_hand = false;
        self.with(|connection, _| connection.put_back(&mut ready.notices, &mut ready.tasks));
    }

    /// Lets the tables do what is due.
    ///
    /// # Errors
    /// The peer is dead.
    pub(super) fn handle_timeout(&self, now: Instant) -> Result<(), Silent> {
        self.with(|connection, out| connection.handle_timeout(now, out))
    }

    /// Asks the peer whether it is there, and waits for its answer.
    pub(super) async fn ping(&self) -> Result<(), Failure> {
        let (answered, answer) = oneshot::channel();
        let nonce = self.with(|connection, out| {
            if let Some(failure) = connection.lost() {
                return Err(Failure { ran: Ran::No, ..failure.clone() });
            }
            let nonce = connection.ping(out);
            self.pings.lock().insert(nonce, answered);
            Ok(nonce)
        })?;
        let _asked = Asked { line: self, nonce };
        answer.await.map_err(|_| self.lost().unwrap_or_else(Failure::runtime_ended))
    }

    /// Nobody answers a ping any more. Who waits is told under no lock.
    pub(super) fn forget_pings(&self) {
        let pings = std::mem::take(&mut *self.pings.lock());
        drop(pings);
    }

    /// The peer has answered a ping.
    pub(super) fn ponged(&self, nonce: u64) {
        let asked = self.pings.lock().remove(&nonce);
        if let Some(asked) = asked {
            let _ = asked.send(());
        }
    }

    /// Waits until there is room for a call.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let look = || {
            let state = self.state.lock();
            match state.connection.lost() {
                Some(reason) => Some(Err(reason.clone())),
                None => state.connection.has_room().then_some(Ok(())),
            }
        };
        self.room.wait(look).await
    }

    /// An answer's body, which counts against this side's bytes for answers until it is dropped. Small ones don't: they may be kept as causes
    /// of failures, and cost no more than the call that asked for them.
    // Inlined: a body in a result would be moved.
    #[inline(always)]
    pub(super) fn hold_answer(self: &Arc<Self>, body: Bytes) -> AnswerBody {
        if body.len() <= MAX_CAUSE_BYTES {
            return AnswerBody::Free(body);
        }
        self.with(|connection, _| connection.hold_answer(body.len()));
        AnswerBody::Held(Box::new(HeldAnswer::new(self, body)))
    }

    /// Sends calls that are passed on and wait for room, while there is some.
    pub(super) fn send_parked(&self) {
        if self.room.is_awaited() {
            self.room.drain(|| {
                let state = self.state.lock();
                (state.connection.freed(), state.connection.lost().is_some())
            });
        }
    }

    /// The peer's hello has come.
    pub(super) fn open(&self) {
        self.room.open_for_all();
        self.stages.open();
    }

    /// Ends the connection, once: tells the peer with `abort`, fails everything, wakes both tasks.
    pub(super) fn end(&self, reason: Failure, abort: Option<(AbortCode, &str)>) {
        let ended = self.with(|connection, out| {
            if connection.ended().is_some() {
                return false;
            }
            if let Some((code, reason)) = abort {
                connection.flush(out);
                out.send(Message::Abort(Abort { code, reason: reason.into() }));
            }
            connection.end(reason.clone());
            true
        });
        if ended {
            self.finish(reason);
        }
    }

    /// Everything is failed; now everybody learns. Wakers are anybody's: a panic of one keeps nobody else of it.
    pub(super) fn finish(&self, reason: Failure) {
        quietly(|| self.stages.end(reason));
        self.write.ring();
        self.read.ring();
        quietly(|| self.forget_pings());
        quietly(|| self.room.open_for_all());
        quietly(|| self.changed.notify_waiters());
        quietly(|| self.wake_watchers());
    }

    /// The connection has ended, or the peer's root has broken.
    pub(super) fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut *self.watchers.lock());
        watchers.wake();
    }

    /// Why the peer's root is broken: no call is answered any more, or its owner says so; else `watcher` is woken when it breaks.
    pub(super) fn watch_root(&self, watcher: &Arc<dyn Watcher>) -> Option<Failure> {
        self.watchers.lock().add(watcher);
        let state = self.state.lock();
        state.connection.lost().or_else(|| state.connection.root_broken()).cloned()
    }

    /// Why no call is answered any more.
    pub(super) fn lost(&self) -> Option<Failure> {
        self.state.lock().connection.lost().cloned()
    }

    /// Ends the connection on purpose.
    pub(super) fn close(self: &Arc<Self>, why: &str) {
        self.close_saying(why, AbortCode::Closing, "closing");
    }

    /// The same, and tells the peer `words`.
    pub(super) fn close_saying(self: &Arc<Self>, why: &str, code: AbortCode, words: &str) {
        let reason = Failure::new(FailureKind::Disconnected, Ran::Maybe, why);
        self.end(reason, Some((code, words)));
        ready::run_ready(self);
    }

    pub(super) fn ended(&self) -> Option<Failure> {
        self.state.lock().connection.ended().cloned()
    }

    pub(super) fn sizes(&self) -> TableSizes {
        self.state.lock().connection.sizes()
    }

    pub(super) fn counters(&self) -> Counters {
        let state = self.state.lock();
        Counters {
            sent: state.out.sent,
            received: state.received,
            tables: state.connection.sizes(),
            bad_traceparents: self.bad_traceparents.load(Ordering::Relaxed),
            busy_waits: self.busy_waits.read(),
            lost_casts: self.lost_casts.load(Ordering::Relaxed),
        }
    }

    /// Of the chunks that small frames gather in.
    pub(super) fn chunk_bytes(&self) -> usize {
        chunk_bytes(self.frame_bytes)
    }

    pub(super) fn peer_address(&self) -> &str {
        &self.peer
    }

    /// Waits for the peer's hello.
    pub(super) async fn greeted(&self) -> Result<(), Failure> {
        self.stages.greeted().await
    }

    /// Waits for the end.
    pub(super) async fn closed(&self) -> Failure {
        self.stages.ended().await
    }

    /// Nothing more is written.
    pub(super) fn gone(&self) {
        self.retire();
        self.stages.go();
    }

    /// Waits for the end, and until everything that was sent before it is written.
    pub(super) async fn finished(&self) {
        self.stages.gone().await;
    }
}

/// Where messages go into the tables, in one turn of their lock.
pub(super) struct Intake<'a> {
    connection: &'a mut Connection<Wiring>,
    out: &'a mut Outgoing,
    received: &'a mut Traffic,
    now: Instant,
    /// One of them was a goaway.
    goaway: bool,
    /// Bytes that the next may have without going beyond the peer's budget.
    pub(super) slack: u64,
}

impl Intake<'_> {
    /// Puts one in, of a frame of so many bytes. Large and hot: it stays where it was decoded, and what is needed is taken out of it.
    ///
    /// # Errors
    /// What the peer did wrong.
    #[inline(always)]
    pub(super) fn put(&mut self, decoded: &mut Decoded, bytes: usize) -> Result<(), Violation> {
        let Intake { connection, out, received, .. } = self;
        match decoded {
            Decoded::Message(message) => {
                received.count(message, bytes);
                if !out.recorders.is_empty() {
                    record(&out.recorders, Passing::Received(message), bytes);
                }
                self.goaway |= matches!(message, Message::Goaway(_));
                connection.take_message(message, self.now, *out)?;
            }
            Decoded::Unknown { message_type, caps } => {
                received.count_unknown(bytes);
                if !out.recorders.is_empty() {
                    record(&out.recorders, Passing::Unknown(*message_type), bytes);
                }
                connection.handle_unknown(*message_type, mem::take(caps), *out)?;
            }
        }
        self.slack = self.connection.slack(self.out);
        Ok(())
    }
}

/// Somebody waits for the answer to a ping, for as long as this lives.
struct Asked<'a> {
    line: &'a Line,
    nonce: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.line.pings.lock().remove(&self.nonce);
    }
}

/// Half a frame of the peer's: who may send little is kept little for, and there are up to three chunks that are empty and kept.
fn chunk_bytes(frame_bytes: u64) -> usize {
    frame_bytes as usize / 2
}

/// Outgoing bytes that are written in the middle of a batch, so that its first answers need not wait for its last call; less where frames are
/// short.
const FULL_BATCH: usize = 64 << 10;
/// Bounds of the time that a hello may take.
const SHORTEST_HANDSHAKE: Duration = Duration::from_millis(10);
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(3600);
/// The rest of a frame must go on coming, and a write must go on, within this.
pub(super) const STALL: Duration = Duration::from_secs(10);
