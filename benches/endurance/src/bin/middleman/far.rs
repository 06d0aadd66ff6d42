//! B: makes objects, calls back, notes casts.

use crate::api::{Alive, Far, FarRef, Numbered, Refusal, ThingRef};
use crate::census::{self, Connections};
use crate::serving;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use pb_endurance::process;
use pb_server::{Bytes, Referenceable};
use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

#[derive(Referenceable)]
struct Root {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    last: HashMap<u64, u64>,
    count: u64,
    disordered: u64,
}

/// Serves until the parent is gone.
pub fn far() -> Result<()> {
    process::runtime()?.block_on(async {
        let connections = Arc::new(Connections::default());
        let notes = Arc::new(Mutex::new(Notes::default()));
        let root = FarRef::new(Root { notes: Arc::clone(&notes) });
        process::say(&serving::serve(root, "M", &connections).await?)?;
        let answering = tokio::task::spawn_blocking(move || {
            census::answer(&connections, 1, |census| {
                let notes = std::mem::take(&mut *notes.lock());
                (census.casts, census.disordered) = (notes.count, notes.disordered);
            })
        });
        answering.await.context("the answering thread has ended")?
    })
}

impl Far for Root {
    async fn null(&self) {}

    async fn echo(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn make(&self, number: u64) -> ThingRef {
        ThingRef::new(Numbered::new(number))
    }

    async fn touch_it(&self, thing: ThingRef) -> Result<u64, String> {
        thing.touch().await.map_err(|failure| failure.to_string())
    }

    async fn mirror(&self, thing: ThingRef) -> ThingRef {
        thing
    }

    async fn wait(&self) -> u64 {
        let _waiting = Alive::new();
        pending().await
    }

    async fn never(&self) -> ThingRef {
        let _waiting = Alive::new();
        pending().await
    }

    async fn refuse(&self, number: u64) -> Result<ThingRef, Refusal> {
        Err(Refusal { number })
    }

    async fn note(&self, lane: u64, number: u64) {
        let mut notes = self.notes.lock();
        let last = notes.last.insert(lane, number);
        notes.count += 1;
        if last.is_some_and(|last| last >= number) {
            notes.disordered += 1;
        }
    }
}
