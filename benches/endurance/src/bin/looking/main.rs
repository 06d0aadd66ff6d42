//! What an inspector costs a busy server: null calls, 64 in flight, server and caller on one processor, while another client holds many objects. By turns
//! without an inspector, with one that nobody asks, and with `pb top` looking ten times a second from another processor.
//!
//! The program starts itself anew as each of the processes.

mod drive;
mod serve;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use pb_endurance::process::Worker;
use pb_endurance::statistics::median;
use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Parser)]
#[command(
    about = "Measures what an inspector costs a busy server; exit status 1 when it is more than it may"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// How often and for how long.
#[derive(Args, Clone)]
struct Options {
    /// Turns of each kind; medians are taken over them.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that calls are counted, after a quarter of that to warm up.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Objects that are held meanwhile.
    #[arg(long, default_value_t = 100_000)]
    objects: u64,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 0.1)]
    interval: f64,
    /// The key that chooses the list: 1 objects, 2 calls, 3 connections, 4 methods.
    #[arg(long, default_value = "1")]
    list: String,
    /// Only tells what it costs.
    #[arg(long)]
    no_bounds: bool,
}

#[derive(Subcommand)]
enum Role {
    /// (internal) The server, with an inspector at this address.
    #[command(hide = true)]
    Serve { inspect: Option<String> },
    /// (internal) A client that holds so many objects.
    #[command(hide = true)]
    Hold { url: String, objects: u64 },
    /// (internal) A client that calls.
    #[command(hide = true)]
    Drive { url: String },
    /// (internal) Asks an inspector for lists.
    #[command(hide = true)]
    List { url: String },
    /// (internal) `pb top`.
    #[command(hide = true)]
    Top { url: String, interval: String },
}

/// Who looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// There is no inspector.
    None,
    /// Nobody.
    Nobody,
    Top,
}

/// What one turn has given.
struct Turn {
    calls_per_second: f64,
    /// The server's processor time for a call.
    nanoseconds: f64,
    /// Pages that the screen has drawn.
    drawn_bytes: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        None => compare(&cli.options),
        Some(Role::Serve { inspect }) => serve::serve(inspect),
        Some(Role::Hold { url, objects }) => drive::hold(&url, objects),
        Some(Role::Drive { url }) => drive::drive(&url),
        Some(Role::List { url }) => drive::list(&url),
        Some(Role::Top { url, interval }) => drive::top(&url, &interval),
    }
}

fn compare(options: &Options) -> Result<()> {
    let kinds = [Looks::None, Looks::Nobody, Looks::Top];
    let mut turns: [Vec<Turn>; 3] = Default::default();
    for round in 0..options.rounds {
        // Nobody always comes first.
        for at in (0..kinds.len()).map(|at| (at + round) % kinds.len()) {
            let turn = measure(kinds[at], options).with_context(|| format!("round {round}"))?;
            turns[at].push(turn);
        }
    }
    let of = |turns: &[Turn], of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
    let calls: Vec<f64> = turns.iter().map(|turns| of(turns, |turn| turn.calls_per_second)).collect();
    let times: Vec<f64> = turns.iter().map(|turns| of(turns, |turn| turn.nanoseconds)).collect();
    println!(
        "{} objects, 64 calls in flight, one processor, {} rounds of {} s; `pb top` every {} s, list {}",
        options.objects, options.rounds, options.seconds, options.interval, options.list
    );
    println!("| who looks | calls/s | fewer | server's ns a call | more |\n|---|---|---|---|---|");
    let words = ["no inspector", "nobody", "`pb top`"];
    let (mut over, bounds) = (Vec::new(), [0.0, 3.0, 5.0]);
    for at in 0..kinds.len() {
        let fewer = 100.0 * (1.0 - calls[at] / calls[0]);
        let more = 100.0 * (times[at] / times[0] - 1.0);
        println!("| {} | {:.0} | {fewer:.1} % | {:.0} | {more:.1} % |", words[at], calls[at], times[at]);
        if at > 0 && fewer > bounds[at] {
            over.push(format!(
                "{} costs {fewer:.1} % of the calls, and may cost {} %",
                words[at], bounds[at]
            ));
        }
    }
    let drawn = of(&turns[2], |turn| turn.drawn_bytes as f64);
    println!("The screen was sent {drawn:.0} bytes in each turn.");
    println!(
        "One list of the objects that were called most takes the server {:.1} ms.",
        1e3 * listing(options)?
    );
    ensure!(drawn > 0.0, "`pb top` has drawn nothing");
    ensure!(options.no_bounds || over.is_empty(), "{}", over.join("; "));
    Ok(())
}

