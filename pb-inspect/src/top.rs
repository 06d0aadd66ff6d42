//! `pb top`: a screen that is alive.
//!
//! [`app`] is what stands on it, a plain value; [`poll`] asks the server, for no more than is seen; [`draw`] draws.

mod app;
mod ask;
mod draw;
mod poll;
mod rates;
mod screen;
mod tab;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::panic;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt as _;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use app::{App, Next};
use screen::Screen;

use crate::cli::Common;
use crate::commands::seconds;
use crate::ends::Ends;
use crate::error::Error;
use crate::link::Link;

/// Shows the server on the terminal until somebody quits.
///
/// # Errors
/// There is no terminal, no server at first, or the terminal has gone. The terminal is as it was before.
///
/// # Cancel safety
/// Dropping the future gives the terminal back and closes the connection.
pub(crate) async fn top(common: &Common, interval: f64, own: bool) -> Result<(), Error> {
    if common.json {
        return Err(Error::Usage(
            "pb top is a screen: `pb objects --watch 1 --json` prints lists for programs".into(),
        ));
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::Usage(
            "pb top needs a terminal: `pb objects --watch 1` prints lists without one".into(),
        ));
    }
    let interval = seconds(interval, "between two looks")?.clamp(FASTEST, SLOWEST);
    // Whoever is mistyped should be told before the screen goes.
    let link = Link::open(common).await?;
    let mut app = App::new(&common.url, own, interval, Instant::now());
    let mut ends = Ends::of(&[SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()])?;
    let mut screen = Screen::open()?;
    let area = screen.terminal.size()?;
    app.resize(usize::from(area.height.saturating_sub(draw::AROUND)));
    let (asks, asked) = watch::channel(app.ask());
    let (tell, mut news) = mpsc::channel(16);
    let mut polling = JoinSet::new();
    polling.spawn(poll::poll(common.clone(), link, interval, asked, tell));
    let mut keys = EventStream::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        screen.terminal.draw(|frame| draw::draw(frame, &mut app, Instant::now()))?;
        asks.send_if_modified(|asked| {
            let ask = app.ask();
            let other = *asked != ask;
            *asked = ask;
            other
        });
        tokio::select! {
            key = keys.next() => match key {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    if app.press(key) == Next::Quit {
                        return Ok(());
                    }
                }
                // It is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            Some(told) = news.recv() => app.hear(told, Instant::now()),
            Some(Err(ended)) = polling.join_next() => {
                if ended.is_panic() {
                    panic::resume_unwind(ended.into_panic());
                }
            }
            _ = beat.tick() => {}
            () = ends.come() => return Ok(()),
        }
    }
}

/// Bounds of the time between two looks.
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(3600);
/// How often it is drawn where nothing comes, so that it tells for how long.
const BEAT: Duration = Duration::from_secs(1);
