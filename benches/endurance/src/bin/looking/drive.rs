//! The clients.

use crate::serve::{DeskRef, limits};
use anyhow::{Context, Result};
use clap::Parser as _;
use pb_client::Connect;
use pb_endurance::process::{next_word, say};
use pb_server::inspect::{InspectorDoorRef, Query};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Holds so many objects until the parent is gone. Says how many.
pub fn hold(url: &str, objects: u64) -> Result<()> {
    runtime()?.block_on(async {
        let broker = Connect::to(url).limits(limits()).open().await?;
        let desk: DeskRef = broker.root();
        let mut held = Vec::new();
        while (held.len() as u64) < objects {
            held.extend(desk.make(MADE_AT_ONCE.min(objects - held.len() as u64)).await?);
        }
        say(&held.len())?;
        broker.closed().await;
        Ok(())
    })
}

/// Calls for as long as the parent says, each time that it says so, and says how many were answered.
pub fn drive(url: &str) -> Result<()> {
    let runtime = runtime()?;
    let broker = runtime.block_on(Connect::to(url).open())?;
    let desk: DeskRef = broker.root();
    while let Some(seconds) = next_word()? {
        let calls = LocalSet::new().block_on(&runtime, calls(&desk, Duration::from_secs_f64(seconds)))?;
        say(&calls)?;
    }
    Ok(())
}

async fn calls(desk: &DeskRef, time: Duration) -> Result<u64> {
    let (answered, until) = (Rc::new(Cell::new(0)), Instant::now() + time);
    let mut lanes = JoinSet::new();
    for lane in 0..IN_FLIGHT {
        let (desk, answered) = (desk.clone(), Rc::clone(&answered));
        lanes.spawn_local(async move {
            let mut number = lane;
            while Instant::now() < until {
                let sum = desk.add(number, i64::MIN).await?;
                anyhow::ensure!(sum == number.wrapping_add(i64::MIN), "a wrong answer");
                number = number.wrapping_mul(31).wrapping_add(lane);
                answered.set(answered.get() + 1);
            }
            Ok(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.context("a lane has panicked")??;
    }
    Ok(answered.get())
}

/// Asks for the objects that were called most, again and again. Says how often.
pub fn list(url: &str) -> Result<()> {
    runtime()?.block_on(async {
        let broker = Connect::to(url).open().await?;
        let door: InspectorDoorRef = broker.root();
        let inspector = door.enter(String::new()).await?;
        for _ in 0..LISTS {
            inspector.objects(Query { limit: 20, ..Query::default() }).await?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    say(&LISTS)
}

/// The tool's screen.
pub fn top(url: &str, interval: &str) -> Result<()> {
    let cli = pb_inspect::Cli::parse_from(["pb", "top", url, "--interval", interval]);
    Ok(runtime()?.block_on(pb_inspect::run(cli))?)
}

const LISTS: u64 = 20;
const IN_FLIGHT: i64 = 64;
const MADE_AT_ONCE: u64 = 500;
