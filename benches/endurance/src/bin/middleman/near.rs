//! A: makes the calls of a chapter, connecting anew where it must.

use crate::api::{FarRef, MiddleRef};
use crate::census::{Census, Connections};
use crate::kinds::{self, KINDS, Lane, Trouble};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use pb_client::{Broker, Failure};
use pb_endurance::process;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The parent's words to A.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// Make so many calls.
    Chapter {
        /// About.
        calls: u64,
        /// What the mix is made from.
        seed: u64,
    },
    /// Say what is left.
    Count,
}

/// What came of a chapter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Chapter {
    /// Calls that did what they should.
    pub calls: u64,
    /// Calls that failed for the connection, by the failure's kind.
    pub broken: BTreeMap<String, u64>,
    /// The first failure's words.
    pub first: Option<String>,
    /// What must never be, in words.
    pub wrong: Vec<String>,
    /// Casts that were sent.
    pub casts: u64,
    /// How often B's root was asked for anew.
    pub renewed: u64,
}

/// The way to B, made anew by whoever finds it broken first.
struct Way {
    middle: String,
    connections: Arc<Connections>,
    broker: tokio::sync::Mutex<Option<Broker>>,
    lanes: AtomicU64,
}

/// Runs chapters until the parent is gone.
pub fn near(middle: &str) -> Result<()> {
    process::runtime()?.block_on(async {
        let connections = Arc::new(Connections::default());
        let way = Arc::new(Way {
            middle: middle.to_owned(),
            connections: Arc::clone(&connections),
            broker: tokio::sync::Mutex::default(),
            lanes: AtomicU64::new(0),
        });
        process::say(&"ready")?;
        loop {
            let word = tokio::task::spawn_blocking(process::next_word).await;
            match word.context("the listening thread has ended")?? {
                None => return Ok(()),
                Some(Word::Chapter { calls, seed }) => process::say(&chapter(&way, calls, seed).await?)?,
                Some(Word::Count) => {
                    let connections = Arc::clone(&connections);
                    let counted = tokio::task::spawn_blocking(move || connections.settled(1)).await;
                    process::say::<Census>(&counted.context("the counting thread has ended")?)?;
                }
            }
        }
    })
}

async fn chapter(way: &Arc<Way>, calls: u64, seed: u64) -> Result<Chapter> {
    let told = Arc::new(Mutex::new(Chapter::default()));
    let left = Arc::new(AtomicU64::new(calls));
    let mut lanes = JoinSet::new();
    for number in 0..LANES {
        let (way, told, left) = (Arc::clone(way), Arc::clone(&told), Arc::clone(&left));
        let dice = Dice(seed.wrapping_mul(2 * number + 1) | 1);
        lanes.spawn(async move { lane(&way, &told, &left, dice).await });
    }
    while let Some(lane) = lanes.join_next().await {
        lane?;
    }
    let told = told.lock().clone();
    Ok(told)
}

async fn lane(way: &Way, told: &Mutex<Chapter>, left: &AtomicU64, mut dice: Dice) {
    while left.load(Ordering::Relaxed) > 0 {
        let far = match way.far().await {
            Ok(far) => far,
            Err(why) => {
                told.lock().first.get_or_insert(why);
                sleep(RETRY).await;
                continue;
            }
        };
        told.lock().renewed += 1;
        stretch(way, &far, told, left, &mut dice).await;
    }
}

/// Calls until the chapter is over or a call fails.
async fn stretch(way: &Way, far: &FarRef, told: &Mutex<Chapter>, left: &AtomicU64, dice: &mut Dice) {
    let (mut casts, mut kept) = (0, Vec::new());
    let number = way.lanes.fetch_add(1, Ordering::Relaxed);
    while left.load(Ordering::Relaxed) > 0 {
        let mut lane = Lane { far, number, casts: &mut casts, kept: &mut kept };
        let kind = dice.roll() % KINDS;
        let outcome = timeout(PATIENCE, kinds::call(&mut lane, kind, dice.roll())).await;
        let mut told = told.lock();
        match outcome {
            Ok(Ok(calls)) => {
                told.calls += calls;
                let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    Some(left.saturating_sub(calls))
                });
            }
            Ok(Err(Trouble::Broken(failure))) => {
                *told.broken.entry(format!("{:?}", failure.kind)).or_default() += 1;
                told.first.get_or_insert_with(|| format!("kind {kind}: {}", sentence(&failure)));
                break;
            }
            Ok(Err(Trouble::Wrong(text))) => told.wrong.push(format!("kind {kind}: {text}")),
            Err(_) => {
                told.wrong
                    .push(format!("a call of kind {kind} was not answered for {} s", PATIENCE.as_secs()));
                break;
            }
        }
    }
    told.lock().casts += casts;
}

impl Way {
    /// B's root, over whatever connections there are.
    async fn far(&self) -> Result<FarRef, String> {
        let mut kept = self.broker.lock().await;
        let living = match &*kept {
            // Ready at once where the connection has ended.
            Some(broker) => timeout(Duration::ZERO, broker.closed()).await.is_err().then(|| broker.clone()),
            None => None,
        };
        let broker = match living {
            Some(broker) => broker,
            None => {
                let broker = pb_client::connect(&self.middle).await.map_err(|error| error.to_string())?;
                self.connections.add("M", &broker);
                kept.insert(broker).clone()
            }
        };
        drop(kept);
        broker.root::<MiddleRef>().far().await.map_err(|error| error.to_string())
    }
}

/// A failure and what brought it about.
fn sentence(failure: &Failure) -> String {
    let mut text = format!("{:?}: {failure}", failure.kind);
    let mut at = failure.cause.as_deref();
    while let Some(pb_client::Cause::Broker(cause)) = at {
        text.push_str(&format!("; because of {:?}: {cause}", cause.kind));
        at = cause.cause.as_deref();
    }
    text
}

/// Xorshift: the same mix for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Who call at the same time.
const LANES: u64 = 24;
/// Pause after B could not be reached.
const RETRY: Duration = Duration::from_millis(2);
/// A call that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);
