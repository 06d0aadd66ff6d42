//! `tests/attacks.md` names, for each attack, tests that run.

use pb_tests::map::{faults, rows};

const PAGE: &str = include_str!("../attacks.md");

/// Rows of the catalogue of attacks that concern the connection, and looking into a server, as first and last number.
const ROWS: [(u32, u32); 6] = [(1, 21), (23, 29), (31, 42), (44, 69), (76, 76), (83, 84)];
/// Rows of the catalogue of faults that have tests here.
const FAULTS: [&str; 4] = ["F19", "F20", "F21", "F41"];

#[test]
fn each_attack_has_a_row_and_each_row_names_tests_that_run() {
    let wanted: Vec<String> =
        ROWS.iter().flat_map(|&(first, last)| (first..=last).map(|n| format!("A{n}"))).collect();
    let wanted = wanted.iter().map(String::as_str).chain(FAULTS);
    let faults = faults(&rows(PAGE), wanted);
    assert!(faults.is_empty(), "attacks.md:\n{}", faults.join("\n"));
}
