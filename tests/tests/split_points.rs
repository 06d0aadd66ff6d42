//! A recorded session gives the same history however its bytes are cut into reads, and one that breaks off does only what had come whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pb_core::broker::{Broker, Config};
use pb_core::message::{
    Abort, AbortCode, Call, Cancel, Cap, Cast, Disembargo, ExportId, ImportId, Message, Payload, Ping,
    Release, Reply, Resolve,
};
use pb_core::reactor::Stream;
use pb_core::wire::frame::{self, Decoded, MAGIC};
use pb_server::{FailureKind, Limits, Referenceable, Stub, TableSizes, remote_interface};
use pb_tests::{net, raw};
use tokio::io::AsyncReadExt;

#[remote_interface]
trait Desk {
    async fn add(&self, number: u64) -> u64;
    async fn open(&self, name: String) -> DeskRef;
    async fn fail(&self) -> Result<u64, String>;
    async fn give(&self, desk: DeskRef) -> DeskRef;
    async fn hold(&self) -> u64;
    #[remote(oneway)]
    async fn note(&self, number: u64);
}

/// What was started, in order.
type History = Arc<Mutex<Vec<String>>>;

#[derive(Referenceable)]
struct MyDesk {
    name: String,
    history: History,
}

impl MyDesk {
    fn reference(name: &str, history: &History) -> DeskRef {
        DeskRef::new(MyDesk { name: name.to_owned(), history: Arc::clone(history) })
    }

    fn started(&self, what: String) {
        self.history.lock().expect("nobody panics in it").push(format!("{}.{what}", self.name));
    }
}

impl Desk for MyDesk {
    async fn add(&self, number: u64) -> u64 {
        self.started(format!("add({number})"));
        number + 1
    }
    async fn open(&self, name: String) -> DeskRef {
        self.started(format!("open({name})"));
        MyDesk::reference(&name, &self.history)
    }
    async fn fail(&self) -> Result<u64, String> {
        self.started("fail()".to_owned());
        Err("closed".to_owned())
    }
    async fn give(&self, desk: DeskRef) -> DeskRef {
        self.started("give()".to_owned());
        desk
    }
    async fn hold(&self) -> u64 {
        self.started("hold()".to_owned());
        std::future::pending().await
    }
    async fn note(&self, number: u64) {
        self.started(format!("note({number})"));
    }
}

fn call(target: i64, result: i64, reply: Reply, method: &str, arguments: &impl serde::Serialize) -> Call {
    Call { target: ImportId(target), reply, ..raw::call(result, &format!("Desk/{method}"), arguments) }
}

fn value(target: i64, result: i64, method: &str, arguments: &impl serde::Serialize) -> Message {
    Message::Call(call(target, result, Reply::Value, method, arguments))
}

/// A client's part, one frame each: hello, calls, calls on results, references, an error, a cancel, an embargo, releases, a cast, a ping.
fn session() -> Vec<Message> {
    let release = |mentions: &[(i64, u64)]| {
        let mentions = mentions.iter().map(|(id, count)| (ImportId(*id), *count)).collect();
        Message::Release(Release { mentions })
    };
    let note = call(0, 1, Reply::Value, "note", &(9_u64,));
    let ask = Disembargo::Ask { target: ImportId(5), number: 1 };
    let eight = Payload { caps: Vec::new(), body: Bytes::from_static(&[8]) };
    vec![
        raw::hello(),
        value(0, 1, "add", &(1_u64,)),
        Message::Call(call(0, 2, Reply::Reference, "open", &("ada",))),
        value(2, 3, "add", &(2_u64,)),
        value(0, 4, "fail", &()),
        Message::Call(raw::with_caps(
            call(0, 5, Reply::Reference, "give", &(0_u32,)),
            [Cap::Mine(ExportId(-1))],
        )),
        value(5, 6, "add", &(7_u64,)), // Comes back as the server's first call, on -1.
        Message::Disembargo(ask),
        Message::Resolve(Resolve { export: ExportId(1), payload: eight }),
        release(&[(5, 1)]),
        value(0, 7, "hold", &()),
        Message::Cancel(Cancel { result: ImportId(7) }),
        value(-1, 8, "add", &(3_u64,)),
        release(&[(2, 1), (-1, 1)]),
        Message::Cast(Cast {
            target: note.target,
            method: note.method,
            options: None,
            payload: note.payload,
        }),
        Message::Ping(Ping { nonce: 77 }),
        value(0, 9, "add", &(4_u64,)),
    ]
}

