//! A small service for tests of servers and clients: desks that count, and hold calls until their office opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pb_server::{Referenceable, remote_interface};
use tokio::sync::watch;

/// What is served.
#[remote_interface]
pub trait Desk {
    /// The number that it was made with.
    async fn number(&self) -> u64;
    /// Its number, once the office has opened.
    async fn hold(&self) -> u64;
    /// Another desk of the same office.
    async fn open(&self, number: u64) -> DeskRef;
    /// Opens the office: calls that are held end.
    async fn let_go(&self);
    /// How many calls have begun to hold.
    async fn holding(&self) -> u64;
    /// One more than the last time, on whichever desk.
    async fn count(&self) -> u64;
}

/// What the desks of one test share.
pub struct Office {
    gate: watch::Sender<bool>,
    holding: AtomicU64,
    counted: AtomicU64,
}

/// A desk.
#[derive(Referenceable)]
pub struct MyDesk {
    number: u64,
    office: Arc<Office>,
}

impl Office {
    /// A closed one.
    pub fn new() -> Arc<Office> {
        Arc::new(Office {
            gate: watch::Sender::new(false),
            holding: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        })
    }

    /// A desk of it.
    pub fn desk(self: &Arc<Self>, number: u64) -> DeskRef {
        DeskRef::new(self.made(number))
    }

    /// The same, not given out yet.
    pub fn made(self: &Arc<Self>, number: u64) -> MyDesk {
        MyDesk { number, office: Arc::clone(self) }
    }

    /// How many desks there are.
    pub fn desks(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    /// How many calls have begun to hold.
    pub fn holding(&self) -> u64 {
        self.holding.load(Ordering::SeqCst)
    }

    /// How often [`Desk::count`] has run.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::SeqCst)
    }

    /// Lets held calls end.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Holds later calls again.
    pub fn shut(&self) {
        self.gate.send_replace(false);
    }
}

impl Desk for MyDesk {
    async fn number(&self) -> u64 {
        self.number
    }
    async fn hold(&self) -> u64 {
        let mut gate = self.office.gate.subscribe();
        self.office.holding.fetch_add(1, Ordering::SeqCst);
        let _ = gate.wait_for(|open| *open).await;
        self.number
    }
    async fn open(&self, number: u64) -> DeskRef {
        self.office.desk(number)
    }
    async fn let_go(&self) {
        self.office.open();
    }
    async fn holding(&self) -> u64 {
        self.office.holding()
    }
    async fn count(&self) -> u64 {
        self.office.counted.fetch_add(1, Ordering::SeqCst) + 1
    }
}
