use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self, #[remote(default)] owner: String, cents: u64);
}

fn main() {}
