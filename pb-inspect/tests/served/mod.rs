//! A server with things that go wrong, and the tool beside it.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use pb_client::{Bytes, Limits, Referenceable, Revoker, remote_interface};
use pb_server::inspect::{Inspect, InspectorDoorRef, InspectorRef};
use pb_server::{Running, Server};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::process::Command;

/// Gives files.
#[remote_interface]
pub trait Dir {
    /// One of them.
    async fn file(&self, name: String) -> FileRef;
    /// Many.
    async fn files(&self, count: u64) -> Vec<FileRef>;
    /// Never answers.
    async fn hang(&self) -> u64;
    /// Adds.
    async fn sum(&self, numbers: Vec<u64>) -> u64;
    /// Gives back what it gets.
    async fn echo(&self, value: Everything) -> Everything;
    /// Of a file.
    async fn name_of(&self, file: FileRef) -> String;
    /// Fails.
    async fn refuse(&self) -> Result<u64, Refusal>;
    /// A file that is taken back.
    async fn lend(&self) -> FileRef;
    /// Takes it back.
    async fn take_back(&self);
    /// Many bytes.
    #[remote(answer_bytes = 1_048_576)]
    async fn much(&self) -> Bytes;
}

/// A file.
#[remote_interface]
pub trait File {
    /// How long it is.
    async fn read(&self) -> u64;
    /// What it is called.
    async fn name(&self) -> String;
    /// Itself.
    async fn same(&self, cx: &pb_client::CallContext) -> FileRef;
}

/// Some of all that JSON can say.
#[derive(Serialize, Deserialize)]
pub struct Everything {
    bytes: Bytes,
    kind: Kind,
    map: BTreeMap<u64, bool>,
    maybe: Option<String>,
    pair: (String, i64),
}

/// One of several.
#[derive(Serialize, Deserialize)]
pub enum Kind {
    /// Nothing more.
    Plain,
    /// Somewhere else.
    Link {
        /// Where.
        to: String,
    },
}

/// A method's own error.
#[derive(Serialize, Deserialize, Debug)]
pub enum Refusal {
    /// It does not want to.
    Refused {
        /// How many.
        cents: u64,
    },
}

#[derive(Referenceable, Default)]
struct OneDir {
    lent: Mutex<Option<Revoker>>,
}

#[derive(Referenceable)]
struct OneFile {
    #[inspect]
    name: String,
    #[allow(dead_code, reason = "it is there to be kept secret")]
    key: &'static str,
}

/// A file that nobody has opened.
pub fn file(name: String) -> FileRef {
    FileRef::new(OneFile { name, key: "secret" })
}

impl Dir for OneDir {
    async fn file(&self, name: String) -> FileRef {
        file(name)
    }

    async fn files(&self, count: u64) -> Vec<FileRef> {
        (0..count).map(|n| file(n.to_string())).collect()
    }

    async fn hang(&self) -> u64 {
        std::future::pending().await
    }

    async fn sum(&self, numbers: Vec<u64>) -> u64 {
        numbers.into_iter().sum()
    }

    async fn echo(&self, value: Everything) -> Everything {
        value
    }

    async fn name_of(&self, file: FileRef) -> String {
        file.name().await.unwrap_or_default()
    }

    async fn refuse(&self) -> Result<u64, Refusal> {
        Err(Refusal::Refused { cents: 7 })
    }

    async fn lend(&self) -> FileRef {
        let (lent, revoker) = file("lent".into()).remote().revocable();
        *self.lent.lock().expect("nobody panics") = Some(revoker);
        lent
    }

    async fn take_back(&self) {
        if let Some(revoker) = self.lent.lock().expect("nobody panics").take() {
            revoker.revoke("the audit is over");
        }
    }

    async fn much(&self) -> Bytes {
        vec![7; 200_000].into()
    }
}

impl File for OneFile {
    async fn read(&self) -> u64 {
        self.name.len() as u64
    }

    async fn name(&self) -> String {
        self.name.clone()
    }

    async fn same(&self, cx: &pb_client::CallContext) -> FileRef {
        cx.this()
    }
}

/// A server that is inspected.
pub struct Served {
    running: Running,
    _dir: tempfile::TempDir,
}

impl Served {
    /// Everything is allowed.
    pub async fn start() -> Served {
        Served::with(Limits::default(), |at| at.allow_call().allow_cancel().allow_revoke().allow_bodies())
            .await
    }

