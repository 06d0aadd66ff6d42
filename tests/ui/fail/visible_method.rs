use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    pub async fn count(&self) -> u64;
}

fn main() {}
