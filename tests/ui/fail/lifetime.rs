use pb_core::remote_interface;

#[remote_interface]
trait Store {
    async fn put<'a>(&'a self, value: &'a str) -> u64;
}

fn main() {}
