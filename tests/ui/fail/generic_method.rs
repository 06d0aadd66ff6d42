use pb_core::remote_interface;

#[remote_interface]
trait Store {
    async fn put<T>(&self, value: T) -> u64;
}

fn main() {}
