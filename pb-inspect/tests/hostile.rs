//! A server that lies, says what a terminal would obey, never comes to an end, or dies: the tool shows it, and ends.

mod served;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pb_client::{AnyRef, Bytes, Referenceable};
use pb_server::inspect::*;
use pb_server::{Running, Server};
use serde_json::Value as Json;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::timeout;

const MINUTE: Duration = Duration::from_secs(60);

/// What no terminal is to be told.
const ODD: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\n\u{202e}";

fn odd() -> String {
    format!("{ODD}{}", "x".repeat(50_000))
}

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Each text is odd and long.
    Odd,
    /// There is always more.
    Endless,
    /// It is asked and says nothing.
    Silent,
}

#[derive(Referenceable)]
struct Door(Manner, Arc<Notify>);

impl InspectorDoor for Door {
    async fn enter(&self, _: String) -> Result<InspectorRef, InspectError> {
        Ok(InspectorRef::new(Liar(self.0, Arc::clone(&self.1))))
    }
}

#[derive(Referenceable)]
struct Liar(Manner, Arc<Notify>);

impl Liar {
    /// The rows of a page, and where the next one begins.
    async fn page<R>(&self, offset: u64, row: R) -> (Vec<R>, u64, Option<u64>) {
        match self.0 {
            Manner::Odd => (vec![row], 1, None),
            Manner::Endless => (Vec::new(), u64::MAX, Some(offset + 1)),
            Manner::Silent => {
                self.1.notify_one();
                std::future::pending().await
            }
        }
    }
}

fn object() -> ObjectRow {
    ObjectRow {
        id: u64::MAX,
        kind: odd(),
        type_name: odd(),
        interfaces: vec![odd()],
        names: vec![odd()],
        holders: u64::MAX,
        references: u64::MAX,
        calls: u64::MAX,
        in_flight: 0,
        failed: 0,
        age_ms: u64::MAX,
        idle_ms: Some(u64::MAX),
        suspect: true,
        broken: Some(odd()),
        details: vec![(odd(), odd())],
    }
}

fn method() -> MethodRow {
    MethodRow {
        method: odd(),
        calls: u64::MAX,
        errors: 0,
        failures: 0,
        failures_by_kind: [(odd(), u64::MAX)].into(),
        failed: u64::MAX,
        in_flight: 0,
        oldest_ms: Some(u64::MAX),
        p50_us: Some(u64::MAX),
        p99_us: None,
        max_us: u64::MAX,
        details: vec![("times_us".into(), odd())],
    }
}

fn event() -> EventRow {
    EventRow {
        time_us: u64::MAX,
        event: odd(),
        connection: u64::MAX,
        peer: odd(),
        call: Some(i64::MIN),
        method: Some(odd()),
        object: Some(u64::MAX),
        type_name: odd(),
        export: Some(i64::MIN),
        bytes: Some(u64::MAX),
        took_us: Some(u64::MAX),
        failure: Some(odd()),
        reason: Some(odd()),
        details: Vec::new(),
    }
}

impl Inspector for Liar {
    async fn about(&self) -> About {
        About {
            version: ODD.to_owned(),
            process: 0,
            uptime_ms: u64::MAX,
            listens: vec![ODD.to_owned()],
            open: 0,
            accepted: 0,
            refused: 0,
            failed: 0,
            ended: 0,
            allows: vec![ODD.to_owned()],
            details: Vec::new(),
        }
    }

    async fn objects(&self, query: Query) -> Result<Objects, InspectError> {
        let (rows, total, next) = self.page(query.offset, object()).await;
        Ok(Objects { rows, total, next })
    }

    async fn object(&self, _: u64, _: bool) -> Result<ObjectDetail, InspectError> {
        let holder = HolderRow {
            connection: 1,
            peer: odd(),
            export: 1,
            references: 1,
            age_ms: 1,
            given_by: Some(odd()),
            calls: 1,
            failed: 1,
            idle_ms: None,
            details: Vec::new(),
        };
        Ok(ObjectDetail {
            row: object(),
            fields: vec![FieldRow { name: odd(), value: odd(), cut: true }],
            no_fields: Some(odd()),
            methods: vec![SignatureRow { name: odd(), signature: odd(), docs: odd() }],
            holders: vec![holder],
            details: Vec::new(),
        })
    }

    async fn calls(&self, query: Query) -> Result<Calls, InspectError> {
        let row = CallRow {
            connection: 1,
            call: i64::MIN,
            method: odd(),
            object: Some(1),
            type_name: odd(),
            peer: odd(),
            age_ms: 1,
            deadline_ms: Some(1),
            state: odd(),
            waits_for: None,
            forwarded_to: Some(odd()),
            details: Vec::new(),
        };
        let (rows, total, next) = self.page(query.offset, row).await;
        Ok(Calls { rows, total, next })
    }

    async fn methods(&self, query: Query) -> Result<Methods, InspectError> {
        let (rows, total, next) = self.page(query.offset, method()).await;
        Ok(Methods { rows, total, next })
    }

    async fn connections(&self, query: Query) -> Result<Connections, InspectError> {
        let row = ConnectionRow {
            connection: 1,
            peer: odd(),
            listener: odd(),
            age_ms: u64::MAX,
            objects: 1,
            imports: 1,
            in_flight: 1,
            casts_in_flight: 1,
            calls: 1,
            errors: u64::MAX,
            failures: u64::MAX,
            failed: u64::MAX,
            owes: u64::MAX,
            bytes_in: u64::MAX,
            bytes_out: 1,
            unread_bytes: 1,
            halted: true,
            held_up: 1,
            details: Vec::new(),
        };
        let (rows, total, next) = self.page(query.offset, row).await;
        Ok(Connections { rows, total, next })
    }

