use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    async fn open(&mut self, owner: String);
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    async fn open(&mut self, _owner: String) {}
}

fn main() {
    BankRef::new(MyBank).open("ada".to_owned()).detach();
}
