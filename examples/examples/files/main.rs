//! Serves a directory tree of the disk as live objects, and copies one.
//!
//! ```sh
//! files serve DIR --listen tcp://127.0.0.1:0 --listen unix://files.sock      # prints `listening on URL` for each
//! files copy URL DEST
//! ```

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use indicatif::HumanBytes;
use pb_examples::files::api::DirRef;
use pb_examples::files::copy::{Summary, copy};
use pb_examples::files::progress::Progress;
use pb_examples::files::tree::Tree;
use pb_examples::files::{Shown, reason, served};
use pb_server::Server;
use tokio::signal::unix::{SignalKind, signal};

/// Directory trees as live objects: serve one, copy one.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a directory and all below it, read-only, until interrupted
    Serve {
        /// The directory
        dir: PathBuf,
        /// Where to listen, as often as wanted; port 0 takes a free one
        #[arg(long, default_value = "tcp://127.0.0.1:0")]
        listen: Vec<String>,
    },
    /// Copy all that a server serves
    Copy {
        /// The server, as it said after `listening on`
        url: String,
        /// The copy; must not exist or be an empty directory
        dest: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("files: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Serve { dir, listen } => serve(&dir, &listen).await,
        Command::Copy { url, dest } => tokio::select! {
            fetched = fetch(&url, &dest) => fetched,
            // What is unfinished is removed as the runtime is dropped.
            interrupted = interrupted() => Err(interrupted.map_or_else(Box::from, |()| "interrupted".into())),
        },
    }
}

/// Ends when the user, or the system in his place, wants this process to stop.
async fn interrupted() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminated.recv() => Ok(()),
    }
}

async fn serve(dir: &Path, listen: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let tree = Tree::open(dir).map_err(|error| format!("cannot serve {}: {}", Shown(dir), reason(&error)))?;
    let mut server = Server::new(served::root(tree));
    for address in listen {
        server = server.listen(address).await?;
    }
    let mut out = std::io::stdout();
    for url in server.urls() {
        writeln!(out, "listening on {url}")?;
    }
    out.flush()?;
    // Reads that are under way are answered; who goes on reading is cut off then, or by a second signal.
    server.run_until_signal(LAST_READS).await?;
    Ok(ExitCode::SUCCESS)
}

/// What copies that are under way have to finish when the server is told to end.
const LAST_READS: Duration = Duration::from_secs(5);

async fn fetch(url: &str, dest: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let broker = pb_client::connect(url).await?;
    let progress = Progress::on_terminal();
    let copied = copy(broker.root::<DirRef>(), dest, progress.clone()).await;
    progress.clear();
    let Summary { files, dirs, links, bytes, missing, .. } = copied?;
    println!(
        "copied {files} files, {dirs} directories and {links} links, {}, in {:.1} s",
        HumanBytes(bytes),
        start.elapsed().as_secs_f64()
    );
    if missing > 0 {
        return Err(format!("{missing} entries could not be copied").into());
    }
    Ok(ExitCode::SUCCESS)
}
