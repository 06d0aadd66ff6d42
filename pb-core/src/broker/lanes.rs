//! How the connections of one server share its threads: whoever asks little is not made to wait behind those who ask much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lanes for connections that have much to do, as many as the runtime has threads. A connection that does little needs none; one
/// that does more in a row must have one, for a short turn at a time, and waits in line for the next. So at most that many long turns lie
/// ahead of a small call, however many peers flood the server; and where fewer connections are busy than there are threads, none waits.
///
/// Clones are the same lanes. Who holds one is running or about to: it is given back before anything is waited for.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// How many wait for a lane.
    waiting: AtomicUsize,
}

impl Lanes {
    /// Lanes for connections that run on a runtime of so many threads, at least one.
    pub fn new(threads: usize) -> Self {
        Lanes(Arc::new(Shared {
            free: Arc::new(Semaphore::new(threads.max(1))),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Whether anybody waits.
    fn are_wanted(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// A lane, where one is free and nobody waits.
    fn try_enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.free).try_acquire_owned().ok()
    }

    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let _waits = Waits::new(&self.0.waiting);
        Arc::clone(&self.0.free).acquire_owned().await.ok()
    }
}

struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one task of a connection has done since others had their turn: a frame counts one, what follows from it too, and so do [`WORK_BYTES`] that are read or written. The
/// runtime counts reads, of which a single one may bring thousands of frames.
pub(super) struct Share {
    lanes: Option<Lanes>,
    lane: Option<OwnedSemaphorePermit>,
    steps: usize,
    /// In [`WORK_BYTES`].
    moved: usize,
}

impl Share {
    pub(super) fn new(lanes: Option<Lanes>) -> Self {
        Share { lanes, lane: None, steps: 0, moved: 0 }
    }

    /// A frame was handled, or one thing done that followed from it. Says whether the next must wait for [`Share::turn`].
    pub(super) fn spend_step(&mut self) -> bool {
        self.steps += 1;
        self.is_spent()
    }

    /// So many bytes were read or written. Says the same.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> bool {
        self.moved += bytes / WORK_BYTES;
        self.is_spent()
    }

    fn is_spent(&mut self) -> bool {
        let work = self.steps + self.moved;
        if work < LIGHT {
            return false;
        }
        // The system moves them in a fraction of the time that frames take; where somebody waits they count like frames all the same.
        let over = self.steps + self.moved / BYTES_ALONE >= TURN;
        let Some(lanes) = &self.lanes else { return over };
        if self.lane.is_none() {
            self.lane = lanes.try_enter();
            if self.lane.is_none() {
                return true;
            }
        }
        over || (work >= SHORT && lanes.are_wanted())
    }

    /// How many bytes may be read or written at once, where there are so many: beside others, no more than a turn has. What is more takes a lane.
    pub(super) fn most_bytes(&mut self, bytes: usize) -> usize {
        let Some(lanes) = &self.lanes else { return usize::MAX };
        if bytes > SHORT * WORK_BYTES && self.lane.is_none() {
            self.lane = lanes.try_enter();
        }
        if self.lane.is_none() || lanes.are_wanted() { SHORT * WORK_BYTES } else { usize::MAX }
    }

    /// Lets others have their turn, and waits for the next. Whoever does little goes first: the next turn begins when the runtime has nothing
    /// else to do, or has looked for it.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line.
    pub(super) async fn turn(&mut self) {
        self.lane = None;
        (self.steps, self.moved) = (0, 0);
        if let Some(lanes) = &self.lanes {
            self.lane = lanes.try_enter();
            if self.lane.is_none() {
                // On the heap: each of a connection's tasks has room for it as long as it lives, else.
                self.lane = Box::pin(lanes.enter()).await;
            }
        }
        tokio::task::yield_now().await;
    }

    /// Gives the lane back: it waits now, or has nothing more to do, and what comes next begins anew.
    pub(super) fn has_waited(&mut self) {
        self.lane = None;
        (self.steps, self.moved) = (0, 0);
    }
}

/// Work that needs no lane.
const LIGHT: usize = 20;
/// Work after which others have their turn, where somebody waits for a lane.
const SHORT: usize = 32;
/// Work after which others have their turn.
const TURN: usize = 128;
const WORK_BYTES: usize = 1024;
/// How many times as many of them are a turn where nobody waits for a lane.
const BYTES_ALONE: usize = 4;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    fn busy(lanes: &Lanes) -> Share {
        let mut share = Share::new(Some(lanes.clone()));
        assert!((0..LIGHT).all(|_| !share.spend_step()), "there is a lane");
        share
    }

