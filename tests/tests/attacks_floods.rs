//! Rows A41 to A60 of `attacks.md` that ask how much one peer can make this side keep: server and peer share a thread, and an allocator
//! counts what is still held at the worst moment.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pb_core::message::*;
use pb_core::wire::frame::MAGIC;
use pb_server::{Limits, Referenceable, Running, Server, Stub, TableSizes, remote_interface};
use pb_tests::quiet::Quiet;
use pb_tests::raw::{Raw, call, with_caps};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

#[remote_interface]
trait Prey {
    async fn say(&self, text: String) -> String;
    async fn open(&self) -> PreyRef;
    async fn keep(&self, prey: PreyRef) -> u64;
    async fn hold(&self) -> PreyRef;
    #[remote(run_to_end)]
    async fn hold_on(&self) -> u64;
}

#[derive(Default)]
struct Seen {
    kept: std::sync::Mutex<Vec<PreyRef>>,
    ended: AtomicU64,
    go: Notify,
}

#[derive(Referenceable, Default)]
struct Calm(Arc<Seen>);

impl Prey for Calm {
    async fn say(&self, text: String) -> String {
        text
    }
    async fn open(&self) -> PreyRef {
        PreyRef::new(Calm(Arc::clone(&self.0)))
    }
    async fn keep(&self, prey: PreyRef) -> u64 {
        let mut kept = self.0.kept.lock().expect("nobody panics in it");
        kept.push(prey);
        kept.len() as u64
    }
    async fn hold(&self) -> PreyRef {
        std::future::pending().await
    }
    async fn hold_on(&self) -> u64 {
        self.0.go.notified().await;
        self.0.ended.fetch_add(1, SeqCst)
    }
}

/// A server and a peer on one thread.
struct Arena {
    runtime: Runtime,
    running: Running,
    seen: Arc<Seen>,
}

impl Arena {
    fn new() -> Arena {
        Arena::with(Limits::default())
    }

    fn with(limits: Limits) -> Arena {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let seen = Arc::new(Seen::default());
        let root = PreyRef::new(Calm(Arc::clone(&seen)));
        let running = runtime.block_on(async {
            let server = Server::new(root).limits(limits).listen("tcp://127.0.0.1:0").await;
            server.expect("a free port").spawn().expect("it listens")
        });
        Arena { runtime, running, seen }
    }

    /// Lets a peer that grants plenty do its worst. At no time more than [`MOST`] bytes are held for it, by both ends together; and an
    /// honest client is served afterwards.
    fn attack(&self, attack: impl AsyncFnOnce(&mut Caller)) -> Caller {
        let mut caller = Caller::new(self.runtime.block_on(async {
            let mut raw = Raw::connect(self.running.url()).await;
            raw.send(&MAGIC).await;
            let plenty = Limits { imports: 1 << 20, ..Limits::default() }.grants();
            raw.message(&Message::Hello(Hello { versions: (1, 1), features: 0, grants: plenty })).await;
            raw.message(&Message::Ping(Ping { nonce: 1 })).await;
            assert_eq!(raw.answer().await, Some(Message::Pong(Ping { nonce: 1 })));
            raw
        }));
        let counted = allocation_counter::measure(|| self.runtime.block_on(attack(&mut caller)));
        assert!(counted.bytes_max < MOST, "{} bytes were held; {caller:?}", counted.bytes_max);
        self.runtime.block_on(async {
            let client = pb_client::connect(self.running.url()).await.expect("the server lives");
            assert_eq!(client.root::<PreyRef>().say("honest".to_owned()).await.as_deref(), Ok("honest"));
        });
        caller
    }
}

/// The budget of one peer, a frame, and as much again for vectors and tables that grow, which are there twice for a moment, and for the
/// buffers of both ends.
const MOST: u64 = (2 << 20) + (1 << 20) + (2 << 20);

/// Sends calls, each method's name once by text, and counts what comes back.
struct Caller {
    raw: Raw,
    last: i64,
    names: Vec<&'static str>,
    resolved: u64,
    /// Not run.
    overloaded: u64,
    cancelled: u64,
    /// Mentions that came back.
    released: u64,
    last_resolved: i64,
    /// What is called does not wait, so answers come in the order of their calls.
    in_order: bool,
    abort: Option<Abort>,
    text: String,
    /// The object that came last: their ids go down by one.
    object: i64,
}

impl Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Caller { last, resolved, overloaded, cancelled, abort, .. } = self;
        write!(
            f,
            "{last} calls: {resolved} resolved, {overloaded} overloaded, {cancelled} cancelled; {abort:?}"
        )
    }
}

