use pb_core::remote_interface;

#[allow(unused_macros)]
macro_rules! open {
    () => {};
}

#[remote_interface]
trait Bank {
    open!();
}

fn main() {}