    async fn ended(&self, query: Query) -> Result<Endings, InspectError> {
        let row = EndRow {
            connection: u64::MAX,
            peer: odd(),
            listener: odd(),
            greeted: false,
            time_us: u64::MAX,
            ago_ms: u64::MAX,
            lasted_ms: u64::MAX,
            objects: u64::MAX,
            kind: odd(),
            reason: odd(),
            details: Vec::new(),
        };
        let (rows, total, next) = self.page(query.offset, row).await;
        Ok(Endings { rows, total, next })
    }

    async fn tree(&self, _: bool, _: u64) -> Tree {
        let group = Group { kind: odd(), type_name: odd(), objects: 2, example: 1, calls: 1, suspects: 1 };
        let branch = Branch { connection: 1, peer: odd(), groups: vec![group] };
        Tree { branches: vec![branch], next: (self.0 == Manner::Endless).then_some(0) }
    }

    async fn reference(&self, id: u64) -> Result<AnyRef, InspectError> {
        Err(InspectError::NoObject { id })
    }

    async fn number(&self, _: AnyRef) -> Result<u64, InspectError> {
        Ok(1)
    }

    async fn cancel(&self, _: u64, _: i64) -> Result<(), InspectError> {
        Err(InspectError::NotAllowed { right: odd() })
    }

    async fn watch(&self, _: Vec<String>, _: Vec<String>, _: bool) -> Result<EventsRef, InspectError> {
        Ok(EventsRef::new(Lies))
    }

    async fn record(&self, _: Vec<u64>, _: bool) -> Result<FramesRef, InspectError> {
        Ok(FramesRef::new(Lies))
    }

    async fn revoke(&self, _: u64, _: String) -> Result<u64, InspectError> {
        Err(InspectError::Filter { text: odd(), keys: odd() })
    }
}

#[derive(Referenceable)]
#[referenceable(Frames)]
struct Lies;

impl Events for Lies {
    async fn next(&self) -> Happened {
        Happened { rows: vec![event()], lost: u64::MAX }
    }
}

impl Frames for Lies {
    async fn next(&self) -> Bytes {
        Bytes::from(odd())
    }
}

async fn serve(manner: Manner) -> (Running, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let door = InspectorDoorRef::new(Door(manner, Arc::clone(&asked)));
    let server = Server::new(door).listen("tcp://127.0.0.1:0").await.expect("a port");
    (server.spawn().expect("it listens"), asked)
}

fn command(url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pb"));
    command.arg(words[0]).arg(url).args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Its status, output and errors; it ends.
async fn pb(url: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let done = timeout(MINUTE, command(url, words).output()).await;
    let done = done.unwrap_or_else(|_| panic!("{words:?} does not end")).expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_terminal_obeys_comes_out_of_any_command() {
    let (running, _) = serve(Manner::Odd).await;
    let commands: [&[&str]; 15] = [
        &["check", "--over", "0"],
        &["objects"],
        &["show", "@1"],
        &["tree"],
        &["calls"],
        &["calls", "--cancel", "1/1"],
        &["call", "@1", "stat"],
        &["methods", "@1"],
        &["conns"],
        &["conns", "--ended"],
        &["stats", "--over", "0"],
        &["revoke", "@1"],
        &["watch", "-n", "2"],
        &["watch", "-n", "2", "--summary"],
        &["record", "-"],
    ];
    for words in commands {
        for more in [&[][..], &["--width", "80"], &["--json"]] {
            let (code, out, error) = pb(running.url(), &[words, more].concat()).await;
            assert!(!(out.is_empty() && error.is_empty()), "{words:?} says nothing");
            assert!(matches!(code, Some(0..=6)), "{words:?} {more:?}: {code:?} {error}");
            let obeyed = |char: char| char != '\n' && (char.is_control() || char == '\u{202e}');
            let odd = out.chars().chain(error.chars()).find(|char| obeyed(*char));
            assert_eq!(odd, None, "{words:?} {more:?}");
            if more == ["--json"] && !out.is_empty() {
                let lines = out.lines().map(serde_json::from_str::<Json>);
                assert!(lines.into_iter().all(|line| line.is_ok()), "{words:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_never_come_to_an_end_are_ended() {
    let (running, _) = serve(Manner::Endless).await;
    for words in [
        &["check", "--over", "0"][..],
        &["objects", "-n", "0"],
        &["calls", "-n", "0"],
        &["conns", "-n", "0"],
        &["conns", "--ended", "-n", "0"],
        &["stats", "--over", "0"],
        &["tree"],
    ] {
        let (code, _, error) = pb(running.url(), words).await;
        assert_eq!(code, Some(0), "{words:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_before_it_answers_is_one_sentence_and_status_3() {
    for words in [&["objects"][..], &["calls", "--json"], &["conns"], &["stats", "--over", "0"], &["check"]] {
        let (running, asked) = serve(Manner::Silent).await;
        let url = running.url().to_owned();
        let asking = pb(&url, words);
        let dying = async {
            asked.notified().await;
            drop(running);
        };
        let ((code, out, error), ()) = tokio::join!(asking, dying);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{words:?}: {error}");
        assert!(error.starts_with("pb: ") && error.lines().count() == 1, "{error}");
    }
}
