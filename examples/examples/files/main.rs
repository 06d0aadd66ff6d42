//! Serves a directory tree of the disk as live objects, and copies one.
//!
//! ```sh
//! files serve DIR --listen tcp://127.0.0.1:0 --listen unix://files.sock      # prints `listening on URL` for each
//! files serve DIR --inspect unix:///run/files.inspect                         # so that `pb` can look into it
//! files copy URL DEST
//! files cat URL a/b/c                           # the way there and the first bytes take one round trip
//! files watch URL a/b                           # prints `watching`, and a line for each change below a/b
//! ```

mod serve;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use indicatif::HumanBytes;
use pb_examples::files::api::{DirRef, WatcherRef};
use pb_examples::files::copy::{Manner, Summary, copy};
use pb_examples::files::progress::Progress;
use pb_examples::files::walk::{dir_at, why};
use pb_examples::files::watch::Printer;
use pb_examples::files::{Shown, cat};
use pb_examples::inspecting::Inspecting;

use serve::{Signals, serve};

/// Directory trees as live objects: serve one, look into one, copy one.
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
        #[command(flatten)]
        inspecting: Inspecting,
    },
    /// Copy all that a server serves
    Copy {
        /// The server, as it said after `listening on`
        url: String,
        /// The copy; must not exist, be an empty directory, or be an unfinished copy, which is gone on with
        dest: PathBuf,
        /// Compare what an earlier run has copied by its contents, not only by size and time
        #[arg(long)]
        verify: bool,
        /// How many seconds the server may be away, for example to be restarted
        #[arg(long, default_value_t = 60)]
        patience: u32,
    },
    /// Write one file to standard output
    Cat {
        /// The server, as it said after `listening on`
        url: String,
        /// The file, below what is served
        path: PathBuf,
    },
    /// Print what changes in a directory and below it, until interrupted
    Watch {
        /// The server, as it said after `listening on`
        url: String,
        /// The directory, below what is served
        #[arg(default_value = ".")]
        path: PathBuf,
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
    let asked = async {
        match &command {
            Command::Serve { dir, listen, inspecting } => serve(dir, listen, inspecting).await,
            Command::Copy { url, dest, verify, patience } => {
                let patience = Duration::from_secs((*patience).into());
                fetch(url, dest, Manner { patience, verify: *verify }).await
            }
            Command::Cat { url, path } => print(url, path).await,
            Command::Watch { url, path } => watch(url, path).await,
        }
    };
    if let Command::Serve { .. } = command {
        return asked.await;
    }
    let mut signals = Signals::new()?;
    tokio::select! {
        done = asked => done,
        // What is unfinished stays for another run, which goes on with it.
        () = signals.next() => Err(match command {
            Command::Copy { .. } => format!("interrupted; {GOES_ON}").into(),
            _ => "interrupted".into(),
        }),
    }
}

async fn fetch(url: &str, dest: &Path, manner: Manner) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let progress = Progress::on_terminal();
    let copied = copy(url, dest, manner, progress.clone()).await;
    progress.clear();
    let Summary { files, dirs, links, bytes, kept, missing, reconnections, .. } = match copied {
        Err(error) if error.may_go_on() => return Err(format!("{error}; {GOES_ON}").into()),
        copied => copied?,
    };
    print!(
        "copied {files} files, {dirs} directories and {links} links, {}, in {:.1} s",
        HumanBytes(bytes),
        start.elapsed().as_secs_f64()
    );
    if kept > 0 {
        print!("; {kept} files were there from before");
    }
    if reconnections > 0 {
        print!("; connected again {reconnections} times");
    }
    println!();
    if missing > 0 {
        return Err(format!("{missing} entries could not be copied").into());
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(url: &str, path: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let broker = pb_client::connect(url).await?;
    let mut out = std::io::stdout();
    cat::cat(&broker.root::<DirRef>(), path, &mut out).await?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(url: &str, path: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let broker = pb_client::connect(url).await?;
    let printer = Arc::new(Printer::new(std::io::stdout()));
    let watcher = WatcherRef::new(Arc::clone(&printer));
    // Held until the end, for the watch lasts as long as this.
    let watch =
        dir_at(&broker.root::<DirRef>(), path).watch(watcher).await.map_err(|error| match why(error) {
            Ok(why) => format!("cannot watch {}: {why}", Shown(path)),
            Err(failure) => failure.to_string(),
        })?;
    writeln!(std::io::stdout(), "watching")?;
    let ended = tokio::select! {
        ended = broker.leaving() => ended,
        // As where `head` has had enough.
        () = printer.unread() => return Ok(ExitCode::SUCCESS),
    };
    drop(watch);
    Err(match ended {
        Ok(leaving) => format!("the server was told to end: {}", leaving.reason),
        Err(reason) => format!("the server went away: {reason}"),
    }
    .into())
}

const GOES_ON: &str = "the same command goes on from there";
