//! What a reconnecting client sends again by itself: calls of idempotent methods, and no others. In tokio's paused time over connections in
//! memory, and once over sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pb_client::{
    Cause, Connect, Deferred, Failure, FailureKind, Ran, Reconnect, Reconnecting, State, WhileDown,
};
use pb_server::{Referenceable, Running, Server, remote_interface};
use pb_tests::live::soon;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What is served: each method notes that it has started, and ends when the gate of its library is open.
#[remote_interface]
pub trait Shelf {
    /// The shelf's number.
    #[remote(idempotent)]
    async fn look(&self) -> u64;
    /// The same, but for a call that must not be made twice.
    async fn take(&self) -> u64;
    /// Another shelf.
    #[remote(idempotent)]
    async fn behind(&self, number: u64) -> ShelfRef;
    /// What `other` answers when it is looked at.
    #[remote(idempotent)]
    async fn ask(&self, other: ShelfRef) -> Result<u64, Failed>;
    /// How many bytes came.
    #[remote(idempotent)]
    async fn weigh(&self, bytes: Vec<u8>) -> u64;
    /// Gives `other` back.
    #[remote(idempotent)]
    async fn give(&self, other: ShelfRef) -> ShelfRef;
}

/// The error of [`Shelf::ask`].
#[derive(serde::Serialize, serde::Deserialize, thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("asking failed: {0}")]
pub struct Failed(String);

/// What the shelves of one test share, over all servers.
struct Library {
    gate: watch::Sender<bool>,
    started: AtomicU64,
}

#[derive(Referenceable)]
struct MyShelf {
    number: u64,
    library: Arc<Library>,
}

impl MyShelf {
    async fn wait(&self) {
        let mut gate = self.library.gate.subscribe();
        self.library.started.fetch_add(1, SeqCst);
        let _ = gate.wait_for(|open| *open).await;
    }
}

impl Shelf for MyShelf {
    async fn look(&self) -> u64 {
        self.wait().await;
        self.number
    }
    async fn take(&self) -> u64 {
        self.wait().await;
        self.number
    }
    async fn behind(&self, number: u64) -> ShelfRef {
        self.wait().await;
        self.library.shelf(number)
    }
    async fn ask(&self, other: ShelfRef) -> Result<u64, Failed> {
        self.wait().await;
        other.look().await.map_err(|failure| Failed(failure.to_string()))
    }
    async fn weigh(&self, bytes: Vec<u8>) -> u64 {
        self.wait().await;
        bytes.len() as u64
    }
    async fn give(&self, other: ShelfRef) -> ShelfRef {
        self.wait().await;
        other
    }
}

impl Library {
    fn new() -> Arc<Self> {
        Arc::new(Library { gate: watch::Sender::new(false), started: AtomicU64::new(0) })
    }

    fn shelf(self: &Arc<Self>, number: u64) -> ShelfRef {
        ShelfRef::new(MyShelf { number, library: Arc::clone(self) })
    }

    async fn serve(self: &Arc<Self>, number: u64, url: &str) -> Running {
        let server =
            Server::new(self.shelf(number)).publish("rare", &self.shelf(number * 10)).expect("a name");
        server.listen(url).await.expect("it is free").spawn().expect("it listens")
    }

    /// Waits until so many methods have started, over all servers.
    async fn until_started(&self, count: u64) {
        let started = || self.started.load(SeqCst);
        until(|| started() >= count, || format!("{} have started", started())).await;
        assert_eq!(started(), count);
    }
}

fn client(url: &str, how: Reconnect) -> Reconnecting {
    Connect::to(url).reconnecting(Reconnect { seed: Some(1), ..how }).expect("an address")
}

fn kind_and_ran(failure: &Failure) -> (FailureKind, Ran) {
    (failure.kind, failure.ran)
}

/// Waits until `holds` does, while time passes.
async fn until(holds: impl Fn() -> bool, describe: impl Fn() -> String) {
    let until = Instant::now() + Duration::from_secs(600);
    while !holds() {
        assert!(Instant::now() < until, "not within 600 s: {}", describe());
        sleep(Duration::from_millis(1)).await;
    }
}

const LOST: (FailureKind, Ran) = (FailureKind::Disconnected, Ran::Maybe);

