use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    async extern "C" fn open(&self, owner: u64);
}

fn main() {}
