use pb_core::{Referenceable, remote_interface};

#[derive(Referenceable)]
struct MyAccount;

#[remote_interface]
trait Bank {
    async fn open(&self) -> MyAccount;
}

fn main() {}