#[tokio::test(start_paused = true)]
async fn an_idempotent_call_whose_connection_is_lost_is_answered_by_the_next_server_and_no_other_call_is() {
    let (library, url) = (Library::new(), "mem://repeated");
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let shelf: ShelfRef = client.root();
    let (look, take) = (shelf.look(), shelf.take());
    library.until_started(2).await;
    running.shutdown().await;
    let failure = soon(take).await.expect_err("it may not be made twice");
    assert_eq!(kind_and_ran(&failure), LOST);
    library.gate.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    let running = library.serve(2, url).await;
    assert_eq!(soon(look).await, Ok(2));
    assert_eq!(library.started.load(SeqCst), 3, "one of them once more");
    let counters = client.counters();
    assert_eq!((counters.connections, counters.lost, counters.repeated), (2, 1, 1));
    assert!(counters.failed >= 1, "nobody listened for a while: {counters:?}");
    // The old stub of the root is broken for calls that may not be made twice, and the new root's for those that may.
    assert_eq!(soon(shelf.look()).await, Ok(2));
    let failure = soon(shelf.take()).await.expect_err("its connection is lost");
    assert_eq!(kind_and_ran(&failure), (FailureKind::Disconnected, Ran::No));
    running.shutdown().await;
}

#[tokio::test]
async fn over_sockets_a_call_with_a_large_body_is_sent_again_as_it_was() {
    let library = Library::new();
    let first = library.serve(1, "tcp://127.0.0.1:0").await;
    let second = library.serve(2, "tcp://127.0.0.1:0").await;
    let [one, two] = [&first, &second].map(|running| running.urls()[0].clone());
    let how = Reconnect { first: Duration::from_millis(1), seed: Some(1), ..Reconnect::default() };
    let client = Connect::to(one).or(two).reconnecting(how).expect("addresses");
    let weigh = client.root::<ShelfRef>().weigh(vec![7; 300_000]);
    library.until_started(1).await;
    first.shutdown().await;
    library.until_started(2).await;
    library.gate.send_replace(true);
    assert_eq!(soon(weigh).await, Ok(300_000));
    assert_eq!(client.counters().repeated, 1);
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_sent_again_as_often_as_was_said_and_its_failure_says_why_not_more_often() {
    for repeats in [0, 1, 3] {
        let (library, url) = (Library::new(), "mem://repeats");
        let client = client(url, Reconnect { repeats, ..Reconnect::default() });
        let look = client.root::<ShelfRef>().look();
        for time in 1..=u64::from(repeats) + 1 {
            let running = library.serve(time, url).await;
            library.until_started(time).await;
            running.shutdown().await;
        }
        let failure = soon(look).await.expect_err("it was lost too often");
        assert_eq!(kind_and_ran(&failure), LOST);
        let why = match repeats {
            0 => "`Reconnect::repeats` is 0".to_owned(),
            _ => format!("it was sent {} times, as often as `Reconnect::repeats` allows", repeats + 1),
        };
        assert!(failure.message.ends_with(&format!("; it was not sent again: {why}")), "{failure}");
        assert_eq!(client.counters().repeated, u64::from(repeats));
        let running = library.serve(9, url).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(library.started.load(SeqCst), u64::from(repeats) + 1, "that was all");
        running.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_over_all_its_times_and_it_may_have_run_though_it_waits_when_the_time_is_over() {
    let (library, url) = (Library::new(), "mem://repeated-in-time");
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let began = Instant::now();
    let look = client.root::<ShelfRef>().within(Duration::from_secs(10)).look();
    library.until_started(1).await;
    sleep(Duration::from_secs(4)).await;
    running.shutdown().await;
    let failure = soon(look).await.expect_err("nobody serves any more");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(kind_and_ran(&failure), (FailureKind::DeadlineExceeded, Ran::Maybe));
    // The other half of the time is the second server's.
    let began = Instant::now();
    let look = client.root::<ShelfRef>().within(Duration::from_secs(60)).look();
    sleep(Duration::from_secs(1)).await;
    let running = library.serve(2, url).await;
    library.until_started(2).await;
    running.shutdown().await;
    let running = library.serve(3, url).await;
    library.until_started(3).await;
    let failure = soon(look).await.expect_err("the gate is shut");
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(kind_and_ran(&failure), (FailureKind::DeadlineExceeded, Ran::Maybe));
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_idempotent_calls_is_made_again_as_a_chain_also_from_a_name() {
    let (library, url) = (Library::new(), "mem://repeated-chain");
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let chain = client.root::<ShelfRef>().behind(5);
    let behind_that = chain.behind(6);
    let (look, take, deep) = (chain.look(), chain.take(), behind_that.look());
    library.until_started(1).await;
    running.shutdown().await;
    let failure = soon(take).await.expect_err("it may not be made twice");
    assert_eq!(kind_and_ran(&failure), LOST);
    library.gate.send_replace(true);
    let running = library.serve(2, url).await;
    assert_eq!((soon(look).await, soon(deep).await), (Ok(5), Ok(6)));
    // What the first of them gave is an object of the new connection, by whichever promise it is called.
    assert_eq!(soon(chain.take()).await, Ok(5));
    let shelf = soon(chain).await.expect("it was given");
    assert_eq!(soon(shelf.take()).await, Ok(5));
    assert_eq!(client.counters().repeated, 4, "the chain's calls but the one");
    drop((shelf, behind_that));
    library.gate.send_replace(false);
    let before = library.started.load(SeqCst);
    let named = client.named::<ShelfRef>("rare");
    let look = named.look();
    library.until_started(before + 1).await;
    // The name's answer has come by now: what was called on it is on an object of that connection.
    running.shutdown().await;
    let failure = soon(look).await.expect_err("its object is lost");
    assert_eq!(kind_and_ran(&failure), LOST);
    drop(named);
    library.gate.send_replace(true);
    let (early, later) = (client.named::<ShelfRef>("rare").look(), client.named::<ShelfRef>("raw").look());
    let running = library.serve(3, url).await;
    assert_eq!(soon(early).await, Ok(30));
    assert_eq!(soon(later).await.expect_err("no such name").kind, FailureKind::Broken);
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_awaited_is_an_object_of_its_connection_and_calls_on_it_are_not_sent_again() {
    let (library, url) = (Library::new(), "mem://awaited");
    library.gate.send_replace(true);
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let shelf = soon(client.root::<ShelfRef>().behind(5)).await.expect("it is given");
    library.gate.send_replace(false);
    let look = shelf.look();
    library.until_started(2).await;
    running.shutdown().await;
    assert_eq!(kind_and_ran(&soon(look).await.expect_err("its object is lost")), LOST);
    assert_eq!(client.counters().repeated, 0);
}

#[tokio::test(start_paused = true)]
async fn own_objects_in_the_arguments_are_given_anew_and_objects_of_the_lost_connection_end_it() {
    let (library, url) = (Library::new(), "mem://repeated-arguments");
    let own = Library::new();
    own.gate.send_replace(true);
    let callback = own.shelf(77);
    library.gate.send_replace(true);
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let theirs = soon(client.root::<ShelfRef>().behind(5)).await.expect("it is given");
    library.gate.send_replace(false);
    let (asked, given) = (client.root::<ShelfRef>().ask(callback), client.root::<ShelfRef>().give(theirs));
    library.until_started(3).await;
    running.shutdown().await;
    let failure = soon(given).await.expect_err("what it was to give is lost");
    assert_eq!(kind_and_ran(&failure), LOST);
    let why = "it was not sent again: reference 1 of 1 in its arguments came over a lost connection";
    assert!(failure.message.ends_with(why), "{failure}");
    library.gate.send_replace(true);
    let running = library.serve(2, url).await;
    assert_eq!(soon(asked).await, Ok(77));
    assert_eq!((client.counters().repeated, own.started.load(SeqCst)), (1, 1));
    running.shutdown().await;
    // Neither of them is held by what was kept.
    let alone = || Arc::strong_count(&own) == 1;
    until(alone, || format!("{} hold the library", Arc::strong_count(&own))).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_wants_any_more_is_not_sent_again() {
    let (library, url) = (Library::new(), "mem://unwanted");
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let (dropped, detached) = (client.root::<ShelfRef>().look(), client.root::<ShelfRef>().look());
    let kept = client.root::<ShelfRef>().look();
    library.until_started(3).await;
    detached.detach();
    running.shutdown().await;
    let lost = || client.counters().lost == 1;
    until(lost, || format!("{:?}", client.counters())).await;
    sleep(Duration::from_millis(1)).await;
    drop(dropped);
    let running = library.serve(2, url).await;
    library.until_started(4).await;
    sleep(Duration::from_secs(1)).await;
    library.gate.send_replace(true);
    assert_eq!(soon(kept).await, Ok(2));
    assert_eq!(library.started.load(SeqCst), 4);
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_leaving_server_refuses_goes_to_the_next_one() {
    let (library, url) = (Library::new(), "mem://left");
    let old = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let shelf: ShelfRef = client.root();
    let held = shelf.take();
    library.until_started(1).await;
    let drain = tokio::spawn(old.drain(Duration::from_secs(3600)));
    let mut states = client.state();
    let away = |state: &State| !matches!(state, State::Connected { .. });
    drop(soon(states.wait_for(away)).await.expect("it lives").clone());
    // By the old root.
    let (look, take) = (shelf.look(), shelf.take());
    let failure = soon(take).await.expect_err("it leaves");
    assert_eq!(kind_and_ran(&failure), (FailureKind::Disconnected, Ran::No));
    let new = library.serve(2, url).await;
    library.until_started(2).await;
    library.gate.send_replace(true);
    assert_eq!((soon(look).await, soon(held).await), (Ok(2), Ok(1)));
    drop(shelf);
    soon(drain).await.expect("no panic");
    new.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn where_calls_do_not_wait_a_lost_one_waits_for_one_attempt_to_connect() {
    for comes_back in [true, false] {
        let (library, url) = (Library::new(), "mem://one-attempt");
        let running = library.serve(1, url).await;
        let client = client(url, Reconnect { while_down: WhileDown::Fail, ..Reconnect::default() });
        let look = client.root::<ShelfRef>().look();
        library.until_started(1).await;
        running.shutdown().await;
        library.gate.send_replace(true);
        let running = if comes_back { Some(library.serve(2, url).await) } else { None };
        match soon(look).await {
            Ok(number) => assert_eq!((number, comes_back), (2, true)),
            Err(failure) => {
                assert!(!comes_back, "{failure}");
                // It may have run on the first server, whatever became of the second time.
                assert_eq!(kind_and_ran(&failure), (FailureKind::Broken, Ran::Maybe));
                let Some(Cause::Broker(cause)) = failure.cause.as_deref() else { panic!("{failure:?}") };
                assert_eq!(cause.kind, FailureKind::Disconnected);
            }
        }
        if let Some(running) = running {
            running.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_once_the_client_is_closed_or_its_last_handle_is_gone() {
    for close in [true, false] {
        let (library, url) = (Library::new(), "mem://closed-in-flight");
        let running = library.serve(1, url).await;
        let client = client(url, Reconnect::default());
        let look: Deferred<u64> = client.root::<ShelfRef>().look();
        library.until_started(1).await;
        let why = if close {
            client.close();
            running.shutdown().await;
            "the reconnecting client was closed"
        } else {
            drop(client);
            running.shutdown().await;
            "no handle of the reconnecting client is left"
        };
        let failure = soon(look).await.expect_err("there is no connection");
        assert_eq!(kind_and_ran(&failure), LOST);
        assert!(failure.message.ends_with(&format!("; it was not sent again: {why}")), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_of_calls_that_are_kept_is_made_again_and_dropped_without_deep_recursion() {
    const LONG: usize = 1_000;
    let (library, url) = (Library::new(), "mem://long-chain");
    let running = library.serve(1, url).await;
    let client = client(url, Reconnect::default());
    let mut chain = vec![client.root::<ShelfRef>().behind(0)];
    for number in 1..LONG {
        chain.push(chain[number - 1].behind(number as u64));
    }
    library.until_started(1).await;
    running.shutdown().await;
    let running = library.serve(2, url).await;
    library.until_started(2).await;
    running.shutdown().await;
    library.gate.send_replace(true);
    let running = library.serve(3, url).await;
    let last = chain.pop().expect("the last");
    drop(chain);
    assert_eq!(soon(last.look()).await, Ok(LONG as u64 - 1));
    assert!(soon(last).await.is_ok());
    running.shutdown().await;
}
