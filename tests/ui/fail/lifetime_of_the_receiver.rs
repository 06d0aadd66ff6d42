use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&'static self, owner: String);
}

fn main() {}
