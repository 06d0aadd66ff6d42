//! A stream of whatever a peer sends, against a real broker: reading task, writing task and methods, on virtual time.

use std::future::pending;
use std::sync::Mutex;

use bytes::Bytes;
use pb_core::broker::Config;
use pb_core::message::{Grants, Message};
use pb_core::reactor::{ReadHalf, Stream, WriteHalf};
use pb_core::wire::frame::{self, MAGIC};
use pb_core::{Broker, Limits, Stub, TableSizes};
use pb_server::{CallContext, Referenceable, remote_interface};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;

use super::Measure;
use crate::hostile::framed;

/// What is served: methods that answer, wait, call back, keep what they are given, and hand out.
#[remote_interface]
pub trait Thing {
    /// Answers at once.
    async fn say(&self, text: String, blob: Bytes) -> String;
    /// A new object.
    async fn open(&self) -> ThingRef;
    /// Hands back what it was given.
    async fn same(&self, thing: ThingRef) -> ThingRef;
    /// Keeps references, the newest few.
    async fn keep(&self, things: Vec<ThingRef>);
    /// The reference kept last.
    async fn kept(&self) -> Option<ThingRef>;
    /// Calls back, and waits for the answer.
    async fn ask(&self, thing: ThingRef) -> Result<String, Refusal>;
    /// Calls on the result of a call that it does not wait for.
    async fn pipe(&self, thing: ThingRef) -> Result<Option<ThingRef>, Refusal>;
    /// Never answers.
    async fn hang(&self, cx: &CallContext, thing: Option<ThingRef>);
    /// Fails with an error of its own.
    async fn refuse(&self, thing: Option<ThingRef>) -> Result<(), Refusal>;
    /// Never answered.
    #[remote(oneway)]
    async fn note(&self, thing: Option<ThingRef>);
    /// Waits a moment, cancelled or not.
    #[remote(run_to_end)]
    async fn finish(&self) -> u8;
    /// Starts beside the others.
    #[remote(spawn)]
    async fn beside(&self, thing: ThingRef) -> Result<(), Refusal>;
}

/// The methods' own error.
#[derive(Serialize, Deserialize, Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// With what was given.
    #[error("not this one")]
    This(Option<String>),
    /// The call back failed.
    #[error("the call back failed")]
    Back,
}

/// The object that is served, and the objects that it opens.
#[derive(Referenceable, Default)]
pub struct Served {
    kept: Mutex<Vec<ThingRef>>,
}

impl Thing for Served {
    async fn say(&self, text: String, blob: Bytes) -> String {
        format!("{text}{}", blob.len())
    }
    async fn open(&self) -> ThingRef {
        ThingRef::new(Served::default())
    }
    async fn same(&self, thing: ThingRef) -> ThingRef {
        thing
    }
    async fn keep(&self, things: Vec<ThingRef>) {
        let before = {
            let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            kept.extend(things.into_iter().take(MAX_KEPT));
            let more = kept.len().saturating_sub(MAX_KEPT);
            kept.drain(..more).collect::<Vec<_>>()
        };
        drop(before);
    }
    async fn kept(&self) -> Option<ThingRef> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).last().cloned()
    }
    async fn ask(&self, thing: ThingRef) -> Result<String, Refusal> {
        thing.say("back".to_owned(), Bytes::new()).await.map_err(|_| Refusal::Back)
    }
    async fn pipe(&self, thing: ThingRef) -> Result<Option<ThingRef>, Refusal> {
        let opened = thing.open();
        opened.note(Some(thing.clone()));
        let again = opened.same(opened.promised());
        again.kept().await.map_err(|_| Refusal::Back)
    }
    async fn hang(&self, _cx: &CallContext, thing: Option<ThingRef>) {
        pending::<()>().await;
        drop(thing);
    }
    async fn refuse(&self, thing: Option<ThingRef>) -> Result<(), Refusal> {
        Err(Refusal::This(thing.map(|_| "a reference".to_owned())))
    }
    async fn note(&self, thing: Option<ThingRef>) {
        if let Some(thing) = thing {
            thing.finish().detach();
        }
    }
    async fn finish(&self) -> u8 {
        tokio::task::yield_now().await;
        1
    }
    async fn beside(&self, thing: ThingRef) -> Result<(), Refusal> {
        thing.open().await.map(|_| ()).map_err(|_| Refusal::Back)
    }
}

/// The first byte says how the rest is sent; see `Sending`.
pub fn run(input: &[u8], _: Measure) {
    let Some((how, rest)) = input.split_first() else { return };
    let sending = Sending::new(*how);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets").block_on(play(sending, sending.bytes(rest)));
}

