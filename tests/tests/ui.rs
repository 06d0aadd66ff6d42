//! What the macros accept, and what they say about the rest: a file a rule, an error a file.

use std::fs;

#[test]
fn each_mistake_is_reported_at_the_right_token() {
    trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
}

#[test]
fn no_mistake_is_drowned_by_a_second_error() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/fail")).expect("the folder is there");
    let outputs = files.map(|file| file.expect("it can be read").path());
    for output in outputs.filter(|path| path.extension().is_some_and(|extension| extension == "stderr")) {
        let text = fs::read_to_string(&output).expect("it can be read");
        let errors = text.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, 1, "{}", output.display());
    }
}

#[test]
fn hygiene_and_pass_through_hold() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}
