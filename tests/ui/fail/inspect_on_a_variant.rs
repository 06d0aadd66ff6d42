use pb_core::Referenceable;

#[derive(Referenceable)]
enum Account {
    #[inspect]
    Open(String),
}

fn main() {}
