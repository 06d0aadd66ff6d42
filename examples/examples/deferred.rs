//! Deferreds with no network, no broker and no runtime: a small pool of threads that looks for prime factors, asked in the ways in which Twisted's
//! programs ask. Run it with `cargo run --example deferred`.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use pb_client::defer::{OnFailure, first, gather};
use pb_client::{Deferred, DeferredExt, Failure, FailureKind, Ran, Resolver};

fn main() -> io::Result<()> {
    block_on(show(&mut io::stdout()))
}

/// Asks the pool, and says what came.
async fn show(out: &mut impl Write) -> io::Result<()> {
    let pool = Pool::new(4);

    // A callback makes something of the result, an errback of a failure; a callback may also ask again.
    let again = pool.clone();
    let answer = pool
        .factor(1_000_000_007 * 3, Way::Up)
        .add_callback(move |factor| again.factor(1_000_000_007 * 3 / factor, Way::Up))
        .add_callback(|factor| Ok(format!("and the next one is {factor}")))
        .add_errback(|failure| Ok(format!("but {failure}")));
    writeln!(out, "a chain: {}", answer.await.map_err(io::Error::other)?)?;

    let refused = pool.factor(1, Way::Up).add_errback(|failure| match failure.kind {
        FailureKind::Refused => Ok(1),
        _ => Err(failure),
    });
    writeln!(out, "an errback: 1 has the factor {}", refused.await.map_err(io::Error::other)?)?;

    // All of many, in their order; the first failure would cancel the others.
    let numbers = [15, 77, 1_003, 10_403];
    let factors = gather(numbers.map(|number| pool.factor(number, Way::Up)), OnFailure::CancelRest);
    writeln!(out, "all of {numbers:?}: {:?}", factors.await.map_err(io::Error::other)?)?;

    // The first of two ways, of which one is endless here; the other is cancelled, and stops.
    let product = 3 * 1_000_000_000_000_037;
    let fastest = first([pool.factor(product, Way::Up), pool.factor(product, Way::Down)]);
    writeln!(out, "the first of two ways: {}", fastest.await.map_err(io::Error::other)?)?;

    // A timer is any future. What is late is cancelled.
    let late = pool.factor(product, Way::Down).add_timeout(after(Duration::from_millis(50)));
    let failure = late.await.err().map(|failure| failure.to_string());
    writeln!(out, "the other way alone: {}", failure.unwrap_or_default())?;

    // Nobody waits: the callback runs on the thread that has the result, or here, where it is there already.
    let (sender, said) = channel();
    let told = pool.factor(91, Way::Up).add_callback(move |factor| {
        let _ = sender.send(factor);
        Ok(())
    });
    told.detach();
    writeln!(out, "nobody waits: {}", said.recv().map_err(io::Error::other)?)?;
    Ok(())
}

/// Where the search begins.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that take jobs until nobody can give them one any more.
#[derive(Clone)]
struct Pool(Sender<Job>);

impl Pool {
    fn new(threads: usize) -> Self {
        let (jobs, taken) = channel::<Job>();
        let taken = Arc::new(Mutex::new(taken));
        for number in 1..=threads {
            let taken = Arc::clone(&taken);
            let work = move || {
                loop {
                    let job = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            // Where a thread does not start the others do its work; without any, jobs fail with their Resolver.
            let _ = thread::Builder::new().name(format!("worker {number}")).spawn(work);
        }
        Pool(jobs)
    }

    /// A factor of `number`, found from one end or the other.
    fn factor(&self, number: u64, way: Way) -> Deferred<u64> {
        let (resolver, deferred) = Deferred::new();
        // A job that cannot be sent is dropped, and its Resolver with it: the Deferred fails.
        let _ = self.0.send(Box::new(move || search(number, way, resolver)));
        deferred
    }
}

fn search(number: u64, way: Way, resolver: Resolver<u64>) {
    if number < 2 {
        resolver.reject(Failure::new(FailureKind::Refused, Ran::No, format!("{number} has no prime factor")));
        return;
    }
    let mut at = match way {
        Way::Up => 2,
        Way::Down => number,
    };
    loop {
        // Looked at now and then: nobody may want to know any more.
        if at % 4_096 == 0 && resolver.is_cancelled() {
            return;
        }
        let found = number.is_multiple_of(at) && (at < number || matches!(way, Way::Up));
        match way {
            _ if found => break,
            Way::Up if at.saturating_mul(at) > number => {
                at = number;
                break;
            }
            Way::Up => at += 1,
            Way::Down => at -= 1,
        }
    }
    resolver.resolve(at);
}

/// The least of a clock: a thread that sleeps. Under tokio this is `tokio::time::sleep`.
async fn after(time: Duration) {
    let (ring, rung) = Deferred::<()>::new();
    thread::spawn(move || {
        thread::sleep(time);
        ring.resolve(());
    });
    let _ = rung.await;
}

#[test]
fn every_way_to_ask_says_what_is_written_here() {
    let mut out = Vec::new();
    block_on(show(&mut out)).expect("a list takes everything");
    let text = String::from_utf8(out).expect("it is text");
    let expected = "a chain: and the next one is 1000000007\n\
        an errback: 1 has the factor 1\n\
        all of [15, 77, 1003, 10403]: [3, 7, 17, 101]\n\
        the first of two ways: 3\n\
        the other way alone: the time for it is over\n\
        nobody waits: 7\n";
    assert_eq!(text, expected);
}
