//! The server's side of the program.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pb_examples::files::tree::Tree;
use pb_examples::files::{Shown, reason, served};
use pb_examples::inspecting::Inspecting;
use pb_server::{Server, Stopped};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves `dir` at all these addresses until it is told to end.
pub async fn serve(
    dir: &Path,
    listen: &[String],
    inspecting: &Inspecting,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let tree = Tree::open(dir).map_err(|error| format!("cannot serve {}: {}", Shown(dir), reason(&error)))?;
    let (root, busy) = served::root(tree);
    let mut server = Server::new(root);
    for address in listen {
        server = server.listen(address).await?;
    }
    let running = inspecting.tell(server).await?.spawn()?;
    let mut out = io::stdout();
    for url in running.urls() {
        writeln!(out, "listening on {url}")?;
    }
    if let Some(url) = running.inspector_url() {
        writeln!(out, "inspector at {url}")?;
    }
    out.flush()?;
    signals.next().await;
    let (clients, calls) = (running.statistics().open, busy.calls());
    say(format_args!(
        "draining: {} of {} are finished, clients have {} s; another signal ends it at once",
        count(calls, "call"),
        count(clients, "client"),
        LAST_READS.as_secs()
    ));
    // Reads that are under way are answered; who goes on reading is cut off then.
    match running.drain_unless(LAST_READS, signals.next()).await {
        Stopped::Drained => say("drained"),
        Stopped::Hurried => say("ended before it had drained"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody reads it or not is no reason to end otherwise.
fn say(what: impl std::fmt::Display) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What copies that are under way have to finish when the server is told to end.
const LAST_READS: Duration = Duration::from_secs(5);

/// The user, or the system in his place, wants this process to stop. Caught from when this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
