//! `pb shell`: a prompt, whose lines are the tool's commands without the URL, or a script on standard input.
//!
//! [`session`] holds what lasts, [`words`] takes a line apart, [`run`] does what it says, [`complete`] knows what may come next.

mod complete;
mod edit;
mod run;
pub(crate) mod session;
mod words;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::termios::{self, OptionalActions};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use crate::cli::Common;
use crate::ends::Ends;
use crate::error::Error;
use complete::Helper;
use edit::Typed;
use run::Then;
use session::Session;

/// Reads lines until their end, and does what they say.
///
/// # Errors
/// No server is there at first; or lines of a script have failed: the last one's status.
///
/// # Cancel safety
/// Dropping the future cancels the command that runs, and lets go of all that was held.
pub(crate) async fn shell(common: &Common, history: Option<PathBuf>) -> Result<(), Error> {
    let session = Session::new(common.clone());
    let about = session.link().await?.inspector.about().await?;
    if !io::stdin().is_terminal() {
        return script(&session, common).await;
    }
    println!(
        "process {} at {}; `help` tells what can be said",
        about.process,
        crate::out::plain(&about.listens.join(" "))
    );
    prompt(&session, common, history).await
}

async fn script(session: &Arc<Session>, common: &Common) -> Result<(), Error> {
    let mut lines = read_script();
    let (mut at, mut failed) = (0, None);
    while let Some(line) = lines.recv().await {
        at += 1;
        match run::run(session, common, &line?).await {
            Ok(Then::On) => {}
            Ok(Then::Quit) => break,
            Err(error @ Error::Found) => failed = Some(error.code()),
            Err(error) if error.is_silent() => return Err(error),
            Err(error) => {
                eprintln!("pb: line {at}: {}", error.sentence());
                failed = Some(error.code());
            }
        }
    }
    failed.map_or(Ok(()), |status| Err(Error::Lines { status }))
}

/// Lines of standard input, read where nobody else waits for them.
fn read_script() -> mpsc::Receiver<io::Result<String>> {
    let (lines, read) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    read
}

async fn prompt(session: &Arc<Session>, common: &Common, history: Option<PathBuf>) -> Result<(), Error> {
    let usual = termios::tcgetattr(io::stdin()).map_err(io::Error::from)?;
    let mut ends = Ends::of(&[SignalKind::terminate(), SignalKind::hangup()])?;
    let mut interrupts = Ends::of(&[SignalKind::interrupt()])?;
    let helper = Helper::new(Arc::clone(session), Handle::current());
    let mut editor = edit::start(helper, history.or_else(edit::usual_history));
    loop {
        let typed = tokio::select! {
            typed = editor.line() => typed,
            () = ends.come() => {
                // The thread that reads has changed it, and may not come back.
                let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &usual);
                println!();
                return Ok(());
            }
        };
        let line = match typed {
            Typed::Line(line) => line,
            Typed::Nothing => continue,
            Typed::End => return Ok(()),
        };
        let done = tokio::select! {
            done = run::run(session, common, &line) => done,
            () = interrupts.come() => {
                println!();
                continue;
            }
            () = ends.come() => return Ok(()),
        };
        match done {
            Ok(Then::On) => {}
            Ok(Then::Quit) => return Ok(()),
            Err(Error::Found) => {}
            Err(error) if error.is_silent() => return Err(error),
            Err(error) => eprintln!("pb: {}", error.sentence()),
        }
    }
}
