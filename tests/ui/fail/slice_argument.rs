use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn add(&self, cents: [u64]);
}

fn main() {}
