use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(retry, run_to_end)]
    async fn open(&self, owner: String);
}

fn main() {}
