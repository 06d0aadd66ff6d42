//! How long a reading task looks for the peer's next words before its thread sleeps.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::yield_now;

/// Looks again and again instead of sleeping, for as long as that pays: putting a thread to sleep and waking it takes some microseconds, and tens of
/// them on a virtual machine, which is more than a small call takes. Between two looks everybody else has his turn, and the runtime asks for all
/// sockets; so one looks for all connections of a process, and what only the others' work has kept from sleeping anyway costs nothing.
///
/// Where nothing came in time, more and more of the waits that follow sleep at once; where something did, fewer.
pub(super) struct BusyWait {
    most: Duration,
    right: &'static Right,
    /// Waits that sleep at once when one has looked in vain.
    skip: u8,
    /// Of them, how many are still to come.
    left: u8,
}

/// One wait.
pub(super) struct Look<'a> {
    busy: &'a mut BusyWait,
    looking: Option<Looking>,
    over: bool,
}

struct Looking {
    began: Instant,
    last: Instant,
    /// Without the turns of others.
    idle: Duration,
    _only: Only,
}

/// The right to look, which one has at a time.
struct Right(AtomicBool);

/// Whoever has it gives it back when this is dropped.
struct Only(&'static Right);

static OF_PROCESS: Right = Right::free();

impl Right {
    const fn free() -> Self {
        Right(AtomicBool::new(false))
    }

    fn take(&'static self) -> Option<Only> {
        // Read first: mostly somebody has it who keeps it for a while, and asking by a write would take the line of memory from him.
        (!self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed)).then_some(Only(self))
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

impl BusyWait {
    /// For a task of the current runtime. One that has a single thread sleeps at once, as does every one where the machine has one processor: what
    /// is waited for may need it.
    pub(super) fn new(most: Duration) -> Self {
        static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, usize::from));
        let threads =
            Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        BusyWait::of(if threads && *PROCESSORS > 1 { most } else { Duration::ZERO }, &OF_PROCESS)
    }

    fn of(most: Duration, right: &'static Right) -> Self {
        BusyWait { most, right, skip: 0, left: 0 }
    }

    /// Begins a wait; `soon`: what comes may come within the time.
    pub(super) fn look(&mut self, soon: bool) -> Look<'_> {
        let over = !soon || self.most.is_zero() || self.left > 0;
        self.left = self.left.saturating_sub(1);
        Look { busy: self, looking: None, over }
    }
}

impl Look<'_> {
    /// Nothing has come: whether the task is woken for another look as soon as others have had their turn. Else it must see to it itself.
    pub(super) fn again(&mut self, cx: &mut Context<'_>) -> bool {
        if self.over || !self.goes_on(Instant::now()) {
            return false;
        }
        // It wakes the task behind the turn of all others, and behind a look at all sockets.
        let _ = pin!(yield_now()).poll(cx);
        true
    }

    fn goes_on(&mut self, now: Instant) -> bool {
        let Some(looking) = &mut self.looking else {
            self.looking = self.busy.right.take().map(|only| Looking {
                began: now,
                last: now,
                idle: Duration::ZERO,
                _only: only,
            });
            self.over = self.looking.is_none();
            return !self.over;
        };
        let since = now - looking.last;
        if since <= OWN_TURN {
            looking.idle += since;
        }
        looking.last = now;
        if looking.idle > self.busy.most || now - looking.began > WITH_OTHERS * self.busy.most {
            self.busy.skip = (2 * self.busy.skip + 1).min(MOST_SKIPPED);
            self.busy.left = self.busy.skip;
            self.looking = None;
            self.over = true;
        }
        !self.over
    }
}

/// Something came. If it was looked for, looking has paid.
impl Drop for Look<'_> {
    fn drop(&mut self) {
        if self.looking.is_some() {
            self.busy.skip /= 2;
        }
    }
}

