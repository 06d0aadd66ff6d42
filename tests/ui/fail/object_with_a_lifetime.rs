use pb_core::Referenceable;

#[derive(Referenceable)]
struct Account<'a> {
    owner: &'a str,
}

fn main() {}
