//! An honest client: what the server is warmed up with, and what it must go on serving.

use crate::serve::Mode;
use crate::victim::{Thing, ThingRef, VictimRef};
use anyhow::{Result, ensure};
use pb_client::Broker;
use pb_server::{Bytes, Referenceable};
use std::time::{Duration, Instant};

/// An object that the server calls back.
#[derive(Referenceable)]
struct Listener;

impl Thing for Listener {
    async fn poke(&self) -> Bytes {
        Bytes::from_static(b"here")
    }
}

/// Calls everything that an honest client calls, some thousand times and with some in flight, and leaves.
pub async fn warm_up(url: &str, mode: Mode) -> Result<()> {
    let broker = pb_client::connect(url).await?;
    let lanes: Vec<_> = (0..mode.lanes()).map(|_| tokio::spawn(lane(broker.root()))).collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

/// One of each, once: an error says which failed.
pub async fn probe(url: &str) -> Result<Duration> {
    let broker: Broker = pb_client::connect(url).await?;
    let began = Instant::now();
    each(&broker.root(), 1).await?;
    Ok(began.elapsed())
}

async fn lane(victim: VictimRef) -> Result<()> {
    for number in 0..60 {
        each(&victim, number).await?;
    }
    Ok(())
}

/// One call of each kind.
async fn each(victim: &VictimRef, number: usize) -> Result<()> {
    victim.null().await?;
    let bytes = Bytes::from(vec![number as u8; 1 + number * 40]);
    ensure!(victim.echo(bytes.clone()).await? == bytes, "other bytes came back");
    ensure!(victim.make().poke().await? == b"made"[..], "a made object answers otherwise");
    ensure!(victim.ask(ThingRef::new(Listener)).await? == 4, "the callback was answered otherwise");
    ensure!(victim.refuse(10).await.is_err(), "what is refused was answered");
    victim.note(Bytes::from_static(b"noted"));
    let dropped = victim.never();
    drop(dropped);
    Ok(())
}
