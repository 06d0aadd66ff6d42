use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    fn count(&self) -> u64;
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    fn count(&self) -> u64 {
        0
    }
}

fn main() {
    BankRef::new(MyBank).count().detach();
}
