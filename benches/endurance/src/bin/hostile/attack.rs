//! The attacking process: runs floods for a time, each over connections of its own, and tells what became of them.

use crate::flood::{Flood, Greeting, Then, Window};
use crate::floods;
use crate::peer::{Gone, Peer};
use anyhow::{Context, Result};
use pb_endurance::process;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What one flood did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attack {
    /// The flood's name.
    pub flood: String,
    /// Frames that were sent, the last batch of each connection perhaps not whole.
    pub frames: u64,
    /// Bytes that the server's side took.
    pub bytes: u64,
    /// Bytes that came back and were read.
    pub heard: u64,
    /// How its connections ended, and how often so: `alive` where the server left it open.
    pub ends: BTreeMap<String, u64>,
}

/// Runs `names`, all at once, against the server at `url` until `seconds` are over.
pub fn attack(url: &str, names: &[String], seconds: f64) -> Result<()> {
    let host = url.strip_prefix("tcp://").context("the server's address is not tcp://")?.to_owned();
    let chosen = names.iter().map(|name| floods::find(name)).collect::<Result<Vec<_>>>()?;
    process::runtime()?.block_on(async {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let running: Vec<_> = chosen
            .into_iter()
            .map(|flood| {
                let host = host.clone();
                tokio::spawn(async move { run(&host, flood, until).await })
            })
            .collect();
        let mut told = Vec::new();
        for one in running {
            told.push(one.await?);
        }
        process::say(&told)
    })
}

async fn run(host: &str, flood: &Flood, until: Instant) -> Attack {
    let mut attack = Attack { flood: flood.name.to_owned(), ..Attack::default() };
    while Instant::now() < until {
        let Ok(mut peer) = Peer::connect(host, flood).await else {
            *attack.ends.entry("not connected".to_owned()).or_default() += 1;
            sleep(RETRY).await;
            continue;
        };
        let outcome = rounds(&mut peer, flood, until).await;
        attack.frames += peer.frames;
        attack.bytes += peer.bytes;
        let end = match (outcome, flood.then) {
            (Ok(()), Then::HangUp) if Instant::now() < until => {
                drop(peer);
                "hung up".to_owned()
            }
            _ => {
                let (end, seen) = peer.end().await;
                attack.heard += seen.bytes.load(Ordering::Relaxed);
                end
            }
        };
        *attack.ends.entry(end).or_default() += 1;
    }
    attack
}

/// Sends rounds until the time is over or the connection is.
async fn rounds(peer: &mut Peer, flood: &Flood, until: Instant) -> Result<(), Gone> {
    while Instant::now() < until {
        match flood.window {
            Window::Any => {}
            Window::Granted => {
                let most = peer.grants.calls.saturating_sub(peer.batch() as u64).max(1);
                peer.room(most, until).await?;
            }
            Window::Answered => peer.room(1, until).await?,
        }
        (flood.fill)(peer);
        peer.round += 1;
        let idle = peer.is_idle();
        peer.flush(until).await?;
        match flood.then {
            Then::Pause(time) => peer.rest(time, until).await?,
            Then::HangUp => {
                if flood.greeting == Greeting::Polite && flood.window != Window::Any {
                    peer.room(1, until).await?;
                }
                return Ok(());
            }
            Then::More if idle => peer.rest(IDLE, until).await?,
            Then::More => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

/// After a connection that did not come about: the system may be out of ports for a moment.
const RETRY: Duration = Duration::from_millis(5);
/// After a round that had nothing to send.
const IDLE: Duration = Duration::from_millis(20);
