use pb_core::remote_interface;

struct Bank;

#[remote_interface]
impl Bank {}

fn main() {}
