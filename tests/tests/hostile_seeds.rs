//! Damaged frames again, from as many seeds as `PB_SEEDS` says: a few always, thousands in `.ci/long`.

use std::env;

use bytes::BytesMut;
use pb_core::wire::frame;
use pb_tests::golden;
use pb_tests::hostile::{Dice, damaged};

/// Seeds where `PB_SEEDS` says nothing.
const FEW: u64 = 4;
/// Damaged forms of each golden frame and seed.
const FORMS: usize = 120;
const LIMIT: u64 = 1 << 20;

#[test]
fn damaged_frames_from_many_seeds_end_with_a_message_or_a_reason() {
    let seeds = env::var("PB_SEEDS").map_or(FEW, |seeds| seeds.parse().expect("PB_SEEDS is a number"));
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for seed in 1..=seeds {
        // Neighbouring seeds would fall alike at first.
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for golden in golden::all() {
            let content = frame::split(&mut BytesMut::from(&golden.frame[..]), LIMIT);
            let content = content.expect("a golden frame has a good length").expect("and is whole");
            for hostile in damaged(&content, FORMS, &mut dice) {
                match frame::split(&mut BytesMut::from(&hostile[..]), LIMIT)
                    .map(|whole| whole.map(frame::decode))
                {
                    Ok(Some(Ok(_))) => accepted += 1,
                    Ok(None) => panic!("seed {seed}: {hostile:02x?} has a true length and was not whole"),
                    Ok(Some(Err(reason))) | Err(reason) => {
                        assert!(!reason.to_string().is_empty(), "seed {seed}: {hostile:02x?}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(accepted >= 100 * seeds && refused >= 100 * seeds, "{accepted} accepted, {refused} refused");
}
