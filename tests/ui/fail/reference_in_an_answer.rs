use pb_core::remote_interface;

#[remote_interface]
trait Store {
    async fn find(&self, key: String) -> Option<&str>;
}

fn main() {}
