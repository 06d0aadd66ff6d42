//! The runtime may be reached through a path of the user's.
#![deny(warnings)]

mod vendored {
    pub use pb_core as broker;
}

use vendored::broker::{Referenceable, remote_interface};

#[remote_interface(crate = crate::vendored::broker)]
trait Bank {
    async fn count(&self) -> u64;
}

#[derive(Referenceable)]
#[referenceable(crate = crate::vendored::broker)]
struct MyBank;

impl Bank for MyBank {
    async fn count(&self) -> u64 {
        1
    }
}

#[derive(Referenceable)]
#[referenceable(Bank, crate = vendored::broker)]
struct Other;

impl Bank for Other {
    async fn count(&self) -> u64 {
        2
    }
}

fn main() {
    let _ = (BankRef::new(MyBank), BankRef::new(Other));
}
