use pb_core::Referenceable;

#[derive(Referenceable)]
#[referenceable]
struct Account;

fn main() {}
