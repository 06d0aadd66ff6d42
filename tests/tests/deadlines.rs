//! Deadlines and metadata of live calls, in tokio's paused time: nothing here waits, and no machine is too slow for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pb_core::Broker;
use pb_core::message::{CallOptions, Message, Reject, Rejection};
use pb_server::{
    CallContext, CallError, Failure, FailureKind, Limits, Ran, Referenceable, Stub, remote_interface,
};
use pb_tests::quiet::Quiet;
use pb_tests::raw::call;
use tokio::time::{Instant, sleep};

#[remote_interface]
trait Worker {
    /// Milliseconds that are left of the call, and the values of its metadata `a` and `b`.
    async fn terms(&self, cx: &CallContext) -> Terms;
    async fn hang(&self);
    async fn hang_node(&self) -> WorkerRef;
    #[remote(run_to_end)]
    async fn finish(&self, after_ms: u64) -> u64;
    #[remote(spawn)]
    async fn hang_beside(&self);
    #[remote(oneway)]
    async fn hang_alone(&self);
    #[remote(oneway, run_to_end)]
    async fn finish_alone(&self, after_ms: u64);
    /// After some time, what `other` answers to `terms`.
    async fn ask(&self, other: WorkerRef, after_ms: u64) -> Result<Terms, String>;
    async fn ask_within(&self, other: WorkerRef, within_ms: u64) -> Result<Terms, String>;
    /// The same from a task of its own.
    async fn ask_from_a_task(&self, other: WorkerRef) -> Result<Terms, String>;
    async fn ask_with(&self, other: WorkerRef, key: String, value: String) -> Result<Terms, String>;
    async fn panics(&self);
    async fn give(&self, other: WorkerRef, after_ms: u64) -> WorkerRef;
    #[remote(name = "within")]
    async fn named_within(&self) -> u64;
}

type Terms = (Option<u64>, Option<String>, Option<String>);

