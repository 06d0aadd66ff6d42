//! Claims about failures and the end of connections, on real brokers: a client with its server, and with middlemen
//! between. `tests/claims.md` says which claim is proved where.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pb_server::{CallError, Failure, FailureKind, Ran, Referenceable, TableSizes, remote_interface};
use pb_tests::live::{Chain, NodeRef, Trouble, soon, until};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A client with its server, and with one to three middlemen.
const LINKS: std::ops::RangeInclusive<usize> = 1..=4;

/// Counts what is worth a line in a log that somebody reads.
struct Noise(Arc<AtomicUsize>);

impl tracing::Subscriber for Noise {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_failed_promise_that_nobody_uses_makes_no_noise() {
    let events = Arc::new(AtomicUsize::new(0));
    let _noise = tracing::subscriber::set_default(Noise(Arc::clone(&events)));
    tracing::info!("one, so that the counter is known to count");
    for links in LINKS {
        let chain = Chain::of(links).await;
        chain.root.fail("detached".into()).detach();
        let promised = chain.root.fail("promised".into()).promised();
        drop(chain.root.fail("dropped".into()));
        let piped = chain.root.fail("piped".into()).open("never".into());
        assert_eq!(soon(chain.root.say(1)).await, Ok(1));
        drop((promised, piped));
        chain.finish().await;
    }
    assert_eq!(events.load(SeqCst), 1);
}

#[tokio::test]
async fn an_error_keeps_its_variant_message_and_details_over_any_number_of_hops() {
    let text = "unlikely — 𝄞 and\n\"quotes\"".to_owned();
    let mut failures: Vec<Vec<Failure>> = Vec::new();
    for links in LINKS {
        let chain = Chain::of(links).await;
        let Some(CallError::App(error)) = soon(chain.root.fail(text.clone())).await.err() else {
            panic!("{links}: not the method's error")
        };
        assert_eq!(error, Trouble::Said { text: text.clone(), cents: 7 });
        assert_eq!(error.to_string(), format!("{text} for 7 cents"));
        // And the broker's own failures are the same however far away.
        let panics: PanicsRef = chain.root.remote().cast();
        let other: other::NodeRef = chain.root.remote().cast();
        let broken = soon(chain.root.fail(text.clone()).say(1)).await.expect_err("it failed");
        failures.push(vec![
            soon(panics.in_the_method()).await.expect_err("no such interface"),
            soon(other.say("x".into())).await.expect_err("another signature"),
            broken,
        ]);
        drop((panics, other));
        chain.finish().await;
    }
    let kinds: Vec<_> = failures[0].iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::Unimplemented, FailureKind::Incompatible, FailureKind::Broken]);
    for further in &failures[1..] {
        assert_eq!(further, &failures[0], "nobody on the way puts anything in front of it");
    }
}

mod other {
    //! The same interface as another build has it.
    #[pb_server::remote_interface]
    pub trait Node {
        async fn say(&self, n: String) -> u64;
    }
}

const SECRET: &str = "intended: the secret";

/// Panics wherever a user's code runs.
#[remote_interface]
trait Panics {
    async fn in_the_method(&self) -> u64;
    async fn after_waiting(&self) -> u64;
    async fn as_the_answer_is_written(&self) -> Touchy;
    async fn as_the_error_is_written(&self) -> Result<u64, Touchy>;
    async fn as_the_argument_is_read(&self, touchy: Touchy) -> u64;
    async fn as_it_is_dropped(&self) -> PanicsRef;
}

/// Panics as it is written; or as it is read, where it came as `false`.
#[derive(Debug)]
struct Touchy {
    quiet_as_written: bool,
}

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.quiet_as_written, "{SECRET}");
        serializer.serialize_bool(false)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quiet = bool::deserialize(deserializer)?;
        assert!(quiet, "{SECRET}");
        Ok(Touchy { quiet_as_written: true })
    }
}

#[derive(Referenceable, Default)]
struct MyPanics {
    in_drop: bool,
}

impl Drop for MyPanics {
    fn drop(&mut self) {
        assert!(!self.in_drop, "{SECRET}");
    }
}

impl Panics for MyPanics {
    async fn in_the_method(&self) -> u64 {
        panic!("{SECRET}")
    }
    async fn after_waiting(&self) -> u64 {
        tokio::task::yield_now().await;
        panic!("{SECRET}")
    }
    async fn as_the_answer_is_written(&self) -> Touchy {
        Touchy { quiet_as_written: false }
    }
    async fn as_the_error_is_written(&self) -> Result<u64, Touchy> {
        Err(Touchy { quiet_as_written: false })
    }
    async fn as_the_argument_is_read(&self, _touchy: Touchy) -> u64 {
        1
    }
    async fn as_it_is_dropped(&self) -> PanicsRef {
        PanicsRef::new(MyPanics { in_drop: true })
    }
}

