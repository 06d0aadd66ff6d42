//! Recordings: what is in them, what is not unless it is granted, and how they are told in words, damaged ones too.

mod served;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pb_client::{Bytes, connect};
use pb_core::message::{
    Abort, AbortCode, Call, Cap, ExportId, Failure, FailureKind, Grants, Hello, ImportId, Message,
    MethodName, MethodText, Payload, Ran, Reject, Rejection, Reply, Resolve,
};
use pb_core::wire::frame;
use pb_server::inspect::FramesRef;
use pb_server::inspect::recording::{Entry, Reader};
use serde_json::Value as Json;
use served::{DirRef, Served};
use tokio::process::Command;
use tokio::time::timeout;

const MINUTE: Duration = Duration::from_secs(60);

/// The tool's status, output and errors.
async fn pb(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pb"));
    let done = command.args(words).stdin(Stdio::null()).output().await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The lines of a file that is whole.
async fn decoded(path: &Path, words: &[&str]) -> Vec<String> {
    let all = [&["decode", path.to_str().expect("a text")], words].concat();
    let (code, out, error) = pb(&all).await;
    assert_eq!(code, Some(0), "{error}");
    out.lines().map(str::to_owned).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The bytes of a recording, until its entries are those that are waited for.
async fn until(frames: &FramesRef, enough: impl Fn(&[Entry]) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        bytes.extend(timeout(MINUTE, frames.next()).await.expect("it answers").expect("it is there"));
        if enough(&entries(&bytes)) {
            return bytes;
        }
    }
}

/// Those that are whole.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let Ok(mut reader) = Reader::begin(bytes) else { return Vec::new() };
    let mut entries = Vec::new();
    while let Ok(Some(entry)) = reader.entry() {
        entries.push(entry);
    }
    entries
}

fn has_ended(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::Ended { .. }))
}

/// A conversation, recorded from a client's first frame to its end.
async fn conversation(served: &Served, bodies: bool) -> Vec<u8> {
    let (_broker, inspector) = served.look().await;
    let frames = inspector.record(vec![], bodies).await.expect("it may");
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let file = dir.file("canary-in-an-argument".into()).await.expect("it opens");
    assert_eq!(file.name().await.expect("it has one"), "canary-in-an-argument");
    let dir = dir.remote().with_metadata("token", b"canary-in-metadata".as_slice());
    assert!(dir.refuse().await.is_err());
    client.close();
    until(&frames, has_ended).await
}

