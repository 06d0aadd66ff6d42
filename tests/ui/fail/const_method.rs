use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    const async fn open(&self, owner: String);
}

fn main() {}
