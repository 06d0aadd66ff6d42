use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String) -> u64;
}

#[derive(Referenceable)]
struct MyBank;

fn main() {
    let _ = BankRef::new(MyBank);
}
