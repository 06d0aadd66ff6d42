use pb_core::remote_interface;

#[remote_interface(version = 2)]
trait Bank {
    async fn count(&self) -> u64;
}

fn main() {}
