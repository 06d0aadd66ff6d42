use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String) -> u64;
}

#[derive(Referenceable)]
#[referenceable(Bank, Bank)]
struct MyBank;

impl Bank for MyBank {
    async fn open(&self, _owner: String) -> u64 {
        0
    }
}

fn main() {}
