use pb_core::Referenceable;

#[derive(Referenceable)]
struct Account {
    #[inspect(secret)]
    owner: String,
}

fn main() {}