/// A line without its time, and of the numbers of bytes those that a call decides.
fn steady(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let from =
        words.iter().position(|word| word.ends_with('B') && word[..word.len() - 1].parse::<u64>().is_ok());
    let from = from.map_or(1, |at| at + 1);
    let arrow = words.iter().take(3).find(|word| ["<", ">", "-"].contains(word)).unwrap_or(&"?");
    format!("{arrow} {}", words[from..].join(" "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_told_a_message_a_line_with_the_names_that_the_connection_gave() {
    let served = Served::start().await;
    let dir = folder();
    let path = dir.path().join("recording");
    std::fs::write(&path, conversation(&served, false).await).expect("it is written");
    for width in ["80", "200"] {
        let lines = decoded(&path, &["--width", width]).await;
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest <= width.parse().ok(), "{lines:#?}");
        let told: Vec<_> = lines.iter().map(|line| steady(line)).collect();
        let said = |text: &str| {
            assert!(told.iter().any(|line| line.starts_with(text)), "{text}: {told:#?}");
        };
        said("> hello, versions 1 to 1, features 6,");
        said("< hello, versions 1 to 1, features 6,");
        said("> call 0 → 1, reference, \"Dir/file\", (22 bytes)");
        said("< resolve 1 of \"Dir/file\" [mine -1]");
        said("> call -1 → 2, value, \"File/name\", ()");
        said("< resolve 2 of \"File/name\" (22 bytes)");
        let keys = if width == "200" { "etadata token" } else { "…" };
        said(&format!("> call 0 → 3, value, \"Dir/refuse\", (0 bytes), m{keys}"));
        said("< reject 3 of \"Dir/refuse\", origin 0, (2 bytes)");
        said("> abort, closing");
        assert!(
            lines.last().is_some_and(|line| line.contains("ended: the peer ended the connection")),
            "{told:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_programs_say_is_in_no_recording_that_is_not_granted_it() {
    let served = Served::start().await;
    let holds = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"canary");
    assert!(!holds(&conversation(&served, false).await));
    assert!(holds(&conversation(&served, true).await));
    let plain = Served::read_only().await;
    assert!(!holds(&conversation(&plain, false).await));
    let dir = folder();
    let path = dir.path().join("recording");
    let (code, out, error) = plain.run(&["record", path.to_str().expect("a text"), "--bodies"]).await;
    assert_eq!((code, out.as_str()), (Some(4), ""), "{error}");
    assert!(error.contains("this inspector does not allow to record bodies"), "{error}");
    assert!(error.contains("with `Inspect::allow_bodies()`"), "{error}");
    assert!(!path.exists(), "nothing is made where nothing is recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_begins_late_knows_the_methods_that_were_numbered_before() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    dir.sum(vec![1]).await.expect("it adds");
    let (_broker, inspector) = served.look().await;
    let frames = inspector.record(vec![1], false).await.expect("it may");
    let other = connect(served.url()).await.expect("it is there");
    other.root::<DirRef>().sum(vec![2]).await.expect("it adds");
    dir.sum(vec![3]).await.expect("it adds");
    client.close();
    let bytes = until(&frames, has_ended).await;
    let dir = folder();
    let path = dir.path().join("recording");
    std::fs::write(&path, bytes).expect("it is written");
    let lines = decoded(&path, &[]).await;
    assert!(lines[0].contains("which was there before"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("> ") && line.contains("\"Dir/sum\"")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("resolve 2 of \"Dir/sum\"")), "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.split_whitespace().nth(1) == Some("1")),
        "only what was chosen: {lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_writes_whole_entries_for_its_user_alone_until_it_is_told_to_end() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::start().await;
    let dir = folder();
    let path = dir.path().join("recording");
    let name = path.to_str().expect("a text");
    let child =
        served.command(&["record", name, "--bodies"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let recorded = async {
        loop {
            let client = connect(served.url()).await.expect("it is there");
            client.root::<DirRef>().sum(vec![1, 2, 3]).await.expect("it adds");
            let bytes = std::fs::read(&path).unwrap_or_default();
            if entries(&bytes).iter().any(|entry| matches!(entry, Entry::Frame { .. })) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MINUTE, recorded).await.expect("it records");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let id = child.id().expect("it runs").to_string();
    let told = std::process::Command::new("sh").args(["-c", &format!("kill -INT {id}")]).status();
    assert!(told.expect("there is a shell").success());
    let done = timeout(MINUTE, child.wait_with_output()).await.expect("it ends").expect("it ran");
    assert_eq!(done.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&done.stdout).starts_with(&format!("{name}: ")));
    let lines = decoded(&path, &[]).await;
    assert!(lines.iter().any(|line| line.contains("\"Dir/sum\", (4 bytes: 03010203)")), "{lines:#?}");
    // What is there is not written over.
    let (code, _, error) = served.run(&["record", name]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("File exists"), "{error}");
    // And for as long as it is told.
    let other = dir.path().join("other");
    let (code, _, error) = served.run(&["record", other.to_str().expect("a text"), "--for", "0.2"]).await;
    assert_eq!(code, Some(0), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_faster_than_it_is_taken_is_counted_where_it_is_missing() {
    let served = Served::start().await;
    let (_broker, inspector) = served.look().await;
    let frames = inspector.record(vec![], true).await.expect("it may");
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    for _ in 0..40 {
        assert_eq!(dir.much().await.expect("it answers").len(), 200_000);
    }
    let is_lost = |entries: &[Entry]| entries.iter().any(|entry| matches!(entry, Entry::Lost { .. }));
    let mut bytes = until(&frames, is_lost).await;
    let missing = entries(&bytes).iter().find_map(|entry| match entry {
        Entry::Lost { entries, bytes, .. } => Some((*entries, *bytes)),
        _ => None,
    });
    let (missing, missing_bytes) = missing.expect("it was seen");
    assert!(bytes.len() < 5 << 20, "what is kept has a bound: {}", bytes.len());
    let held = entries(&bytes).iter().filter(|entry| matches!(entry, Entry::Frame { .. })).count() as u64;
    assert!(missing_bytes > 3_000_000 && held + missing >= 80, "{held} + {missing} of {missing_bytes} bytes");
    // It goes on behind.
    dir.sum(vec![7]).await.expect("it adds");
    client.close();
    bytes.extend(until_more(&frames, &bytes).await);
    let dir = folder();
    let path = dir.path().join("recording");
    std::fs::write(&path, bytes).expect("it is written");
    let lines = decoded(&path, &[]).await;
    assert!(
        lines
            .iter()
            .any(|line| line.contains(&format!("{missing} entries of {missing_bytes} bytes are missing")))
    );
    // Which number a method got meanwhile nobody knows, but its name was sent.
    assert!(lines.iter().any(|line| line.contains("\"Dir/sum\"")), "{lines:#?}");
}

async fn until_more(frames: &FramesRef, before: &[u8]) -> Vec<u8> {
    let mut more = Vec::new();
    loop {
        more.extend(timeout(MINUTE, frames.next()).await.expect("it answers").expect("it is there"));
        if has_ended(&entries(&[before, &more].concat())) {
            return more;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_recording_that_is_damaged_all_before_is_shown_and_the_place_is_told() {
    let served = Served::start().await;
    let bytes = conversation(&served, true).await;
    let dir = folder();
    let path = dir.path().join("recording");
    let name = path.to_str().expect("a text");
    std::fs::write(&path, &bytes).expect("it is written");
    let whole = decoded(&path, &[]).await;
    for end in [5, 20, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..end]).expect("it is written");
        let (code, out, error) = pb(&["decode", name]).await;
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines, whole[..lines.len()], "{end}");
        assert_eq!((code, error.lines().count()), (Some(1), 1), "{end}: {error}");
        assert!(
            error.contains("it ends within what begins at byte ") && error.contains(" bytes are there"),
            "{error}"
        );
    }
    let mut wrong = bytes.clone();
    let last = bytes.len() - 60;
    wrong[last..].fill(0xff);
    std::fs::write(&path, &wrong).expect("it is written");
    let (code, out, error) = pb(&["decode", name]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(out.lines().count() >= 4 && error.contains(" byte "), "{error}");
}

/// What one side may have sent.
fn captured() -> Vec<u8> {
    let text =
        |name: &str| std::sync::Arc::new(MethodText { name: name.into(), fewest: 0, prints: [].into() });
    let call = |target, result, method, body: &'static [u8]| {
        let payload = Payload { caps: vec![Cap::Mine(ExportId(-1))], body: Bytes::from_static(body) };
        let (target, result) = (ImportId(target), ImportId(result));
        Message::Call(Call { target, result, reply: Reply::Value, method, options: None, payload })
    };
    let failure = Failure::new(FailureKind::Broken, Ran::No, "it is\u{1b}[2Jbroken");
    let messages: Vec<Message<Bytes>> = vec![
        Message::Hello(Hello { versions: (1, 1), features: 6, grants: Grants::MINIMUM }),
        call(0, 1, MethodName::Defined(text("Bank/open")), b"ada"),
        call(0, 2, MethodName::Known(1), b""),
        call(0, 3, MethodName::Known(9), b""),
        Message::Resolve(Resolve { export: ExportId(1), payload: Payload::default() }),
        Message::Reject(Reject { export: ExportId(2), rejection: Rejection::Broker(failure) }),
        Message::Abort(Abort { code: AbortCode::Closing, reason: "bye".into() }),
    ];
    let mut bytes = frame::MAGIC.to_vec();
    messages.iter().for_each(|message| frame::encode(message, &mut bytes));
    bytes
}

#[tokio::test]
async fn captured_bytes_of_one_side_are_told_with_its_own_names() {
    let dir = folder();
    let path = dir.path().join("captured");
    std::fs::write(&path, captured()).expect("it is written");
    let lines = decoded(&path, &["--width", "200"]).await;
    let said: Vec<_> =
        lines.iter().map(|line| line.trim_start().split("B  ").last().expect("a text")).collect();
    assert_eq!(
        said,
        [
            "hello, versions 1 to 1, features 6, frames of 4096 bytes, 16 calls of 65536 bytes, 16 imports, 16 names, 16 exports",
            "call 0 → 1, value, \"Bank/open\" [mine -1] (3 bytes: 616461)",
            "call 0 → 2, value, \"Bank/open\" [mine -1] ()",
            "call 0 → 3, value, method 9 [mine -1] ()",
            "resolve 1 ()",
            "reject 2, origin 1, Broken, ran No: it is\\u{1b}[2Jbroken",
            "abort, bye",
        ]
    );
    assert!(lines[0].trim_start().starts_with("4 "), "the offset stands in front: {}", lines[0]);
    let lines = decoded(&path, &["--width", "80"]).await;
    assert!(lines.iter().all(|line| line.chars().count() <= 80) && lines[0].ends_with('…'), "{lines:#?}");
}

#[tokio::test]
async fn each_line_of_json_has_the_fields_that_programs_rely_on() {
    let dir = folder();
    let path = dir.path().join("captured");
    std::fs::write(&path, captured()).expect("it is written");
    let lines: Vec<Json> = decoded(&path, &["--json"])
        .await
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for line in &lines {
        let keys: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        let wanted = [
            "body",
            "body_bytes",
            "bytes",
            "connection",
            "cut",
            "from",
            "id",
            "kind",
            "line",
            "method",
            "offset",
            "target",
            "time_us",
        ];
        assert_eq!(keys, wanted);
    }
    assert_eq!((&lines[1]["kind"], &lines[1]["method"]), (&Json::from("call"), &Json::from("Bank/open")));
    assert_eq!((&lines[1]["body"], &lines[1]["id"]), (&Json::from("616461"), &Json::from(1)));
}

#[tokio::test]
async fn captured_bytes_that_are_cut_wrong_or_something_else_are_told_with_the_place() {
    let dir = folder();
    let path = dir.path().join("captured");
    let whole = captured();
    let mut unknown = whole.clone();
    unknown.extend([2, 5, 9]);
    let mut too_long = whole.clone();
    too_long.extend([0xff; 9]);
    let shown = 7;
    let cases: [(Vec<u8>, usize, String); 7] = [
        (Vec::new(), 0, "it is neither a recording".into()),
        (b"GET / HTTP/1.1\r\n".to_vec(), 0, "it begins with 47 45 54 20".into()),
        (vec![0x89, b'P', b'B', b'X'], 0, "it begins with 89 50 42 58".into()),
        (
            whole[..whole.len() - 1].to_vec(),
            shown - 1,
            "it ends within the frame that begins at byte ".into(),
        ),
        (
            [&whole[..], &[0x80]].concat(),
            shown,
            format!("it ends within the frame that begins at byte {}", whole.len()),
        ),
        (unknown, shown, format!("the frame at byte {} is no message: ", whole.len())),
        (too_long, shown, format!("no frame begins at byte {}: ", whole.len())),
    ];
    for (bytes, lines, says) in cases {
        std::fs::write(&path, bytes).expect("it is written");
        let (code, out, error) = pb(&["decode", path.to_str().expect("a text")]).await;
        assert_eq!(
            (code, out.lines().count(), error.lines().count()),
            (Some(1), lines, 1),
            "{says}: {error}{out}"
        );
        assert!(error.contains(&says), "{error}");
    }
    let (code, _, error) = pb(&["decode", "/nowhere/at/all"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("/nowhere/at/all: No such file"), "{error}");
}
