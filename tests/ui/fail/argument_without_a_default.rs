use pb_core::remote_interface;

#[derive(serde::Serialize, serde::Deserialize)]
struct Day(u8);

#[remote_interface]
trait Bank {
    async fn open(&self, #[remote(default)] day: Day);
}

fn main() {}
