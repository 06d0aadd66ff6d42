//! The same between two processes, each of which knows one build.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

/// Says to the process that a test starts which build it serves.
const SERVE: &str = "PB_TESTS_SERVE_A_BUILD";

#[test]
fn builds_of_different_age_meet_as_processes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match env::var(SERVE).as_deref() {
        Ok("old") => return runtime.block_on(serve(old::ShopRef::new(old::MyShop::default()))),
        Ok(_) => return runtime.block_on(serve(new::ShopRef::new(new::MyShop::default()))),
        Err(_) => {}
    }
    let older = Started::new("old");
    let newer = Started::new("new");
    runtime.block_on(async {
        let client = pb_client::connect(&older.url).await.expect("it serves");
        let shop: new::ShopRef = client.root();
        assert_eq!(soon(shop.order("tea".into(), 0, None)).await.expect("served"), "tea");
        let failed = soon(shop.order("tea".into(), 3, None)).await.expect_err("it knows no count");
        incompatible(&broker_failure(failed));
        assert_eq!(soon(shop.watch(new::WatcherRef::new(new::MyWatcher))).await, Ok("saw 0 tea".to_owned()));
        let failure = soon(shop.take_back("tea".into())).await.expect_err("it is newer");
        assert_eq!(failure.kind, FailureKind::Unimplemented, "{failure}");

        let client = pb_client::connect(&newer.url).await.expect("it serves");
        let shop: old::ShopRef = client.root();
        assert_eq!(soon(shop.order("tea".into())).await.expect("served"), "0 tea, gift None");
        assert_eq!(soon(shop.watch(old::WatcherRef::new(old::MyWatcher))).await, Ok("saw tea".to_owned()));
        incompatible(&soon(shop.price("tea".into())).await.expect_err("another result"));
    });
}

/// Serves until whoever has started it is gone.
async fn serve(root: impl Stub) {
    let server = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    println!("\n{SERVE} {}", running.url());
    std::io::stdout().flush().expect("somebody reads");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    assert_eq!(ended.await.ok(), Some(0), "nobody writes");
}

/// This very test in a process of its own, as the server of a build.
struct Started {
    process: Child,
    url: String,
}

impl Started {
    fn new(build: &str) -> Started {
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args(["processes::builds_of_different_age_meet_as_processes", "--exact", "--nocapture"])
            .env(SERVE, build)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("a line of text"));
        let url = lines.find_map(|line| Some(line.strip_prefix(SERVE)?.trim().to_owned()));
        Started { process, url: url.expect("it says where it listens") }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
