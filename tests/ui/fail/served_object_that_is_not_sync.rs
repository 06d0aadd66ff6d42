use pb_core::{Referenceable, remote_interface};

#[remote_interface]
pub trait Account {
    async fn deposit(&self, cents: u64) -> u64;
    async fn balance(&self) -> u64;
}

#[remote_interface]
pub trait Audited {
    async fn audit(&self);
}

#[derive(Referenceable)]
#[referenceable(Audited)]
struct MyAccount {
    owner: String,
    cents: std::cell::Cell<u64>,
}

impl Account for MyAccount {
    async fn deposit(&self, cents: u64) -> u64 {
        self.cents.set(self.cents.get() + cents);
        self.cents.get()
    }
    async fn balance(&self) -> u64 {
        self.cents.get()
    }
}

impl Audited for MyAccount {
    async fn audit(&self) {
        assert!(!self.owner.is_empty());
    }
}

fn main() {
    let _account = AccountRef::new(MyAccount { owner: "ada".into(), cents: std::cell::Cell::new(0) });
}
