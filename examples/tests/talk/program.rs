//! The built programs `echo` and `chat`, started as children, and people who talk to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Far longer than anything here takes. It only ends tests that hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Cargo builds a package's examples before it runs its tests, beside the folder where the tests lie.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(binary.exists(), "{} is not built: run cargo build --examples first", binary.display());
    binary
}

/// A server, killed when this is dropped.
pub struct Serving {
    child: Child,
    pub urls: Vec<String>,
}

impl Serving {
    /// Starts `program` with `arguments`; it listens at `ports` addresses.
    pub fn start(program: &str, arguments: &[&str], ports: usize) -> Serving {
        let mut child = Command::new(binary(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(ports);
        let urls = lines
            .map(|line| line.unwrap().strip_prefix("listening on ").expect("it says where").to_owned())
            .collect();
        Serving { child, urls }
    }

    /// Host and port of the first address.
    pub fn host(&self) -> &str {
        self.urls[0].strip_prefix("tcp://").expect("a TCP address")
    }

    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until it has ended.
    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it has not ended in a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The most memory that it has had, in KiB.
    #[cfg(target_os = "linux")]
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the system counts");
        line.trim().strip_suffix(" kB").expect("in kB").parse().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(binary(program)).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Somebody with `nc`.
pub struct Person {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Person {
    pub fn at(host: &str) -> Person {
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Person { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn say(&mut self, words: &str) {
        self.say_bytes(words.as_bytes());
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line, with its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Waits for a line that has this in it, and returns it.
    pub fn hears(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            assert!(line.ends_with("\r\n"), "the end came before {part:?}: {line:?}");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All that comes until the end.
    pub fn rest(mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        rest
    }
}
