use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    async fn note(&self, text: String);
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    #[remote(oneway)]
    async fn note(&self, _text: String) {}
}

fn main() {}
