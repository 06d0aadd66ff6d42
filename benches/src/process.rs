//! How the processes of a measurement are started and talk: a line of JSON a message, over pipes.

use crate::Place;
use crate::figure::Figure;
use crate::machine::State;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// What the calling process tells of one measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What was measured.
    pub figures: BTreeMap<Figure, f64>,
    /// How long the measured part took.
    pub seconds: f64,
    /// Processor time of both processes meanwhile, in seconds.
    pub cpu_seconds: f64,
}

/// A line from the calling process to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// All is set up. It wants to go on when the parent says so.
    Warm,
    /// It asks for [`Seen`].
    Look,
    /// It has ended.
    Done(Outcome),
}

/// What the parent answers to a [`Said::Look`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The serving process.
    pub server: State,
    /// Bytes that the link between the two has carried, both directions; 0 where they are connected without one.
    pub carried_bytes: u64,
}

/// In the calling process: asks the parent what it sees.
pub fn look() -> Result<Seen> {
    say(&Said::Look)?;
    let mut line = String::new();
    ensure!(std::io::stdin().lock().read_line(&mut line)? > 0, "the parent is gone");
    serde_json::from_str(&line).with_context(|| format!("the parent said {line:?}"))
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

    /// Tells the child something.
    pub fn tell<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.to.write_all(&line).context("a child is gone")
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

/// In a child: runs on the runtime of a measurement; in a `LocalSet` on this thread if `local`.
pub fn block_on<F: Future>(place: Place, local: bool, future: F) -> Result<F::Output> {
    let runtime = runtime(place, local)?;
    Ok(if local { LocalSet::new().block_on(&runtime, future) } else { runtime.block_on(future) })
}

/// The runtime is made after pinning, so that its threads are pinned too.
fn runtime(place: Place, local: bool) -> Result<Runtime> {
    let Some(cpu) = place.cpu else {
        let mut builder = if local { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        return Ok(builder.worker_threads(WORKERS).enable_all().build()?);
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
