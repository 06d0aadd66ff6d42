//! What the three processes say to each other.

use pb_server::{Bytes, remote_interface};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, Ordering};

/// M's root.
#[remote_interface]
pub trait Middle {
    /// B's root, over a connection that is made anew when the last one has ended.
    async fn far(&self) -> Result<FarRef, String>;
}

/// B's root.
#[remote_interface]
pub trait Far {
    /// Nothing.
    async fn null(&self);
    /// The same bytes.
    async fn echo(&self, bytes: Bytes) -> Bytes;
    /// Makes an object that answers with `number`.
    async fn make(&self, number: u64) -> ThingRef;
    /// Calls an object, whoever's it is, and says what it answered.
    async fn touch_it(&self, thing: ThingRef) -> Result<u64, String>;
    /// The same reference.
    async fn mirror(&self, thing: ThingRef) -> ThingRef;
    /// Never ends.
    async fn wait(&self) -> u64;
    /// Never ends, and would have made an object.
    async fn never(&self) -> ThingRef;
    /// Fails with `number`.
    async fn refuse(&self, number: u64) -> Result<ThingRef, Refusal>;
    /// Notes that the cast `number` of `lane` has come; they come in the order of their numbers.
    #[remote(oneway)]
    async fn note(&self, lane: u64, number: u64);
}

/// An object of A's or B's.
#[remote_interface]
pub trait Thing {
    /// Its number.
    async fn touch(&self) -> u64;
}

/// An error of B's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What was asked with.
    pub number: u64,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was refused", self.number)
    }
}

impl std::error::Error for Refusal {}

/// A [`Thing`] that counts itself.
#[derive(pb_server::Referenceable)]
pub struct Numbered(u64, Alive);

impl Numbered {
    /// An object that answers with `number`.
    pub fn new(number: u64) -> Numbered {
        Numbered(number, Alive::new())
    }
}

impl Thing for Numbered {
    async fn touch(&self) -> u64 {
        self.0
    }
}

/// Counts itself: part of whatever must not be left.
pub struct Alive(());

impl Alive {
    /// One more.
    pub fn new() -> Alive {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Alive(())
    }

    /// How many there are in this process.
    pub fn count() -> i64 {
        ALIVE.load(Ordering::Relaxed)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

static ALIVE: AtomicI64 = AtomicI64::new(0);
