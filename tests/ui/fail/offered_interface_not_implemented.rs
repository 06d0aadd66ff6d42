use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Audited {
    async fn audit(&self) -> String;
}

#[derive(Referenceable)]
#[referenceable(Audited)]
struct Account;

fn main() {}
