use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String, #[remote(default, default)] cents: u64);
}

fn main() {}
