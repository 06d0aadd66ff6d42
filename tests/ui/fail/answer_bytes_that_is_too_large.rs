use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(answer_bytes = 1000000000)]
    async fn open(&self, owner: String) -> String;
}

fn main() {}
