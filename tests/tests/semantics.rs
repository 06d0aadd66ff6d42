//! What people rely on beside plain calls: cancelling, detaching, breaking, passing on, casting, versions that differ.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pb_server::{
    AppError, Broker, CallError, FailureKind, Limits, Ran, Referenceable, Running, Server, Stub, TableSizes,
    pair, remote_interface,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Trouble {
    Small(u8),
}

#[remote_interface]
trait Lab {
    /// Never returns; the guard tells when it is stopped.
    async fn hang(&self) -> u64;
    #[remote(run_to_end)]
    async fn hang_on(&self) -> u64;
    #[remote(spawn)]
    async fn apart(&self, n: u64) -> u64;
    async fn make(&self, fail: bool) -> Result<CounterRef, Trouble>;
    async fn make_late(&self) -> CounterRef;
    async fn add_through(&self, counter: CounterRef, n: u64) -> Result<u64, Failure2>;
    async fn keep(&self, counter: CounterRef);
    async fn kept(&self) -> CounterRef;
    #[remote(oneway)]
    async fn tell(&self, counter: CounterRef, n: u64);
    async fn count(&self) -> u64;
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Failure2(String);

#[remote_interface]
trait Counter {
    async fn add(&self, n: u64) -> u64;
}

#[remote_interface]
trait Named {
    async fn name(&self) -> String;
    async fn add(&self, n: u64) -> u64;
}

#[derive(Default)]
struct Seen {
    stopped: AtomicU64,
    started: Notify,
    release: Notify,
    dropped: AtomicU64,
}

#[derive(Referenceable, Default)]
struct MyLab {
    seen: Arc<Seen>,
    kept: std::sync::Mutex<Option<CounterRef>>,
    told: AtomicU64,
}

#[derive(Referenceable)]
#[referenceable(Named)]
struct MyCounter {
    seen: Arc<Seen>,
    sum: AtomicU64,
}

impl Drop for MyCounter {
    fn drop(&mut self) {
        self.seen.dropped.fetch_add(1, SeqCst);
    }
}

struct Stopped(Arc<Seen>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped.fetch_add(1, SeqCst);
        self.0.release.notify_waiters();
        self.0.release.notify_one();
    }
}

impl MyLab {
    fn counter(&self) -> CounterRef {
        CounterRef::new(MyCounter { seen: Arc::clone(&self.seen), sum: AtomicU64::new(0) })
    }
}

impl Lab for MyLab {
    async fn hang(&self) -> u64 {
        let _stopped = Stopped(Arc::clone(&self.seen));
        self.seen.started.notify_one();
        pending().await
    }
    async fn hang_on(&self) -> u64 {
        self.seen.started.notify_one();
        self.seen.release.notified().await;
        self.told.fetch_add(1000, SeqCst);
        0
    }
    async fn apart(&self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        n
    }
    async fn make(&self, fail: bool) -> Result<CounterRef, Trouble> {
        if fail { Err(Trouble::Small(3)) } else { Ok(self.counter()) }
    }
    async fn make_late(&self) -> CounterRef {
        self.seen.started.notify_one();
        self.seen.release.notified().await;
        self.counter()
    }
    async fn add_through(&self, counter: CounterRef, n: u64) -> Result<u64, Failure2> {
        counter.add(n).await.map_err(|failure| Failure2(failure.message.into()))
    }
    async fn keep(&self, counter: CounterRef) {
        *self.kept.lock().unwrap() = Some(counter);
    }
    async fn kept(&self) -> CounterRef {
        self.kept.lock().unwrap().clone().expect("kept before")
    }
    async fn tell(&self, counter: CounterRef, n: u64) {
        self.told.fetch_add(counter.add(n).await.unwrap_or(0), SeqCst);
        self.seen.started.notify_one();
    }
    async fn count(&self) -> u64 {
        self.told.load(SeqCst)
    }
}

impl Counter for MyCounter {
    async fn add(&self, n: u64) -> u64 {
        self.sum.fetch_add(n, SeqCst) + n
    }
}

impl Named for MyCounter {
    async fn name(&self) -> String {
        "counter".into()
    }
    async fn add(&self, n: u64) -> u64 {
        n + 1_000_000
    }
}

/// Bounds a test that would hang; no test waits for it when all is well.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("nothing happened within 20 s")
}