/// The processor time of the server for one list, in seconds, when nothing else is asked.
fn listing(options: &Options) -> Result<f64> {
    let folder = Folder::new()?;
    let (server, url) = serve(&folder, true)?;
    let _holder = hold(&url, options)?;
    let before = server.processor_seconds()?;
    let mut asker = Worker::start_on(OTHER, &["list", &folder.inspector()])?;
    let lists: u64 = asker.hear()?;
    Ok((server.processor_seconds()? - before) / lists as f64)
}

/// One turn, with processes of its own.
fn measure(looks: Looks, options: &Options) -> Result<Turn> {
    let folder = Folder::new()?;
    let (server, url) = serve(&folder, looks != Looks::None)?;
    let holder = hold(&url, options)?;
    let screen = match looks {
        Looks::Top => Some(Screen::open(&folder.inspector(), options)?),
        _ => None,
    };
    let mut caller = Worker::start_on(BUSY, &["drive", &url])?;
    let _: u64 = caller.ask(&(options.seconds / 4.0))?;
    let before = server.processor_seconds()?;
    let seen = screen.as_ref().map_or(0, Screen::drawn);
    let calls: u64 = caller.ask(&options.seconds)?;
    let used = server.processor_seconds()? - before;
    let drawn_bytes = screen.as_ref().map_or(0, Screen::drawn) - seen;
    drop((screen, caller, holder));
    Ok(Turn {
        calls_per_second: calls as f64 / options.seconds,
        nanoseconds: used * 1e9 / calls as f64,
        drawn_bytes,
    })
}

fn serve(folder: &Folder, inspected: bool) -> Result<(Worker, String)> {
    let inspect = folder.inspector();
    let words = if inspected { vec!["serve", &inspect] } else { vec!["serve"] };
    let mut server = Worker::start_on(BUSY, &words)?;
    let url = server.hear()?;
    Ok((server, url))
}

fn hold(url: &str, options: &Options) -> Result<Worker> {
    let mut holder = Worker::start_on(OTHER, &["hold", url, &options.objects.to_string()])?;
    let held: u64 = holder.hear()?;
    ensure!(held == options.objects, "{held} objects are held");
    Ok(holder)
}

/// Where an inspector's socket is; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let folder = Folder(std::env::temp_dir().join(format!("pb-looking-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    fn inspector(&self) -> String {
        format!("unix://{}", self.0.join("inspect").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the system's to clear away.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `pb top` in a terminal of its own.
struct Screen {
    _pair: PtyPair,
    child: Box<dyn Child + Send + Sync>,
    drawn: Arc<AtomicUsize>,
}

impl Screen {
    fn open(url: &str, options: &Options) -> Result<Screen> {
        let pair =
            native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 })?;
        let mut command = CommandBuilder::new("taskset");
        command.args(["-c", OTHER]);
        command.arg(std::env::current_exe()?);
        command.args(["top", url, &options.interval.to_string()]);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command)?;
        let (mut out, mut keys) = (pair.master.try_clone_reader()?, pair.master.take_writer()?);
        let drawn: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&drawn);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                count.fetch_add(read, Ordering::Relaxed);
            }
        });
        let screen = Screen { _pair: pair, child, drawn };
        while screen.drawn() == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        keys.write_all(options.list.as_bytes())?;
        Ok(screen)
    }

    fn drawn(&self) -> usize {
        self.drawn.load(Ordering::Relaxed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended by itself, then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor that server and caller share, and the one of everybody else.
const BUSY: &str = "0";
const OTHER: &str = "1";
