use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn count(&self) -> u64;
}

struct MyBank;

impl Bank for MyBank {
    async fn count(&self) -> u64 {
        0
    }
}

fn main() {
    let _ = BankRef::new(MyBank);
}
