//! `pb check` against servers with something wrong: the one command says what, and a healthy server has nothing.

mod served;

use std::process::Stdio;
use std::time::Duration;

use pb_client::connect;
use serde_json::Value as Json;
use served::{DirRef, FileRef, Hangs, Served, list};
use tokio::io::AsyncWriteExt as _;

/// What is found by a look that takes no longer than a twentieth of a second.
async fn found(served: &Served) -> Vec<Json> {
    let (code, out, error) = served.run(&["check", "--over", "0.05", "--older", "0.1", "--json"]).await;
    let rows = list(&out);
    assert_eq!(code, Some(if rows.is_empty() { 0 } else { 6 }), "{error}");
    assert_eq!(error, "");
    rows
}

/// The finding of this kind, once there is one.
async fn finding(served: &Served, what: &str) -> Json {
    let looking = async {
        loop {
            if let Some(row) = found(served).await.into_iter().find(|row| row["what"] == what) {
                return row;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("it is found within a minute")
}

fn text(row: &Json) -> &str {
    row["text"].as_str().expect("a text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_server_has_no_finding() {
    let served = Served::start().await;
    let (client, leaves) =
        (connect(served.url()).await.expect("there"), connect(served.url()).await.expect("there"));
    let dir: DirRef = client.root();
    let files = dir.files(50).await.expect("it opens");
    assert_eq!(dir.name_of(files[7].clone()).await.expect("it reads"), "7");
    for _ in 0..10 {
        assert!(dir.refuse().await.is_err(), "that is a method's own error");
    }
    leaves.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    drop(leaves);
    served.until("conns", |rows| rows.len() == 1).await;
    assert!(found(&served).await.is_empty());
    let said = served.pb(&["check", "--over", "0"]).await;
    let told = "nothing found: looked at 1 connection (does each read its answers, and give those that it owes?), 51 objects held there (";
    assert!(said.starts_with(told) && said.contains(", 1 disconnect lately (was each a goodbye?)"), "{said}");
    let failing = "have more than 3 of one failed, but for its own errors and cancelled calls?";
    assert!(said.contains(failing), "{said}");
    drop(files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_method_is_a_finding() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    dir.sum(vec![1]).await.expect("it adds");
    let hang: Vec<_> = (0..5).map(|_| dir.hang()).collect();
    let row = finding(&served, "old_calls").await;
    assert_eq!((&row["severity"], &row["method"]), (&"high".into(), &"Dir/hang".into()));
    let (count, first) =
        (row["count"].as_u64().expect("a number"), text(&row).find("1/2 on @1 OneDir from tcp://"));
    assert!((1..=5).contains(&count) && first.is_some(), "{row}");
    assert!(text(&row).matches(" on @1 OneDir from tcp://").count() <= 3, "{row}");
    let command = row["command"].as_str().expect("a text");
    assert_eq!(command, format!("pb calls {} -f method=Dir/hang", served.inspector()));
    assert_eq!(found(&served).await.len(), 1, "nothing else is wrong");
    drop(hang);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaks_50_000_files_is_a_finding() {
    let served = Served::generous().await;
    let (good, leaks) =
        (connect(served.url()).await.expect("there"), connect(served.url()).await.expect("there"));
    good.root::<DirRef>().file("one".into()).await.expect("it opens").read().await.expect("it reads");
    let mut kept = Vec::new();
    for _ in 0..500 {
        kept.extend(leaks.root::<DirRef>().files(100).await.expect("it opens"));
    }
    let rows = found(&served).await;
    // Within its first minute it may still call them.
    assert_eq!(
        (rows.len(), &rows[0]["what"], &rows[0]["count"]),
        (1, &"leak".into(), &50_000.into()),
        "{rows:?}"
    );
    assert_eq!(rows[0]["connection"], 2);
    assert!(text(&rows[0]).contains(" holds 50,000 objects ") && text(&rows[0]).contains("of them OneFile"));
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_slow_is_a_finding() {
    let served = Served::start().await;
    let good = connect(served.url()).await.expect("it is there");
    good.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    let slow = served.deaf_client().await;
    let row = finding(&served, "unread").await;
    assert_eq!((&row["severity"], &row["connection"]), (&"high".into(), &2.into()));
    assert!(text(&row).contains("does not read: ") && text(&row).contains("KiB wait for it"), "{row}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_object_that_is_held_is_a_finding_in_80_columns() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let lent = dir.lend().await.expect("it lends");
    dir.take_back().await.expect("it takes it back");
    let row = finding(&served, "broken").await;
    let told = "1 reference is broken and still held by 1 connection, given by Dir/lend: the audit is over";
    assert_eq!((text(&row), &row["severity"]), (told, &"medium".into()));
    let (code, said, _) = served.run(&["check", "--over", "0", "--width", "80"]).await;
    assert_eq!(code, Some(6));
    let wide = |line: &&str| line.chars().count() > 80 && !line.trim().starts_with("unix://");
    assert_eq!(said.lines().find(wide), None, "{said}");
    let words: Vec<&str> = said.split_whitespace().collect();
    let command = format!("pb objects {} -f kind=broken", served.inspector());
    assert_eq!(words.join(" "), format!("medium {told}; see: {command}"));
    // Where it is no terminal, a finding is a line.
    let (_, said, _) = served.run(&["check", "--over", "0"]).await;
    assert_eq!(
        said.replace(served.inspector(), "unix:///run/bank.inspect"),
        "medium  1 reference is broken and still held by 1 connection, given by Dir/lend: the audit is over; see: pb objects unix:///run/bank.inspect -f kind=broken\n"
    );
    drop(lent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_owes_an_answer_and_a_stranger_are_findings() {
    let served = Served::start().await;
    let host = served.url().strip_prefix("tcp://").expect("it is tcp").to_owned();
    let mut stranger = tokio::net::TcpStream::connect(host).await.expect("it is there");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it is taken");
    let row = finding(&served, "ended").await;
    assert_eq!((&row["severity"], &row["count"]), (&"low".into(), &1.into()));
    assert!(text(&row).starts_with("1 stranger has ended within the hour without a goodbye"), "{row}");
    let client = connect(served.url()).await.expect("it is there");
    let waits = client.root::<DirRef>().name_of(FileRef::new(Hangs));
    let row = finding(&served, "owes").await;
    assert!(text(&row).contains(" owes this server 1 answer, and has said nothing for "), "{row}");
    drop(waits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_goes_on_after_a_finding_and_ends_with_its_status() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let lent = client.root::<DirRef>().lend().await.expect("it lends");
    client.root::<DirRef>().take_back().await.expect("it takes it back");
    finding(&served, "broken").await;
    let mut shell = served.command(&["shell"]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().expect("it starts");
    let mut typed = shell.stdin.take().expect("piped");
    typed.write_all(b"check --over 0\ncall root sum [1,2]\n").await.expect("it reads");
    drop(typed);
    let done = shell.wait_with_output().await.expect("it ends");
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!((done.status.code(), &*error), (Some(6), ""));
    // There, commands are typed without the URL.
    assert!(out.contains("; see: objects -f kind=broken\n") && out.ends_with("3\n"), "{out}");
    drop(lent);
}