    #[tokio::test]
    async fn little_needs_no_lane_and_more_must_have_one() {
        let lanes = Lanes::new(1);
        let holder = busy(&lanes);
        let mut share = Share::new(Some(lanes.clone()));
        assert!((1..LIGHT).all(|_| !share.spend_step()));
        assert!(share.spend_step(), "the only lane is taken");
        assert_eq!(share.most_bytes(usize::MAX), SHORT * WORK_BYTES);
        drop(holder);
        share.turn().await;
        assert!(!share.spend_step());
        assert_eq!(share.most_bytes(1), usize::MAX);
        share.has_waited();
        assert_eq!(share.most_bytes(SHORT * WORK_BYTES), SHORT * WORK_BYTES);
        assert!(lanes.try_enter().is_some(), "few bytes take no lane");
        assert_eq!(share.most_bytes(SHORT * WORK_BYTES + 1), usize::MAX);
        assert!(lanes.try_enter().is_none(), "more take one");
    }

    #[tokio::test]
    async fn a_turn_is_shorter_where_somebody_waits() {
        let lanes = Lanes::new(1);
        let mut share = Share::new(Some(lanes.clone()));
        assert!((1..TURN).all(|_| !share.spend_step()));
        assert!(share.spend_step(), "the turn is over");
        share.turn().await;
        let mut other = Share::new(Some(lanes.clone()));
        let mut waits = Box::pin(other.turn());
        assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await.is_pending());
        assert!((1..SHORT).all(|_| !share.spend_step()));
        assert!(share.spend_step(), "somebody waits");
        // Whoever gives up his place is waited for no more.
        drop(waits);
        share.turn().await;
        assert!((0..SHORT).all(|_| !share.spend_step()));
    }

    #[tokio::test]
    async fn bytes_make_a_longer_turn_where_nobody_waits_and_count_like_frames_where_somebody_does() {
        let lanes = Lanes::new(1);
        let mut share = Share::new(Some(lanes.clone()));
        assert!((1..BYTES_ALONE * TURN).all(|_| !share.spend_bytes(WORK_BYTES)));
        assert!(share.spend_bytes(WORK_BYTES), "the turn is over");
        share.turn().await;
        assert!(!share.spend_bytes((SHORT - 1) * WORK_BYTES));
        let mut other = Share::new(Some(lanes));
        let mut waits = Box::pin(other.turn());
        assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await.is_pending());
        assert!(share.spend_bytes(WORK_BYTES), "somebody waits");
    }

    #[tokio::test]
    async fn who_waits_for_the_peer_keeps_no_lane() {
        let lanes = Lanes::new(1);
        let mut share = busy(&lanes);
        assert!(lanes.try_enter().is_none());
        share.has_waited();
        assert!(lanes.try_enter().is_some());
    }

    #[tokio::test]
    async fn a_connection_without_lanes_takes_its_turns() {
        let mut share = Share::new(None);
        for _ in 0..3 {
            assert!((1..TURN).all(|_| !share.spend_step()));
            assert!(share.spend_step());
            share.turn().await;
        }
        assert_eq!(share.most_bytes(usize::MAX), usize::MAX);
    }
}
