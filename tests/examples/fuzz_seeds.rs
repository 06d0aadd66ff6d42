//! Writes the seeds of every fuzz target, and the dictionary, from `tests/golden` to `fuzz/`.

use std::fs;
use std::path::Path;

use pb_tests::fuzz::{TARGETS, seeds};

fn main() -> std::io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (target, _) in TARGETS {
        let folder = fuzz.join("seeds").join(target);
        fs::create_dir_all(&folder)?;
        let seeds = seeds::of(target);
        for (name, input) in &seeds {
            fs::write(folder.join(name), input)?;
        }
        println!("{} seeds of {target}", seeds.len());
    }
    fs::write(fuzz.join("words.dict"), seeds::dictionary())
}
