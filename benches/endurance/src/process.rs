//! How the processes of a measurement are started and talk: a line of JSON a message, over pipes.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::{Builder, Runtime};

/// Whom Linux' scheduler prefers, where processes on one machine stand for such on several, each with processors of its own.
///
/// The ordinary class has no place for that: two busy threads of the server's may share one processor for milliseconds while the other one
/// runs an attacker, and an attacker in a system call keeps its processor.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// Goes before everybody: who measures times must not be held up by what is measured. Its work must be little.
    Prompt,
    /// Goes before all but that one: the server, which has every processor to itself as long as it has anything to do.
    Served,
    /// Gets what nobody else wants.
    Elsewhere,
}

impl Class {
    fn options(self) -> [&'static str; 2] {
        match self {
            Class::Prompt => ["--fifo", "2"],
            Class::Served => ["--fifo", "1"],
            Class::Elsewhere => ["--idle", "0"],
        }
    }
}

/// A child that takes lines in and gives lines out. Killed when dropped.
pub struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program anew with `arguments`.
    pub fn start(arguments: &[&str]) -> Result<Worker> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        Worker::run(Command::new(program), arguments)
    }

    /// The same, with `environment` beside what it inherits.
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
        command.envs(environment.iter().copied());
        Worker::run(command, arguments)
    }

    /// The same, in a class of the scheduler's, where this user may; else as [`Worker::start`].
    pub fn start_as(class: Class, arguments: &[&str]) -> Result<Worker> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let [kind, priority] = class.options();
        let may = Command::new("chrt").args([kind, priority, "true"]).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            eprintln!(
                "`chrt {kind} {priority}` is refused here: times are those of processes that hold each other up"
            );
            return Worker::start(arguments);
        }
        let mut command = Command::new("chrt");
        command.args([kind, priority]).arg(program);
        Worker::run(command, arguments)
    }

    /// The same, on this processor and no other.
    pub fn start_on(processor: &str, arguments: &[&str]) -> Result<Worker> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let mut command = Command::new("taskset");
        command.args(["-c", processor]).arg(program);
        Worker::run(command, arguments)
    }

    fn run(mut command: Command, arguments: &[&str]) -> Result<Worker> {
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { bail!("a child was started without its pipes") };
        Ok(Worker { child, to, from: BufReader::new(from) })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that the child has used, in seconds: user's and system's.
    pub fn processor_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/task", self.id());
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(&path).with_context(|| format!("{path} cannot be read"))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Sends the child one line.
    pub fn tell<T: Serialize>(&mut self, word: &T) -> Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.to.write_all(&line).context("a child is gone")
    }

    /// Waits for the child's next line.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        ensure!(self.from.read_line(&mut line)? > 0, "a child ended without a word");
        serde_json::from_str(&line).with_context(|| format!("a child said {line:?}"))
    }

    /// Sends one line and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, word: &impl Serialize) -> Result<T> {
        self.tell(word)?;
        self.hear()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself, then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a child: prints a line for the parent.
pub fn say<T: Serialize>(value: &T) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// In a child: the parent's next word; `None` once the parent is gone.
pub fn next_word<T: DeserializeOwned>() -> Result<Option<T>> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line).with_context(|| format!("the parent said {line:?}"))?))
}

/// A runtime as the benchmarks have it: two workers.
pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