fn encoded(messages: &[Message]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    messages.iter().for_each(|message| frame::encode(message, &mut bytes));
    bytes
}

/// What a session led to: methods in the order of their starts; what the server sent, the answers by what they answer, the releases summed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outcome {
    started: Vec<String>,
    said: BTreeMap<String, usize>,
    released: BTreeMap<i64, u64>,
    left: TableSizes,
}

impl Outcome {
    /// Without what an end that is read at once overtakes: releases that have gathered, and the answer of a method that is being stopped.
    fn before_the_end(mut self) -> Outcome {
        self.said.retain(|line, _| !line.starts_with("reject 7,"));
        Outcome { released: BTreeMap::new(), ..self }
    }
}

/// Feeds `pieces` to a server's end of a connection, each once the one before is read, and says what came of it.
async fn feed(pieces: impl IntoIterator<Item = &[u8]>) -> Outcome {
    let history = History::default();
    let (theirs, ours) = Stream::pair();
    let root = MyDesk::reference("root", &history);
    let config = Config {
        root: Some(root.as_reference().clone()),
        limits: Limits { ping_after: DAY, dead_after: 2 * DAY, ..Limits::default() },
        stays: true,
        ..Config::default()
    };
    drop(root);
    let opened = tokio::spawn(Broker::open(theirs, config));
    let (mut read, mut write) = ours.into_split();
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = &rest[write.write(rest).await.expect("the server takes it")..];
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    write.finish().await;
    let mut bytes = BytesMut::new();
    let all = async { while read.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(3600), all).await.expect("the server ends its side, too");
    let mut outcome = Outcome::default();
    if let Ok(broker) = opened.await.expect("nobody aborts it") {
        broker.finished().await;
        outcome.left = broker.tables();
    }
    outcome.started = history.lock().expect("nobody panics in it").clone();
    let _magic = bytes.split_to(MAGIC.len());
    while let Some(content) = frame::split(&mut bytes, u64::MAX).expect("a good length") {
        match frame::decode(content).expect("a good frame") {
            Decoded::Message(Message::Release(release)) => {
                release
                    .mentions
                    .iter()
                    .for_each(|(id, count)| *outcome.released.entry(id.0).or_default() += count);
            }
            Decoded::Message(message) => *outcome.said.entry(net::line(&message)).or_default() += 1,
            Decoded::Unknown { message_type, .. } => panic!("the server sent type {message_type}"),
        }
    }
    assert!(bytes.is_empty(), "only whole frames are sent");
    outcome
}

const DAY: Duration = Duration::from_secs(86_400);

