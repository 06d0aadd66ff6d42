//! Every target of the fuzzer on every seed, on whatever it once found, and on damaged forms of the seeds: without the fuzzer.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use pb_tests::fuzz::{TARGETS, Target, seeds};
use pb_tests::hostile::{Dice, damaged};

/// Damaged forms of each seed.
const FORMS: usize = 20;

fn measured(work: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(work).bytes_max
}

thread_local! {
    /// Panics, also those that a task or a net of the broker's swallowed: all tasks run on the thread of their test.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

/// What `fuzz/seeds` holds of a target, and what would be made now.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs = seeds::of(target);
    assert!(inputs.len() >= 16, "{} seeds of {target}", inputs.len());
    for file in fs::read_dir(folder(target)).expect("the seeds are in the repository") {
        let path = file.expect("a folder can be read").path();
        inputs.push((path.display().to_string(), fs::read(&path).expect("a seed can be read")));
    }
    inputs
}

/// A damaged frame's content.
fn without_length(frame: Vec<u8>) -> Vec<u8> {
    let length = frame.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    frame[length..].to_vec()
}

fn replay((name, run): Target) {
    count_panics();
    let mut dice = Dice::new(0x5eed_f022);
    for (seed, input) in inputs(name) {
        let forms = damaged(&input, FORMS, &mut dice).into_iter().map(without_length);
        for input in std::iter::once(input.clone()).chain(forms) {
            run(&input, measured);
            assert_eq!(PANICS.get(), 0, "something panicked on {seed}: {input:?}");
        }
    }
}

#[test]
fn frames_are_decoded_or_refused() {
    replay(TARGETS[0]);
}

#[test]
fn bodies_cost_what_they_are_worth() {
    replay(TARGETS[1]);
}

#[test]
fn sessions_leave_nothing_behind() {
    replay(TARGETS[2]);
}

#[test]
fn streams_end_with_empty_tables() {
    replay(TARGETS[3]);
}

#[test]
fn each_target_is_replayed_by_a_test_here() {
    assert_eq!(TARGETS.map(|(name, _)| name), ["frame", "body", "session", "stream"]);
}
