use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    const LIMIT: u64;

    async fn count(&self) -> u64;
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    const LIMIT: u64 = 1;

    async fn count(&self) -> u64 {
        Self::LIMIT
    }
}

fn main() {
    BankRef::new(MyBank).count().detach();
}