/// How a peer sends what the fuzzer made up.
#[derive(Clone, Copy)]
struct Sending {
    /// Magic and a hello first, so that the rest is looked at.
    greeted: bool,
    /// The rest is frames' contents, each behind its length in one byte; else it is the stream itself.
    framed: bool,
    /// It reads what it is sent.
    reads: bool,
    /// It waits for this side to end, instead of closing when all is sent.
    stays: bool,
    /// Bytes that go in one write.
    step: usize,
}

impl Sending {
    fn new(how: u8) -> Self {
        Sending {
            greeted: how & 1 == 0,
            framed: how & 2 == 0,
            reads: how & 4 == 0,
            stays: how & 8 != 0,
            step: if how & 16 == 0 { usize::MAX } else { 1 + usize::from(how >> 5) },
        }
    }

    fn bytes(self, mut rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.greeted {
            bytes.extend_from_slice(&MAGIC);
            frame::encode(&crate::raw::hello(), &mut bytes);
        }
        while self.framed
            && let Some((length, behind)) = rest.split_first()
        {
            let (content, behind) = behind.split_at(behind.len().min(usize::from(*length)));
            bytes.extend(framed(content));
            rest = behind;
        }
        bytes.extend_from_slice(rest);
        bytes
    }
}

async fn play(sending: Sending, bytes: Vec<u8>) {
    let (ours, theirs) = Stream::pair();
    let root = ThingRef::new(Served::default());
    let config = Config {
        root: Some(root.as_reference().clone()),
        limits: limits(),
        stays: true,
        ..Config::default()
    };
    let opened = tokio::spawn(Broker::open(ours, config));
    let (read, write) = theirs.into_split();
    let reader = sending.reads.then(|| tokio::spawn(read_all(read)));
    send(sending, bytes, write).await;
    // Where nobody closed, this side does; so every play ends.
    let opened = tokio::time::timeout(PATIENCE, opened).await.expect("a hello in time, or none");
    if let Ok(broker) = opened.expect("opening a connection does not panic") {
        if sending.stays && broker.tables() != TableSizes::default() {
            tokio::time::sleep(PATIENCE).await;
        }
        within_limits(broker.tables());
        broker.close();
        let finished = tokio::time::timeout(PATIENCE, broker.finished()).await;
        finished.expect("what is left is written, or given up in time");
        assert_eq!(broker.tables(), TableSizes::default());
        let again = root.say("still here".to_owned(), Bytes::new()).await;
        assert_eq!(again.ok().as_deref(), Some("still here0"), "the served object lives on");
    }
    if let Some(reader) = reader {
        let frames = reader.await.expect("what this side sends are good frames");
        assert!(frames > 0, "this side says hello, whatever it meets");
    }
}

async fn send(sending: Sending, bytes: Vec<u8>, mut write: WriteHalf) {
    for part in bytes.chunks(sending.step.min(bytes.len().max(1))) {
        let mut part = part;
        while !part.is_empty() {
            match write.write(part).await {
                Ok(written) if written > 0 => part = &part[written..],
                _ => return,
            }
        }
        tokio::task::yield_now().await;
    }
    if sending.stays {
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE * 4).await;
            drop(write);
        });
    } else {
        write.finish().await;
    }
}

/// Reads to the end of the stream, and counts the frames. All must be good ones.
async fn read_all(mut half: ReadHalf) -> usize {
    let (mut buffer, mut frames, mut greeted) = (bytes::BytesMut::new(), 0, false);
    loop {
        if !greeted && buffer.len() >= MAGIC.len() {
            assert_eq!(buffer.split_to(MAGIC.len())[..], MAGIC);
            greeted = true;
        }
        while greeted && let Some(content) = frame::split(&mut buffer, u64::MAX).expect("a good length") {
            let decoded = frame::decode(content).expect("a good frame");
            frames += 1;
            assert_eq!(
                frames == 1,
                matches!(decoded, frame::Decoded::Message(Message::Hello(_))),
                "{decoded:?} is frame {frames}"
            );
        }
        if !matches!(half.read_buf(&mut buffer).await, Ok(1..)) {
            return frames;
        }
    }
}

fn within_limits(sizes: TableSizes) {
    let limits = limits();
    assert!(sizes.imports as u64 <= limits.imports, "{sizes:?}");
    assert!(sizes.exports as u64 <= limits.exports, "{sizes:?}");
    assert!(sizes.answers as u64 <= limits.calls + limits.exports + limits.strikes + 1, "{sizes:?}");
}

/// As small as can be, so that they are met.
fn limits() -> Limits {
    let Grants { frame_bytes, calls, call_bytes, imports, names, exports } = Grants::MINIMUM;
    Limits { frame_bytes, calls, call_bytes, imports, exports, names, strikes: 3, ..Limits::default() }
}

/// References that one object keeps.
const MAX_KEPT: usize = 4;
/// In virtual time; over everything that the broker waits for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
