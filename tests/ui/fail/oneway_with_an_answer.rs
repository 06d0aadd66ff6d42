use pb_core::remote_interface;

#[remote_interface]
trait Log {
    #[remote(oneway)]
    async fn note(&self, text: String) -> bool;
}

fn main() {}
