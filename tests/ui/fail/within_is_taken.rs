use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn within(&self, cents: u64) -> bool;
}

fn main() {}
