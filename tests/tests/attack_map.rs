//! `tests/attacks.md` names, for each attack, tests that run.

use pb_tests::map::{faults, rows};

const PAGE: &str = include_str!("../attacks.md");

/// Rows of the catalogue of attacks that concern the connection, as first and last number.
const ROWS: [(u32, u32); 5] = [(1, 17), (19, 19), (23, 29), (31, 42), (44, 69)];

#[test]
fn each_attack_has_a_row_and_each_row_names_tests_that_run() {
    let wanted: Vec<String> =
        ROWS.iter().flat_map(|&(first, last)| (first..=last).map(|n| format!("A{n}"))).collect();
    let faults = faults(&rows(PAGE), wanted.iter().map(String::as_str));
    assert!(faults.is_empty(), "attacks.md:\n{}", faults.join("\n"));
}
