//! Hands what libFuzzer makes up to the targets in `pb_tests::fuzz`.

/// Says how many bytes `work` held at once at the most.
pub fn measured(work: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(work).bytes_max
}
