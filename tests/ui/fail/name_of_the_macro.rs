use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async fn __pb_open(&self, owner: String);
}

fn main() {}
