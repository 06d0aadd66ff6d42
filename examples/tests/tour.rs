//! The tour, as it shows itself: all that both its processes say, in the order in which they say it.

use std::process::{Command, Stdio};

#[test]
fn the_tour_says_what_stands_in_its_script() {
    let test = std::env::current_exe().unwrap();
    // Cargo builds a package's examples before it runs its tests, beside the folder where the tests lie.
    let binary = test.ancestors().nth(2).unwrap().join("examples/tour");
    assert!(binary.exists(), "{} is not built: run cargo build --examples first", binary.display());
    let toured = Command::new(binary).stdin(Stdio::null()).output().unwrap();
    assert!(toured.status.success(), "{}", String::from_utf8_lossy(&toured.stderr));
    let said = String::from_utf8(toured.stdout).unwrap();
    let script = include_str!("tour.txt");
    for (said, script) in said.lines().zip(script.lines()) {
        assert_eq!(without_numbers(said), without_numbers(script));
    }
    assert_eq!(said.lines().count(), script.lines().count());
}

/// Numbers of processes and ports are others each time.
fn without_numbers(line: &str) -> String {
    let mut line = line.to_owned();
    for before in ["process ", "127.0.0.1:"] {
        if let Some(at) = line.find(before) {
            let (kept, rest) = line.split_at(at + before.len());
            line = format!("{kept}N{}", rest.trim_start_matches(|char: char| char.is_ascii_digit()));
        }
    }
    line
}
