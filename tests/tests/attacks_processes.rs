//! Row A66 of `attacks.md`: a method that takes its process with it. Who was connected learns that the connection is gone.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pb_server::{Failure, FailureKind, Referenceable, Server, remote_interface};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
enum Death {
    PanicInPanic,
    StackOverflow,
    OutOfMemory,
}

#[remote_interface]
trait Mortal {
    async fn live(&self) -> u32;
    async fn hold(&self);
    async fn die(&self, how: Death) -> u32;
}

#[derive(Referenceable)]
struct Man;

impl Mortal for Man {
    async fn live(&self) -> u32 {
        std::process::id()
    }
    async fn hold(&self) {
        std::future::pending().await
    }
    async fn die(&self, how: Death) -> u32 {
        match how {
            Death::PanicInPanic => {
                let _again = Again;
                panic!("intended: the first");
            }
            Death::StackOverflow => deeper(1) as u32,
            Death::OutOfMemory => std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>()),
        }
    }
}

struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        panic!("intended: the second");
    }
}

fn deeper(depth: u64) -> u64 {
    let filler = std::hint::black_box([depth; 512]);
    if std::hint::black_box(depth) == 0 { 0 } else { deeper(depth + 1) + filler[3] }
}

/// Says to the process that a test starts that it is the server.
const SERVE: &str = "PB_TESTS_SERVE_AND_DIE";

#[test]
fn a_method_that_kills_its_process_leaves_its_callers_disconnected() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if env::var_os(SERVE).is_some() {
        return runtime.block_on(serve());
    }
    for how in [Death::PanicInPanic, Death::StackOverflow, Death::OutOfMemory] {
        let mut server = Started::new();
        let url = server.url.clone();
        let dies = async {
            let bystander = pb_client::connect(&url).await.expect("it serves");
            let held = bystander.root::<MortalRef>().hold();
            let client = pb_client::connect(&url).await.expect("it serves");
            let mortal: MortalRef = client.root();
            assert_eq!(mortal.live().await, Ok(server.process.id()));
            let (broken, held_too) = (mortal.remote().on_broken(), mortal.hold());
            let is_lost = |failure: Failure| assert_eq!(failure.kind, FailureKind::Disconnected, "{failure}");
            is_lost(mortal.die(how).await.expect_err("nobody is left to answer"));
            is_lost(held_too.await.expect_err("it never ends by itself"));
            is_lost(held.await.expect_err("others hold what is gone, too"));
            is_lost(broken.await);
            is_lost(bystander.closed().await);
            is_lost(mortal.live().await.expect_err("nobody is there"));
            pb_client::connect(&url).await.expect_err("nobody listens");
        };
        let dies = async { tokio::time::timeout(Duration::from_secs(60), dies).await };
        runtime.block_on(dies).expect("what is lost is seen at once");
        let status = server.process.wait().expect("it has ended");
        assert!(!status.success(), "{how:?}: {status}");
    }
}

/// Serves until it dies, or until whoever has started it is gone.
async fn serve() {
    let server = Server::new(MortalRef::new(Man)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    println!("\n{SERVE} {}", running.url());
    std::io::stdout().flush().expect("somebody reads");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    assert_eq!(ended.await.ok(), Some(0), "nobody writes");
}

/// This very test in a process of its own, as the server.
struct Started {
    process: Child,
    url: String,
}

impl Started {
    fn new() -> Started {
        let name = "a_method_that_kills_its_process_leaves_its_callers_disconnected";
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture"])
            .env(SERVE, "1")
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
