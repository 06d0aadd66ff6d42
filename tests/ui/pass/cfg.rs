//! A method that isn't compiled in is in no part of the expansion, and the others keep their places.
#![deny(warnings)]

use pb_core::{Referenceable, remote_interface};

#[remote_interface]
pub trait Bank {
    #[cfg(any())]
    async fn missing_type(&self, of: Missing) -> Missing;
    async fn first(&self) -> u64;
    #[cfg(any())]
    async fn choice(&self) -> u64;
    #[cfg(not(any()))]
    async fn choice(&self) -> String;
    #[cfg(not(any()))]
    #[cfg_attr(all(), cfg(not(any())))]
    async fn twice(&self) -> u64;
    #[cfg_attr(all(), cfg(any()))]
    async fn hidden(&self) -> Missing;
    #[cfg_attr(all(), deprecated = "use `first`", must_use = "it counts")]
    async fn last(&self, add: u64) -> u64;
}

#[remote_interface]
#[cfg(any())]
pub trait Absent {
    async fn first(&self) -> u64;
}

#[remote_interface]
trait AllAbsent {
    #[cfg(any())]
    async fn first(&self) -> u64;
}

#[remote_interface]
trait Empty {}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    async fn first(&self) -> u64 {
        1
    }
    async fn choice(&self) -> String {
        "two".to_owned()
    }
    async fn twice(&self) -> u64 {
        3
    }
    async fn last(&self, add: u64) -> u64 {
        4 + add
    }
}

impl AllAbsent for MyBank {}

impl Empty for MyBank {}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let bank = BankRef::new(MyBank);
    assert_eq!(bank.first().await.unwrap(), 1);
    assert_eq!(bank.choice().await.unwrap(), "two");
    assert_eq!(bank.twice().await.unwrap(), 3);
    #[allow(deprecated)]
    let last = bank.last(1).await.unwrap();
    assert_eq!(last, 5);
    let _ = (AllAbsentRef::new(MyBank), EmptyRef::new(MyBank));
}
