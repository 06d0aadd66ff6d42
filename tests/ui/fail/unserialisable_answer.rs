use pb_core::remote_interface;

struct Plain;

#[remote_interface]
trait Bank {
    async fn open(&self) -> Option<Plain>;
}

fn main() {}
