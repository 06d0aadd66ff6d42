use pb_core::Referenceable;

#[derive(Referenceable)]
#[inspect]
struct Account {
    owner: String,
}

fn main() {}
