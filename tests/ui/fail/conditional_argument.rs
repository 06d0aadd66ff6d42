use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String, #[cfg(unix)] uid: u32);
}

fn main() {}