/// Both ends' tables become empty, and stay so.
async fn empty(ends: [&Broker; 2]) {
    soon(async {
        while ends.iter().any(|end| end.tables() != TableSizes::default()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

struct Bench {
    seen: Arc<Seen>,
    lab: LabRef,
    client: Broker,
    server: Broker,
}

async fn bench() -> Bench {
    let seen = Arc::new(Seen::default());
    let (server, client) = pair(LabRef::new(MyLab { seen: Arc::clone(&seen), ..MyLab::default() })).await;
    Bench { seen, lab: client.root(), client, server }
}

impl Bench {
    async fn done(self) {
        drop(self.lab);
        empty([&self.client, &self.server]).await;
    }
}

#[tokio::test]
async fn dropping_a_deferred_stops_its_method() {
    let b = bench().await;
    let call = b.lab.hang();
    soon(b.seen.started.notified()).await;
    drop(call);
    soon(b.seen.release.notified()).await;
    assert_eq!(b.seen.stopped.load(SeqCst), 1);
    b.done().await;
}

#[tokio::test]
async fn a_timeout_cancels_its_call() {
    let b = bench().await;
    assert!(timeout(Duration::from_millis(20), b.lab.hang()).await.is_err());
    soon(b.seen.release.notified()).await;
    b.done().await;
}

#[tokio::test]
async fn what_runs_to_its_end_is_not_stopped_by_a_cancel() {
    let b = bench().await;
    let call = b.lab.hang_on();
    soon(b.seen.started.notified()).await;
    drop(call);
    assert_eq!(b.lab.count().await, Ok(0));
    b.seen.release.notify_one();
    empty([&b.client, &b.server]).await;
    assert_eq!(b.lab.count().await, Ok(1000));
    b.done().await;
}

#[tokio::test]
async fn a_detached_call_runs_though_nobody_waits() {
    let b = bench().await;
    let counter = CounterRef::new(MyCounter { seen: Arc::default(), sum: AtomicU64::new(0) });
    b.lab.add_through(counter.clone(), 5).detach();
    soon(async { while counter.add(0).await != Ok(5) {} }).await;
    drop(counter);
    b.done().await;
}

#[tokio::test]
async fn a_call_on_a_dropped_deferred_keeps_the_first_call_alive() {
    let b = bench().await;
    let sum = b.lab.make_late().add(7);
    soon(b.seen.started.notified()).await;
    b.seen.release.notify_one();
    assert_eq!(soon(sum).await, Ok(7));
    b.done().await;
}

#[tokio::test]
async fn a_promise_may_be_an_argument_before_it_is_known() {
    let b = bench().await;
    let late = b.lab.make_late();
    let sum = b.lab.add_through(late.promised(), 9);
    soon(b.seen.started.notified()).await;
    b.seen.release.notify_one();
    assert_eq!(soon(sum).await, Ok(9));
    assert_eq!(soon(late).await.expect("made").add(1).await, Ok(10));
    b.done().await;
}

#[tokio::test]
async fn calls_on_a_failed_promise_have_its_error_as_cause() {
    let b = bench().await;
    let failed = b.lab.make(true);
    let called = failed.add(1).await.expect_err("no counter");
    assert_eq!((called.kind, called.ran), (FailureKind::Broken, Ran::No));
    assert_eq!(called.app::<Trouble>(), Some(Trouble::Small(3)));
    let CallError::App(error) = failed.await.expect_err("failed") else { panic!("not the method's error") };
    assert_eq!(error, Trouble::Small(3));
    b.done().await;
}

#[tokio::test]
async fn an_object_offers_several_interfaces_and_a_wrong_cast_fails_at_its_call() {
    let b = bench().await;
    let counter = b.lab.make(false).await.expect("made");
    let named: NamedRef = counter.remote().cast();
    assert_eq!(named.name().await, Ok("counter".into()));
    // Both interfaces have a method of this name; each stub means its own.
    assert_eq!((counter.add(1).await, named.add(1).await), (Ok(1), Ok(1_000_001)));
    let wrong: LabRef = counter.remote().cast();
    assert_eq!(wrong.count().await.expect_err("no Lab").kind, FailureKind::Unimplemented);
    drop((counter, named, wrong));
    b.done().await;
}

#[tokio::test]
async fn a_dropped_reference_frees_its_object() {
    let b = bench().await;
    let counters = [b.lab.make(false).await.expect("made"), b.lab.make(false).await.expect("made")];
    assert_eq!(b.seen.dropped.load(SeqCst), 0);
    drop(counters);
    empty([&b.client, &b.server]).await;
    assert_eq!(b.seen.dropped.load(SeqCst), 2);
    b.done().await;
}

#[tokio::test]
async fn a_middleman_passes_calls_on_and_back() {
    let (first, second) = (bench().await, bench().await);
    let counter = first.lab.make(false).await.expect("made");
    // The second server calls the first one's object, through this process.
    assert_eq!(second.lab.add_through(counter.clone(), 4).await, Ok(4));
    second.lab.keep(counter.clone()).await.expect("kept");
    let back = second.lab.kept().await.expect("kept");
    assert!(back.remote().same(&counter), "it comes home to the middleman as what it was");
    assert_eq!(second.lab.kept().add(2).await, Ok(6));
    first.server.close();
    let failure = soon(counter.remote().on_broken()).await;
    assert_eq!(failure.kind, FailureKind::Disconnected);
    let Failure2(message) = match second.lab.add_through(counter, 1).await {
        Err(CallError::App(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(!message.is_empty());
    drop((back, first));
    drop(second);
}

#[tokio::test]
async fn casts_arrive_in_order_with_calls_and_are_never_answered() {
    let b = bench().await;
    let counter = CounterRef::new(MyCounter { seen: Arc::default(), sum: AtomicU64::new(0) });
    b.lab.tell(counter.clone(), 21);
    soon(b.seen.started.notified()).await;
    assert_eq!(b.lab.count().await, Ok(21));
    drop(counter);
    b.done().await;
}

#[tokio::test]
async fn methods_that_spawn_answer_like_others() {
    let b = bench().await;
    let calls: Vec<_> = (0..100).map(|n| b.lab.apart(n)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(soon(call).await, Ok(n as u64));
    }
    b.done().await;
}

#[tokio::test]
async fn calls_over_the_grant_fail_at_once_and_those_under_it_are_answered() {
    let b = bench().await;
    let hanging: Vec<_> = (0..1024).map(|_| b.lab.hang()).collect();
    let failure = soon(b.lab.count()).await.expect_err("one too many");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Overloaded, Ran::No));
    drop(hanging);
    soon(async {
        while b.lab.count().await != Ok(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(b.seen.stopped.load(SeqCst), 1024);
    b.done().await;
}

#[tokio::test]
async fn a_call_larger_than_a_frame_fails_alone() {
    let b = bench().await;
    let other: BlobsRef = b.lab.remote().cast();
    let failure = other.take(vec![0; 2 << 20]).await.expect_err("too large");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
    assert_eq!(b.lab.count().await, Ok(0));
    drop(other);
    b.done().await;
}

#[remote_interface]
trait Blobs {
    async fn take(&self, bytes: Vec<u8>) -> u64;
}

#[tokio::test]
async fn everything_fails_once_when_the_connection_ends() {
    let b = bench().await;
    let counter = b.lab.make(false).await.expect("made");
    let (call, promised) = (b.lab.hang(), b.lab.make_late());
    let on_promise = promised.add(1);
    soon(b.seen.started.notified()).await;
    b.server.close();
    for failure in [soon(call).await.unwrap_err(), soon(promised).await.unwrap_err()] {
        assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
    }
    let failure = soon(on_promise).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Disconnected | FailureKind::Broken), "{failure:?}");
    assert_eq!(soon(counter.remote().on_broken()).await.kind, FailureKind::Disconnected);
    assert_eq!(soon(b.client.closed()).await.kind, FailureKind::Disconnected);
    for _ in 0..2 {
        let failure = counter.add(1).await.unwrap_err();
        assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No));
    }
    assert_eq!((b.client.tables(), b.server.tables()), (TableSizes::default(), TableSizes::default()));
    soon(async {
        while b.seen.dropped.load(SeqCst) == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

mod older {
    //! The same interface as another build has it.
    #[pb_server::remote_interface]
    pub trait Counter {
        async fn add(&self, n: String) -> u64;
    }
}

#[tokio::test]
async fn another_signature_is_incompatible_never_garbage() {
    let b = bench().await;
    let counter = b.lab.make(false).await.expect("made");
    let older: older::CounterRef = counter.remote().cast();
    let failure = older.add("1".into()).await.expect_err("another signature");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
    assert!(failure.message.contains("Counter/add(n: u64)"), "{failure}");
    assert_eq!(counter.add(1).await, Ok(1));
    drop((counter, older));
    b.done().await;
}

async fn over_tcp() -> (Running, Broker) {
    let server =
        Server::new(LabRef::new(MyLab::default())).listen("tcp://127.0.0.1:0").await.expect("listens");
    let running = server.spawn().expect("has an address");
    let client = pb_client::connect(running.url()).await.expect("connects");
    (running, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_one_tcp_connection() {
    let (running, client) = over_tcp().await;
    let lab: LabRef = client.root();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let lab = lab.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let counter = lab.make(false).await.expect("made");
                    assert_eq!(counter.add(3).await, Ok(3));
                    assert_eq!(lab.make(false).add(2).await, Ok(2));
                }
            })
        })
        .collect();
    for caller in callers {
        soon(caller).await.expect("no caller panics");
    }
    drop(lab);
    empty([&client, &client]).await;
    soon(running.shutdown()).await;
    assert_eq!(soon(client.closed()).await.kind, FailureKind::Disconnected);
}

#[tokio::test]
async fn the_last_handle_ends_a_client_connection() {
    let (running, client) = over_tcp().await;
    let lab: LabRef = client.root();
    drop(client);
    assert_eq!(soon(lab.count()).await, Ok(0), "a stub holds the connection");
    drop(lab);
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn nobody_who_answers_and_nonsense_are_told_in_a_sentence() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", free.local_addr().expect("bound"));
    let stranger = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = free.accept().await.expect("a client");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        stream
    });
    let error = soon(pb_client::connect(&address)).await.expect_err("no broker").to_string();
    assert!(error.contains("HTTP"), "{error}");
    drop(stranger);
    for (address, part) in
        [("tcp://127.0.0.1", "port"), ("bank", "tcp://"), ("mem://nobody-here", "nobody listens")]
    {
        let error = pb_client::connect(address).await.expect_err("no address").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn several_listeners_serve_one_root() {
    let root = LabRef::new(MyLab::default());
    let server = Server::new(root.clone()).listen("tcp://127.0.0.1:0").await.expect("tcp");
    let running = server.listen("mem://several-listeners").await.expect("mem").spawn().expect("addresses");
    assert_eq!(running.urls().len(), 2);
    let counter = CounterRef::new(MyCounter { seen: Arc::default(), sum: AtomicU64::new(0) });
    for url in running.urls() {
        let client = pb_client::connect(url).await.expect("connects");
        let lab: LabRef = client.root();
        assert_eq!(lab.add_through(counter.clone(), 1).await.map(|_| ()), Ok(()));
    }
    assert_eq!(counter.add(0).await, Ok(2));
    assert!(root.as_reference().key() == root.clone().as_reference().key());
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn one_way_calls_over_the_grant_are_dropped_and_the_connection_lives() {
    let b = bench().await;
    let promised = b.lab.make_late();
    soon(b.seen.started.notified()).await;
    let notes: NotesRef = promised.remote().cast();
    (0..3000).for_each(|n| notes.note(n));
    let refused = soon(promised.add(1)).await.expect_err("no room");
    assert_eq!((refused.kind, refused.ran), (FailureKind::Overloaded, Ran::No));
    b.seen.release.notify_one();
    soon(promised.remote().ready()).await.expect("room comes as the casts end");
    assert_eq!(soon(promised.add(1)).await, Ok(1));
    drop((notes, promised));
    b.done().await;
}

#[remote_interface]
trait Notes {
    #[remote(oneway)]
    async fn note(&self, n: u64);
}

#[tokio::test]
async fn a_middleman_of_many_clients_does_not_run_out_of_names() {
    let limits = Limits { names: 16, ..Limits::default() };
    let far = Server::new(LabRef::new(MyLab::default())).limits(limits).listen("tcp://127.0.0.1:0").await;
    let far = far.expect("listens").spawn().expect("has an address");
    let onward = pb_client::connect(far.url()).await.expect("connects");
    let middle = Server::new(onward.root::<LabRef>()).listen("mem://middle-of-many").await.expect("listens");
    let middle = middle.spawn().expect("has an address");
    for _ in 0..40 {
        let client = pb_client::connect(middle.url()).await.expect("connects");
        let lab: LabRef = client.root();
        assert_eq!(soon(lab.count()).await, Ok(0));
        assert_eq!(soon(lab.make(false).add(2)).await, Ok(2));
        // Names that nobody has, each another one.
        let wrong: BlobsRef = lab.remote().cast();
        assert_eq!(soon(wrong.take(Vec::new())).await.unwrap_err().kind, FailureKind::Unimplemented);
    }
    assert_eq!(soon(onward.root::<LabRef>().count()).await, Ok(0), "its own calls find a name too");
    soon(middle.shutdown()).await;
    soon(far.shutdown()).await;
}

#[tokio::test]
async fn a_server_that_shuts_down_has_said_so() {
    let (running, client) = over_tcp().await;
    let lab: LabRef = client.root();
    assert_eq!(lab.count().await, Ok(0));
    soon(running.shutdown()).await;
    let reason = soon(client.closed()).await;
    assert!(
        reason.message.contains("the peer ended the connection: the server is shutting down"),
        "{reason}"
    );
}
