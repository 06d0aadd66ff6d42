use pb_core::remote_interface;

#[remote_interface]
trait Store<T> {
    async fn put(&self, value: T) -> u64;
}

fn main() {}
