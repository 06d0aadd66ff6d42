use pb_core::remote_interface;

#[remote_interface]
struct Bank;

fn main() {}
