use pb_core::Referenceable;

#[derive(Referenceable)]
struct Account {
    #[referenceable(Audited)]
    owner: String,
}

fn main() {}
