use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn detach(&self) -> u64;
}

fn main() {}
