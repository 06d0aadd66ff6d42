use pb_core::Referenceable;

#[derive(Referenceable)]
union Both {
    _a: u32,
    _b: f32,
}

fn main() {}
