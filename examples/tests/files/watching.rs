//! Watches: callbacks that tell what changes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pb_examples::files::api::{Change, DirRef, FilesError, Told, Watcher, WatcherRef, What};
use pb_examples::files::tree::Tree;
use pb_examples::files::walk::{dir_at, why};
use pb_examples::files::{served, watch::Printer};
use pb_server::Referenceable;
use tokio::sync::Semaphore;

use crate::program::{Copied, Serving, start};

/// Collects what it is told. It answers as often as `answers` lets it.
#[derive(Referenceable)]
struct Collector {
    seen: Mutex<(Vec<Change>, u64)>,
    answers: Semaphore,
}

impl Collector {
    fn new(answers: usize) -> Arc<Self> {
        Arc::new(Collector { seen: Mutex::default(), answers: Semaphore::new(answers) })
    }

    fn has(&self, what: What, path: &str) -> bool {
        self.seen.lock().unwrap().0.contains(&Change { what, path: path.into() })
    }

    fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock().unwrap();
        (seen.0.len() as u64, seen.1)
    }
}

impl Watcher for Collector {
    async fn changed(&self, changes: Vec<Change>, missed: u64) {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.0.extend(changes);
            seen.1 += missed;
        }
        self.answers.acquire().await.unwrap().forget();
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, waited).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

fn root_of(dir: &Path) -> DirRef {
    served::root(Tree::open(dir).unwrap()).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_what_comes_changes_and_goes_at_any_depth() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir_all(path("a/b/c")).unwrap();
    fs::write(path("a/b/c/old"), "old").unwrap();
    fs::write(path("beside"), "not watched").unwrap();
    let (_server, client) = pb_server::pair(root_of(scratch.path())).await;
    let collector = Collector::new(Semaphore::MAX_PERMITS);
    let dir = dir_at(&client.root(), Path::new("a/b"));
    let watch = dir.watch(WatcherRef::new(Arc::clone(&collector))).await.expect("watched");
    fs::write(path("beside"), "still not").unwrap();
    fs::write(path("a/b/c/new"), "new").unwrap();
    fs::write(path("a/b/c/old"), "changed").unwrap();
    until("the change", async || collector.has(What::Changed, "c/old")).await;
    assert!(collector.has(What::Came, "c/new"));
    fs::rename(path("a/b/c/old"), path("a/b/moved")).unwrap();
    until("the move", async || collector.has(What::Came, "moved")).await;
    assert!(collector.has(What::Went, "c/old"));
    fs::remove_file(path("a/b/moved")).unwrap();
    until("the removal", async || collector.has(What::Went, "moved")).await;
    // A directory that is new is watched as well.
    fs::create_dir(path("a/b/later")).unwrap();
    until("the directory", async || collector.has(What::Came, "later")).await;
    until("what is in it", async || {
        fs::write(path("a/b/later/file"), "file").unwrap();
        collector.has(What::Changed, "later/file")
    })
    .await;
    assert!(collector.seen.lock().unwrap().0.iter().all(|change| !change.path.ends_with(b"beside")));
    let told = watch.told().await.expect("answered");
    assert_eq!((told.missed, collector.counts().1), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watcher_misses_changes_by_count_and_is_told_the_others_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let (_server, client) = pb_server::pair(root_of(scratch.path())).await;
    let collector = Collector::new(0);
    let root: DirRef = client.root();
    let watch = root.watch(WatcherRef::new(Arc::clone(&collector))).await.expect("watched");
    // Links make one change each.
    symlink("x", scratch.path().join("first")).unwrap();
    until("the first call", async || collector.has(What::Came, "first")).await;
    // It has not answered. 1,024 of these wait for it, and the rest are missed.
    for number in 0..3_000 {
        symlink("x", scratch.path().join(number.to_string())).unwrap();
    }
    let missed = async || watch.told().await.expect("answered").missed;
    until("all that is missed", async || missed().await == 3_000 - 1_024).await;
    assert_eq!(collector.counts(), (1, 0), "one call at a time");
    collector.answers.add_permits(2);
    until("the rest", async || collector.counts() == (1_025, 1_976)).await;
    let paths: Vec<_> =
        collector.seen.lock().unwrap().0[1..].iter().map(|change| change.path.clone()).collect();
    assert_eq!(paths, (0..1_024).map(|number: u32| number.to_string().into_bytes()).collect::<Vec<_>>());
    until("the count", async || watch.told().await == Ok(Told { told: 1_025, missed: 1_976 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_it_is_dropped_and_when_its_client_goes() {
    let scratch = tempfile::tempdir().unwrap();
    let root = root_of(scratch.path());
    for round in 0..2 {
        let (_server, client) = pb_server::pair(root.clone()).await;
        let collector = Collector::new(Semaphore::MAX_PERMITS);
        let remote: DirRef = client.root();
        let mut watches = Vec::new();
        for _ in 0..32 {
            let watch = remote.watch(WatcherRef::new(Arc::clone(&collector))).await;
            watches.push(watch.expect("there is room: none of the last round is left"));
        }
        let more = remote.watch(WatcherRef::new(Arc::clone(&collector))).await.expect_err("no room");
        assert_eq!(why(more), Ok(FilesError::Watched { open: 32 }));
        if round == 0 {
            drop(watches);
            until("room", async || remote.watch(WatcherRef::new(Arc::clone(&collector))).await.is_ok()).await;
        } else {
            client.close();
        }
        // The server lets go of who is told no more.
        until("the end", async || Arc::strong_count(&collector) == 1).await;
    }
    let (_server, client) = pb_server::pair(root).await;
    let printer = WatcherRef::new(Printer::new(Vec::new()));
    until("room", async || client.root::<DirRef>().watch(printer.clone()).await.is_ok()).await;
}

#[test]
fn the_program_prints_a_line_for_each_change_and_says_when_the_server_ends() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("a/b")).unwrap();
    let serving = Serving::start(scratch.path());
    let mut watching = start(&["watch".as_ref(), serving.url.as_ref(), "a".as_ref()]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("watching"));
    fs::create_dir(scratch.path().join("a/b/line\nfeed")).unwrap();
    assert_eq!(lines.next().as_deref(), Some("came b/line\\nfeed"));
    fs::remove_dir(scratch.path().join("a/b/line\nfeed")).unwrap();
    assert_eq!(lines.find(|line| line.starts_with("went")).as_deref(), Some("went b/line\\nfeed"));
    assert_eq!(serving.terminate(), Some(0));
    Copied::by(watching).failed_with("the server was told to end");
    Copied::of(&["watch".as_ref(), serving_at_nothing().as_ref(), ".".as_ref()]).failed_with("refused");
}

#[test]
fn a_watch_that_nobody_reads_any_more_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let serving = Serving::start(scratch.path());
    let mut watching = start(&["watch".as_ref(), serving.url.as_ref()]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "watching");
    drop(lines);
    fs::create_dir(scratch.path().join("a")).unwrap();
    let ended = Copied::by(watching);
    ended.succeeded();
    assert_eq!(ended.stderr, "");
}

#[test]
fn what_cannot_be_watched_is_said_in_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    let serving = Serving::start(scratch.path());
    for (path, sentence) in [
        ("a/b", "cannot watch a/b: there is no directory a"),
        ("file", "cannot watch file: there is no directory file"),
        ("..", "cannot watch ..: no entry can have this name"),
    ] {
        Copied::of(&["watch".as_ref(), serving.url.as_ref(), path.as_ref()]).failed_with(sentence);
    }
}

/// Where nobody listens.
fn serving_at_nothing() -> String {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", nobody.local_addr().unwrap())
}
