//! Asks the server again and again, also once it has been lost.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ask::{Ask, Body, Head, body, head, pause};
use crate::cli::Common;
use crate::error::Error;
use crate::link::Link;
use crate::out::plain;

/// What the screen is told.
#[derive(Debug)]
pub(super) enum News {
    /// What the server says of itself.
    Head(Box<Head>, Instant),
    /// What was asked for.
    Body(Ask, Body),
    /// It did not answer, but is there.
    Failed(String),
    /// It is gone, and is looked for.
    Lost(String),
}

/// Tells the screen what it asks for until that has gone.
///
/// # Cancel safety
/// Dropped, it closes the connection.
pub(super) async fn poll(
    common: Common,
    link: Link,
    interval: Duration,
    mut asks: watch::Receiver<Ask>,
    news: mpsc::Sender<News>,
) {
    let mut link = link;
    loop {
        let Err(error) = serve(&link, interval, &mut asks, &news).await else { return };
        drop(link);
        let mut why = reason(&error);
        let mut rest = SHORTEST;
        link = loop {
            if news.send(News::Lost(why)).await.is_err() {
                return;
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST);
            match Link::open(&common).await {
                Ok(link) => break link,
                Err(error) => why = reason(&error),
            }
        };
    }
}

/// Asks over one connection, until nobody listens.
///
/// # Errors
/// The connection is lost.
async fn serve(
    link: &Link,
    interval: Duration,
    asks: &mut watch::Receiver<Ask>,
    news: &mpsc::Sender<News>,
) -> Result<(), Error> {
    let (mut next_head, mut next_body) = (Instant::now(), Instant::now());
    let mut nothing_took = Duration::ZERO;
    loop {
        let ask = asks.borrow_and_update().clone();
        let told = async {
            tokio::time::sleep_until(next_head.min(next_body)).await;
            let began = Instant::now();
            if next_head <= began {
                next_head = began + interval;
                let told = head(link).await.map(|head| News::Head(Box::new(head), Instant::now()));
                nothing_took = began.elapsed();
                return told;
            }
            next_body = began + interval;
            let body = body(link, &ask).await;
            let now = Instant::now();
            next_body = began + pause(now - began, nothing_took, interval);
            body.map(|body| News::Body(ask.clone(), body))
        };
        let told = tokio::select! {
            told = told => told,
            changed = asks.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                // Whoever has pressed a key waits for what it asks for.
                next_body = Instant::now();
                continue;
            }
        };
        let told = match told {
            Ok(told) => told,
            Err(error) if link.broker.closed().now_or_never().is_some() => return Err(error),
            Err(error) => News::Failed(error.sentence()),
        };
        if news.send(told).await.is_err() {
            return Ok(());
        }
    }
}

/// Why there is no connection: whose it would be stands on the screen.
fn reason(error: &Error) -> String {
    match error {
        Error::Connect { source, .. } => plain(&source.to_string()),
        error => error.sentence(),
    }
}

/// Bounds of the pauses between two attempts to connect.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);
