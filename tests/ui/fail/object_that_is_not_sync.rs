use pb_core::Referenceable;

#[derive(Referenceable)]
struct Account {
    cents: std::cell::Cell<u64>,
}

fn main() {}
