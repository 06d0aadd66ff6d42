//! Bodies: what goes in comes out, the bytes are the specified ones, and what a hostile peer sends costs nothing.
//! `docs/protocol.md`, section 5.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::thread;

use pb_core::wire::body::{self, BodyError, Bytes, MAX_DEPTH, SPARE_ELEMENTS, SelfDescribing};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    body::encode(value, &mut out).expect("the value is encodable");
    out
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let mut rest = bytes;
    let value = body::decode(&mut rest)?;
    body::finish(rest)?;
    Ok(value)
}

/// Encoding fails, and what was in the buffer before is in it after.
fn refused<T: Serialize>(value: &T) -> BodyError {
    let mut out = b"before".to_vec();
    let error = body::encode(value, &mut out).expect_err("the value is refused");
    assert_eq!(out, b"before");
    error
}

/// Runs on a stack as small as tokio's, whatever the build.
fn on_two_mebibytes(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread starts");
    thread.join().expect("the stack is enough");
}

/// The length 2^36 in nine bytes.
fn huge_length() -> Vec<u8> {
    let mut bytes = vec![253];
    bytes.extend((1u64 << 36).to_le_bytes());
    bytes
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
enum Deep {
    Leaf(u8),
    One(Box<Deep>),
    Pair(u8, Box<Deep>),
    Named { deep: Box<Deep> },
    List(Vec<Deep>),
    Maybe(Option<Box<Deep>>),
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
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

fn rich() -> Rich {
    Rich {
        id: u128::MAX,
        name: "Zoë".into(),
        tags: [("a".into(), Some('ß')), ("b".into(), None)].into(),
        points: vec![(1.5, -0.0), (f32::INFINITY, f64::MIN_POSITIVE)],
        deep: Deep::List(vec![Deep::Pair(1, Box::new(Deep::Leaf(2))), Deep::Maybe(None)]),
        blob: Bytes::from_static(b"\0\xff"),
        unit: (),
        small: [-1, 0, 300],
    }
}

// ---- what is specified -----------------------------------------------------------------------------------------

#[test]
fn the_bytes_are_those_of_the_protocol_page() {
    let cases: Vec<(Vec<u8>, &[u8])> = vec![
        (encoded(&250u64), &[250]),
        (encoded(&251u64), &[251, 251, 0]),
        (encoded(&65_536u32), &[252, 0, 0, 1, 0]),
        (encoded(&(1u64 << 32)), &[253, 0, 0, 0, 0, 1, 0, 0, 0]),
        (encoded(&(1u128 << 64)), &[254, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        (encoded(&-1i16), &[1]),
        (encoded(&126i32), &[251, 252, 0]),
        (encoded(&(255u8, -1i8)), &[255, 255]),
        (encoded(&true), &[1]),
        (encoded(&1.0f32), &[0, 0, 128, 63]),
        (encoded(&'ß'), &[0xc3, 0x9f]),
        (encoded("ab"), &[2, b'a', b'b']),
        (encoded(&Bytes::from_static(b"ab")), &[2, b'a', b'b']),
        (encoded(&vec![1u16, 2]), &[2, 1, 2]),
        (encoded(&BTreeMap::from([(1u8, 2u8)])), &[1, 1, 2]),
        (encoded(&(None::<u8>, Some(7u8))), &[0, 1, 7]),
        (encoded(&[7u8; 3]), &[7, 7, 7]),
        (encoded(&Deep::Pair(9, Box::new(Deep::Leaf(8)))), &[2, 9, 0, 8]),
        (encoded(&()), &[]),
    ];
    for (number, (found, expected)) in cases.iter().enumerate() {
        assert_eq!(found, expected, "case {number}");
    }
}

#[test]
fn a_reference_is_the_number_of_its_capability() {
    #[derive(Serialize)]
    #[serde(rename = "pb::Ref<Bank>")]
    struct BankRef(u32);
    assert_eq!(encoded(&(BankRef(3), 4u8)), [3, 4]);
}

#[test]
fn values_come_back_and_several_stand_behind_each_other() {
    let mut bytes = encoded(&rich());
    body::encode(&(12i64, -5i64), &mut bytes).expect("numbers are encodable");
    let mut rest = bytes.as_slice();
    assert_eq!(body::decode(&mut rest), Ok(rich()));
    assert_eq!(body::decode(&mut rest), Ok((12i64, -5i64)));
    assert_eq!(body::finish(rest), Ok(()));
}

#[test]
fn not_a_number_keeps_its_bits() {
    let odd = f64::from_bits(0x7ff8_0000_0000_1234);
    assert_eq!(decoded::<f64>(&encoded(&odd)).map(f64::to_bits), Ok(odd.to_bits()));
    assert_eq!(decoded::<f64>(&encoded(&-0.0f64)).map(f64::to_bits), Ok((-0.0f64).to_bits()));
}

#[test]
fn bytes_left_over_are_an_error_with_their_number() {
    assert_eq!(decoded::<u8>(&[1, 2, 3]), Err(BodyError::LeftOver { bytes: 2 }));
}

#[test]
fn a_failed_decode_leaves_the_input_where_it_was() {
    let mut rest: &[u8] = &[5, 1];
    assert!(body::decode::<Vec<u16>>(&mut rest).is_err());
    assert_eq!(rest, [5, 1]);
}

#[test]
fn a_body_cut_at_any_byte_is_an_error() {
    let bytes = encoded(&rich());
    for end in 0..bytes.len() {
        assert!(decoded::<Rich>(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn numbers_texts_and_maps_come_back(
        numbers in any::<(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128)>(),
        texts in any::<(String, char, Option<bool>, Vec<(String, u32)>)>(),
        map in any::<BTreeMap<String, Vec<i64>>>(),
    ) {
        let value = (numbers, texts, map);
        prop_assert_eq!(decoded(&encoded(&value)), Ok(value));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
        let _ = decoded::<Rich>(&bytes);
        let _ = decoded::<Deep>(&bytes);
        let _ = decoded::<HashMap<Vec<String>, (char, Option<Bytes>)>>(&bytes);
        let _ = decoded::<Vec<Result<std::net::IpAddr, std::time::Duration>>>(&bytes);
    }
}

// ---- depth -------------------------------------------------------------------------------------------------------

/// So many enums within each other, the innermost a leaf.
fn enums(count: u32) -> Deep {
    (1..count).fold(Deep::Leaf(7), |inner, _| Deep::One(Box::new(inner)))
}

#[test]
fn sixty_four_containers_pass_and_one_more_does_not() {
    on_two_mebibytes(|| {
        let bytes = encoded(&enums(MAX_DEPTH));
        assert_eq!(decoded(&bytes), Ok(enums(MAX_DEPTH)));
        assert_eq!(refused(&enums(MAX_DEPTH + 1)), BodyError::TooDeep);
        let one_more = [&[1], bytes.as_slice()].concat();
        assert_eq!(decoded::<Deep>(&one_more), Err(BodyError::TooDeep));
    });
}

#[test]
fn every_kind_of_container_counts_on_both_sides() {
    on_two_mebibytes(|| {
        // 62 enums, then the container tried with a leaf in it: 64. One enum more is too deep.
        let innermost = [
            Deep::Pair(1, Box::new(Deep::One(Box::new(Deep::Leaf(1))))),
            Deep::Named { deep: Box::new(Deep::One(Box::new(Deep::Leaf(1)))) },
            Deep::List(vec![Deep::Leaf(1)]),
            Deep::Maybe(Some(Box::new(Deep::Leaf(1)))),
        ];
        for inner in innermost {
            let around = |count| (0..count).fold(inner.clone(), |inner, _| Deep::One(Box::new(inner)));
            let (fits, too_deep) = (around(MAX_DEPTH - 3), around(MAX_DEPTH - 2));
            let bytes = encoded(&fits);
            assert_eq!(decoded(&bytes), Ok(fits));
            assert_eq!(refused(&too_deep), BodyError::TooDeep);
            assert_eq!(decoded::<Deep>(&[&[1], bytes.as_slice()].concat()), Err(BodyError::TooDeep));
        }
    });
}

#[test]
fn empty_containers_count_like_full_ones() {
    on_two_mebibytes(|| {
        for empty in [Deep::List(vec![]), Deep::Maybe(None)] {
            let around = |count| (0..count).fold(empty.clone(), |inner, _| Deep::One(Box::new(inner)));
            let bytes = encoded(&around(MAX_DEPTH - 2));
            assert_eq!(decoded(&bytes), Ok(around(MAX_DEPTH - 2)));
            assert_eq!(refused(&around(MAX_DEPTH - 1)), BodyError::TooDeep);
            assert_eq!(decoded::<Deep>(&[&[1], bytes.as_slice()].concat()), Err(BodyError::TooDeep));
        }
    });
}

#[test]
fn newtypes_and_structs_count() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Wrapped(Option<Box<Wrapped>>);
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Node {
        next: Option<Box<Node>>,
    }
    on_two_mebibytes(|| {
        let wrapped = |count: u32| (1..count).fold(Wrapped(None), |inner, _| Wrapped(Some(Box::new(inner))));
        let nodes = |count: u32| {
            (1..count).fold(Node { next: None }, |inner, _| Node { next: Some(Box::new(inner)) })
        };
        let bytes = encoded(&wrapped(MAX_DEPTH / 2));
        assert_eq!(decoded(&bytes), Ok(wrapped(MAX_DEPTH / 2)));
        assert_eq!(refused(&wrapped(MAX_DEPTH / 2 + 1)), BodyError::TooDeep);
        assert_eq!(decoded(&bytes), Ok(nodes(MAX_DEPTH / 2)));
        assert_eq!(refused(&nodes(MAX_DEPTH / 2 + 1)), BodyError::TooDeep);
        let one_more = [&[1], bytes.as_slice()].concat();
        assert_eq!(decoded::<Wrapped>(&one_more), Err(BodyError::TooDeep));
        assert_eq!(decoded::<Node>(&one_more), Err(BodyError::TooDeep));
    });
}

#[test]
fn a_million_levels_are_refused_on_a_small_stack() {
    on_two_mebibytes(|| {
        for levels in [65, 10_000, 1_000_000] {
            for level in [&[1][..], &[2, 9], &[3], &[4, 1], &[5, 1]] {
                assert_eq!(
                    decoded::<Deep>(&level.repeat(levels)),
                    Err(BodyError::TooDeep),
                    "{levels} levels"
                );
            }
        }
    });
}

#[test]
fn a_value_of_ten_thousand_levels_is_refused_before_it_is_sent() {
    // Its own drop needs more stack than its encoding, so it is leaked on a thread of its own.
    on_two_mebibytes(|| {
        let value = std::mem::ManuallyDrop::new(enums(10_000));
        assert_eq!(refused(&*value), BodyError::TooDeep);
    });
}

// ---- lengths that lie --------------------------------------------------------------------------------------------

fn claims<T: DeserializeOwned + Debug>() -> BodyError {
    decoded::<T>(&huge_length()).expect_err("the claim is refused")
}

#[test]
fn nine_bytes_that_claim_two_to_the_36_are_refused() {
    let ended = BodyError::Ended { missing: 1 << 36 };
    assert_eq!(claims::<String>(), ended);
    assert_eq!(claims::<Box<str>>(), ended);
    assert_eq!(claims::<std::path::PathBuf>(), ended);
    assert_eq!(claims::<Bytes>(), ended);
    assert_eq!(claims::<serde_bytes::ByteBuf>(), ended);
    let too_long = BodyError::TooLong { claimed: 1 << 36, room: 9 + SPARE_ELEMENTS };
    assert_eq!(claims::<Vec<()>>(), too_long);
    assert_eq!(claims::<Vec<u64>>(), too_long);
    assert_eq!(claims::<Vec<u8>>(), too_long);
    assert_eq!(claims::<Vec<[u128; 32]>>(), too_long);
    assert_eq!(claims::<HashMap<(), ()>>(), too_long);
    assert_eq!(claims::<HashMap<u64, String>>(), too_long);
    assert_eq!(claims::<BTreeMap<(), u8>>(), too_long);
    assert_eq!(claims::<HashSet<u8>>(), too_long);
    assert_eq!(claims::<std::collections::LinkedList<()>>(), too_long);
}

#[test]
fn elements_without_bytes_are_charged_over_the_whole_body() {
    let bytes = encoded(&vec![(); 1024]);
    assert_eq!(decoded::<Vec<()>>(&bytes), Ok(vec![(); 1024]));
    // Three honest claims of 1,000 make one dishonest body.
    let bytes = encoded(&vec![vec![(); 1000]; 3]);
    let room = bytes.len() as u64 + SPARE_ELEMENTS - 3 - 1000;
    assert_eq!(decoded::<Vec<Vec<()>>>(&bytes), Err(BodyError::TooLong { claimed: 1000, room }));
}

#[test]
fn each_argument_has_a_budget_of_its_own() {
    let bytes = encoded(&(vec![(); 1024], vec![(); 1024]));
    let mut rest = &bytes[..];
    assert_eq!(body::decode(&mut rest), Ok(vec![(); 1024]));
    assert_eq!(body::decode(&mut rest), Ok(vec![(); 1024]));
    body::finish(rest).expect("nothing is left");
    assert!(matches!(decoded::<(Vec<()>, Vec<()>)>(&bytes), Err(BodyError::TooLong { claimed: 1024, .. })));
}

#[test]
fn every_honest_vector_passes_the_budget() {
    let value: Vec<Vec<u8>> = (0..300).map(|len| vec![1; len]).collect();
    assert_eq!(decoded(&encoded(&value)), Ok(value));
}

#[test]
fn a_refusal_cannot_be_swallowed() {
    #[derive(Debug)]
    struct Careless;
    impl<'de> Deserialize<'de> for Careless {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let _ = Vec::<()>::deserialize(deserializer);
            Ok(Careless)
        }
    }
    assert!(matches!(decoded::<Careless>(&huge_length()), Err(BodyError::TooLong { .. })));
}

#[test]
fn a_number_is_written_in_its_shortest_form_and_read_in_any() {
    for (number, forms) in [
        (7u64, [&[7][..], &[251, 7, 0], &[252, 7, 0, 0, 0], &[253, 7, 0, 0, 0, 0, 0, 0, 0]]),
        (251, [&[251, 251, 0][..], &[251, 251, 0], &[252, 251, 0, 0, 0], &[253, 251, 0, 0, 0, 0, 0, 0, 0]]),
    ] {
        assert_eq!(encoded(&number), forms[0]);
        for form in forms {
            assert_eq!(decoded::<u64>(form), Ok(number), "{form:?}");
        }
    }
    assert_eq!(decoded::<String>(&[252, 1, 0, 0, 0, b'a']), Ok("a".to_owned()), "lengths too");
}

// ---- values that are none ----------------------------------------------------------------------------------------

#[test]
fn bytes_that_are_no_value_are_named() {
    assert_eq!(decoded::<bool>(&[2]), Err(BodyError::NotOneOf { expected: "a bool, 0 or 1", found: 2 }));
    let mark = BodyError::NotOneOf { expected: "the mark of an Option, 0 or 1", found: 2 };
    assert_eq!(decoded::<Option<u8>>(&[2, 1]), Err(mark));
    assert_eq!(decoded::<String>(&[3, b'a', 0xff, b'b']), Err(BodyError::NotUtf8 { valid_bytes: 1 }));
    assert_eq!(decoded::<char>(&[0xed, 0xa0, 0x80]), Err(BodyError::NotAChar), "a surrogate");
    assert_eq!(decoded::<u16>(&[252, 0, 0, 1, 0]), Err(BodyError::TooWide { expected: "u16" }));
    for tag in [254, 253] {
        let expected = if tag == 254 { ["u32 or u64", "i32 or i64"] } else { ["u32", "i32"] };
        assert_eq!(decoded::<u32>(&[tag; 17]), Err(BodyError::TooWide { expected: expected[0] }));
        assert_eq!(decoded::<i32>(&[tag; 17]), Err(BodyError::TooWide { expected: expected[1] }));
    }
    // Where the body ends soon, the codec looks at each byte on its own; it must not matter.
    for bytes in [&[254; 17][..], &[254]] {
        let named = |error: BodyError| error.to_string();
        let (unsigned, signed) = (decoded::<u64>(bytes).map_err(named), decoded::<i64>(bytes).map_err(named));
        assert!(unsigned.is_err_and(|text| text.contains("u64")), "{bytes:?}");
        assert!(signed.is_err_and(|text| text.contains("i64")), "{bytes:?}");
    }
    for bytes in [&[255; 17][..], &[255]] {
        let no_number = BodyError::NotOneOf { expected: "the first byte of a number, 0 to 254", found: 255 };
        assert_eq!(decoded::<u16>(bytes), Err(no_number.clone()));
        assert_eq!(decoded::<u64>(bytes), Err(no_number.clone()));
        assert_eq!(decoded::<i64>(bytes), Err(no_number.clone()));
        assert_eq!(decoded::<i128>(bytes), Err(no_number));
    }
    assert_eq!(decoded::<u64>(&[253, 1]), Err(BodyError::Ended { missing: 7 }));
    let variant = decoded::<Deep>(&[9]).expect_err("there are six variants");
    assert_eq!(variant.to_string(), "invalid value: integer `9`, expected variant index 0 <= i < 6");
    let zero = decoded::<std::num::NonZeroU8>(&[0]).expect_err("zero is refused");
    assert_eq!(zero.to_string(), "invalid value: integer `0`, expected a nonzero u8");
}

#[test]
fn of_two_entries_with_one_key_the_later_stays() {
    let twice = encoded(&vec![(7u8, 1u8), (7, 2)]);
    assert_eq!(decoded(&twice), Ok(BTreeMap::from([(7u8, 2u8)])));
    assert_eq!(decoded(&twice), Ok(HashMap::from([(7u8, 2u8)])));
}

// ---- what serde can say and a body cannot ------------------------------------------------------------------------

#[derive(Serialize, Deserialize, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "kind")]
enum Tagged {
    Point { x: u8 },
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "kind", content = "content")]
enum Adjacent {
    Number(u8),
}

#[derive(Serialize, Deserialize, Debug)]
struct Outer {
    id: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize, Debug)]
struct Inner {
    x: u8,
}

#[test]
fn types_that_ask_the_body_what_it_is_are_refused_with_the_attribute_to_blame() {
    let asked = |bytes: &[u8], refused: fn(&[u8]) -> BodyError| match refused(bytes) {
        error @ BodyError::SelfDescribing { asked, .. } => (asked, error.to_string()),
        other => panic!("another error: {other}"),
    };
    let (what, text) = asked(&[1], |bytes| decoded::<Untagged>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::Any);
    assert!(text.contains("Untagged") && text.contains("#[serde(untagged)]"), "{text}");
    let point = encoded(&Tagged::Point { x: 1 });
    let (what, text) = asked(&point, |bytes| decoded::<Tagged>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::Any);
    assert!(text.contains("#[serde(tag ="), "{text}");
    let adjacent = encoded(&Adjacent::Number(1));
    let (what, text) = asked(&adjacent, |bytes| decoded::<Adjacent>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::FieldName);
    assert!(text.contains("content ="), "{text}");
    let (what, text) = asked(&[1, 1, b'x'], |bytes| decoded::<Outer>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::FieldName);
    assert!(text.contains("#[serde(flatten)]"), "{text}");
    let (what, _) = asked(&[1], |bytes| decoded::<serde_json::Value>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::Any);
    let (what, _) = asked(&[1], |bytes| decoded::<serde::de::IgnoredAny>(bytes).expect_err("refused"));
    assert_eq!(what, SelfDescribing::Skip);
}

#[test]
fn flattened_structs_are_refused_before_they_are_sent() {
    let error = refused(&Outer { id: 1, inner: Inner { x: 2 } });
    assert_eq!(error, BodyError::LengthUnknown { what: "map" });
    assert!(error.to_string().contains("#[serde(flatten)]"), "{error}");
}

#[test]
fn a_sequence_that_does_not_know_its_length_is_refused() {
    struct Evens;
    impl Serialize for Evens {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&2u8)?;
            seq.end()
        }
    }
    assert_eq!(refused(&Evens), BodyError::LengthUnknown { what: "sequence" });
}

#[test]
fn a_field_left_out_is_refused_with_its_name() {
    #[derive(Serialize)]
    struct Order {
        id: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }
    #[derive(Serialize)]
    enum Event {
        Paid {
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<String>,
        },
    }
    assert_eq!(
        refused(&Order { id: 1, note: None }),
        BodyError::FieldLeftOut { type_name: "Order", field: "note" }
    );
    assert!(matches!(refused(&Event::Paid { by: None }), BodyError::FieldLeftOut { field: "by", .. }));
    let there = encoded(&Order { id: 1, note: Some("x".into()) });
    assert_eq!(there, [1, 1, 1, b'x'], "a field that is there is sent");
}

#[test]
fn a_type_that_refuses_itself_says_so_in_its_own_words() {
    struct Unwilling;
    impl Serialize for Unwilling {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    #[derive(Debug)]
    struct Even;
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let odd = u8::deserialize(deserializer)? % 2 == 1;
            if odd { Err(D::Error::custom("an odd number")) } else { Ok(Even) }
        }
    }
    assert_eq!(refused(&(1u8, Unwilling)), BodyError::Value { message: "not today".into() });
    let odd = decoded::<Even>(&[3]).expect_err("three is odd");
    assert_eq!(odd, BodyError::Value { message: "an odd number".into() });
}

#[test]
fn types_learn_that_a_body_is_for_machines() {
    let address: std::net::IpAddr = [127, 0, 0, 1].into();
    assert_eq!(encoded(&address), [0, 127, 0, 0, 1]);
}