    /// A client may make it keep very much.
    pub async fn generous() -> Served {
        Served::with(Limits { budget: 64 << 20, ..Limits::default() }, |at| at).await
    }

    /// Nothing is allowed but to look.
    pub async fn read_only() -> Served {
        Served::with(Limits::default(), |at| at).await
    }

    async fn with(limits: Limits, allow: impl FnOnce(Inspect) -> Inspect) -> Served {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Inspect::at(format!("unix://{}/inspect", dir.path().display()));
        let server = Server::new(DirRef::new(OneDir::default()))
            .limits(limits)
            .listen("tcp://127.0.0.1:0")
            .await
            .expect("a port");
        let running = server.inspect(allow(at)).await.expect("a socket").spawn().expect("it listens");
        Served { running, _dir: dir }
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        self.running.url()
    }

    /// Where it is looked into.
    pub fn inspector(&self) -> &str {
        self.running.inspector_url().expect("it is inspected")
    }

    /// The tool with the inspector's address behind the command's name.
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_at(self.running.inspector_url().expect("it is inspected"), words)
    }

    fn command_at(&self, url: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pb"));
        command.arg(words[0]).arg(url).args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Its status, output and errors.
    pub async fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        self.run_at(self.running.inspector_url().expect("it is inspected"), words).await
    }

    /// The same at another address.
    pub async fn run_at(&self, url: &str, words: &[&str]) -> (Option<i32>, String, String) {
        let done = self.command_at(url, words).output().await.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("a text");
        (done.status.code(), text(done.stdout), text(done.stderr))
    }

    /// What it prints.
    pub async fn pb(&self, words: &[&str]) -> String {
        let (code, out, error) = self.run(words).await;
        assert_eq!(code, Some(0), "{words:?}: {error}");
        out
    }

    /// Lists again until it holds.
    pub async fn until(&self, command: &str, holds: impl Fn(&[Json]) -> bool) {
        let listing = async {
            while !holds(&list(&self.pb(&[command, "--json"]).await)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), listing).await.expect("it holds within a minute");
    }

    /// What the tool asks, to be asked without it.
    pub async fn look(&self) -> (pb_client::Broker, InspectorRef) {
        let url = self.running.inspector_url().expect("it is inspected");
        let broker = pb_client::connect(url).await.expect("it is there");
        let door: InspectorDoorRef = broker.root();
        let inspector = door.enter(String::new()).await.expect("nobody asks for a token");
        (broker, inspector)
    }

    /// A client that asks for much and reads nothing.
    pub async fn deaf_client(&self) -> Deaf {
        Deaf::start(self.url()).await
    }
}

/// A client's file that never says its name.
#[derive(Referenceable)]
pub struct Hangs;

impl File for Hangs {
    async fn read(&self) -> u64 {
        0
    }

    async fn name(&self) -> String {
        std::future::pending().await
    }

    async fn same(&self, cx: &pb_client::CallContext) -> FileRef {
        cx.this()
    }
}

/// The rows of a list.
pub fn list(text: &str) -> Vec<Json> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A process that asks and does not read: this very test, stopped by a signal once it has asked.
pub struct Deaf {
    broker: pb_client::Broker,
    /// Answers that nobody takes out.
    _asked: Vec<pb_client::Deferred<Bytes>>,
    _gate: tokio::sync::watch::Sender<bool>,
}

impl Deaf {
    async fn start(url: &str) -> Deaf {
        let (gate, closed) = tokio::sync::watch::channel(true);
        let address = between(url, closed).await;
        let broker = pb_client::connect(&address).await.expect("it is there");
        let dir: DirRef = broker.root();
        dir.sum(vec![]).await.expect("it reads so far");
        gate.send_replace(false);
        let asked = (0..100).map(|_| dir.much()).collect();
        Deaf { broker, _asked: asked, _gate: gate }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.broker.close();
    }
}

/// Passes bytes on to `url`; those back only while the gate is open.
async fn between(url: &str, mut open: tokio::sync::watch::Receiver<bool>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let host = url.strip_prefix("tcp://").expect("it is tcp").to_owned();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = tokio::net::TcpStream::connect(host).await.expect("the server");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let mut buffer = vec![0; 4096];
        loop {
            if open.wait_for(|open| *open).await.is_err() {
                return;
            }
            let Ok(count @ 1..) = from_server.read(&mut buffer).await else { return };
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    address
}
