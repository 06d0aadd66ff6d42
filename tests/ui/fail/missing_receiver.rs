use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(owner: String);
}

fn main() {}
