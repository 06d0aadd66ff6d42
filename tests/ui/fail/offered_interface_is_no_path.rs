use pb_core::Referenceable;

#[derive(Referenceable)]
#[referenceable("Audited")]
struct Account;

fn main() {}
