//! The attacked process. It answers its parent, line by line, how much of its heap is in use.

use crate::victim::{self, Made, Root, VictimRef};
use anyhow::{Context, Result};
use cap::Cap;
use clap::ValueEnum;
use pb_endurance::memory::touch_files;
use pb_endurance::process::{self, Class, Worker};
use pb_server::{Limits, Server};
use serde::{Deserialize, Serialize};
use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts every byte that the process has asked for and not given back.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// What the server lets one peer use.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// `Limits::default()`: 2.5 MiB for a peer that is known.
    Default,
    /// `Limits::before_login()`: a quarter more than 64 KiB for one that is not.
    BeforeLogin,
}

impl Mode {
    /// For the server.
    pub fn limits(self) -> Limits {
        match self {
            Mode::Default => Limits::default(),
            Mode::BeforeLogin => Limits::before_login(),
        }
    }

    /// Resident memory that one peer may take beyond the baseline, in KiB.
    pub fn target_kib(self) -> u64 {
        match self {
            Mode::Default => 2560,
            Mode::BeforeLogin => 80,
        }
    }

    /// Callers that an honest client may have at work at once.
    pub fn lanes(self) -> usize {
        match self {
            Mode::Default => 32,
            Mode::BeforeLogin => 2,
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Default => "default",
            Mode::BeforeLogin => "before-login",
        }
    }
}

/// Starts a server in a process of its own.
pub fn start(mode: Mode, default_malloc: bool) -> Result<Worker> {
    let malloc: &[_] = match mode {
        _ if default_malloc => &[],
        Mode::Default => &MALLOC,
        Mode::BeforeLogin => &FRUGAL_MALLOC,
    };
    Worker::start_in(malloc, &["serve", mode.name()])
}

/// The same in a class of the scheduler's, with malloc as the system has it.
pub fn start_as(class: Class, mode: Mode) -> Result<Worker> {
    Worker::start_as(class, &["serve", mode.name()])
}

/// How glibc's malloc gives back what is free: one arena, not one for each thread, of which each keeps what a peer once took; and thresholds that
/// stay as they are instead of rising to the largest buffer that was ever freed.
const MALLOC: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// The same for what is weighed in single pages: what is free at the heap's end goes back at once, nothing is asked for in advance, and no
/// thread keeps freed pieces of all sizes for itself (up to 200 KiB each), between which nothing can be put together and given back.
const FRUGAL_MALLOC: [(&str, &str); 5] = [
    ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"),
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_TRIM_THRESHOLD_", "4096"),
    ("MALLOC_TOP_PAD_", "0"),
];

/// The parent's words.
#[derive(Serialize, Deserialize)]
pub enum Word {
    /// Forget the peak; say where the heap is.
    Mark,
    /// Say where the heap is, and was at its peak since the last mark.
    Weigh,
}

/// The answer to either.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Heap {
    /// Bytes in use.
    pub now: usize,
    /// The most of them since the last mark.
    pub peak: usize,
    /// Objects that the server has made and not dropped.
    pub made: i64,
}

/// Serves until the parent is gone.
pub fn serve(mode: Mode) -> Result<()> {
    process::runtime()?.block_on(async {
        let server = Server::new(VictimRef::new(Root::default())).limits(mode.limits());
        let running = server.listen("tcp://127.0.0.1:0").await?.spawn()?;
        std::thread::spawn(watch);
        victim::warm_up();
        touch_files()?;
        process::say(&running.url())?;
        tokio::task::spawn_blocking(answer).await.context("the answering thread has ended")??;
        running.shutdown().await;
        Ok(())
    })
}

fn answer() -> Result<()> {
    while let Some(word) = process::next_word()? {
        if let Word::Mark = word {
            PEAK.store(0, Ordering::Relaxed);
        }
        let now = HEAP.allocated();
        let peak = PEAK.load(Ordering::Relaxed).max(now);
        process::say(&Heap { now, peak, made: Made::alive() })?;
    }
    Ok(())
}

fn watch() {
    loop {
        PEAK.fetch_max(HEAP.allocated(), Ordering::Relaxed);
        std::thread::sleep(LOOK);
    }
}

static PEAK: AtomicUsize = AtomicUsize::new(0);
/// How often the heap is looked at.
const LOOK: Duration = Duration::from_millis(1);
