use pb_core::remote_interface;

#[derive(serde::Serialize)]
struct SendOnly;

#[remote_interface]
trait Bank {
    async fn open(&self) -> Result<u64, SendOnly>;
}

fn main() {}
