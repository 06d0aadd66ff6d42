//! The built program `files`, started as a child, and trees to compare.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Far longer than anything here takes. It only ends tests that hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cargo builds a package's examples before it runs its tests, beside the folder where the tests lie.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("examples/files");
    assert!(binary.exists(), "{} is not built: run cargo build --examples first", binary.display());
    binary
}

/// `files serve`, killed when this is dropped.
pub struct Serving {
    child: Child,
    out: BufReader<ChildStdout>,
    pub url: String,
}

impl Serving {
    pub fn start(dir: &Path) -> Serving {
        Serving::start_at(dir, &["tcp://127.0.0.1:0"]).0
    }

    /// The same at several addresses; all of them.
    pub fn start_at(dir: &Path, listen: &[&str]) -> (Serving, Vec<String>) {
        let mut child = Command::new(binary())
            .arg("serve")
            .arg(dir)
            .args(listen.iter().flat_map(|address| ["--listen", address]))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut urls = Vec::new();
        for _ in listen {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let url = line.trim_end().strip_prefix("listening on ");
            urls.push(url.expect("each of the first lines says where").to_owned());
        }
        (Serving { child, out, url: urls[0].clone() }, urls)
    }

    /// The process' number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end.
    pub fn tell_to_end(&self) {
        signal(self.id(), "TERM");
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for its end: its status, and what else it said.
    pub fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said.lines().map(str::to_owned).collect())
    }

    /// Tells it to end, and says with which status it did.
    pub fn terminate(self) -> Option<i32> {
        self.tell_to_end();
        self.ended().0
    }
}

/// Sends the process a signal.
pub fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The most memory that a running process has had, in KiB.
pub fn peak_memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run of the program ended.
pub struct Copied {
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Copied {
    /// Runs `files` with `arguments`, to its end.
    pub fn of(arguments: &[&OsStr]) -> Copied {
        Copied::by(spawn(Command::new(binary()).args(arguments)))
    }

    /// Waits for a run to end.
    pub fn by(mut child: Child) -> Copied {
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Copied::from(child.wait_with_output().unwrap())
    }

    #[track_caller]
    pub fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// Status 1, and on standard error only lines of ours, the first of which says `sentence`.
    #[track_caller]
    pub fn failed_with(&self, sentence: &str) {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        let first = self.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(sentence), "{}", self.stderr);
        assert!(self.stderr.lines().all(|line| line.starts_with("files: ")), "{}", self.stderr);
    }
}

impl From<Output> for Copied {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Copied { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// `files` with `arguments`, running.
pub fn start(arguments: &[&OsStr]) -> Child {
    spawn(Command::new(binary()).args(arguments))
}

/// `files copy`, to its end.
pub fn copy(url: &str, dest: &Path) -> Copied {
    Copied::by(start_copy(url, dest))
}

/// `files copy`, running.
pub fn start_copy(url: &str, dest: &Path) -> Child {
    spawn(Command::new(binary()).arg("copy").arg(url).arg(dest))
}

/// `files copy` with further arguments, to its end.
pub fn copy_with(arguments: &[&str], url: &str, dest: &Path) -> Copied {
    Copied::by(start_copy_with(arguments, url, dest))
}

/// The same, running.
pub fn start_copy_with(arguments: &[&str], url: &str, dest: &Path) -> Child {
    spawn(Command::new(binary()).arg("copy").args(arguments).arg(url).arg(dest))
}

/// `files copy` after the shell's `limits`.
pub fn copy_within(limits: &str, url: &str, dest: &Path) -> Copied {
    let script = format!("{limits}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(binary()).arg("copy").arg(url).arg(dest);
    Copied::by(spawn(&mut command))
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `holds`.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All that a copy keeps of an entry.
#[derive(PartialEq, Eq, Debug)]
pub enum Seen {
    Dir { mode: u32, modified: SystemTime },
    File { mode: u32, modified: SystemTime, contents: Vec<u8> },
    Link { target: PathBuf, modified: SystemTime },
}

/// The tree at `root`, by paths below it; the root itself is the empty path.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let (mode, modified) = (metadata.mode() & 0o7777, metadata.modified().unwrap());
        let entry = if metadata.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Seen::Dir { mode, modified }
        } else if metadata.is_symlink() {
            Seen::Link { target: fs::read_link(&path).unwrap(), modified }
        } else if metadata.is_file() {
            Seen::File { mode, modified, contents: fs::read(&path).unwrap() }
        } else {
            continue;
        };
        seen.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
    }
    seen
}