/// What lies between two looks where nobody else had anything to do, at the most.
const OWN_TURN: Duration = Duration::from_micros(3);
/// How many times as long a wait may look where others work meanwhile.
const WITH_OTHERS: u32 = 3;
const MOST_SKIPPED: u8 = 63;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::proto::Limits;

    /// With a right of its own.
    fn alone(most: Duration) -> BusyWait {
        BusyWait::of(most, Box::leak(Box::new(Right::free())))
    }

    const MOST: Duration = Duration::from_micros(50);
    const STEP: Duration = Duration::from_micros(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// How many looks a wait takes that nothing comes to, `step` apart; it is dropped behind that.
    fn in_vain(busy: &mut BusyWait, step: Duration) -> u32 {
        let mut look = busy.look(true);
        let mut now = Instant::now();
        let mut looks = 0;
        while !look.over && look.goes_on(now) {
            now += step;
            looks += 1;
        }
        looks
    }

    /// A wait that something comes to at its first look.
    fn paid(busy: &mut BusyWait) -> bool {
        let mut look = busy.look(true);
        !look.over && look.goes_on(Instant::now())
    }

    #[test]
    fn a_wait_looks_for_as_long_as_it_may() {
        assert_eq!(in_vain(&mut alone(MOST), STEP), 51);
        assert_eq!(in_vain(&mut alone(Duration::ZERO), STEP), 0);
        assert!(alone(MOST).look(false).over);
    }

    #[test]
    fn what_others_do_meanwhile_counts_a_third() {
        assert_eq!(in_vain(&mut alone(MOST), 10 * STEP), 16);
    }

    #[test]
    fn in_vain_it_sleeps_at_once_more_and_more_often_and_less_when_it_pays() {
        let mut busy = alone(MOST);
        for skipped in [1, 3, 7, 15, 31, 63, 63] {
            assert!(in_vain(&mut busy, STEP) > 0);
            assert_eq!((0..100).take_while(|_| busy.left > 0 && !paid(&mut busy)).count(), skipped);
        }
        for left in [31, 15, 7, 3, 1, 0] {
            assert!(paid(&mut busy));
            assert_eq!((busy.skip, busy.left), (left, 0));
        }
    }

    #[test]
    fn one_of_a_process_looks() {
        let mut one = alone(MOST);
        let mut other = BusyWait::of(MOST, one.right);
        let now = Instant::now();
        let mut first = one.look(true);
        assert!(first.goes_on(now));
        assert!(!paid(&mut other));
        // That is no fault of its: it does not skip the next.
        assert_eq!(other.skip, 0);
        drop(first);
        assert!(paid(&mut other));
    }

    #[test]
    fn more_than_a_millisecond_is_a_millisecond_and_strangers_have_none() {
        let most = |limits: Limits| limits.at_least_minimum().busy_wait;
        assert_eq!(most(Limits { busy_wait: Duration::MAX, ..Limits::default() }), Duration::from_millis(1));
        assert_eq!(most(Limits { busy_wait: Duration::ZERO, ..Limits::default() }), Duration::ZERO);
        assert_eq!(most(Limits::before_login()), Duration::ZERO);
    }

    #[tokio::test]
    async fn others_of_the_same_thread_have_their_turn_between_two_looks() {
        let (came, mut comes) = oneshot::channel();
        let looks = tokio::spawn(async move {
            let mut busy = alone(HOUR);
            let mut look = busy.look(true);
            poll_fn(|cx| match comes.try_recv() {
                Ok(word) => Poll::Ready(word),
                Err(_) => {
                    assert!(look.again(cx));
                    Poll::Pending
                }
            })
            .await
        });
        let other = tokio::spawn(async move { came.send("word") });
        assert_eq!(
            timeout(Duration::from_secs(60), looks).await.expect("in time").expect("no panic"),
            "word"
        );
        assert_eq!(other.await.expect("no panic"), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_sleeps_at_once() {
        assert!(BusyWait::new(MOST).look(true).over);
    }
}
