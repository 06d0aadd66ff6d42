use pb_core::Referenceable;

#[derive(Referenceable)]
struct Account {
    #[inspect]
    #[inspect]
    owner: String,
}

fn main() {}
