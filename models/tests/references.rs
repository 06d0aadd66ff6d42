//! A handle dies as its object is mentioned again: the counts add up, whoever comes first.

use pb_core::{Referenceable, remote_interface};
use pb_models::{connected, end, idle, schedules};
use shuttle::future::block_on;
use shuttle::thread;

#[remote_interface]
trait Bank {
    async fn account(&self) -> AccountRef;
    async fn same(&self, account: AccountRef) -> bool;
}

#[remote_interface]
trait Account {
    async fn balance(&self) -> u32;
}

#[derive(Referenceable)]
struct Only(AccountRef);

#[derive(Referenceable)]
struct Cents(u32);

impl Account for Cents {
    async fn balance(&self) -> u32 {
        self.0
    }
}

impl Bank for Only {
    async fn account(&self) -> AccountRef {
        self.0.clone()
    }
    async fn same(&self, account: AccountRef) -> bool {
        account.remote().same(&self.0)
    }
}

/// Both callers are handed the one account again and again, and drop it again and again; in between they use it.
fn model() {
    let account = AccountRef::new(Cents(7));
    let (server, client) = block_on(connected("references", BankRef::new(Only(account))));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let bank: BankRef = client.root();
            thread::spawn(move || {
                for _ in 0..2 {
                    let account = block_on(bank.account()).expect("the bank has an account");
                    assert_eq!(block_on(account.balance()).ok(), Some(7));
                    drop(account);
                }
                let account = block_on(bank.account()).expect("the bank has an account");
                assert_eq!(block_on(bank.same(account)).ok(), Some(true), "it came home as what it was");
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("no reference dangles"));
    // All handles are gone; once the releases have gone too, neither side holds anything of the other's.
    block_on(idle(&server, &client));
    block_on(end(server, client));
}

/// A count that does not add up is a release of too much, which ends the connection, or an export that is never released.
#[test]
fn what_was_mentioned_is_released_and_no_more() {
    schedules(model);
}