#[tokio::test]
async fn panics_stay_home() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().unwrap_or_default().starts_with("intended") {
            default(info);
        }
    }));
    let (server, middle) = pb_server::pair(PanicsRef::new(MyPanics::default())).await;
    let (passing, client) = pb_server::pair(middle.root::<PanicsRef>()).await;
    for root in [middle.root::<PanicsRef>(), client.root()] {
        let touchy = Touchy { quiet_as_written: true };
        let failures = [
            soon(root.in_the_method()).await.expect_err("it panics"),
            soon(root.after_waiting()).await.expect_err("it panics"),
            soon(root.as_the_answer_is_written()).await.expect_err("it panics"),
            match soon(root.as_the_error_is_written()).await {
                Err(CallError::Broker(failure)) => failure,
                other => panic!("{other:?}"),
            },
            soon(root.as_the_argument_is_read(touchy)).await.expect_err("it panics"),
        ];
        for failure in failures {
            let all = format!("{failure} {failure:?}");
            for leak in ["secret", "intended", ".rs", "/", "panicked at", "backtrace"] {
                assert!(!all.contains(leak), "{leak} in {all}");
            }
        }
        drop(soon(root.as_it_is_dropped()).await.expect("made"));
    }
    let ends = [&server, &middle, &passing, &client];
    let idle = || ends.iter().all(|end| end.tables() == TableSizes::default());
    until(idle, || format!("{:?}", ends.map(|end| end.tables()))).await;
}

#[tokio::test]
async fn calls_after_the_connection_ended_fail_disconnected_twice() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ada = soon(chain.root.open("ada".into())).await.expect("opened");
        let unread = chain.root.open("bob".into());
        let promised = chain.root.open("carol".into()).promised();
        assert_eq!(soon(promised.say(1)).await, Ok(1));
        chain.client().close();
        for _ in 0..2 {
            for node in [&chain.root, &ada, &promised] {
                let failure = soon(node.say(2)).await.expect_err("it has ended");
                assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No), "{failure:?}");
                assert!(soon(node.open("never".into()).say(3)).await.is_err());
                node.note(4);
                assert_eq!(soon(node.remote().on_broken()).await.kind, FailureKind::Disconnected);
            }
        }
        assert!(!chain.world.started().iter().any(|line| line.contains("(2)") || line.contains("(4)")));
        drop((ada, unread, promised));
        chain.finish_cut().await;
    }
}

/// What a caller of the storm below met.
#[derive(Default, Debug)]
struct Met {
    values: AtomicUsize,
    errors: AtomicUsize,
    cancelled: AtomicUsize,
    lost: AtomicUsize,
}

impl Met {
    fn all(&self) -> usize {
        [&self.values, &self.errors, &self.cancelled, &self.lost].map(|count| count.load(SeqCst)).iter().sum()
    }
}

async fn call_one(root: &NodeRef, n: u64, met: &Met) {
    match n % 4 {
        0 => match soon(root.say(n)).await {
            Ok(value) => {
                assert_eq!(value, n);
                met.values.fetch_add(1, SeqCst);
            }
            Err(failure) => lost(&failure, met),
        },
        1 => match soon(root.fail(n.to_string())).await {
            Err(CallError::App(Trouble::Said { text, .. })) => {
                assert_eq!(text, n.to_string());
                met.errors.fetch_add(1, SeqCst);
            }
            Err(CallError::Broker(failure)) => lost(&failure, met),
            other => panic!("{other:?}"),
        },
        2 => {
            drop(root.hang(Vec::new()));
            met.cancelled.fetch_add(1, SeqCst);
        }
        _ => lost(&soon(root.hang(Vec::new())).await.expect_err("it never returns"), met),
    }
}

fn lost(failure: &Failure, met: &Met) {
    assert!(matches!(failure.kind, FailureKind::Disconnected | FailureKind::Broken), "{failure:?}");
    met.lost.fetch_add(1, SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_call_ends_exactly_once_by_value_error_cancel_or_disconnect() {
    const CALLERS: u64 = 8;
    const CALLS: u64 = 100;
    for links in LINKS {
        let chain = Chain::of(links).await;
        let met = Arc::new(Met::default());
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (root, met) = (chain.root.clone(), Arc::clone(&met));
                tokio::spawn(async move {
                    let calls = (0..CALLS).map(|n| call_one(&root, caller * CALLS + n, &met));
                    futures::future::join_all(calls).await;
                })
            })
            .collect();
        // Everything ends but what never returns; then the connection does.
        let hanging = (CALLERS * CALLS / 4) as usize;
        let others = (CALLERS * CALLS) as usize - hanging;
        until(|| met.all() >= others, || format!("{met:?}")).await;
        chain.ends[links - 1].close();
        for caller in callers {
            soon(caller).await.expect("no caller fails");
        }
        assert_eq!(met.all(), (CALLERS * CALLS) as usize, "{met:?}");
        assert_eq!((met.values.load(SeqCst), met.lost.load(SeqCst)), (hanging, hanging), "{met:?}");
        let said: Vec<_> =
            chain.world.started().into_iter().filter(|line| line.starts_with("root.say")).collect();
        let once: HashSet<_> = said.iter().collect();
        assert_eq!(once.len(), said.len(), "none has run twice");
        chain.finish_cut().await;
    }
}
