use pb_core::remote_interface;

#[remote_interface]
trait Store {
    async fn put(&self, key: &str);
}

fn main() {}
