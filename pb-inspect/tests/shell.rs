//! `pb shell` in a pseudo-terminal and from a pipe.

mod served;
mod terminal;

use std::process::Stdio;
use std::time::Duration;

use pb_client::connect;
use rustix::process::{Pid, Signal, kill_process};
use served::{DirRef, Served};
use terminal::Terminal;
use tokio::io::AsyncWriteExt as _;

/// Runs a script: its status, output and errors.
async fn script(served: &Served, lines: &str) -> (Option<i32>, String, String) {
    let mut command = served.command(&["shell"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(lines.as_bytes()).await.expect("it reads");
    drop(input);
    let done = child.wait_with_output().await.expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_and_objects_stay_while_the_session_lasts() {
    let served = Served::start().await;
    let lines = "# opened by nobody else\n\
        call root file ada\n\
        \n\
        call $1 name\n\
        call root name_of {\"file\": \"$1\"}\n\
        call root files 3\n\
        call $4[2] name\n\
        call root sum [1, 2]\n";
    let (code, out, error) = script(&served, lines).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("$1 = \"@"), "{out}");
    assert_eq!(lines[1..3], ["$2 = \"ada\"", "$3 = \"ada\""], "{out}");
    assert!(lines[3].starts_with("$4 = [\"@"), "{out}");
    assert_eq!(lines[4..], ["$5 = \"2\"", "$6 = 3"], "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_stays_when_all_others_have_let_it_go() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let file = client.root::<DirRef>().file("mine".into()).await.expect("it opens");
    let rows = served::list(&served.pb(&["objects", "--json", "-f", "interfaces=File"]).await);
    let name = format!("@{}", rows[0]["id"]);
    let mut command = served.command(&["shell"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("it starts");
    let (mut input, out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut out = tokio::io::BufReader::new(out);
    let mut line = String::new();
    input.write_all(format!("call {name} name\n").as_bytes()).await.expect("it reads");
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.expect("a line");
    assert_eq!(line, "$1 = \"mine\"\n");
    drop((file, client));
    served.until("conns", |rows| rows.is_empty()).await;
    input.write_all(format!("call {name} name\nheld\nforget {name}\n").as_bytes()).await.expect("it reads");
    while !served::list(&served.pb(&["objects", "--json", "--own", "-f", "interfaces=File"]).await).is_empty()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    input.write_all(format!("call {name} name\n").as_bytes()).await.expect("it reads");
    drop(input);
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut out, &mut rest).await.expect("a text");
    assert_eq!(rest, format!("$2 = \"mine\"\n{name}\n"));
    assert_eq!(child.wait().await.expect("it ends").code(), Some(1), "it was let go, and has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_end_no_script_and_the_last_one_is_its_status() {
    let served = Served::start().await;
    let told = [
        ("call root refuse\nping -c 1\n", 5, "pb: line 1: Dir/refuse failed with its own error"),
        ("nonsense\ncall root sum []\n", 2, "pb: line 1: unrecognized subcommand 'nonsense'"),
        ("show @77\n'\nshow @77\n", 1, "pb: line 2: a ' is not closed"),
        ("call $1 name\n", 2, "pb: line 1: there is no result $1"),
        ("shell\n", 2, "pb: line 1: this is a shell already"),
        ("objects --sort\n", 2, "pb: line 1: a value is required for '--sort <KEY>'"),
        ("forget @1\n", 2, "pb: line 1: @1 is not held"),
        ("ping -c 1\nquit\nnonsense\n", 0, ""),
        ("objects --help\nhelp\n", 0, ""),
    ];
    for (lines, status, says) in told {
        let (code, out, error) = script(&served, lines).await;
        assert_eq!(code, Some(status), "{lines}: {out} {error}");
        assert!(error.contains(says), "{lines}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_are_there_without_the_url() {
    let served = Served::start().await;
    let lines = "objects --json\nshow root --json\ntree --json\ncalls --json\nmethods root --json\nconns --json\nstats --json --over 0\nping -c 1 --json\n";
    let (code, out, error) = script(&served, lines).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let rows: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 8, "{out}");
    assert_eq!(rows[1]["row"]["names"][0], "root", "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_completes_remembers_and_outlives_errors() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    let mut shell = Terminal::open(&["shell", served.inspector()], home.path());
    shell.says("pb> ").await;
    // Commands, objects and methods are completed.
    shell.press("cal\t");
    shell.until(|text| text.contains("call")).await;
    shell.press("l ro\tfi\t");
    // Both `file` and `files` begin so.
    shell.press(" ada\x15call root file ada\r");
    shell.says("$1 = \"@").await;
    shell.press("call $1 na\t\r");
    shell.says("$2 = \"ada\"").await;
    // The line before comes back.
    shell.press("\x1b[A\r");
    shell.says("$3 = \"ada\"").await;
    shell.press("nonsense\r");
    shell.says("pb: unrecognized subcommand").await;
    // What takes too long is given up, and so is a line.
    shell.press("call root hang\r");
    let hangs = async |count: usize| {
        while served::list(&served.pb(&["calls", "--own", "--json", "-f", "method=Dir/hang"]).await).len()
            != count
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    hangs(1).await;
    shell.press("\x03");
    hangs(0).await;
    let prompts = |text: &str| text.trim_end().ends_with("pb>");
    shell.until(prompts).await;
    shell.press("half a line");
    shell.says("half a line").await;
    shell.press("\x03");
    shell.until(prompts).await;
    shell.press("call root sum [4,5]\r");
    shell.says("$4 = 9").await;
    shell.press("\x04");
    assert_eq!(shell.ended().await, 0);
    // Another session remembers.
    let mut shell = Terminal::open(&["shell", served.inspector()], home.path());
    shell.says("pb> ").await;
    shell.press("\x1b[A\r");
    shell.says("$1 = 9").await;
    shell.press("quit\r");
    assert_eq!(shell.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_prompt_and_gives_the_terminal_back() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    let mut shell = Terminal::open(&["shell", served.inspector()], home.path());
    shell.says("pb> ").await;
    let process = Pid::from_raw(shell.process().cast_signed()).expect("a process");
    kill_process(process, Signal::TERM).expect("it is ours");
    assert_eq!(shell.ended().await, 0);
}

/// As the guide shows it.
const SESSION: &str = r#"
pb> call root file ada
$1 = "@2"
pb> call $1 name
$2 = "ada"
pb> call root name_of {"file": "$1"}
$3 = "ada"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_in_the_guide_is_one() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    let mut shell = Terminal::open(&["shell", served.inspector()], home.path());
    for line in SESSION.lines() {
        match line.strip_prefix("pb> ") {
            Some(typed) => {
                shell.until(|text| text.trim_end().ends_with("pb>")).await;
                shell.press(&format!("{typed}\r"));
            }
            None => drop(shell.says(line).await),
        }
    }
    let text = shell.text();
    assert!(text.contains(SESSION.trim()), "{text}");
}
