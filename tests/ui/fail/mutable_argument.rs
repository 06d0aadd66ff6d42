use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self, mut owner: String);
}

fn main() {}
