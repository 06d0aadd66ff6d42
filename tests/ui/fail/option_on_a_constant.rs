use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(oneway)]
    const LIMIT: u64;
}

fn main() {}
