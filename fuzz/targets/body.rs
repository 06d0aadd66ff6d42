#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pb_tests::fuzz::body::run(input, pb_fuzz::measured));
