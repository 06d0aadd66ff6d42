use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(&self);
    async fn open(&self, owner: String);
}

fn main() {}
