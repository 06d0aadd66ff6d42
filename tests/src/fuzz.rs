//! What the fuzzer feeds, without the fuzzer: each target is a function of bytes that panics when something is wrong. `fuzz/` hands them
//! to libFuzzer; `tests/fuzz_seeds.rs` runs them on what `fuzz/seeds` and `tests/golden` hold, so that a plain `cargo test` replays all
//! that was ever found.

pub mod body;
pub mod frame;
pub mod seeds;
pub mod session;
pub mod stream;

/// Runs a piece of work, and says how many bytes it held at once at the most. Only a counting allocator knows, and the binary chooses that.
pub type Measure = fn(work: &mut dyn FnMut()) -> u64;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(input: &[u8], measure: Measure));

/// All targets.
pub const TARGETS: [Target; 4] =
    [("frame", frame::run), ("body", body::run), ("session", session::run), ("stream", stream::run)];
