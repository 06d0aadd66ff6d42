//! Rows A24 and A48 to A65 of `attacks.md` where other tests leave something: ids of results, cancels, and methods that misbehave.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pb_core::message::{
    Call, CallOptions, Cancel, Cap, Cause, Disembargo, ExportId, ImportId, Message, MethodName, MethodText,
    Payload, Reject, Rejection, Release, Reply,
};
use pb_core::proto::Violation;
use pb_server::{
    Broker, Failure, FailureKind, Limits, Ran, Referenceable, Server, TableSizes, pair, remote_interface,
};
use pb_tests::golden::plain_call;
use pb_tests::net::{A, B, Ended, Handle, Net};
use pb_tests::raw::{Raw, call};
use tokio::sync::Notify;

// ---- on tables ---------------------------------------------------------------------------------------------------

/// A call on the root that the tables of its sender know nothing of.
fn forged(result: i64, reply: Reply, method: &str) -> Call {
    let text = MethodText { name: method.into(), fewest: 0, prints: [].into() };
    Call { result: ImportId(result), reply, method: MethodName::Once(Arc::new(text)), ..plain_call() }
}

fn cancel(result: i64) -> Message {
    Message::Cancel(Cancel { result: ImportId(result) })
}

#[test]
fn the_id_of_a_result_is_not_taken_again_whatever_became_of_the_call() {
    let release = Message::Release(Release { mentions: vec![(ImportId(1), 1)] });
    let running = forged(1, Reply::Value, "hold");
    let settled = forged(1, Reply::Reference, "open");
    let rejected = forged(1, Reply::Reference, "fail");
    let cases = [
        vec![Message::Call(running.clone()), cancel(1)], // Cancelled, the answer is on its way.
        vec![Message::Call(forged(1, Reply::Value, "say"))], // Answered.
        vec![Message::Call(settled.clone())],
        vec![Message::Call(settled.clone()), release.clone()],
        vec![Message::Call(settled), cancel(1)],
        vec![Message::Call(rejected), release],
    ];
    for (number, messages) in cases.into_iter().enumerate() {
        let net = Net::new();
        messages.into_iter().for_each(|message| net.inject(A, message));
        net.inject(A, Message::Call(running.clone()));
        let found = net.violation(A);
        assert_eq!(found, Violation::ResultNotNext { id: 1, next: 2 }, "case {number}");
        assert_eq!(net.sizes(B), TableSizes::default());
        while net.side(B).next_message().is_some() {}
        net.cut(A);
        net.finish();
    }
}