#[derive(Referenceable, Default)]
struct Plain {
    started: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

/// Counts while it lives.
struct Runs(Arc<AtomicUsize>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Plain {
    fn runs(&self) -> Runs {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        Runs(Arc::clone(&self.running))
    }
    async fn hangs(&self) {
        let _runs = self.runs();
        std::future::pending().await
    }
    async fn finishes(&self, after_ms: u64) {
        let _runs = self.runs();
        sleep(ms(after_ms)).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

async fn asked(other: &WorkerRef) -> Result<Terms, String> {
    other.terms().await.map_err(|failure| failure.to_string())
}

impl Worker for Plain {
    async fn terms(&self, cx: &CallContext) -> Terms {
        let left =
            cx.deadline().map(|deadline| (Instant::from_std(deadline) - Instant::now()).as_millis() as u64);
        let text = |key| cx.metadata(key).map(|value| String::from_utf8_lossy(value).into_owned());
        (left, text("a"), text("b"))
    }
    async fn hang(&self) {
        self.hangs().await;
    }
    async fn hang_node(&self) -> WorkerRef {
        self.hangs().await;
        unreachable!("it hangs")
    }
    async fn finish(&self, after_ms: u64) -> u64 {
        self.finishes(after_ms).await;
        after_ms
    }
    async fn hang_beside(&self) {
        self.hangs().await;
    }
    async fn hang_alone(&self) {
        self.hangs().await;
    }
    async fn finish_alone(&self, after_ms: u64) {
        self.finishes(after_ms).await;
    }
    async fn ask(&self, other: WorkerRef, after_ms: u64) -> Result<Terms, String> {
        sleep(ms(after_ms)).await;
        asked(&other).await
    }
    async fn ask_within(&self, other: WorkerRef, within_ms: u64) -> Result<Terms, String> {
        asked(&other.within(ms(within_ms))).await
    }
    async fn ask_from_a_task(&self, other: WorkerRef) -> Result<Terms, String> {
        let asking = tokio::spawn(async move { asked(&other).await });
        asking.await.map_err(|error| error.to_string())?
    }
    async fn ask_with(&self, other: WorkerRef, key: String, value: String) -> Result<Terms, String> {
        asked(&other.remote().with_metadata(key, value)).await
    }
    async fn panics(&self) {
        panic!("intended");
    }
    async fn give(&self, other: WorkerRef, after_ms: u64) -> WorkerRef {
        sleep(ms(after_ms)).await;
        other
    }
    async fn named_within(&self) -> u64 {
        7
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const LATE: (FailureKind, Ran) = (FailureKind::DeadlineExceeded, Ran::Maybe);
const NEVER_RAN: (FailureKind, Ran) = (FailureKind::DeadlineExceeded, Ran::No);

fn kind<T: std::fmt::Debug>(result: Result<T, Failure>) -> (FailureKind, Ran) {
    let failure = result.expect_err("its time is over");
    (failure.kind, failure.ran)
}

/// Both ends, what the client calls, and how many methods of it run.
struct Bench {
    server: Broker,
    client: Broker,
    root: WorkerRef,
    started: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

impl Bench {
    fn counts(&self) -> (usize, usize, usize) {
        let [started, running, finished] =
            [&self.started, &self.running, &self.finished].map(|count| count.load(Ordering::SeqCst));
        (started, running, finished)
    }

    /// Lets everything come to rest, and asserts that nothing is left.
    async fn ends_empty(self) {
        let Bench { server, client, root, .. } = self;
        drop(root);
        sleep(ms(1)).await;
        assert_eq!((server.tables(), client.tables()), Default::default());
    }
}

async fn bench() -> Bench {
    let plain = Plain::default();
    let (started, running, finished) =
        (Arc::clone(&plain.started), Arc::clone(&plain.running), Arc::clone(&plain.finished));
    let (server, client) = pb_server::pair(WorkerRef::new(plain)).await;
    let root = client.root();
    Bench { server, client, root, started, running, finished }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_over_fails_and_its_method_is_stopped() {
    let bench = bench().await;
    let from = Instant::now();
    let hanging = bench.root.within(ms(500)).hang();
    sleep(ms(499)).await;
    assert_eq!(bench.counts(), (1, 1, 0));
    assert_eq!(kind(hanging.await), LATE);
    assert_eq!(from.elapsed(), ms(500));
    sleep(ms(1)).await;
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_stub_has_the_time_anew_and_other_stubs_have_none() {
    let bench = bench().await;
    let timed = bench.root.within(ms(500));
    for _ in 0..3 {
        assert_eq!(timed.terms().await.expect("in time").0, Some(500));
        sleep(ms(400)).await;
    }
    assert_eq!(timed.clone().terms().await.expect("in time").0, Some(500), "clones have the options");
    assert_eq!(timed.within(ms(900)).terms().await.expect("in time").0, Some(900), "the last one counts");
    assert_eq!(bench.root.terms().await.expect("in time").0, None);
    let cast: WorkerRef = timed.remote().cast();
    assert_eq!(cast.terms().await.expect("in time").0, Some(500));
    drop((timed, cast));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn the_promise_of_a_stubs_call_has_its_options_and_what_is_awaited_has_none() {
    let bench = bench().await;
    let timed = bench.root.within(ms(500));
    let giving = timed.give(bench.root.clone(), 100);
    let (promised, kept) = (giving.terms(), giving.promised());
    assert_eq!(promised.await.expect("in time").0, Some(400), "it waited for the promise for 100 ms");
    assert_eq!(kept.terms().await.expect("in time").0, Some(500));
    let given = giving.await.expect("in time");
    assert_eq!(given.terms().await.expect("in time").0, None);
    drop((timed, kept, given));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn options_do_not_travel_with_a_reference() {
    let bench = bench().await;
    let own = WorkerRef::new(Plain::default()).within(ms(50)).remote().with_metadata("a", "1");
    assert_eq!(bench.root.ask(own.clone(), 0).await, Ok((None, None, None)));
    assert!(bench.root.give(own.clone(), 0).await.expect("it comes home").remote().same(&own));
    drop(own);
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn calls_on_a_late_promise_fail_with_that_as_their_cause() {
    let bench = bench().await;
    let node = bench.root.within(ms(500)).hang_node();
    let promise = node.promised();
    let untimed = bench.root.give(promise.clone(), 0);
    assert_eq!(kind(node.await.map(|_| ())), LATE);
    let failure = promise.hang().await.expect_err("it leads nowhere");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
    assert!(matches!(failure.cause.as_deref(), Some(pb_core::Cause::Broker(cause)) if cause.kind == LATE.0));
    drop((promise, untimed));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_sends_nothing() {
    let bench = bench().await;
    let timed = bench.root.within(Duration::ZERO);
    assert_eq!(kind(timed.hang().await), NEVER_RAN);
    timed.hang_alone();
    assert_eq!(kind(WorkerRef::new(Plain::default()).within(Duration::ZERO).hang().await), NEVER_RAN);
    sleep(ms(1)).await;
    assert_eq!(bench.counts(), (0, 0, 0));
    let longest = bench.root.within(Duration::MAX).terms().await.expect("in time");
    assert_eq!(longest.0, Some(1 << 32));
    drop(timed);
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_method_that_runs_to_its_end_is_not_stopped_and_its_caller_does_not_wait() {
    let bench = bench().await;
    let from = Instant::now();
    assert_eq!(kind(bench.root.within(ms(500)).finish(2000).await), LATE);
    assert_eq!(from.elapsed(), ms(500));
    assert_eq!(bench.counts(), (1, 1, 0));
    sleep(ms(1600)).await;
    assert_eq!(bench.counts(), (1, 0, 1));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn spawned_and_unanswered_methods_are_stopped_in_their_time_too() {
    let bench = bench().await;
    let timed = bench.root.within(ms(500));
    let beside = timed.hang_beside();
    timed.hang_alone();
    timed.finish_alone(2000);
    sleep(ms(400)).await;
    assert_eq!(bench.counts(), (3, 3, 0));
    assert_eq!(kind(beside.await), LATE);
    sleep(ms(10)).await;
    assert_eq!(bench.counts(), (3, 1, 0), "the one that runs to its end goes on");
    sleep(ms(2000)).await;
    assert_eq!(bench.counts(), (3, 0, 1));
    drop(timed);
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_is_stopped_in_its_time() {
    let bench = bench().await;
    bench.root.within(ms(500)).hang().detach();
    sleep(ms(499)).await;
    assert_eq!(bench.counts(), (1, 1, 0));
    sleep(ms(2)).await;
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn calls_made_while_serving_a_call_inherit_what_is_left() {
    let bench = bench().await;
    let own = WorkerRef::new(Plain::default());
    let timed = bench.root.within(ms(500));
    assert_eq!(timed.ask(own.clone(), 200).await, Ok((Some(300), None, None)));
    assert_eq!(timed.ask_within(own.clone(), 100).await, Ok((Some(100), None, None)), "the earlier counts");
    assert_eq!(timed.ask_within(own.clone(), 9000).await, Ok((Some(500), None, None)), "also then");
    assert_eq!(bench.root.ask(own.clone(), 200).await, Ok((None, None, None)));
    drop((own, timed));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn tasks_that_a_method_spawns_inherit_nothing() {
    let bench = bench().await;
    let own = WorkerRef::new(Plain::default());
    let marked = bench.root.within(ms(500)).remote().with_metadata("a", "1");
    assert_eq!(marked.ask_from_a_task(own.clone()).await, Ok((None, None, None)));
    drop((own, marked));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_reaches_a_method_two_hops_away_and_stops_it() {
    let far = bench().await;
    let (middle, client) = pb_server::pair(WorkerRef::new(Plain::default())).await;
    let root: WorkerRef = client.root();
    // The client gets the far object by way of the one between.
    let passed = root.give(far.root.clone(), 0);
    drop(passed);
    let (_one, near) = pb_server::pair(far.root.clone()).await;
    let through: WorkerRef = near.root();
    assert_eq!(through.within(ms(500)).terms().await.expect("in time").0, Some(500));
    let hanging = through.within(ms(500)).hang();
    sleep(ms(100)).await;
    assert_eq!(far.counts(), (1, 1, 0));
    assert_eq!(kind(hanging.await), LATE);
    sleep(ms(1)).await;
    assert_eq!(far.counts(), (1, 0, 0));
    drop((middle, client, root, through, near));
    sleep(ms(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_method_two_hops_away_before_its_time_is_over() {
    let far = bench().await;
    let (_middle, near) = pb_server::pair(far.root.clone()).await;
    let through: WorkerRef = near.root();
    let hanging = through.within(ms(500)).hang();
    sleep(ms(100)).await;
    assert_eq!(far.counts(), (1, 1, 0));
    drop(hanging);
    sleep(ms(1)).await;
    assert_eq!(far.counts(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn local_calls_have_deadlines_too() {
    let plain = Plain::default();
    let (started, running) = (Arc::clone(&plain.started), Arc::clone(&plain.running));
    let local = WorkerRef::new(plain).within(ms(500));
    assert_eq!(local.terms().await.expect("in time").0, Some(500));
    let from = Instant::now();
    let (hung, finished) = tokio::join!(local.hang(), local.finish(2000));
    assert_eq!((kind(hung), kind(finished)), (LATE, LATE));
    assert_eq!(from.elapsed(), ms(500));
    sleep(ms(1)).await;
    assert_eq!((started.load(Ordering::SeqCst), running.load(Ordering::SeqCst)), (2, 1));
    sleep(ms(2000)).await;
    assert_eq!(running.load(Ordering::SeqCst), 0, "it ran to its end");
    local.hang_alone();
    sleep(ms(499)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    sleep(ms(2)).await;
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_promise_of_this_process_fails_in_its_time_and_never_starts() {
    let plain = Plain::default();
    let started = Arc::clone(&plain.started);
    let local = WorkerRef::new(plain);
    let giving = local.give(local.clone(), 2000);
    let hanging = giving.within(ms(500)).hang();
    let from = Instant::now();
    assert_eq!(kind(hanging.await), NEVER_RAN);
    assert_eq!(from.elapsed(), ms(500));
    let given = giving.await.expect("it comes");
    sleep(ms(1)).await;
    assert_eq!(started.load(Ordering::SeqCst), 0);
    let in_time = local.give(local.clone(), 100).within(ms(500)).terms().await;
    assert_eq!(in_time.expect("in time").0, Some(400));
    drop(given);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_at_the_peer_for_a_promise_fails_in_its_time_and_never_starts() {
    let bench = bench().await;
    let giving = bench.root.give(bench.root.clone(), 2000);
    let from = Instant::now();
    assert_eq!(kind(giving.within(ms(500)).hang().await), LATE);
    assert_eq!(from.elapsed(), ms(500));
    drop(giving.await);
    sleep(ms(1)).await;
    assert_eq!(bench.counts(), (0, 0, 0));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn metadata_reaches_the_method_and_the_calls_that_it_makes() {
    let bench = bench().await;
    let own = WorkerRef::new(Plain::default());
    let text = |value: &str| Some(value.to_owned());
    let marked = bench.root.remote().with_metadata("a", "1").remote().with_metadata("b", "2");
    assert_eq!(marked.terms().await, Ok((None, text("1"), text("2"))));
    assert_eq!(marked.remote().with_metadata("a", "3").terms().await, Ok((None, text("3"), text("2"))));
    assert_eq!(marked.ask(own.clone(), 5).await, Ok((None, text("1"), text("2"))), "inherited");
    let other = marked.ask_with(own.clone(), "b".into(), "own".into()).await;
    assert_eq!(other, Ok((None, text("1"), text("own"))), "its own entry counts");
    assert_eq!(bench.root.terms().await, Ok((None, None, None)), "the stub it was made of has none");
    // A middleman passes all on.
    let (_middle, near) = pb_server::pair(bench.root.clone()).await;
    let through = near.root::<WorkerRef>().remote().with_metadata("a", "far");
    assert_eq!(through.within(ms(70)).terms().await, Ok((Some(70), text("far"), None)));
    let local = own.remote().with_metadata("a", "here");
    assert_eq!(local.terms().await, Ok((None, text("here"), None)), "local calls have it, too");
    drop((through, near, marked, own, local));
}

#[tokio::test(start_paused = true)]
async fn metadata_over_its_bounds_fails_the_call() {
    let bench = bench().await;
    let fails = async |stub: WorkerRef, what: &str| {
        let failure = stub.terms().await.expect_err(what);
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No), "{failure}");
        assert!(failure.message.contains(what), "{failure}");
    };
    let with = |key: String, value: String| bench.root.remote().with_metadata(key, value);
    fails(with(String::new(), "x".into()), "at least one byte").await;
    fails(with("k".repeat(257), "x".into()), "257 bytes").await;
    fails(with("k".into(), "x".repeat(257)), "257 bytes").await;
    assert!(with("k".repeat(256), "x".repeat(256)).terms().await.is_ok());
    let sixteen =
        (0..16).fold(bench.root.clone(), |stub, n| stub.remote().with_metadata(format!("{n}"), "x"));
    assert!(sixteen.terms().await.is_ok());
    assert!(sixteen.remote().with_metadata("7", "y").terms().await.is_ok(), "it replaces one");
    fails(sixteen.remote().with_metadata("a", "1"), "17 entries").await;
    let own = WorkerRef::new(Plain::default());
    let inherited = sixteen.ask_with(own.clone(), "a".into(), "1".into()).await;
    assert!(matches!(inherited, Err(CallError::App(message)) if message.contains("17 entries")));
    sixteen.remote().with_metadata("a", "1").hang_alone();
    sleep(ms(1)).await;
    assert_eq!(bench.counts(), (0, 0, 0));
    drop((sixteen, own));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_leaves_no_terms_behind() {
    let bench = bench().await;
    let marked = bench.root.within(ms(500)).remote().with_metadata("a", "1");
    assert_eq!(marked.panics().await.expect_err("it panics").kind, FailureKind::Internal);
    // One thread: the calls of this very test would inherit what was left.
    assert_eq!(bench.root.terms().await, Ok((None, None, None)));
    drop(marked);
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_method_may_be_called_within_on_the_wire() {
    let bench = bench().await;
    assert_eq!(bench.root.within(ms(5)).named_within().await, Ok(7));
    bench.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_nothing_is_over_and_one_of_all_is_cut_to_fifty_days() {
    let plain = Plain::default();
    let started = Arc::clone(&plain.started);
    let root = WorkerRef::new(plain);
    let (_broker, mut peer) = Quiet::greeted(Some(root.as_reference().clone()), Limits::default()).await;
    assert!(matches!(peer.read().await, Some(Message::Hello(_))));
    let mut timed = async |result, method: &str, deadline_ms| {
        let options = CallOptions { deadline_ms: Some(deadline_ms), ..CallOptions::default() };
        let mut call = call(result, method, &());
        call.options = Some(Box::new(options));
        peer.message(&Message::Call(call)).await;
        peer.read().await
    };
    let answer = timed(1, "Worker/hang", 0).await;
    let Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((failure.kind, failure.ran), NEVER_RAN);
    assert_eq!(started.load(Ordering::SeqCst), 0);
    for (result, deadline) in [(2, u64::MAX), (3, (1 << 32) + 1)] {
        let Some(Message::Resolve(resolve)) = timed(result, "Worker/terms", deadline).await else {
            panic!("it is served")
        };
        // `Some` of 2^32, in nine bytes, and twice nothing.
        assert_eq!(resolve.payload.body[..], [&[1, 253][..], &(1u64 << 32).to_le_bytes(), &[0, 0]].concat());
    }
}
