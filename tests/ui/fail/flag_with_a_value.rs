use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(oneway = true)]
    async fn note(&self, text: String);
}

fn main() {}
