//! What README shows of the tool: `transcript.txt`, which this test runs again. `PB_KEEP=1` writes it anew.
//!
//! The server is that of the example `files`, in this process. Three clients copy from it over links that stop after some bytes, so that what they hold
//! and wait for stays as it is while it is looked at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pb_examples::files::copy::{Manner, copy};
use pb_examples::files::progress::Progress;
use pb_examples::files::served;
use pb_examples::files::tree::Tree;
use pb_server::inspect::Inspect;
use pb_server::{Limits, Running, Server};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::{JoinSet, LocalSet};

/// What an operator who knows nothing asks, one after the other. `DIR` is an object of the list before it.
const ASKED: [&[&str]; 6] = [
    &["conns", "--sort=-objects"],
    &["calls", "-n", "3"],
    &["tree"],
    &["objects", "-f", "interfaces!=File"],
    &["show", "DIR", "--width", "110"],
    &["call", "DIR", "stat"],
];

/// Bytes of the server's that each client gets before its link stops.
const GOT: [u64; 3] = [700, 3_000_000, 700];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcript_in_readme_is_what_the_tool_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcript.txt");
    let mut said = String::new();
    // How far a client has come when its link stops is the moment's: which of its calls is the oldest, say.
    for _ in 0..5 {
        // A copy stays on its thread.
        let Some(all) = LocalSet::new().run_until(ask_all()).await else { continue };
        said = all;
        if std::env::var_os("PB_KEEP").is_some() {
            std::fs::write(&path, &said).expect("it can be written");
        }
        let kept = std::fs::read_to_string(&path).expect("it is there");
        if steady(&said) == steady(&kept) {
            return;
        }
    }
    panic!(
        "PB_KEEP=1 cargo test -p pb-inspect --test transcript writes it anew; README shows it, too:\n{said}"
    );
}

/// What an operator types, and what is answered; nothing where the links stopped at a moment in which no calls waited.
async fn ask_all() -> Option<String> {
    let scratch = tempfile::Builder::new().prefix("").rand_bytes(2).tempdir().expect("a folder");
    let served = Copied::start(scratch.path()).await;
    served
        .until(&["conns", "--json"], |rows| rows.iter().filter(|row| row["halted"] == true).count() == 3)
        .await?;
    served.until(&["calls", "--json", "-n", "3"], |rows| rows.len() == 3).await?;
    served.until(&["objects", "--json", "-f", "interfaces!=File"], |rows| rows.len() == 4).await?;
    served.settled().await?;
    let dirs = served.until(&["objects", "--json", "-f", "interfaces=Dir"], |rows| !rows.is_empty()).await?;
    let dir = format!("@{}", dirs[0]["id"]);

    let mut said = String::new();
    for words in ASKED {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "DIR" { dir.as_str() } else { word }).collect();
        let typed = [&[words[0], "unix:///run/pb/files.inspect"], &words[1..]].concat().join(" ");
        let printed = served.pb(&words).await;
        said.push_str(&format!("$ pb {typed}\n{printed}\n"));
    }
    Some(said.replace(scratch.path().to_str().expect("a text"), "/run/pb"))
}

/// `files serve`, and three clients that copy from it.
struct Copied {
    running: Running,
    copies: JoinSet<()>,
}

impl Copied {
    async fn start(scratch: &Path) -> Copied {
        let tree = scratch.join("tree");
        plant(&tree);
        let (root, _) = served::root(Tree::open(&tree).expect("it opens"));
        let at = format!("unix://{}", scratch.join("files.sock").display());
        let inspector = Inspect::at(format!("unix://{}", scratch.join("files.inspect").display()));
        // So much that a client's reads, all of them answered at once, are no reason to end it.
        let limits = Limits { budget: 3 << 20, ..Limits::default() };
        let server = Server::new(root).limits(limits).listen(&at).await.expect("a socket");
        let running =
            server.inspect(inspector.allow_call()).await.expect("a socket").spawn().expect("starts");
        let mut served = Copied { running, copies: JoinSet::new() };
        for (at, got) in GOT.into_iter().enumerate() {
            let link = link(scratch.join("files.sock"), scratch.join(format!("link{at}")), got);
            let copied = scratch.join(format!("copy{at}"));
            served.copies.spawn_local(async move {
                // It never ends: its link stops.
                let _ = copy(&link, &copied, Manner::default(), Progress::on_terminal()).await;
            });
            // One after the other, so that each has its number.
            served.until(&["conns", "--json"], |rows| rows.len() > at).await.expect("it connects");
        }
        served
    }

    /// Waits until nobody is given more objects.
    async fn settled(&self) -> Option<()> {
        let objects = |rows: Vec<Json>| rows.iter().map(|row| row["objects"].clone()).collect::<Vec<_>>();
        let mut before = Vec::new();
        loop {
            let now = objects(self.until(&["conns", "--json"], |_| true).await?);
            if now == before {
                return Some(());
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn pb(&self, words: &[&str]) -> String {
        let url = self.running.inspector_url().expect("it is inspected");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pb"));
        command.arg(words[0]).arg(url).args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        let done = command.output().await.expect("it runs");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("a text")
    }

    /// Lists again until it holds; nothing where it does not for half a minute.
    async fn until(&self, words: &[&str], holds: impl Fn(&[Json]) -> bool) -> Option<Vec<Json>> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let rows: Vec<Json> = serde_json::from_str(&self.pb(words).await).expect("an array");
            if holds(&rows) {
                return Some(rows);
            }
            if Instant::now() > deadline {
                eprintln!("it does not hold for half a minute: {words:?} {rows:?}");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A folder of many large files, which take the room of one.
fn plant(tree: &Path) {
    std::fs::create_dir_all(tree.join("film")).expect("a folder");
    let first = tree.join("film/reel0");
    std::fs::write(&first, vec![7; 1 << 20]).expect("a file");
    (1..700).for_each(|at| std::fs::hard_link(&first, tree.join(format!("film/reel{at}"))).expect("a link"));
}

/// A link to the server at `to`, which passes on `got` bytes of its answers and then hardly any more.
fn link(to: PathBuf, at: PathBuf, got: u64) -> String {
    let listener = UnixListener::bind(&at).expect("a socket");
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let (mut from_client, mut to_client) = client.into_split();
        let server = UnixStream::connect(to).await.expect("the server");
        let (from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let (mut answers, mut left) = (vec![0; 4096], got);
        let mut from_server = from_server;
        loop {
            // From there on it is so slow that nothing changes, and not so slow that it is given up.
            let most = if left == 0 { 820 } else { answers.len() };
            if left == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let Ok(count @ 1..) = from_server.read(&mut answers[..most]).await else { return };
            left = left.saturating_sub(count as u64);
            if to_client.write_all(&answers[..count]).await.is_err() {
                return;
            }
        }
    });
    format!("unix://{}", at.display())
}

/// Without numbers, which are others each time, and the space that they leave.
fn steady(text: &str) -> String {
    let word = |word: &str| match word.starts_with(|char: char| char.is_ascii_digit()) && !word.contains('/')
    {
        true => "N".to_owned(),
        false => word.replace(|char: char| char.is_ascii_digit(), ""),
    };
    let line = |line: &str| {
        let line = line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
        // Which of a client's calls is the oldest that has not started, depends on the moment.
        line.replace("Listing/next_page @ ServedListing", "File/read @ ServedFile")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
