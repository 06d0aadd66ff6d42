//! Bodies behind the guard, against types of all sorts: no panic, and no more memory than the guard's budget of elements is worth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use pb_core::message::{Failure, FailureKind, Ran};
use pb_core::objects::{Reference, decode_with, encode_with};
use pb_core::wire::body::{self, BodyError, SPARE_ELEMENTS};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Measure;
use super::stream::ThingRef;

/// The first byte says which type is expected and how many references came; the rest is the body.
pub fn run(input: &[u8], measure: Measure) {
    let Some((choice, body)) = input.split_first() else { return };
    let (kind, references) = (choice % 16, usize::from(choice / 16));
    let test = Test { body, references, measure };
    match kind {
        0 => test.decode::<Deep>(size_of::<Deep>()),
        1 => test.decode::<Rich>(LEAF),
        2 => test.decode::<Vec<Option<Option<u16>>>>(8),
        3 => test.decode::<Vec<()>>(0),
        4 => test.decode::<Vec<Vec<()>>>(size_of::<Vec<()>>()),
        5 => test.decode::<BTreeMap<String, BTreeMap<u8, Bytes>>>(LEAF),
        6 => test.decode::<Vec<String>>(size_of::<String>()),
        7 => test.decode::<(String, Bytes, char, f64, i128)>(8),
        8 => test.decode::<Vec<[Vec<u8>; 2]>>(2 * size_of::<Vec<u8>>()),
        9 => test.decode::<BTreeMap<(), ()>>(64),
        10 => test.decode_only::<HashMap<u64, Wide>>(2 * size_of::<(u64, Wide)>()),
        11 => test.decode::<Vec<ThingRef>>(size_of::<ThingRef>()),
        12 => test.decode::<Vec<(ThingRef, Option<ThingRef>, String)>>(64),
        13 => test.decode::<Vec<Wide>>(size_of::<Wide>()),
        14 => test.decode::<BTreeSet<Kind>>(LEAF),
        _ => test.decode::<Result<Vec<NonZeroU16>, Box<Deep>>>(size_of::<Deep>()),
    }
}

/// Containers of all sorts within each other.
#[derive(Serialize, Deserialize)]
enum Deep {
    Leaf(u8),
    Nothing,
    One(Box<Deep>),
    Pair(u8, Box<Deep>),
    Named { deep: Box<Deep>, more: Option<Box<Deep>> },
    List(Vec<Deep>),
    Map(BTreeMap<u8, Deep>),
    Newtype(Newtype),
}

#[derive(Serialize, Deserialize)]
struct Newtype(Box<Deep>);

#[derive(Serialize, Deserialize)]
struct Rich {
    id: u128,
    name: String,
    tags: BTreeMap<String, Option<char>>,
    points: Vec<(f32, f64)>,
    deep: Deep,
    blob: Bytes,
    unit: (),
    small: [i16; 3],
}

/// Costs much here and little there.
#[derive(Serialize, Deserialize)]
struct Wide {
    numbers: (u128, u128, u128, u64),
    none: [Option<u64>; 4],
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unit,
    Value(i64),
    Tuple(bool, char),
    Fields { a: String, b: Option<u8> },
}

struct Test<'a> {
    body: &'a [u8],
    references: usize,
    measure: Measure,
}

impl Test<'_> {
    /// What is decoded is encoded in one way, which is no longer than what came, and is decoded to the same again. A body
    /// that is shorter has a smaller budget, though: elements without bytes may be too many for it.
    fn decode<T: Serialize + DeserializeOwned>(&self, element_bytes: usize) {
        let Some((value, taken)) = self.decoded::<T>(element_bytes) else { return };
        let (again, references) = encoded(&value);
        assert!(again.len() <= taken, "{taken} bytes became {}", again.len());
        assert!(references.len() <= self.references);
        let mut rest = again.as_slice();
        let same = match decode_with(references, || body::decode::<T>(&mut rest)) {
            Ok(same) => same,
            Err(BodyError::TooLong { .. }) if again.len() < self.body.len() => return,
            Err(error) => panic!("what was encoded is not read: {error}"),
        };
        assert!(rest.is_empty(), "what was encoded is read as a whole");
        assert!(encoded(&same).0 == again, "two encodings of one value");
    }

    /// The same of types without an order of their own.
    fn decode_only<T: DeserializeOwned>(&self, element_bytes: usize) {
        self.decoded::<T>(element_bytes);
    }

    /// The value with the bytes that it took. `element_bytes` is what one element takes here, at the most.
    fn decoded<T: DeserializeOwned>(&self, element_bytes: usize) -> Option<(T, usize)> {
        let references: Vec<Reference> = (0..self.references).map(|_| broken()).collect();
        let mut references = Some(references);
        let (mut rest, mut outcome) = (self.body, None);
        let held = (self.measure)(&mut || {
            let references = references.take().expect("decoded once");
            outcome = Some(decode_with(references, || body::decode::<T>(&mut rest)));
        });
        // Every byte may be an element, and the guard spares some. A list that grows holds its old and its new room for a moment.
        let elements = self.body.len() as u64 + SPARE_ELEMENTS;
        let most = elements * 3 * element_bytes as u64 + 2 * self.body.len() as u64 + SPARE_BYTES;
        assert!(held <= most, "{} bytes became {held}, over {most}", self.body.len());
        match outcome.expect("the measured work has run") {
            Ok(value) => Some((value, self.body.len() - rest.len())),
            Err(error) => {
                assert_eq!(rest.len(), self.body.len(), "a refused body is as it was");
                assert!(!error.to_string().is_empty());
                None
            }
        }
    }
}

fn encoded<T: Serialize>(value: &T) -> (Vec<u8>, Vec<Reference>) {
    let mut out = Vec::new();
    let (result, references) = encode_with(|| body::encode(value, &mut out));
    result.expect("what was decoded can be sent");
    (out, references)
}

fn broken() -> Reference {
    Reference::broken(Arc::new(Failure::new(FailureKind::Broken, Ran::No, "made by the fuzzer")))
}

/// A map's leaf has room for eleven entries from the first on.
const LEAF: usize = 12 * 64;
/// An error and its texts.
const SPARE_BYTES: u64 = 4096;
