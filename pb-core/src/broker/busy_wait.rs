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
/// them on a virtual machine, which is more than a small call takes. Every few microseconds everybody else has his turn, and the runtime asks for all
/// sockets; so one looks for all connections of a process, and what only the others' work has kept from sleeping anyway costs nothing.
///
/// A turn of the others has its price where they have nothing to do: the runtime takes it for the end of a search for work, and wakes a thread that goes on with
/// it. So where a turn shows that they have not, the socket itself is asked for [`IN_A_ROW`] before the next.
///
/// Where nothing came in time, more and more of the waits that follow sleep at once; where something did that a thread would have slept before, fewer.
pub(super) struct BusyWait {
    most: Duration,
    right: &'static Right,
    /// Waits that sleep at once when one has looked in vain.
    skip: u8,
    /// Of them, how many are still to come.
    left: u8,
}

/// What one turn of looking has led to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Looked<T> {
    Found(T),
    /// The task is woken for the next look as soon as others have had their turn.
    Again,
    /// It must sleep, and see to it itself that it is woken.
    Over,
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
    /// The runtime knows of nothing that has come. `ask` asks the socket itself, without waiting.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, ask: impl FnMut() -> Option<T>) -> Looked<T> {
        let looked = self.turn(Instant::now, ask);
        if let Looked::Again = looked {
            // It wakes the task behind the turn of all others, and behind a look at all sockets.
            let _ = pin!(yield_now()).poll(cx);
        }
        looked
    }

    fn turn<T>(&mut self, clock: impl Fn() -> Instant, mut ask: impl FnMut() -> Option<T>) -> Looked<T> {
        if self.over {
            return Looked::Over;
        }
        let now = clock();
        let alone = self.looking.as_ref().is_some_and(|looking| now - looking.last <= OWN_TURN);
        if !self.goes_on(now) {
            return Looked::Over;
        }
        while let Some(looking) = &mut self.looking
            && alone
        {
            if let Some(found) = ask() {
                return Looked::Found(found);
            }
            looking.last = clock();
            if looking.last - now > IN_A_ROW {
                looking.idle += looking.last - now;
                break;
            }
        }
        Looked::Again
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

/// Something came. If nobody else had anything to do meanwhile, looking has paid: else the thread would not have slept anyway.
impl Drop for Look<'_> {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking
            && Instant::now().saturating_duration_since(looking.last) <= OWN_TURN
        {
            self.busy.skip /= 2;
        }
    }
}

/// How long the thread is kept from others who have had nothing to do.
const IN_A_ROW: Duration = Duration::from_micros(10);
/// What lies between two looks where nobody else had anything to do, at the most.
const OWN_TURN: Duration = Duration::from_micros(3);
/// How many times as long a wait may look where others work meanwhile.
const WITH_OTHERS: u32 = 3;
const MOST_SKIPPED: u8 = 63;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
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

    /// A wait that nothing comes to, in which others' turns take so long, and asking a socket one [`STEP`]. How many turns they had, how often
    /// the socket was asked, and how long it took.
    fn in_vain(busy: &mut BusyWait, turn: Duration) -> (u32, u32, Duration) {
        let began = Instant::now();
        let now = Cell::new(began);
        let (mut turns, asked) = (0, Cell::new(0));
        let mut look = busy.look(true);
        let ask = || {
            now.set(now.get() + STEP);
            asked.set(asked.get() + 1);
            None::<()>
        };
        while look.turn(|| now.get(), ask) == Looked::Again {
            now.set(now.get() + turn);
            turns += 1;
        }
        (turns, asked.get(), now.get() - began)
    }

    /// A wait that something comes to behind its first look, at a time by which others had nothing to do yet.
    fn paid(busy: &mut BusyWait) -> bool {
        let later = Instant::now() + HOUR;
        busy.look(true).turn(|| later, || None::<()>) == Looked::Again
    }

    #[test]
    fn where_nobody_else_has_anything_to_do_the_socket_is_asked_eleven_times_between_their_turns() {
        assert_eq!(in_vain(&mut alone(MOST), STEP), (6, 55, 61 * STEP));
        assert_eq!(in_vain(&mut alone(Duration::ZERO), STEP), (0, 0, Duration::ZERO));
        assert!(alone(MOST).look(false).over);
    }

    #[test]
    fn where_others_work_it_is_not_asked_and_what_they_do_counts_a_third() {
        assert_eq!(in_vain(&mut alone(MOST), 10 * STEP), (16, 0, 160 * STEP));
    }

    #[test]
    fn what_the_socket_has_is_found_and_has_paid() {
        let mut busy = alone(MOST);
        busy.skip = 7;
        let (now, asked) = (Instant::now() + HOUR, Cell::new(0));
        let mut look = busy.look(true);
        let mut ask = || {
            asked.set(asked.get() + 1);
            (asked.get() == 3).then_some("word")
        };
        assert_eq!(look.turn(|| now, &mut ask), Looked::Again);
        assert_eq!(look.turn(|| now, &mut ask), Looked::Found("word"));
        drop(look);
        assert_eq!((asked.get(), busy.skip), (3, 3));
    }

    #[test]
    fn in_vain_it_sleeps_at_once_more_and_more_often_and_less_when_it_pays() {
        let mut busy = alone(MOST);
        for skipped in [1, 3, 7, 15, 31, 63, 63] {
            assert!(in_vain(&mut busy, STEP).0 > 0);
            assert_eq!((0..100).take_while(|_| busy.left > 0 && !paid(&mut busy)).count(), skipped);
        }
        for left in [31, 15, 7, 3, 1, 0] {
            assert!(paid(&mut busy));
            assert_eq!((busy.skip, busy.left), (left, 0));
        }
    }

    #[test]
    fn what_comes_while_others_work_says_nothing_of_looking() {
        let mut busy = alone(MOST);
        busy.skip = 7;
        let long_ago = Instant::now();
        std::thread::sleep(2 * OWN_TURN);
        assert_eq!(busy.look(true).turn(|| long_ago, || None::<()>), Looked::Again);
        assert_eq!((busy.skip, busy.left), (7, 0));
    }

    #[test]
    fn one_of_a_process_looks() {
        let mut one = alone(MOST);
        let mut other = BusyWait::of(MOST, one.right);
        let mut first = one.look(true);
        assert_eq!(first.turn(|| Instant::now() + HOUR, || None::<()>), Looked::Again);
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
                    assert_eq!(look.poll(cx, || None::<()>), Looked::Again);
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
