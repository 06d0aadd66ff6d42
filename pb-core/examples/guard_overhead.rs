//! What the guard of bodies costs, against bare bincode: `cargo run --release -p pb-core --example guard_overhead`.
//!
//! Each figure is the best of nine runs, in nanoseconds for one value. The bare column appends to a buffer as the
//! guarded one does, and reads through bincode's borrowed decoder.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bincode::config::standard;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use pb_core::wire::body::{self, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    street: String,
    city: String,
    items: Vec<String>,
    note: Option<String>,
    cents: u64,
}

struct Tail<'a>(&'a mut Vec<u8>);

impl Writer for Tail<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn main() {
    println!("{:<26} {:>7} {:>22} {:>22}", "value", "bytes", "encode, bare guarded", "decode, bare guarded");
    row("(i64, i64)", (12i64, -70_000i64), 200_000);
    row("struct with 5 strings", order(), 50_000);
    row("Vec<u32>, 10,000", (0..10_000u32).collect::<Vec<_>>(), 100);
    row("Vec<u8>, 65,536", vec![7u8; 65_536], 20);
    row("Bytes, 65,536", Bytes::from(vec![7u8; 65_536]), 500);
}

fn order() -> Order {
    Order {
        customer: "Ada Lovelace".into(),
        street: "12 St James's Square".into(),
        city: "London".into(),
        items: vec!["punched cards".into(), "engine oil".into()],
        note: Some("by hand, please".into()),
        cents: 123_456,
    }
}

fn row<T: Serialize + DeserializeOwned>(name: &str, value: T, rounds: u32) {
    let mut bytes = Vec::new();
    body::encode(&value, &mut bytes).expect("the value is encodable");
    let mut buffer = Vec::with_capacity(bytes.len());
    let bare_encode = best(rounds, || {
        buffer.clear();
        bincode::serde::encode_into_writer(black_box(&value), Tail(&mut buffer), standard()).is_ok()
    });
    let encode = best(rounds, || {
        buffer.clear();
        body::encode(black_box(&value), &mut buffer).is_ok()
    });
    let bare_decode = best(rounds, || {
        bincode::serde::borrow_decode_from_slice::<T, _>(black_box(&bytes), standard()).is_ok()
    });
    let decode = best(rounds, || {
        let mut rest = black_box(bytes.as_slice());
        body::decode::<T>(&mut rest).is_ok()
    });
    println!(
        "{name:<26} {:>7} {bare_encode:>11.1} {encode:>10.1} {bare_decode:>11.1} {decode:>10.1}",
        bytes.len()
    );
}

fn best(rounds: u32, mut once: impl FnMut() -> bool) -> f64 {
    let run = |once: &mut dyn FnMut() -> bool| -> Duration {
        let begun = Instant::now();
        for _ in 0..rounds {
            assert!(black_box(once()), "the codec failed");
        }
        begun.elapsed()
    };
    let quickest = (0..9).map(|_| run(&mut once)).min().unwrap_or_default();
    quickest.as_secs_f64() * 1e9 / f64::from(rounds)
}
