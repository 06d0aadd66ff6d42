//! The loop over a listener that does what the tests say, in tokio's paused time.

use std::collections::VecDeque;
use std::io::ErrorKind;

use pb_core::{Limits, Names};
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::capacity::{Capacity, Crowd};
use crate::hooks::Hooks;
use crate::house::Roots;
use crate::statistics::Meter;

/// Gives what it was told to, and says when it was asked.
struct Scripted {
    script: VecDeque<io::Result<Stream>>,
    asked: mpsc::UnboundedSender<Instant>,
}

impl Accept for Scripted {
    async fn accept(&mut self) -> io::Result<Stream> {
        let _ = self.asked.send(Instant::now());
        match self.script.pop_front() {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }
}

fn house() -> Arc<House> {
    let nobody = std::sync::Arc::new(pb_core::Failure::new(
        pb_core::FailureKind::Refused,
        pb_core::Ran::No,
        "this server serves nothing",
    ));
    Arc::new(House {
        roots: Roots::One(pb_core::objects::Reference::broken(nobody)),
        names: Names::default(),
        limits: Limits::default(),
        hooks: Hooks::default(),
        crowd: Crowd::new(Capacity::default()),
        counters: Arc::default(),
        door: Arc::new(Semaphore::new(1)),
        passing: Arc::new(Semaphore::new(1)),
        lanes: pb_core::broker::Lanes::new(1),
        guests: Arc::default(),
    })
}

struct Looping {
    asked: mpsc::UnboundedReceiver<Instant>,
    stop: watch::Sender<Stop>,
    task: tokio::task::JoinHandle<()>,
    meter: Meter,
}

fn start(script: impl IntoIterator<Item = io::Result<Stream>>) -> Looping {
    let (sender, asked) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(Stop::No);
    let house = house();
    let meter = Meter::new(Arc::clone(&house.counters), Arc::clone(&house.crowd));
    let listener = Scripted { script: script.into_iter().collect(), asked: sender };
    let task = tokio::spawn(run(listener, "mem://scripted".into(), house, stopped));
    Looping { asked, stop, task, meter }
}

/// Errors of the system's that are nobody's connection.
const WANTS: [(i32, &str); 6] =
    [(24, "EMFILE"), (23, "ENFILE"), (105, "ENOBUFS"), (12, "ENOMEM"), (1, "EPERM"), (71, "EPROTO")];

#[tokio::test(start_paused = true)]
async fn a_want_that_lasts_is_asked_about_ever_less_often_up_to_once_a_second() {
    for (number, name) in WANTS {
        let errors = (0..10).map(|_| Err(io::Error::from_raw_os_error(number)));
        let mut looping = start(errors);
        let mut times = Vec::new();
        for _ in 0..11 {
            times.push(looping.asked.recv().await.expect("it goes on"));
        }
        let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        // Timers ring on whole milliseconds.
        let expected = [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000];
        let close = pauses.iter().zip(expected).all(|(pause, expected)| pause.abs_diff(expected) <= 1);
        assert!(close, "{name}: {pauses:?}");
        assert_eq!(looping.meter.read().accept_errors, 10, "{name}");
        looping.stop.send_replace(Stop::Now);
        looping.task.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_gone_before_it_is_accepted_delays_no_other() {
    let gone = [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused];
    let (ours, _theirs) = Stream::pair();
    let script = gone.into_iter().map(|kind| Err(io::Error::from(kind))).chain([Ok(ours)]);
    let began = Instant::now();
    let mut looping = start(script);
    for _ in 0..5 {
        looping.asked.recv().await.expect("it goes on");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((looping.meter.read().accept_errors, looping.meter.read().accepted), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_accepted_makes_the_next_want_a_first_one_again() {
    let want = || Err(io::Error::from_raw_os_error(24));
    let (ours, _theirs) = Stream::pair();
    let mut looping = start([want(), want(), want(), Ok(ours), want()]);
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(looping.asked.recv().await.expect("it goes on"));
    }
    assert!((times[5] - times[4]).as_millis() <= 11, "{:?}", times[5] - times[4]);
    assert!((times[3] - times[2]).as_millis() >= 40);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_rests_from_an_error_stops_when_it_is_told_to() {
    let mut looping = start((0..20).map(|_| Err(io::Error::from_raw_os_error(24))));
    for _ in 0..10 {
        looping.asked.recv().await.expect("it goes on");
    }
    let began = Instant::now();
    looping.stop.send_replace(Stop::Drain(began));
    looping.task.await.expect("no panic");
    assert_eq!(began.elapsed(), Duration::ZERO, "it does not sleep its second out");
}

/// Those who connect and hang up at once are gone before more are taken in: else they pile up, and with them all that a connection takes.
#[tokio::test(start_paused = true)]
async fn after_some_connections_in_a_row_the_system_is_asked_for_news() {
    let pairs: Vec<_> = (0..3 * IN_A_ROW).map(|_| Stream::pair()).collect();
    let (script, _theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut looping = start(script.into_iter().map(Ok));
    let mut times = Vec::new();
    for _ in 0..3 * IN_A_ROW {
        times.push(looping.asked.recv().await.expect("it goes on"));
    }
    for (at, pair) in times.windows(2).enumerate() {
        let rests = (at + 1).is_multiple_of(IN_A_ROW);
        assert_eq!(pair[1] - pair[0] >= BREATH, rests, "behind {}: {:?}", at + 1, pair[1] - pair[0]);
    }
    assert_eq!(looping.meter.read().accepted as usize, 3 * IN_A_ROW);
}