impl Caller {
    fn new(raw: Raw) -> Caller {
        Caller {
            raw,
            last: 0,
            names: Vec::new(),
            resolved: 0,
            overloaded: 0,
            cancelled: 0,
            released: 0,
            last_resolved: 0,
            in_order: true,
            abort: None,
            text: "x".repeat(100),
            object: 0,
        }
    }

    async fn call(&mut self, target: i64, reply: Reply, method: &'static str, cap: Option<Cap>) {
        self.last += 1;
        let made = match method {
            "Prey/say" => call(self.last, method, &self.text),
            "Prey/keep" => call(self.last, method, &0u8),
            _ => call(self.last, method, &()),
        };
        let mut made = Call { target: ImportId(target), reply, ..with_caps(made, cap) };
        match self.names.iter().position(|known| *known == method) {
            Some(at) => made.method = MethodName::Known(at as u32 + 1),
            None => self.names.push(method),
        }
        self.raw.message(&Message::Call(made)).await;
    }

    async fn release(&mut self, ids: impl IntoIterator<Item = i64>) {
        let ids: Vec<_> = ids.into_iter().map(|id| (ImportId(id), 1)).collect();
        for mentions in ids.chunks(1024) {
            self.raw.message(&Message::Release(Release { mentions: mentions.to_vec() })).await;
        }
    }

    async fn cancel(&mut self) {
        let cancel = Cancel { result: ImportId(self.last) };
        self.raw.message(&Message::Cancel(cancel)).await;
    }

    /// A hundred calls on the root, with a capability for each, and their answers.
    async fn batch(&mut self, reply: Reply, method: &'static str, cap: impl Fn(i64) -> Option<Cap>) {
        for _ in 0..100 {
            self.call(0, reply, method, cap(self.last + 1)).await;
        }
        for _ in 0..100 {
            assert!(self.answer().await, "{self:?}");
        }
    }

    /// Reads everything that was sent before the answer to a ping.
    async fn pong(&mut self) {
        self.raw.message(&Message::Ping(Ping { nonce: 2 })).await;
        loop {
            match self.raw.answer().await {
                Some(Message::Pong(_)) => return,
                Some(Message::Release(release)) => self.count(&release),
                other => panic!("{other:?}"),
            }
        }
    }

    fn count(&mut self, release: &Release) {
        self.released += release.mentions.iter().map(|(_, count)| count).sum::<u64>();
    }

