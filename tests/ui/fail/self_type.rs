use pb_core::remote_interface;

#[remote_interface]
trait Account {
    async fn merge(&self, other: Self) -> u64;
}

fn main() {}
