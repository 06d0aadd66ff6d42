//! What the attacked server serves: one root with a method of every kind, and objects that cost next to nothing.

use parking_lot::Mutex;
use pb_server::{Bytes, CallContext, Referenceable, remote_interface};
use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The root. What its methods keep is their own, and small: a reference, or the arguments that they were given.
#[remote_interface]
pub trait Victim {
    /// Nothing.
    async fn null(&self);
    /// The same bytes.
    async fn echo(&self, bytes: Bytes) -> Bytes;
    /// Takes bytes and drops them.
    async fn swallow(&self, bytes: Bytes);
    /// Makes an object.
    async fn make(&self) -> ThingRef;
    /// Keeps a reference until it breaks; of the same one in a row, one.
    async fn keep(&self, cx: &CallContext, thing: ThingRef);
    /// Takes a reference and drops it.
    async fn let_go(&self, thing: ThingRef);
    /// The same reference.
    async fn mirror(&self, thing: ThingRef) -> ThingRef;
    /// Never ends, and keeps its argument.
    async fn hold(&self, bytes: Bytes);
    /// Never ends, and would have made an object.
    async fn never(&self) -> ThingRef;
    /// Calls back and waits for the answer. Says how long that is.
    async fn ask(&self, thing: ThingRef) -> u64;
    /// So many bytes, which cost the method nothing.
    async fn large(&self, bytes: u32) -> Bytes;
    /// Fails with so many bytes of its own words.
    async fn refuse(&self, bytes: u32) -> Result<ThingRef, String>;
    /// Takes bytes; nobody waits for it.
    #[remote(oneway)]
    async fn note(&self, bytes: Bytes);
    /// Never ends, and keeps its argument; nobody waits for it.
    #[remote(oneway)]
    async fn linger(&self, bytes: Bytes);
}

/// An object on either side.
#[remote_interface]
pub trait Thing {
    /// Some bytes.
    async fn poke(&self) -> Bytes;
}

/// See [`Victim`].
#[derive(Referenceable, Default)]
pub struct Root {
    /// By the peer's address, so that nothing is left of a peer that has gone.
    kept: Arc<Mutex<HashMap<String, Vec<ThingRef>>>>,
}

/// A [`Thing`] that counts itself.
#[derive(Referenceable)]
pub struct Made(());

impl Made {
    fn new() -> Made {
        MADE.fetch_add(1, Ordering::Relaxed);
        Made(())
    }

    /// How many there are in this process.
    pub fn alive() -> i64 {
        MADE.load(Ordering::Relaxed)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        MADE.fetch_sub(1, Ordering::Relaxed);
    }
}

static MADE: AtomicI64 = AtomicI64::new(0);

impl Victim for Root {
    async fn null(&self) {}

    async fn echo(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn swallow(&self, _bytes: Bytes) {}

    async fn make(&self) -> ThingRef {
        ThingRef::new(Made::new())
    }

    async fn keep(&self, cx: &CallContext, thing: ThingRef) {
        let Some(peer) = cx.peer().map(str::to_owned) else { return };
        let first = {
            let mut kept = self.kept.lock();
            let of_peer = kept.entry(peer.clone()).or_default();
            if of_peer.last().is_some_and(|last| last.remote().same(&thing)) {
                return;
            }
            of_peer.push(thing.clone());
            of_peer.len() == 1
        };
        if first {
            let kept = Arc::clone(&self.kept);
            tokio::spawn(async move {
                thing.remote().on_broken().await;
                drop(thing);
                let gone = kept.lock().remove(&peer);
                drop(gone);
            });
        }
    }

    async fn let_go(&self, _thing: ThingRef) {}

    async fn mirror(&self, thing: ThingRef) -> ThingRef {
        thing
    }

    async fn hold(&self, bytes: Bytes) {
        pending::<()>().await;
        drop(bytes);
    }

    async fn never(&self) -> ThingRef {
        pending().await
    }

    async fn ask(&self, thing: ThingRef) -> u64 {
        thing.poke().await.map_or(0, |bytes| bytes.len() as u64)
    }

    async fn large(&self, bytes: u32) -> Bytes {
        Bytes::from_static(&ZEROS[..(bytes as usize).min(ZEROS.len())])
    }

    async fn refuse(&self, bytes: u32) -> Result<ThingRef, String> {
        Err("n".repeat((bytes as usize).min(ZEROS.len())))
    }

    async fn note(&self, _bytes: Bytes) {}

    async fn linger(&self, bytes: Bytes) {
        pending::<()>().await;
        drop(bytes);
    }
}

impl Thing for Made {
    async fn poke(&self) -> Bytes {
        Bytes::from_static(b"made")
    }
}

/// Reads what large answers are made of, a part of the program's file, so that it is in memory before anybody asks for it.
pub fn warm_up() -> u64 {
    ZEROS.iter().step_by(4096).map(|byte| u64::from(std::hint::black_box(*byte))).sum()
}

/// What large answers are made of.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
