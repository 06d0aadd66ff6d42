//! `pb top` in a pseudo-terminal, against servers that live and die.

mod served;
mod terminal;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pb_client::connect;
use pb_server::Server;
use pb_server::inspect::Inspect;
use rustix::process::{Pid, Signal, kill_process};
use served::{DirRef, Served, file};
use terminal::Terminal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_looks_around_and_gets_the_terminal_back() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    let client = connect(served.url()).await.expect("it is there");
    let files = client.root::<DirRef>().files(40).await.expect("it opens");
    files[7].read().await.expect("it reads");
    let hangs = client.root::<DirRef>().hang();
    let mut top = Terminal::open(&["top", served.inspector(), "--interval", "0.1"], home.path());
    top.says("OneDir").await;
    // Rows that there is no room for are counted, and come when they are gone to.
    top.says("1 of 41").await;
    top.press("\x1b[F");
    top.says("41 of 41").await;
    // Objects by their type, and into one of them.
    top.press("/OneDir\r");
    top.until(|text| text.contains("1 of 1") && !text.contains("OneFile")).await;
    top.press("\r");
    let shown = top.says("Dir/hang() -> u64").await;
    assert!(shown.contains("holders") && shown.contains("Esc back"), "{shown}");
    // A call that hangs.
    top.press("\x1b");
    top.says("1 of 1").await;
    top.press("2");
    top.until(|text| text.contains("Dir/hang") && text.contains("waiting")).await;
    // Who is connected, and what he holds.
    top.press("3");
    top.until(|text| text.contains("UNREAD") && text.contains("tcp://127")).await;
    top.press("\r");
    top.says("OneFile  x40").await;
    // A filter that is none is told; methods lead to their calls.
    top.press("4");
    top.says("File/read").await;
    top.press("/size>\r");
    top.says("is no condition").await;
    top.press("\x1b");
    top.says("Dir/files").await;
    top.press("q");
    assert_eq!(top.ended().await, 0);
    drop((files, hangs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_said_to_be_lost_and_seen_when_it_is_back() {
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("unix://{}", home.path().join("inspect").display());
    let mut server = Process::start(&url);
    let mut top = server.top(&url, home.path()).await;
    top.says("OneFile").await;
    server.kill();
    top.says("LOST").await;
    // What was there stays, and keys are heard.
    assert!(top.text().contains("OneFile"));
    top.press("?");
    top.says("Press any key").await;
    top.press(" ");
    let server = Process::start(&url);
    let text = top.until(|text| !text.contains("LOST") && text.contains("started anew")).await;
    assert!(text.contains("OneFile"), "{text}");
    top.press("q");
    assert_eq!(top.ended().await, 0);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_said_not_to_answer() {
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("unix://{}", home.path().join("inspect").display());
    let server = Process::start(&url);
    let mut top = server.top(&url, home.path()).await;
    top.says("OneFile").await;
    server.signal(Signal::STOP);
    top.says("no answer for").await;
    server.signal(Signal::CONT);
    top.until(|text| !text.contains("no answer for")).await;
    top.press("q");
    assert_eq!(top.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_and_gives_the_terminal_back() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut top = Terminal::open(&["top", served.inspector()], home.path());
        top.says("Objects").await;
        let process = Pid::from_raw(top.process().cast_signed()).expect("a process");
        kill_process(process, signal).expect("it is ours");
        assert_eq!(top.ended().await, 0, "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_wants_a_terminal_and_a_server() {
    let (served, home) = (Served::start().await, tempfile::tempdir().expect("a folder"));
    let (code, _, error) = served.run(&["top"]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("needs a terminal"), "{error}");
    let mut top = Terminal::open(&["top", "unix:///nowhere/at.all"], home.path());
    top.says("cannot look into unix:///nowhere/at.all").await;
    assert_eq!(top.ended().await, 3);
}

/// A server in a process of its own: this very program.
struct Process(Child);

impl Process {
    fn start(url: &str) -> Process {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.args(["--ignored", "--exact", "serves_for_others"]).env("PB_SERVE", url);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Process(child.expect("it starts"))
    }

    /// The tool, once the server is there.
    async fn top(&self, url: &str, home: &Path) -> Terminal {
        let path = url.strip_prefix("unix://").expect("it is one");
        while !Path::new(path).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Terminal::open(&["top", url, "--interval", "0.1"], home)
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.0.id().cast_signed()).expect("a process");
        kill_process(process, signal).expect("it is ours");
    }

    fn kill(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the server of other tests"]
async fn serves_for_others() {
    let Ok(url) = std::env::var("PB_SERVE") else { return };
    let server = Server::new(file("served".into())).listen("tcp://127.0.0.1:0").await.expect("a port");
    let running = server.inspect(Inspect::at(url)).await.expect("a socket").spawn().expect("it listens");
    // Whoever started it may have died without a word.
    tokio::time::sleep(Duration::from_secs(300)).await;
    drop(running);
}
