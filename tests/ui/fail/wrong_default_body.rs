use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn count(&self) -> u64 {
        "none"
    }
}

fn main() {}
