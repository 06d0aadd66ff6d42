use pb_server::{Referenceable, Server};

#[derive(Referenceable)]
struct MyBank;

fn main() {
    let _ = Server::new(MyBank);
}
