use pb_core::remote_interface;

#[remote_interface(crate = "pb_core")]
trait Bank {
    async fn open(&self, owner: String);
}

fn main() {}
