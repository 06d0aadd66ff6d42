//! A call is dropped as its answer comes: one outcome, and what the answer carried is released.

use pb_core::{Referenceable, remote_interface};
use pb_models::{connected, end, idle, schedules};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

#[remote_interface]
trait Bank {
    async fn open(&self) -> AccountRef;
    async fn list(&self) -> Vec<AccountRef>;
    async fn slow(&self) -> AccountRef;
}

#[remote_interface]
trait Account {
    async fn balance(&self) -> u32;
}

#[derive(Referenceable)]
struct New;

#[derive(Referenceable)]
struct Cents(u32);

impl Account for Cents {
    async fn balance(&self) -> u32 {
        self.0
    }
}

impl Bank for New {
    async fn open(&self) -> AccountRef {
        AccountRef::new(Cents(1))
    }
    async fn list(&self) -> Vec<AccountRef> {
        vec![AccountRef::new(Cents(1)), AccountRef::new(Cents(2))]
    }
    async fn slow(&self) -> AccountRef {
        yield_now().await;
        AccountRef::new(Cents(3))
    }
}

/// One thread makes calls and drops them while the answers come; one waits for its own.
fn model() {
    let (server, client) = block_on(connected("cancel", BankRef::new(New)));
    let dropper = {
        let bank: BankRef = client.root();
        thread::spawn(move || {
            drop(bank.open());
            drop(bank.list());
            let slow = bank.slow();
            let piped = slow.balance();
            drop(slow);
            shuttle::thread::yield_now();
            drop(piped);
        })
    };
    let waiter = {
        let bank: BankRef = client.root();
        thread::spawn(move || {
            let opened = bank.slow();
            assert_eq!(block_on(opened.balance()).ok(), Some(3));
            let balance = block_on(opened).expect("it was not cancelled").balance();
            assert_eq!(block_on(balance).ok(), Some(3));
        })
    };
    dropper.join().expect("dropping does not panic");
    waiter.join().expect("what was not dropped is answered");
    // Without the connection's end: what was cancelled or answered is forgotten by both.
    block_on(idle(&server, &client));
    block_on(end(server, client));
}

#[test]
fn a_dropped_call_ends_once_and_its_references_are_released() {
    schedules(model);
}