    /// Reads the answer to one call, in whatever order. Says whether there was one.
    async fn answer(&mut self) -> bool {
        loop {
            match self.raw.answer().await {
                Some(Message::Resolve(resolve)) => {
                    if let [Cap::Mine(id)] = resolve.payload.caps[..] {
                        assert_eq!(id.0, self.object - 1);
                        self.object = id.0;
                    }
                    assert!(!self.in_order || resolve.export.0 > self.last_resolved, "{resolve:?}");
                    self.last_resolved = resolve.export.0;
                    self.resolved += 1;
                    return true;
                }
                Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
                    match (failure.kind, failure.ran) {
                        (FailureKind::Overloaded, Ran::No) => self.overloaded += 1,
                        (FailureKind::Cancelled, _) => self.cancelled += 1,
                        _ => panic!("{failure:?}"),
                    }
                    return true;
                }
                Some(Message::Release(release)) => self.count(&release),
                Some(Message::Abort(abort)) => self.abort = Some(abort),
                None => return false,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn objects_that_are_asked_for_and_never_released_end_at_the_budget_and_their_release_makes_room() {
    Arena::new().attack(async |caller| {
        for _ in 0..150 {
            caller.batch(Reply::Reference, "Prey/open", |_| None).await;
            caller.release(caller.last - 99..=caller.last).await;
        }
        let (held, refused) = (caller.object.unsigned_abs(), caller.overloaded);
        assert_eq!((held + refused, &caller.abort), (15_000, &None));
        assert!(held > 1000 && refused > 1000, "{caller:?}");
        caller.release((caller.object..0).rev()).await;
        for _ in 0..15 {
            caller.batch(Reply::Reference, "Prey/open", |_| None).await;
        }
        assert_eq!((caller.resolved, caller.overloaded), (held + 1500, refused), "there is room again");
    });
}

#[test]
fn objects_that_are_given_without_end_are_kept_up_to_the_budget_and_released_beyond_it() {
    Arena::new().attack(async |caller| {
        for _ in 0..150 {
            caller.batch(Reply::Value, "Prey/keep", |n| Some(Cap::Mine(ExportId(-n)))).await;
        }
        assert_eq!((caller.resolved + caller.overloaded, &caller.abort), (15_000, &None));
        assert!(caller.resolved > 1000 && caller.overloaded > 1000, "{caller:?}");
        caller.pong().await;
        assert_eq!(caller.released, caller.overloaded, "what was refused, and nothing that is kept");
    });
}

#[test]
fn calls_on_a_promise_that_never_settles_wait_up_to_the_grant_and_persisting_ends_the_connection() {
    let caller = Arena::new().attack(async |caller| {
        caller.call(0, Reply::Reference, "Prey/hold", None).await;
        for _ in 0..3000 {
            caller.call(1, Reply::Value, "Prey/say", None).await;
        }
        while caller.answer().await {}
    });
    assert_eq!((caller.resolved, caller.overloaded), (0, 1000));
    assert_eq!(caller.abort.map(|abort| abort.code), Some(AbortCode::Limit));
}

#[test]
fn calls_whose_answers_are_not_read_are_answered_once_each_and_in_order_when_they_are() {
    let limits = Limits { strikes: 1 << 20, ..Limits::default() };
    let caller = Arena::with(limits).attack(async |caller| {
        // Some 10 MB of answers: more than sockets hold.
        caller.text = "x".repeat(1000);
        for _ in 0..10_000 {
            caller.call(0, Reply::Value, "Prey/say", None).await;
        }
        while caller.resolved + caller.overloaded < 10_000 && caller.answer().await {}
        caller.call(0, Reply::Value, "Prey/say", None).await;
        assert!(caller.answer().await, "it is served on");
    });
    assert_eq!((caller.resolved + caller.overloaded, &caller.abort), (10_001, &None));
    assert!(caller.resolved > 1024, "{caller:?}");
}

#[test]
fn calls_that_are_cancelled_at_once_leave_nothing_however_many_they_are() {
    let caller = Arena::new().attack(async |caller| {
        for _ in 0..10_000 {
            caller.call(0, Reply::Reference, "Prey/hold", None).await;
            caller.cancel().await;
            if caller.last % 100 == 0 {
                for _ in 0..100 {
                    caller.answer().await;
                }
            }
        }
    });
    assert_eq!((caller.cancelled, caller.abort), (10_000, None));
}

#[test]
fn a_cancelled_call_counts_until_its_method_has_ended() {
    let arena = Arena::new();
    let caller = arena.attack(async |caller| {
        caller.in_order = false;
        for _ in 0..1500 {
            caller.call(0, Reply::Value, "Prey/hold_on", None).await;
            caller.cancel().await;
        }
        for _ in 0..1500 - 1024 {
            caller.answer().await;
        }
        assert_eq!((caller.overloaded, caller.resolved), (1500 - 1024, 0));
        arena.seen.go.notify_waiters();
        for _ in 0..1024 {
            caller.answer().await;
        }
    });
    assert_eq!((caller.overloaded, caller.resolved, caller.abort), (1500 - 1024, 1024, None));
    assert_eq!(arena.seen.ended.load(SeqCst), 1024, "no other method has run");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up_when_a_write_has_not_moved_for_ten_seconds() {
    let seen = Arc::new(Seen::default());
    let root = PreyRef::new(Calm(Arc::clone(&seen)));
    let (broker, mut quiet) = Quiet::greeted(Some(root.as_reference().clone()), Limits::default()).await;
    let from = Instant::now();
    // Half a megabyte of answers, and the pipe holds less. All calls are read: reading does not stop.
    for result in 1..=500 {
        quiet.message(&Message::Call(call(result, "Prey/say", &"x".repeat(1000)))).await;
    }
    let failure = broker.closed().await;
    assert_eq!(from.elapsed().as_secs(), 10);
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert!(failure.message.contains("took no bytes for 10 s"), "{failure}");
    assert_eq!(broker.tables(), TableSizes::default());
}

/// Whoever connects and says nothing is kept for some seconds, and may come again and again.
#[test]
fn a_connection_without_a_word_takes_little() {
    const SILENT: usize = 32;
    let Arena { runtime, running, .. } = Arena::new();
    let address = running.url().strip_prefix("tcp://").expect("its address").to_owned();
    let connect = |count: usize| {
        let silent: Vec<_> =
            (0..count).map(|_| std::net::TcpStream::connect(&address).expect("it listens")).collect();
        runtime.block_on(async {
            let open = running.statistics().open + count;
            while running.statistics().open < open || running.statistics().greeting < count {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            // All have been looked at, and wait.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        silent
    };
    // What the first of all brings about for good.
    drop(connect(1));
    runtime.block_on(async {
        while running.statistics().open > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    let counted = allocation_counter::measure(|| drop(connect(SILENT)));
    let each = counted.bytes_max / SILENT as u64;
    assert!(each < 10 << 10, "{each} bytes are held for each of {SILENT}");
}
