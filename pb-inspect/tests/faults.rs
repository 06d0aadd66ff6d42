//! The tool against servers with something wrong: each fault is found within two commands, which know nothing of the server.

mod served;

use std::time::Duration;

use pb_client::connect;
use serde_json::Value as Json;
use served::{DirRef, Served, list};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_method_is_seen_and_stopped() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let hangs = dir.hang();
    served.until("calls", |rows| rows.iter().any(|row| row["state"] == "waiting")).await;
    // First command: which call is the oldest, where, and whose?
    let shown = served.pb(&["calls"]).await;
    assert!(shown.contains("Dir/hang") && shown.contains("waiting") && shown.contains("1/1"), "{shown}");
    // Second: stop it.
    let shown = served.pb(&["calls", "--cancel", "1/1"]).await;
    assert_eq!(shown, "call 1/1 is stopped; its caller is told that it was cancelled\n");
    let failure = hangs.await.expect_err("it was stopped");
    assert_eq!(failure.kind, pb_client::FailureKind::Cancelled);
    assert_eq!(served.pb(&["calls"]).await, "no calls in flight\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaks_50_000_files_is_seen() {
    let served = Served::generous().await;
    let (good, leaks) =
        (connect(served.url()).await.expect("there"), connect(served.url()).await.expect("there"));
    let one = good.root::<DirRef>().file("one".into()).await.expect("it opens");
    one.read().await.expect("it reads");
    let mut kept = Vec::new();
    for _ in 0..500 {
        kept.extend(leaks.root::<DirRef>().files(100).await.expect("it opens"));
    }
    // First command: who holds most? Second: what, and does anybody use it?
    let rows = list(&served.pb(&["conns", "--sort=-objects", "--json"]).await);
    assert_eq!((&rows[0]["connection"], &rows[0]["objects"]), (&Json::from(2), &Json::from(50_000)));
    let shown = served.pb(&["tree"]).await;
    assert!(shown.contains("OneFile  x50000, such as  @"), "{shown}");
    assert!(shown.contains("  0 calls"), "{shown}");
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_slow_is_seen() {
    let served = Served::start().await;
    let good = connect(served.url()).await.expect("it is there");
    good.root::<DirRef>().file("one".into()).await.expect("it opens");
    let slow = served.deaf_client().await;
    served.until("conns", |rows| rows.iter().any(|row| row["halted"] == true)).await;
    // First command: one connection has bytes that wait, and is said not to read.
    let shown = served.pb(&["conns"]).await;
    let line = shown.lines().find(|line| line.contains("does not read")).expect("it is seen");
    assert!(line.contains("KiB"), "{shown}");
    assert_eq!(shown.matches("does not read").count(), 1, "{shown}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_object_is_seen_with_the_reason() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let lent = client.root::<DirRef>().lend().await.expect("it lends");
    lent.read().await.expect("it reads");
    client.root::<DirRef>().take_back().await.expect("it takes it back");
    assert!(lent.read().await.is_err());
    // One command.
    served.until("objects", |rows| rows.iter().any(|row| row["kind"] == "broken")).await;
    let shown = served.pb(&["objects"]).await;
    assert!(shown.contains("(broken)") && shown.contains("the audit is over"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_prints_one_array_of_all_objects() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let mut files = client.root::<DirRef>().files(750).await.expect("it opens");
    files.extend(client.root::<DirRef>().files(750).await.expect("it opens"));
    let text = served.pb(&["objects", "--json", "-n", "0"]).await;
    assert_eq!(text.lines().count(), 1);
    let rows = list(&text);
    assert_eq!(rows.len(), 1_501);
    let ids: std::collections::BTreeSet<u64> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!(ids.len(), 1_501, "each is there once");
    let wanted = [
        "age_ms",
        "broken",
        "calls",
        "failed",
        "holders",
        "id",
        "idle_ms",
        "in_flight",
        "interfaces",
        "kind",
        "names",
        "references",
        "suspect",
        "type_name",
    ];
    let keys: Vec<_> = rows[0].as_object().expect("a row").keys().map(String::as_str).collect();
    assert_eq!(keys, wanted, "programs rely on these");
    drop(files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_are_called_by_json_and_answer_in_json() {
    let served = Served::start().await;
    let opened = served.pb(&["call", "root", "file", "ada"]).await;
    assert!(opened.starts_with("\"@"), "{opened}");
    assert_eq!(served.pb(&["call", "root", "sum", "[1,2,3]"]).await, "6\n");
    assert_eq!(served.pb(&["call", "root", "sum", "{\"numbers\": [4, 5]}"]).await, "9\n");
    let echoed = "{\"bytes\":\"00ff\",\"kind\":{\"Link\":{\"to\":\"there\"}},\"map\":{\"1\":true},\"maybe\":null,\"pair\":[\"x\",-1]}";
    assert_eq!(served.pb(&["call", "root", "echo", echoed]).await, format!("{echoed}\n"));
    // References go both ways.
    let client = connect(served.url()).await.expect("it is there");
    let file = client.root::<DirRef>().file("mine".into()).await.expect("it opens");
    let rows = list(&served.pb(&["objects", "--json", "-f", "interfaces=File"]).await);
    let name = format!("@{}", rows[0]["id"]);
    assert_eq!(served.pb(&["call", "root", "name_of", &name]).await, "\"mine\"\n");
    assert_eq!(served.pb(&["call", &name, "File/same"]).await, format!("\"{name}\"\n"));
    drop(file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_a_sentence_with_a_status() {
    let served = Served::start().await;
    let told = [
        (&["call", "root", "sum", "[1,true]"][..], 2, "argument 1 of Dir/sum, `numbers`"),
        (&["call", "root", "sum"], 2, "Dir/sum takes one argument, 0 were given"),
        (&["call", "root", "nothing"], 2, "the object has no method nothing; it offers Dir"),
        (&["call", "root", "refuse"], 5, "Dir/refuse failed with its own error: {\"Refused\":{\"cents\":7}}"),
        (&["show", "@77"], 1, "there is no object @77 any more, or there never was"),
        (&["show", "nobody"], 2, "\"nobody\" is no object"),
        (&["calls", "--cancel", "9"], 2, "\"9\" is no call"),
        (&["calls", "--cancel", "9/9"], 1, "there is no call 9/9 in flight any more"),
        (&["objects", "--sort", "size"], 2, "there is no key \"size\" to sort by"),
        (&["objects", "-f", "size"], 2, "\"size\" is no condition"),
        (
            &["call", "root", "name_of", "@77"],
            2,
            "argument 1 of Dir/name_of, `file`: expected @File, found the text \"@77\"; no object of that number is there",
        ),
    ];
    for (words, status, says) in told {
        let (code, out, error) = served.run(words).await;
        assert_eq!((code, out.as_str()), (Some(status), ""), "{words:?}: {error}");
        assert!(
            error.starts_with(&format!("pb: {says}")) && error.lines().count() == 1,
            "{words:?}: {error}"
        );
    }
    let (code, _, error) = served.run_at(served.url(), &["objects"]).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("serves, but no inspector") && error.contains("`Server::inspect`"), "{error}");
    let (code, _, error) = served.run_at("unix:///nowhere/at.all", &["objects"]).await;
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("; it must be the address that a server was given for its inspector"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_allow_has_a_status_of_its_own() {
    let served = Served::read_only().await;
    let refused = [
        (&["call", "root", "sum", "[]"][..], "call"),
        (&["calls", "--cancel", "1/1"], "cancel"),
        (&["revoke", "root"], "revoke"),
    ];
    for (words, right) in refused {
        let (code, _, error) = served.run(words).await;
        assert_eq!(code, Some(4), "{error}");
        let says = format!(
            "pb: this inspector does not allow to {right}: its server grants that with `Inspect::allow_{right}()` in what it gives to `Server::inspect`\n"
        );
        assert_eq!(error, says);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_shows_its_fields_methods_and_holders() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let file = client.root::<DirRef>().file("ada\u{1b}[2J".into()).await.expect("it opens");
    file.read().await.expect("it reads");
    let rows = list(&served.pb(&["objects", "--json", "-f", "interfaces=File"]).await);
    let name = format!("@{}", rows[0]["id"]);
    let shown = served.pb(&["show", &name]).await;
    for wanted in [
        "OneFile",
        "interfaces  File",
        "fields      name: \"ada",
        "methods     File/read() -> u64",
        "Dir/file",
        "used        1 call, 0 in flight",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    assert!(!shown.contains('\u{1b}') && !shown.contains("secret"), "{shown}");
    let shown = served.pb(&["methods", &name]).await;
    assert!(shown.contains("/// How long it is.\nFile/read() -> u64\n"), "{shown}");
    drop(file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_fit_into_80_columns_and_are_whole_in_200() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let files = client.root::<DirRef>().files(3).await.expect("it opens");
    let hangs = client.root::<DirRef>().hang();
    served.until("calls", |rows| rows.iter().any(|row| row["state"] == "waiting")).await;
    for command in ["objects", "calls", "conns", "tree", "stats"] {
        for width in [80, 200] {
            let shown = served.pb(&[command, "--width", &width.to_string()]).await;
            // What a server says of itself goes on its own lines.
            let widest = shown
                .lines()
                .filter(|line| !line.starts_with("process "))
                .map(|line| line.chars().count())
                .max();
            assert!(widest.is_some_and(|widest| widest <= width), "{command} at {width}:\n{shown}");
            assert!(width == 80 || !shown.contains('…'), "{command} at {width}:\n{shown}");
        }
    }
    drop((files, hangs));
}

/// What stands in a list, but for what is another each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_look_as_they_did() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let file = dir.file("one".into()).await.expect("it opens");
    let hangs = dir.hang();
    served.until("calls", |rows| rows.iter().any(|row| row["state"] == "waiting")).await;
    let steady = |shown: String| {
        let words = shown.lines().map(|line| {
            let words = line.split_whitespace().map(|word| match word {
                _ if word.starts_with("tcp://") => "PEER",
                _ if word.ends_with("ms")
                    || word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    "TIME"
                }
                _ if word.ends_with('B') && word.starts_with(|c: char| c.is_ascii_digit()) => "BYTES",
                word => word,
            });
            words.collect::<Vec<_>>().join(" ")
        });
        words.collect::<Vec<_>>().join("\n")
    };
    let objects = steady(served.pb(&["objects", "--sort=-calls"]).await);
    assert_eq!(
        objects,
        "ID TYPE INTERFACES HOLD REFS CALLS NOW FAIL AGE IDLE NOTE\n@1 OneDir Dir 1 0 2 1 0 TIME TIME root\n@2 OneFile File 1 1 0 0 0 TIME never"
    );
    let calls = steady(served.pb(&["calls"]).await);
    assert_eq!(calls, "CALL METHOD OBJECT STATE AGE LEFT CALLER\n1/2 Dir/hang @1 OneDir waiting TIME - PEER");
    let conns = steady(served.pb(&["conns"]).await);
    assert_eq!(
        conns,
        "CONN PEER AGE OBJECTS CALLS NOW FAIL IN OUT UNREAD NOTE\n1 PEER TIME 1 2 1 0 BYTES BYTES BYTES"
    );
    drop((file, hangs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_watched_comes_again_and_ends_without_a_word_where_nobody_reads() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let served = Served::start().await;
    let mut child = served
        .command(&["conns", "--json", "--watch", "0.05"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for _ in 0..3 {
        assert_eq!(lines.next_line().await.expect("a text").as_deref(), Some("[]"));
    }
    drop(lines);
    let ended =
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_are_watched_come_again_and_say_what_more_there_is() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    dir.sum(vec![1]).await.expect("it adds");
    dir.file("a".into()).await.expect("it opens");
    let mut watching = served.command(&["stats", "--watch", "0.05", "--over", "0", "-n", "1"]);
    let mut child = watching.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (mut heads, mut rests) = (0, 0);
    while heads < 3 {
        let line = lines.next_line().await.expect("a text").expect("it goes on");
        heads += usize::from(line.starts_with("process "));
        rests += usize::from(line == "1 of 2; -n 0 lists all");
    }
    assert_eq!(rests, 2, "each list tells that there is more");
    child.kill().await.expect("it runs");
}

#[test]
fn shells_complete_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_pb"))
            .args(["completions", shell])
            .output()
            .expect("it runs");
        let script = String::from_utf8(done.stdout).expect("a text");
        assert!(done.status.success() && script.contains("check") && script.contains("revoke"), "{shell}");
    }
}
