use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Direct, Lost, Settings};

/// A connection, as its protocol and whoever else writes to it see it. Clones are handles to the same one; none of them keeps it open, and
/// it stays when the last is dropped: it ends by its own calls, or by the other side.
///
/// Nothing here waits but what is `async`, and all of it may be called from any thread. Bytes written by one call stay together.
///
/// Twisted: `ITransport`, `IHalfCloseableDescriptor`, `IPushProducer`, `IConsumer` (internet/interfaces.py).
#[derive(Clone)]
pub struct Transport {
    pub(super) shared: Arc<Shared>,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is taken and leaves as soon as it can.
    Taken,
    /// It is taken, too, but more waits than [`Settings::high_bytes`]: wait for
    /// [`Protocol::resume_producing`](super::Protocol::resume_producing) or [`Transport::drained`] before the next.
    Full,
    /// It is dropped: this side closes, has closed its direction, or the connection is over.
    Closed,
}

/// What a connection's task and its handles share. Bytes only: no user's code runs under its lock.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Calls the connection's task.
    pub(super) wake: Notify,
    room: Notify,
    ended: watch::Sender<Option<Lost>>,
    peer: String,
    pub(super) settings: Settings,
}

#[derive(Default)]
struct State {
    /// What the task has not taken yet.
    out: Vec<u8>,
    /// What it has taken and not written.
    in_hand: usize,
    paused: bool,
    /// Over the high mark, and not down to the low one since.
    full: bool,
    /// It was so since the task looked.
    filled: bool,
    /// The other side writes nothing more.
    heard_all: bool,
    /// This side writes nothing more.
    said_all: bool,
    ending: Option<Ending>,
    over: bool,
    /// The task is at work, and looks here before it waits: what is written leaves with the rest, in one piece.
    busy: bool,
    /// Whoever writes while nothing waits writes from where it is, instead of waking the task.
    direct: Option<Direct>,
}

/// This side ends the connection.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) reason: Lost,
    /// Once everything is written, instead of at once.
    pub(super) flush: bool,
}

/// What the handles want of the task.
pub(super) struct Orders {
    pub(super) ending: Option<Ending>,
    pub(super) said_all: bool,
    pub(super) paused: bool,
    pub(super) full: bool,
    pub(super) filled: bool,
}

impl Transport {
    pub(super) fn new(peer: &str, settings: Settings, direct: Option<Direct>) -> Self {
        let shared = Shared {
            state: Mutex::new(State { direct, ..State::default() }),
            wake: Notify::new(),
            room: Notify::new(),
            ended: watch::Sender::new(None),
            peer: peer.to_owned(),
            settings: settings.settled(),
        };
        Transport { shared: Arc::new(shared) }
    }

    /// Sends `bytes`, behind all that was written before. They are copied; [`Settings`] say how many may wait.
    pub fn write(&self, bytes: &[u8]) -> Written {
        self.write_sequence(&[bytes])
    }

    /// Sends `parts` as one piece: nobody else's bytes come between them.
    pub fn write_sequence(&self, parts: &[&[u8]]) -> Written {
        let Settings { high_bytes, limit_bytes, .. } = self.shared.settings;
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        if state.over || state.said_all || state.ending.is_some() {
            return Written::Closed;
        }
        let waiting_bytes = state.waiting();
        if waiting_bytes > limit_bytes {
            let reason = Lost::Unread { waiting_bytes, limit_bytes };
            state.out = Vec::new();
            state.ending = Some(Ending { reason, flush: false });
            self.shared.wake.notify_one();
            return Written::Closed;
        }
        let mut written = if waiting_bytes == 0 { state.write_directly(parts) } else { 0 };
        for part in parts {
            let skipped = written.min(part.len());
            state.out.extend_from_slice(&part[skipped..]);
            written -= skipped;
        }
        if waiting_bytes == 0 && !state.out.is_empty() && !state.busy {
            self.shared.wake.notify_one();
        }
        if state.waiting() > high_bytes {
            (state.full, state.filled) = (true, true);
        }
        if state.full { Written::Full } else { Written::Taken }
    }

    /// Closes the connection once everything that was written has left. What comes meanwhile is not delivered, what is written from now on
    /// is dropped. A peer that takes nothing for [`Settings::close_time`] is cut off.
    pub fn lose_connection(&self) {
        let mut state = self.shared.state.lock();
        let reason = if state.heard_all { Lost::Closed } else { Lost::Done };
        self.shared.begin_end(&mut state, &mut Some(Ending { reason, flush: true }));
    }

    /// The same with a reason, which [`Protocol::connection_lost`](super::Protocol::connection_lost) gets as [`Lost::Failed`].
    pub fn fail(&self, reason: impl Into<Box<dyn StdError + Send + Sync>>) {
        self.end(Lost::Failed(reason.into().into()), true);
    }

    /// Ends the connection at once. What was written and has not left is dropped; over TCP the other side sees a reset.
    pub fn abort(&self) {
        self.end(Lost::Aborted, false);
    }

