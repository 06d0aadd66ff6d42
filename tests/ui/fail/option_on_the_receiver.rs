use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn open(#[remote(default)] &self, owner: String);
}

fn main() {}
