use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(name)]
    async fn open(&self, owner: String);
}

fn main() {}
