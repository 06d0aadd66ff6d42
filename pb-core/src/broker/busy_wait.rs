//! How long a reading task looks for the peer's next words before its thread sleeps.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::counters::BusyWaits;

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
    phase: Phase,
}

enum Phase {
    /// The first look shows whether somebody else has the right.
    Ready,
    Looking(Looking),
    /// It sleeps; whether it has looked before, and nothing came.
    Over {
        in_vain: bool,
    },
}

struct Looking {
    began: Instant,
    last: Instant,
    /// Without the turns of others.
    idle: Duration,
    _only: Only,
}

/// How often a connection's waits have looked, for those who wonder whether that pays.
#[derive(Default)]
pub(super) struct Tally {
    paid: AtomicU64,
    in_vain: AtomicU64,
}

impl Tally {
    /// As [`Look::end`] says.
    pub(super) fn add(&self, paid: Option<bool>) {
        match paid {
            Some(true) => self.paid.fetch_add(1, Ordering::Relaxed),
            Some(false) => self.in_vain.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
    }

    pub(super) fn read(&self) -> BusyWaits {
        BusyWaits { paid: self.paid.load(Ordering::Relaxed), in_vain: self.in_vain.load(Ordering::Relaxed) }
    }
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
    /// For a task of the current runtime. On one that has a single thread it sleeps at once, as on every machine that has one processor: what
    /// is waited for may need it.
    pub(super) fn new(most: Duration) -> Self {
        static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, usize::from));
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        BusyWait::of(if threads > 1 && *PROCESSORS > 1 { most } else { Duration::ZERO }, &OF_PROCESS)
    }

    fn of(most: Duration, right: &'static Right) -> Self {
        BusyWait { most, right, skip: 0, left: 0 }
    }

    /// Begins a wait; `soon`: what comes may come within the time.
    pub(super) fn look(&mut self, soon: bool) -> Look<'_> {
        let over = !soon || self.most.is_zero() || self.left > 0;
        self.left = self.left.saturating_sub(1);
        Look { busy: self, phase: if over { Phase::Over { in_vain: false } } else { Phase::Ready } }
    }
}

impl Look<'_> {
    /// The runtime knows of nothing that has come. `ask` asks the socket itself, without waiting. The task has seen to it before that it is woken.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, ask: impl FnMut() -> Option<T>) -> Looked<T> {
        let looked = self.turn(Instant::now, ask);
        if let Looked::Again = looked {
            // It wakes the task behind the turn of all others, and behind a look at all sockets; its first poll leaves that to the runtime.
            let _ = pin!(yield_now()).poll(cx);
        }
        looked
    }

    fn turn<T>(&mut self, clock: impl Fn() -> Instant, mut ask: impl FnMut() -> Option<T>) -> Looked<T> {
        let looking = match &mut self.phase {
            Phase::Over { .. } => return Looked::Over,
            Phase::Ready => {
                let now = clock();
                let only = self.busy.right.take();
                let looking =
                    only.map(|only| Looking { began: now, last: now, idle: Duration::ZERO, _only: only });
                self.phase = looking.map_or(Phase::Over { in_vain: false }, Phase::Looking);
                return if let Phase::Looking(_) = self.phase { Looked::Again } else { Looked::Over };
            }
            Phase::Looking(looking) => looking,
        };
        let now = clock();
        let since = now - looking.last;
        looking.last = now;
        if since <= OWN_TURN {
            looking.idle += since;
        }
        if looking.idle > self.busy.most || now - looking.began > WITH_OTHERS * self.busy.most {
            self.busy.skip = (2 * self.busy.skip + 1).min(MOST_SKIPPED);
            self.busy.left = self.busy.skip;
            self.phase = Phase::Over { in_vain: true };
            return Looked::Over;
        }
        while since <= OWN_TURN && looking.last - now <= IN_A_ROW {
            if let Some(found) = ask() {
                return Looked::Found(found);
            }
            looking.last = clock();
        }
        looking.idle += looking.last - now;
        Looked::Again
    }

    /// Something came. If nobody else had anything to do meanwhile, looking has paid: else the thread would not have slept anyway. Says whether it
    /// has, where it was tried and that is known.
    pub(super) fn end(self) -> Option<bool> {
        match self.phase {
            Phase::Looking(looking) => {
                let paid = Instant::now().saturating_duration_since(looking.last) <= OWN_TURN;
                if paid {
                    self.busy.skip /= 2;
                }
                paid.then_some(true)
            }
            Phase::Over { in_vain } => in_vain.then_some(false),
            Phase::Ready => None,
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
        assert_eq!(look.end(), (turns > 0).then_some(false));
        (turns, asked.get(), now.get() - began)
    }

    /// A wait that something comes to behind its first look, at a time by which others had nothing to do yet.
    fn paid(busy: &mut BusyWait) -> bool {
        let later = Instant::now() + HOUR;
        let mut look = busy.look(true);
        let looked = look.turn(|| later, || None::<()>);
        let paid = look.end();
        assert_eq!(paid, (looked == Looked::Again).then_some(true));
        paid.is_some()
    }

    #[test]
    fn where_nobody_else_has_anything_to_do_the_socket_is_asked_eleven_times_between_their_turns() {
        assert_eq!(in_vain(&mut alone(MOST), STEP), (6, 55, 61 * STEP));
        assert_eq!(in_vain(&mut alone(Duration::ZERO), STEP), (0, 0, Duration::ZERO));
        assert_eq!(alone(MOST).look(false).turn(Instant::now, || None::<()>), Looked::Over);
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
        assert_eq!(look.end(), Some(true));
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
        let mut look = busy.look(true);
        assert_eq!(look.turn(|| long_ago, || None::<()>), Looked::Again);
        assert_eq!(look.end(), None);
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
        assert_eq!(BusyWait::new(MOST).look(true).turn(Instant::now, || None::<()>), Looked::Over);
    }
}
