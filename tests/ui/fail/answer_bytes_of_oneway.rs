use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(oneway, answer_bytes = 1000)]
    async fn note(&self, text: String);
}

fn main() {}
