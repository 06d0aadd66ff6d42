use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async unsafe fn open(&self, owner: String);
}

fn main() {}