/// The outcome in one piece, which is what is meant.
async fn whole(bytes: &[u8]) -> Outcome {
    let outcome = feed([bytes]).await;
    assert_eq!(outcome.left, TableSizes::default());
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_session_in_one_piece_does_what_it_says() {
    let outcome = whole(&encoded(&session())).await;
    let started = [
        "root.add(1)",
        "root.open(ada)",
        "ada.add(2)",
        "root.fail()",
        "root.give()",
        "root.hold()",
        "ada.add(3)",
        "root.note(9)",
        "root.add(4)",
    ];
    assert_eq!(outcome.started, started);
    for (line, what) in [
        ("resolve 2 [mine -1]", "the desk"),
        ("resolve 5 [yours -1]", "what came home"),
        ("disembargo 1, number 1", "the echo"),
        ("pong 77", "the pong"),
    ] {
        assert_eq!(outcome.said.get(line), Some(&1), "{what}: {outcome:?}");
    }
    assert_eq!(outcome.said.keys().filter(|line| line.starts_with("resolve")).count(), 7, "{outcome:?}");
    assert_eq!(outcome.said.keys().filter(|line| line.starts_with("reject")).count(), 2, "{outcome:?}");
    assert_eq!(outcome.released, BTreeMap::from([(-1, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_session_cut_in_two_anywhere_gives_the_same_history() {
    let bytes = encoded(&session());
    let meant = whole(&bytes).await;
    for at in 1..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(feed([first, second]).await, meant, "cut at byte {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_byte_by_byte_gives_the_same_history() {
    let bytes = encoded(&session());
    let meant = whole(&bytes).await;
    for size in [1, 2, 3, 7] {
        assert_eq!(feed(bytes.chunks(size)).await, meant, "in pieces of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_with_an_abort_does_so_wherever_it_is_cut() {
    let mut messages = session();
    messages.push(Message::Abort(Abort { code: AbortCode::Closing, reason: "bye".into() }));
    let bytes = encoded(&messages);
    let meant = whole(&bytes).await.before_the_end();
    for at in 1..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(feed([first, second]).await.before_the_end(), meant, "cut at byte {at}");
    }
    assert_eq!(feed(bytes.chunks(1)).await.before_the_end(), meant, "byte by byte");
}

/// Only what came whole is done; the rest of a frame that never comes does nothing, and leaves nothing.
#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_off_anywhere_does_what_came_whole_and_nothing_of_the_rest() {
    let messages = session();
    let bytes = encoded(&messages);
    let (mut whole_frames, mut ends) = (0, Vec::new());
    for count in 0..=messages.len() {
        ends.push((encoded(&messages[..count]).len(), count));
    }
    let mut meant = Outcome::default();
    for at in 0..=bytes.len() {
        if let Some((end, count)) = ends.get(whole_frames).copied()
            && at == end
        {
            meant = feed([&bytes[..at]]).await;
            assert_eq!(meant.left, TableSizes::default());
            whole_frames = count + 1;
            continue;
        }
        if at < MAGIC.len() {
            assert!(feed([&bytes[..at]]).await.started.is_empty());
            continue;
        }
        let broken = feed([&bytes[..at]]).await;
        assert_eq!(
            (broken.started, broken.left),
            (meant.started.clone(), meant.left),
            "broken off at byte {at}"
        );
    }
    assert_eq!(meant.started.len(), 9);
}

/// The other way round: answers that break off settle no call but those whose answer came whole; all others fail.
#[tokio::test(start_paused = true)]
async fn answers_that_break_off_anywhere_leave_no_call_without_an_end() {
    let answers: Vec<_> = (1..=4_i64)
        .map(|id| {
            let payload = Payload { caps: Vec::new(), body: Bytes::copy_from_slice(&[id as u8 + 1]) };
            Message::Resolve(Resolve { export: ExportId(id), payload })
        })
        .collect();
    let greeting = encoded(&[raw::hello()]);
    let mut bytes = Vec::new();
    answers.iter().for_each(|answer| frame::encode(answer, &mut bytes));
    let frame_bytes = bytes.len() / answers.len();
    for at in 0..=bytes.len() {
        let (theirs, ours) = Stream::pair();
        let (_read, mut write) = ours.into_split();
        write.write(&greeting).await.expect("it is read");
        let config = Config { root: None, limits: Limits::default(), stays: false, ..Config::default() };
        let broker = Broker::open(theirs, config).await.expect("the greeting was whole");
        let root: DeskRef = broker.root();
        let calls: Vec<_> = (1..=4).map(|number| root.add(number)).collect();
        tokio::task::yield_now().await;
        write.write(&bytes[..at]).await.expect("it is read");
        write.finish().await;
        for (index, call) in calls.into_iter().enumerate() {
            match call.await {
                Ok(sum) => assert_eq!((sum, at >= (index + 1) * frame_bytes), (index as u64 + 2, true)),
                Err(failure) => {
                    assert_eq!(
                        (failure.kind, at < (index + 1) * frame_bytes),
                        (FailureKind::Disconnected, true)
                    );
                }
            }
        }
        assert_eq!(broker.tables(), TableSizes::default());
    }
}