    pub(super) fn end(&self, reason: Lost, flush: bool) {
        // What is not needed is dropped out here: it may hold an error of the user's.
        let mut ending = Some(Ending { reason, flush });
        self.shared.begin_end(&mut self.shared.state.lock(), &mut ending);
    }

    /// Tells the other side, once everything that was written has left, that nothing more comes. Reading goes on; the connection ends when
    /// the other side has said its last, too.
    pub fn lose_write_connection(&self) {
        self.shared.state.lock().said_all = true;
        self.shared.wake.notify_one();
    }

    /// Stops reading, so that the other side is held up in turn. Its end is not noticed meanwhile, unless something is written.
    pub fn pause(&self) {
        self.shared.state.lock().paused = true;
        self.shared.wake.notify_one();
    }

    /// Goes on reading.
    pub fn resume(&self) {
        self.shared.state.lock().paused = false;
        self.shared.wake.notify_one();
    }

    /// Whether [`Transport::pause`] holds.
    pub fn is_paused(&self) -> bool {
        self.shared.state.lock().paused
    }

    /// Whether this side closes, or the connection is over: nothing more is delivered, and writes are dropped.
    pub fn is_closing(&self) -> bool {
        let state = self.shared.state.lock();
        state.over || state.ending.is_some()
    }

    /// Bytes that were written and have not left.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.state.lock().waiting()
    }

    /// Waits until no more than [`Settings::low_bytes`] wait, where it were more than [`Settings::high_bytes`]: room for the next write.
    ///
    /// # Errors
    /// Why the connection is over.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn drained(&self) -> Result<(), Lost> {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            {
                let state = self.shared.state.lock();
                if !state.over && !state.full {
                    return Ok(());
                }
            }
            if let Some(lost) = self.lost() {
                return Err(lost);
            }
            room.await;
        }
    }

    /// The address of the other side, for people.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Why the connection is over, once it is and its protocol has heard so.
    pub fn lost(&self) -> Option<Lost> {
        self.shared.ended.borrow().clone()
    }

    /// Waits until the connection is over and its protocol has heard so.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> Lost {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(lost)) => lost.clone(),
            _ => Lost::Shutdown, // Not reached: this handle keeps the sender.
        }
    }
}

impl PartialEq for Transport {
    /// Whether both are handles to the same connection.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Transport {}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.out.len() + self.in_hand
    }

    /// Writes as much as the socket takes at once, and says how much. An error is the task's to meet.
    fn write_directly(&self, parts: &[&[u8]]) -> usize {
        match &self.direct {
            Some(direct) if !self.busy => direct.try_write_parts(parts).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Shared {
    /// The first reason stays, but what was to be flushed can still be aborted. What is left in `ending` is the caller's to drop.
    fn begin_end(&self, state: &mut State, ending: &mut Option<Ending>) {
        if state.over {
            return;
        }
        match (&mut state.ending, ending.as_ref()) {
            (None, _) => state.ending = ending.take(),
            (Some(old), Some(new)) if old.flush && !new.flush => {
                old.flush = false;
                // These hold nothing of the user's, whose drop would run under the lock.
                if matches!(old.reason, Lost::Done | Lost::Closed | Lost::Shutdown) {
                    old.reason = new.reason.clone();
                }
            }
            _ => {}
        }
        self.wake.notify_one();
    }

    /// The task begins to work, and looks at its orders before it waits again. Says whether this side has not ended the connection.
    pub(super) fn begin_work(&self) -> bool {
        let mut state = self.state.lock();
        state.busy = true;
        state.ending.is_none()
    }

    /// Nobody but the task writes any more.
    pub(super) fn end_direct(&self) {
        let direct = self.state.lock().direct.take();
        drop(direct);
    }

    /// What the handles want now, before the task waits; what they have written joins `batch`, if that is empty.
    pub(super) fn orders(&self, batch: &mut Vec<u8>) -> Orders {
        let mut state = self.state.lock();
        state.busy = false;
        if batch.is_empty() && !state.out.is_empty() {
            std::mem::swap(&mut state.out, batch);
            state.in_hand = batch.len();
        }
        Orders {
            ending: state.ending.clone(),
            said_all: state.said_all,
            paused: state.paused,
            full: state.full,
            filled: std::mem::take(&mut state.filled),
        }
    }

    /// The socket took `count` bytes of the batch.
    pub(super) fn wrote(&self, count: usize) {
        let drained = {
            let mut state = self.state.lock();
            state.in_hand -= count;
            let drained = state.full && state.waiting() <= self.settings.low_bytes;
            if drained {
                state.full = false;
            }
            drained
        };
        if drained {
            self.room.notify_waiters();
        }
    }

    /// The other side writes nothing more.
    pub(super) fn heard_all(&self) {
        self.state.lock().heard_all = true;
    }

    /// Nothing is written or read any more.
    pub(super) fn over(&self) {
        let mut state = self.state.lock();
        state.over = true;
        (state.out, state.in_hand) = (Vec::new(), 0);
        let direct = state.direct.take();
        drop(state);
        drop(direct);
    }

    /// The protocol has heard of the end.
    pub(super) fn tell_ended(&self, lost: Lost) {
        self.ended.send_replace(Some(lost));
        self.room.notify_waiters();
    }
}
