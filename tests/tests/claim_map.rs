//! `tests/claims.md` names, for each claim, tests that run.

use pb_tests::map::{faults, rows};

const PAGE: &str = include_str!("../claims.md");

/// Claims about calls, references, order and failures; about connecting again; and the one about what can be called.
const CLAIMS: [(u32, u32); 3] = [(1, 46), (58, 58), (60, 60)];

#[test]
fn each_claim_has_a_row_and_each_row_names_tests_that_run() {
    let wanted: Vec<String> =
        CLAIMS.iter().flat_map(|&(first, last)| (first..=last).map(|n| n.to_string())).collect();
    let faults = faults(&rows(PAGE), wanted.iter().map(String::as_str));
    assert!(faults.is_empty(), "claims.md:\n{}", faults.join("\n"));
}
