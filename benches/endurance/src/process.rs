//! How the processes of a measurement are started and talk: a line of JSON a message, over pipes.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::{Builder, Runtime};

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

    /// The same, for one that stands for somebody on another machine, with processors of its own, and of whom a short answer is due: what else
    /// runs here must not hold it up. Linux' real-time class, where this user may; else as [`Worker::start`].
    pub fn start_prompt(arguments: &[&str]) -> Result<Worker> {
        Worker::start_by(&["chrt", "--fifo", "1"], arguments)
    }

    /// The same, for one that stands for somebody on another machine and must not hold up what runs here: it gets what nobody else wants.
    pub fn start_elsewhere(arguments: &[&str]) -> Result<Worker> {
        Worker::start_by(&["chrt", "--idle", "0"], arguments)
    }

    fn start_by(by: &[&str], arguments: &[&str]) -> Result<Worker> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let may = Command::new(by[0]).args(&by[1..]).arg("true").stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            eprintln!("`{}` is refused here: times are those of processes that hold each other up", by.join(" "));
            return Worker::start(arguments);
        }
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(program);
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
