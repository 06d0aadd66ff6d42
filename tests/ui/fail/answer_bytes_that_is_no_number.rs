use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(answer_bytes = "1 MiB")]
    async fn open(&self, owner: String) -> String;
}

fn main() {}
