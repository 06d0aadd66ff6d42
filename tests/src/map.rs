//! Maps from rows of a table (claims, attacks) to the tests that prove them, and what is wrong with a map.
//!
//! A map is a Markdown table: key, words, tests. A test is named `` `file::name` ``, where `file` is a file of
//! `tests/tests` without its `.rs` (its modules count as it), or a path from the repository's root
//! (`` `pb-core/src/wire/frame/tests.rs::name` ``). Lines that are no row of the table are for people.
//!
//! ```
//! use pb_tests::map::{faults, rows};
//!
//! let rows = rows("| 1 | ping is answered | `smoke::calls_references_callbacks_and_errors_cross` |");
//! assert_eq!(rows[0].key, "1");
//! assert_eq!(faults(&rows, ["1"]), [""; 0]);
//! assert_eq!(faults(&rows, ["1", "2"]), ["2: no row"]);
//! ```

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

mod sources;

use sources::Tests;

/// One row of a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What it is called by: `1`, `A1`.
    pub key: String,
    /// What the row says, in our words.
    pub words: String,
    /// Each test as `file::name`.
    pub tests: Vec<String>,
}

/// The rows of the table in `page`: lines of three columns, without the table's head.
pub fn rows(page: &str) -> Vec<Row> {
    page.lines().filter_map(row).filter(|row| row.key.chars().any(|c| c.is_ascii_digit())).collect()
}

fn row(line: &str) -> Option<Row> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let (key, rest) = line.split_once('|')?;
    let (words, tests) = rest.rsplit_once('|')?;
    // Every second piece stands between backticks.
    let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some(Row { key: key.trim().to_owned(), words: words.trim().to_owned(), tests })
}

/// What is wrong with `rows`, a sentence each: a key of `wanted` without a row, a key that comes twice or that
/// nobody wants, a row without words or tests, a name that is no test that runs.
///
/// # Panics
/// When a test's source cannot be parsed.
pub fn faults<'a>(rows: &[Row], wanted: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted: Vec<&str> = wanted.into_iter().collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        if !wanted.contains(&row.key.as_str()) {
            faults.push(format!("{}: nobody asks for this row", row.key));
        }
        if !seen.insert(row.key.as_str()) {
            faults.push(format!("{}: a second row", row.key));
        }
        if row.words.is_empty() {
            faults.push(format!("{}: no words", row.key));
        }
        if row.tests.is_empty() {
            faults.push(format!("{}: no test", row.key));
        }
    }
    faults.extend(wanted.iter().filter(|key| !seen.contains(**key)).map(|key| format!("{key}: no row")));
    let mut files = HashMap::new();
    for row in rows {
        let wrong = row.tests.iter().filter_map(|test| wrong(test, &mut files));
        faults.extend(wrong.map(|wrong| format!("{}: {wrong}", row.key)));
    }
    faults
}

/// What is wrong with a test's name, if anything is.
fn wrong(test: &str, files: &mut HashMap<PathBuf, Option<Tests>>) -> Option<String> {
    let Some((file, name)) = test.rsplit_once("::") else {
        return Some(format!("`{test}` is not `file::name`"));
    };
    let path = path(file);
    let known = files.entry(path.clone()).or_insert_with(|| path.is_file().then(|| Tests::of(&path)));
    let Some(tests) = known else { return Some(format!("`{test}`: there is no file {file}")) };
    tests.wrong(name).map(|wrong| format!("`{test}` {wrong}"))
}

fn path(file: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    match file.contains('/') {
        true => tests.join("..").join(file),
        false => tests.join("tests").join(file).with_extension("rs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(line: &str) -> Vec<String> {
        faults(&rows(line), ["1"])
    }

    #[test]
    fn the_head_and_lines_between_are_no_rows() {
        let page =
            "# A map\n\n| # | claim | tests |\n|---|---|---|\n| A1 | a \\| b | `x::y`, `z::w` |\n\nSo.";
        let row =
            Row { key: "A1".into(), words: "a \\| b".into(), tests: vec!["x::y".into(), "z::w".into()] };
        assert_eq!(rows(page), [row]);
    }

    #[test]
    fn a_row_has_words_and_tests_and_comes_once() {
        assert_eq!(only("| 1 |  |  |"), ["1: no words", "1: no test"]);
        assert_eq!(only("| 1 | so | |\n| 1 | so | |"), ["1: no test", "1: a second row", "1: no test"]);
        assert_eq!(only("| 2 | so | |"), ["2: nobody asks for this row", "2: no test", "1: no row"]);
    }

    #[test]
    fn a_name_is_a_test_that_runs() {
        let named = |test: &str| only(&format!("| 1 | so | `{test}` |"));
        let here = "tests/src/map.rs";
        assert_eq!(named(&format!("{here}::a_name_is_a_test_that_runs")), [""; 0]);
        assert_eq!(named("smoke::local_calls_need_no_connection"), [""; 0]);
        // In a module of its own, and in proptest's macro.
        assert_eq!(named("hostile_peers::the_root_cannot_be_released"), [""; 0]);
        assert_eq!(named("smoke"), ["1: `smoke` is not `file::name`"]);
        assert_eq!(named("smoked::x"), ["1: `smoked::x`: there is no file smoked"]);
        assert_eq!(
            named(&format!("{here}::only")),
            [format!("1: `{here}::only` is a function, but no test")]
        );
        assert_eq!(named("smoke::nothing"), ["1: `smoke::nothing` does not exist"]);
    }
}
