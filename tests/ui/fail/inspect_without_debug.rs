use pb_core::Referenceable;

struct Pin(u32);

#[derive(Referenceable)]
struct Account {
    #[inspect]
    owner: String,
    #[inspect]
    pin: Pin,
}

fn main() {}
