use pb_core::remote_interface;

struct Plain;

#[remote_interface]
trait Bank {
    async fn open(&self, owner: String, plain: Plain);
}

fn main() {}
