//! How the processes of a measurement are started and talk: a line of JSON a message, over pipes.

use crate::Place;
use crate::machine::Usage;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::{Builder, Runtime};

/// What the calling process tells of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Calls that were answered, rightly.
    pub calls: u64,
    /// How long that took.
    pub seconds: f64,
    /// The median of all calls' times; only where one is outstanding.
    pub p50_us: Option<f64>,
    /// The time that 99 of 100 calls stayed under; only where one is outstanding.
    pub p99_us: Option<f64>,
    /// Processor time of the calling process.
    pub client_cpu: Usage,
}

/// A child that takes lines in and gives lines out. Killed when dropped.
pub struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program anew with `arguments`.
    pub fn start(arguments: &[&str], place: Place) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
        command.args(arguments);
        if let Some(cpu) = place.cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { bail!("a child was started without its pipes") };
        Ok(Worker { child, to, from: BufReader::new(from) })
    }

    /// Tells the child to go on.
    pub fn go(&mut self) -> Result<()> {
        self.to.write_all(b"go\n").context("a child is gone")
    }

    /// Waits for the child's next line.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        ensure!(self.from.read_line(&mut line)? > 0, "a child ended without a word");
        serde_json::from_str(&line).with_context(|| format!("a child said {line:?}"))
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

/// In a child: waits for the parent's word; an error once the parent is gone.
pub fn wait_for_go() -> Result<()> {
    ensure!(std::io::stdin().lock().read_line(&mut String::new())? > 0, "the parent is gone");
    Ok(())
}

/// In a child: the runtime of a measurement, made after pinning, so that its threads are pinned too.
pub fn runtime(place: Place) -> Result<Runtime> {
    let Some(cpu) = place.cpu else {
        return Ok(Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?);
    };
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("pinning to processor {cpu} failed"))?;
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The processor that pinned processes share: the last one allowed, as the first serves most interrupts.
pub fn shared_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    last.context("no processor is allowed")
}

/// Worker threads of each process's runtime.
const WORKERS: usize = 2;