/// What B has sent, without delivering it: A's tables have asked for nothing.
fn rejections(net: &Net) -> Vec<(i64, Failure)> {
    let mut found = Vec::new();
    while let Some(message) = net.side(B).next_message() {
        match message {
            Message::Reject(reject) => match reject.rejection {
                Rejection::Broker(failure) => found.push((reject.export.0, failure)),
                Rejection::App(_) => panic!("a method's own error for {}", reject.export),
            },
            Message::Release(_) => {}
            other => panic!("{other:?}"),
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found
}

#[test]
fn a_cancel_fails_what_was_called_on_the_result_and_what_was_called_on_that() {
    let net = Net::new();
    let on = |target, call| Call { target: ImportId(target), ..call };
    let mine = |id: i64| Payload { caps: vec![Cap::Mine(ExportId(id))], body: Bytes::new() };
    let messages = [
        Message::Call(Call { payload: mine(-1), ..forged(1, Reply::Reference, "hold") }),
        Message::Call(on(1, Call { payload: mine(-2), ..forged(2, Reply::Reference, "open") })),
        Message::Call(on(2, Call { payload: mine(-3), ..forged(3, Reply::Value, "say") })),
        Message::Call(on(1, forged(4, Reply::Value, "say"))),
        cancel(1),
    ];
    messages.into_iter().for_each(|message| net.inject(A, message));
    while net.deliver(A) {}
    let rejections = rejections(&net);
    let kinds: Vec<_> = rejections.iter().map(|(id, failure)| (*id, failure.kind)).collect();
    let broken = FailureKind::Broken;
    assert_eq!(kinds, [(1, FailureKind::Cancelled), (2, broken), (3, broken), (4, broken)]);
    for (id, failure) in &rejections[1..] {
        let Some(Cause::Broker(cause)) = failure.cause.as_deref() else { panic!("{id}: {failure:?}") };
        assert_eq!((failure.ran, cause.kind), (Ran::No, FailureKind::Cancelled), "{id}");
    }
    assert_eq!(net.side(B).arrived(), ["root.hold()"], "nothing else has run");
    let sizes = net.sizes(B);
    assert_eq!((sizes.imports, sizes.exports), (0, 0), "the references of all of them are given back");
    // Rejected reference results stay until the caller's last word; that of the cancelled one was its cancel.
    assert_eq!(sizes.answers, 1);
    net.inject(A, Message::Release(Release { mentions: vec![(ImportId(2), 1)] }));
    net.deliver(A);
    assert_eq!(net.sizes(B), TableSizes::default());
    net.cut(A);
    net.finish();
}

#[test]
fn a_call_that_is_cancelled_again_and_again_is_answered_once() {
    let net = Net::new();
    net.inject(A, Message::Call(forged(1, Reply::Reference, "hold")));
    (0..100).for_each(|_| net.inject(A, cancel(1)));
    while net.deliver(A) {}
    let rejections = rejections(&net);
    assert_eq!(rejections.len(), 1);
    assert_eq!((rejections[0].0, rejections[0].1.kind), (1, FailureKind::Cancelled));
    assert_eq!(net.sizes(B), TableSizes::default());
    net.cut(A);
    net.finish();
}

#[test]
fn a_failure_with_as_many_causes_as_are_allowed_stays_within_them_as_a_cause() {
    let net = Net::new();
    let failure = (1..=8).fold(Failure::new(FailureKind::Failed, Ran::Yes, "0"), |inner, n| {
        Failure::new(FailureKind::Failed, Ran::Yes, n.to_string()).caused_by(Cause::Broker(inner))
    });
    let mut chain = vec![net.refer(A, &net.root(A), "hold", "", &[])];
    for _ in 0..50 {
        let last = chain.last().expect("there is a first").promised();
        chain.push(net.refer(A, &last, "open", "", &[]));
    }
    net.run();
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Failed(failure));
    net.run();
    let causes = |failure: &Failure| {
        let (mut count, mut at) = (0, failure.clone());
        while let Some(Cause::Broker(inner)) = at.cause.map(|cause| *cause) {
            (count, at) = (count + 1, inner);
        }
        count
    };
    assert_eq!(causes(&chain[0].failure()), 8);
    for call in &chain[1..] {
        assert_eq!((call.failure().kind, causes(&call.failure())), (FailureKind::Broken, 8));
    }
    drop(chain);
    net.finish();
}

/// As a peer makes it that ignores what it is granted: here it is granted that much.
#[test]
fn a_chain_of_a_hundred_thousand_calls_on_each_other_is_walked_without_a_stack() {
    const LENGTH: i64 = 100_000;
    let many = 1 << 20;
    let limits = Limits { calls: many, imports: many, exports: many, budget: 1 << 30, ..Limits::default() };
    for fails in [false, true] {
        let net = Net::with_limits(limits, limits);
        net.inject(A, Message::Call(forged(1, Reply::Reference, "hold")));
        for result in 2..=LENGTH {
            let open = forged(result, Reply::Reference, "open");
            net.inject(A, Message::Call(Call { target: ImportId(result - 1), ..open }));
        }
        while net.deliver(A) {}
        assert_eq!(net.side(B).arrived().len(), 1, "one runs, the others wait");
        let started = net.side(B).take("hold");
        let ended = match fails {
            true => Ended::Failed(Failure::new(FailureKind::Failed, Ran::Yes, "first")),
            false => Ended::Reference(Handle::object("ada")),
        };
        net.side(B).answer(started, ended);
        let (mut resolved, mut rejected) = (0, 0);
        while let Some(message) = net.side(B).next_message() {
            match message {
                Message::Resolve(_) => resolved += 1,
                Message::Reject(_) => rejected += 1,
                other => panic!("{other:?}"),
            }
        }
        let expected = if fails { (0, LENGTH) } else { (LENGTH, 0) };
        assert_eq!((resolved, rejected), expected);
        net.cut(A);
        net.cut(B);
        net.finish();
    }
}

#[test]
fn a_question_is_echoed_as_often_as_it_is_asked_and_keeps_nothing() {
    let net = Net::new();
    let caps = vec![Cap::Mine(ExportId(-1))];
    let echo = Call { payload: Payload { caps, body: Bytes::new() }, ..forged(1, Reply::Reference, "echo") };
    net.inject(A, Message::Call(echo));
    let ask = |number| Message::Disembargo(Disembargo::Ask { target: ImportId(1), number });
    for number in [1, 1, 7, u64::MAX] {
        net.inject(A, ask(number));
    }
    while net.deliver(A) {}
    let mut echoes = Vec::new();
    while let Some(message) = net.side(B).next_message() {
        match message {
            Message::Disembargo(Disembargo::Echo { number }) => echoes.push(number),
            Message::Resolve(_) | Message::Release(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(echoes, [1, 1, 7, u64::MAX]);
    // Behind the last word there is nothing to ask about any more.
    net.inject(A, Message::Release(Release { mentions: vec![(ImportId(1), 1)] }));
    net.inject(A, ask(8));
    assert_eq!(net.violation(A), Violation::NotEmbargoed { id: 1 });
    net.cut(A);
    net.finish();
}

#[test]
fn questions_whose_echoes_wait_behind_calls_without_room_are_charged_until_those_are_sent() {
    let net = Net::new();
    let caps = vec![Cap::Mine(ExportId(-1))];
    let echo = Call { payload: Payload { caps, body: Bytes::new() }, ..forged(1, Reply::Reference, "echo") };
    net.inject(A, Message::Call(echo));
    while net.deliver(A) {}
    net.side(B).hold_echoes();
    for number in 1..=20_000 {
        net.inject(A, Message::Disembargo(Disembargo::Ask { target: ImportId(1), number }));
    }
    assert!(matches!(net.violation(A), Violation::Limit { what: "bytes kept for a peer", .. }));
    net.cut(A);
    net.finish();
}

// ---- live --------------------------------------------------------------------------------------------------------

#[remote_interface]
trait Rogue {
    async fn say(&self, text: String) -> String;
    /// Waits, then panics.
    async fn panics_later(&self) -> u64;
    /// Never returns, and panics as it is dropped.
    async fn panics_when_stopped(&self) -> u64;
    /// Panics with the lock of this object in its hand.
    async fn panics_locked(&self) -> u64;
    async fn locked(&self) -> u64;
    /// Gives what cannot be dropped quietly.
    async fn bomb(&self, bomb: String) -> u64;
    /// Blocks its thread until the test lets it go.
    async fn blocks(&self) -> u64;
    async fn number(&self) -> u64;
    async fn other(&self) -> OtherRef;
}

#[remote_interface]
trait Other {
    async fn touch(&self) -> u64;
    async fn say(&self, text: String) -> String;
}

#[derive(Referenceable)]
struct Friend;

impl Other for Friend {
    async fn touch(&self) -> u64 {
        1
    }
    async fn say(&self, text: String) -> String {
        text
    }
}

#[derive(Default)]
struct Seen {
    started: Notify,
    stopped: AtomicUsize,
}

#[derive(Referenceable)]
struct Wild {
    seen: Arc<Seen>,
    number: Mutex<u64>,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

/// Panics as it is dropped, and counts that.
struct Bomb(Arc<Seen>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.stopped.fetch_add(1, SeqCst);
        panic!("intended: the secret of Bomb");
    }
}

impl Rogue for Wild {
    async fn say(&self, text: String) -> String {
        text
    }
    async fn panics_later(&self) -> u64 {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            assert!(polls < 3, "intended: the secret of panics_later");
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
        0
    }
    async fn panics_when_stopped(&self) -> u64 {
        let _bomb = Bomb(Arc::clone(&self.seen));
        self.seen.started.notify_one();
        pending().await
    }
    async fn panics_locked(&self) -> u64 {
        let _number = self.number.lock().expect("not poisoned yet");
        panic!("intended: the secret of panics_locked");
    }
    async fn locked(&self) -> u64 {
        *self.number.lock().expect("intended: poisoned")
    }
    async fn bomb(&self, _bomb: String) -> u64 {
        drop(Bomb(Arc::clone(&self.seen)));
        0
    }
    async fn blocks(&self) -> u64 {
        let gate = self.gate.lock().expect("nobody panics in it").take().expect("called once");
        self.seen.started.notify_one();
        gate.recv().expect("the test lets it go");
        7
    }
    async fn number(&self) -> u64 {
        7
    }
    async fn other(&self) -> OtherRef {
        OtherRef::new(Friend)
    }
}

/// A failure bound only.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes, and does not hang")
}

fn wild() -> (Arc<Seen>, mpsc::Sender<()>, RogueRef) {
    let (open, gate) = mpsc::channel();
    let seen = Arc::new(Seen::default());
    let wild = Wild { seen: Arc::clone(&seen), number: Mutex::new(5), gate: Mutex::new(Some(gate)) };
    (seen, open, RogueRef::new(wild))
}

async fn empty(ends: [&Broker; 2]) {
    soon(async {
        while ends.iter().any(|end| end.tables() != TableSizes::default()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_panic_after_a_wait_as_it_is_stopped_or_with_a_lock_held_fails_one_call_without_its_text() {
    let (seen, _open, root) = wild();
    let (server, client) = pb_server::pair(root).await;
    let rogue: RogueRef = client.root();
    let mut failures = vec![soon(rogue.panics_later()).await.expect_err("it panics")];
    failures.push(soon(rogue.panics_locked()).await.expect_err("it panics"));
    failures.push(soon(rogue.bomb("x".to_owned())).await.expect_err("it panics"));
    // The object's lock is poisoned: that is its own affair, and its other methods go on.
    failures.push(soon(rogue.locked()).await.expect_err("it finds its lock poisoned"));
    for failure in failures {
        assert_eq!(failure.kind, FailureKind::Internal);
        let shown = format!("{failure:?} {failure}");
        assert!(
            !shown.contains("secret") && !shown.contains("intended") && !shown.contains(".rs"),
            "{shown}"
        );
    }
    // Stopped by its caller, and by the end of the connection.
    let stopped = rogue.panics_when_stopped();
    soon(seen.started.notified()).await;
    drop(stopped);
    soon(async {
        while seen.stopped.load(SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(soon(rogue.say("alive".to_owned())).await.as_deref(), Ok("alive"));
    empty([&server, &client]).await;
    let last = rogue.panics_when_stopped();
    soon(seen.started.notified()).await;
    server.close();
    assert_eq!(soon(last).await.expect_err("it has ended").kind, FailureKind::Disconnected);
    empty([&server, &client]).await;
}

#[tokio::test]
async fn a_call_on_what_is_no_object_or_has_no_such_method_fails_with_the_first_reason() {
    let (_seen, _open, root) = wild();
    let (server, client) = pb_server::pair(root).await;
    let rogue: RogueRef = client.root();
    // As a peer with another trait would have it: this method gives a reference there.
    let theirs: theirs::RogueRef = rogue.remote().cast();
    let number = theirs.number();
    let (touched, again) = (number.touch(), number.touch());
    let failure = soon(number).await.expect_err("it gives a value");
    assert_eq!(failure.kind, FailureKind::Incompatible);
    for call in [touched, again] {
        let broken = soon(call).await.expect_err("there is nothing to call");
        assert_eq!((broken.kind, broken.ran), (FailureKind::Broken, Ran::No));
        let Some(Cause::Broker(cause)) = broken.cause.as_deref() else { panic!("{broken:?}") };
        assert_eq!(cause.kind, failure.kind);
        // Who calls adds its own signature to what the callee says.
        assert!(failure.message.starts_with(&*cause.message), "{failure} {cause}");
    }
    // An object that has no such method fails that call, and is there for others.
    let other = rogue.other();
    let wrong: RogueRef = other.remote().cast();
    assert_eq!(soon(wrong.number()).await.expect_err("no such method").kind, FailureKind::Unimplemented);
    assert_eq!(soon(other.touch()).await, Ok(1));
    drop((other, wrong));
    empty([&server, &client]).await;
}

mod theirs {
    #[pb_server::remote_interface]
    pub trait Rogue {
        async fn number(&self) -> super::OtherRef;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_blocks_its_thread_holds_up_no_other_connection() {
    let (seen, open, root) = wild();
    let server = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    let blocked = pb_client::connect(running.url()).await.expect("connected");
    let (rogue, others): (RogueRef, Vec<_>) =
        (blocked.root(), (0..8).map(|_| running.url().to_owned()).collect());
    let blocks = rogue.blocks();
    soon(seen.started.notified()).await;
    let late = rogue.say("behind it".to_owned());
    // New connections are accepted and served, one after the other and side by side.
    let others = others.into_iter().map(|url| async move {
        let client = pb_client::connect(&url).await.expect("it is accepted");
        let rogue: RogueRef = client.root();
        for n in 0..50 {
            assert_eq!(rogue.say(n.to_string()).await, Ok(n.to_string()));
            assert_eq!(rogue.other().touch().await, Ok(1));
        }
    });
    soon(futures::future::join_all(others)).await;
    open.send(()).expect("it waits for this");
    assert_eq!(soon(blocks).await, Ok(7));
    assert_eq!(soon(late).await.as_deref(), Ok("behind it"), "what stood behind it comes after it");
    drop((rogue, blocked));
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_method_that_blocks_its_thread_for_a_second_is_counted() {
    let (seen, open, root) = wild();
    let (server, client) = pair(root).await;
    let blocks = client.root::<RogueRef>().blocks();
    soon(seen.started.notified()).await;
    let from = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    open.send(()).expect("it waits for this");
    assert_eq!(soon(blocks).await, Ok(7));
    assert!(from.elapsed() >= Duration::from_secs(1));
    // It is counted behind the answer.
    soon(async {
        while server.held_up() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_passes_sixteen_middlemen_and_no_seventeenth() {
    let (_seen, _open, root) = wild();
    let far = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let far = far.spawn().expect("it listens");
    let onward = pb_client::connect(far.url()).await.expect("connected");
    let middle =
        Server::new(onward.root::<RogueRef>()).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let middle = middle.spawn().expect("it listens");
    let mut raw = Raw::greeted(middle.url()).await;
    for (result, passed) in [(1, 15), (2, 16)] {
        let options = CallOptions { hops: passed, ..CallOptions::default() };
        let number = Call { options: options.boxed(), ..call(result, "Rogue/number", &()) };
        raw.message(&Message::Call(number)).await;
        match raw.answer().await {
            Some(Message::Resolve(resolve)) => {
                assert_eq!((passed, &resolve.payload.body[..]), (15, &[7][..]))
            }
            Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
                assert_eq!((passed, failure.kind, failure.ran), (16, FailureKind::Failed, Ran::No));
                assert!(failure.message.contains("16 middlemen"), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }
    middle.shutdown().await;
    far.shutdown().await;
}
