use pb_core::Referenceable;

#[derive(Referenceable)]
trait Bank {}

fn main() {}
