//! JSON in and out of bodies, by shape alone: the bytes are those that the types make.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use pb_core::wire::body::{self, Bytes};
use pb_core::wire::shape::{
    Content, Field, Misfit, Plain, Problem, Shape, Variant, arguments_to_body, body_to_json, json_to_body,
    trace,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Order {
    id: u64,
    customer: Customer,
    lines: Vec<Line>,
    due: Option<chrono::NaiveDate>,
    note: Option<String>,
    rates: BTreeMap<String, f64>,
    took: Duration,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Customer(String);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Line {
    cents: i32,
    size: (u8, char),
    state: State,
    history: [State; 2],
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum State {
    Open,
    Paid(i64),
    Moved(String, bool),
    Split { parts: Vec<State>, by: f32 },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Expr {
    Number(i64),
    Add(Box<Expr>, Box<Expr>),
    Call { name: String, arguments: Vec<Expr> },
    Nothing,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Numbers {
    ints: (i8, i16, i32, i64, u8, u16, u32, u64),
    by_number: BTreeMap<u8, (bool, ())>,
    by_state: BTreeMap<Kind, Option<Vec<i128>>>,
    unit: (),
    nested: Vec<Vec<Option<u8>>>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Small,
    Large,
}

/// The type and its shape make the same bytes of the same JSON, and the bytes make that JSON again.
fn agree<T: Serialize + DeserializeOwned + Debug>(value: Value) {
    let typed: T = serde_json::from_value(value.clone()).expect("the JSON is the type's");
    let mut expected = Vec::new();
    body::encode(&typed, &mut expected).expect("the value is encodable");
    let shape = trace::<T>();
    let mut found = Vec::new();
    json_to_body(&shape, &value, &mut found).expect("the JSON has the shape");
    assert_eq!(found, expected, "{shape}");
    let mut rest = found.as_slice();
    let back = body_to_json(&shape, &mut rest).expect("the body has the shape");
    assert_eq!(back, serde_json::to_value(&typed).expect("the type has JSON"));
    assert_eq!(body::finish(rest), Ok(()));
}

fn order() -> Value {
    json!({
        "id": u64::MAX,
        "customer": "Ada",
        "lines": [
            { "cents": -5, "size": [255, "ß"], "state": "Open", "history": [{ "Paid": -7 }, "Open"] },
            { "cents": 0, "size": [0, "x"], "state": { "Moved": ["there", true] }, "history": ["Open", { "Split": {
                "parts": [{ "Paid": 1 }, { "Split": { "parts": [], "by": 0.5 } }], "by": 2.0 } }] },
        ],
        "due": "2026-02-28",
        "note": null,
        "rates": { "a": 1.5, "b": -0.25 },
        "took": { "secs": 1, "nanos": 5 },
    })
}

#[test]
fn a_rich_struct_agrees_with_its_type() {
    agree::<Order>(order());
}

#[test]
fn a_recursive_enum_agrees_with_its_type() {
    agree::<Expr>(json!({ "Add": [{ "Number": 1 }, { "Call": { "name": "f", "arguments": [
        { "Add": [{ "Number": 2 }, "Nothing"] }, { "Call": { "name": "g", "arguments": [] } }] } }] }));
}

#[test]
fn numbers_maps_and_options_agree_with_their_type() {
    // One entry, because JSON sorts keys by their text and the type by its order of variants.
    agree::<Numbers>(json!({
        "ints": [-128, -32768, i32::MIN, i64::MIN, 255, 65535, u32::MAX, u64::MAX],
        "by_number": { "7": [true, null] },
        "by_state": { "Large": [5, -5] },
        "unit": null,
        "nested": [[null, 3], []],
    }));
}

#[test]
fn missing_options_are_none() {
    let mut value = order();
    value.as_object_mut().expect("an object").remove("note");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    json_to_body(&trace::<Order>(), &order(), &mut with).expect("the JSON has the shape");
    json_to_body(&trace::<Order>(), &value, &mut without).expect("the JSON has the shape");
    assert_eq!(with, without);
}

#[test]
fn bytes_are_hexadecimal_digits_and_so_are_uuids() {
    let shape = trace::<(Bytes, uuid::Uuid)>();
    let id = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let mut expected = Vec::new();
    body::encode(&(Bytes::from_static(b"\x00\xff"), id), &mut expected).expect("bytes are encodable");
    for bytes in [json!("00ff"), json!([0, 255])] {
        let mut found = Vec::new();
        json_to_body(&shape, &json!([bytes, id.to_string()]), &mut found).expect("the JSON has the shape");
        assert_eq!(found, expected);
    }
    let back = body_to_json(&shape, &mut expected.as_slice()).expect("the body has the shape");
    assert_eq!(back, json!(["00ff", id.simple().to_string()]));
}

#[test]
fn large_and_odd_numbers_are_texts() {
    let value = (u128::MAX, i128::MIN, f64::NAN, f32::NEG_INFINITY);
    let mut bytes = Vec::new();
    body::encode(&value, &mut bytes).expect("numbers are encodable");
    let shape = trace::<(u128, i128, f64, f32)>();
    let json = body_to_json(&shape, &mut bytes.as_slice()).expect("the body has the shape");
    assert_eq!(json, json!([u128::MAX.to_string(), i128::MIN.to_string(), "NaN", "-inf"]));
    let mut back = Vec::new();
    json_to_body(&shape, &json, &mut back).expect("the JSON has the shape");
    assert_eq!(back, bytes);
}

#[test]
fn maps_whose_keys_are_no_names_are_pairs() {
    let map = BTreeMap::from([((1u8, 2u8), "x".to_string())]);
    let mut bytes = Vec::new();
    body::encode(&map, &mut bytes).expect("the map is encodable");
    let shape = trace::<BTreeMap<(u8, u8), String>>();
    let json = body_to_json(&shape, &mut bytes.as_slice()).expect("the body has the shape");
    assert_eq!(json, json!([[[1, 2], "x"]]));
    let mut back = Vec::new();
    json_to_body(&shape, &json, &mut back).expect("the JSON has the shape");
    assert_eq!(back, bytes);
}

#[test]
fn references_are_indexes_of_capabilities() {
    let shape = Shape::Tuple(vec![Shape::Reference("Bank".into()), Shape::Plain(Plain::U8)]);
    let mut bytes = Vec::new();
    json_to_body(&shape, &json!(["@300", 1]), &mut bytes).expect("the JSON has the shape");
    assert_eq!(bytes, [251, 44, 1, 1]);
    assert_eq!(body_to_json(&shape, &mut bytes.as_slice()), Ok(json!(["@300", 1])));
}

#[test]
fn arguments_stand_behind_each_other() {
    let shapes = [trace::<String>(), trace::<Option<u8>>()];
    let mut bytes = Vec::new();
    arguments_to_body(&shapes, &[json!("a"), json!(5)], &mut bytes).expect("the JSON has the shapes");
    assert_eq!(bytes, [1, b'a', 1, 5]);
    let error = arguments_to_body(&shapes, &[json!("a")], &mut bytes).expect_err("one is missing");
    assert_eq!(error.to_string(), "arguments: expected 2, found 1");
}

// ---- what is wrong, and where ------------------------------------------------------------------------------------

/// The sentence about a change of the order above, as the only argument of a call.
fn wrong(pointer: &str, value: Value) -> String {
    let mut order = order();
    *order.pointer_mut(pointer).expect("the place is there") = value;
    sentence(&trace::<Order>(), order)
}

fn sentence(shape: &Shape, value: Value) -> String {
    let mut out = b"before".to_vec();
    let error =
        arguments_to_body(std::slice::from_ref(shape), &[value], &mut out).expect_err("the JSON is wrong");
    assert_eq!(out, b"before", "nothing is left of what failed");
    error.to_string()
}

#[test]
fn wrong_values_are_named_with_their_place_and_what_belongs_there() {
    let cases = [
        ("/id", json!("ten"), r#"arguments[0].id: expected an unsigned integer of 64 bits, found "ten""#),
        ("/id", json!(-1), "arguments[0].id: expected an unsigned integer of 64 bits, found -1"),
        ("/id", json!(1.5), "arguments[0].id: expected an unsigned integer of 64 bits, found 1.5"),
        ("/customer", json!([]), "arguments[0].customer: expected a text, found an array of 0"),
        ("/lines", json!({"a": 1}), "arguments[0].lines: expected an array, found an object with a"),
        (
            "/lines/0/cents",
            json!(1u64 << 31),
            "arguments[0].lines[0].cents: expected a signed integer of 32 bits, found 2147483648",
        ),
        (
            "/lines/1/size",
            json!([1]),
            "arguments[0].lines[1].size: expected an array of 2, found an array of 1",
        ),
        (
            "/lines/1/size/0",
            json!(256),
            "arguments[0].lines[1].size[0]: expected an unsigned integer of 8 bits, found 256",
        ),
        (
            "/lines/1/size/1",
            json!("xy"),
            r#"arguments[0].lines[1].size[1]: expected a text of one character, found "xy""#,
        ),
        (
            "/lines/0/state",
            json!("Close"),
            "arguments[0].lines[0].state: there is no `Close` here, but Open, Paid, Moved, Split",
        ),
        (
            "/lines/0/state",
            json!(3),
            "arguments[0].lines[0].state: expected a variant, as its name or an object of one entry, of Open, Paid, Moved, Split, found 3",
        ),
        ("/lines/0/state", json!({"Open": 1}), "arguments[0].lines[0].state.Open: expected null, found 1"),
        (
            "/lines/1/history/1/Split/parts/1/Split/by",
            json!(null),
            r#"arguments[0].lines[1].history[1].Split.parts[1].Split.by: expected a number, or "NaN", "inf", "-inf", found null"#,
        ),
        (
            "/lines/0/history",
            json!(["Open", {"Moved": ["x"]}]),
            "arguments[0].lines[0].history[1].Moved: expected an array of 2, found an array of 1",
        ),
        ("/note", json!(5), "arguments[0].note: expected a text, found 5"),
        (
            "/rates/a",
            json!(true),
            r#"arguments[0].rates["a"]: expected a number, or "NaN", "inf", "-inf", found true"#,
        ),
        (
            "/took",
            json!({"secs": 1}),
            "arguments[0].took: the field `nanos` is missing: expected an unsigned integer of 32 bits",
        ),
        (
            "/took",
            json!({"secs": 1, "nanos": 1, "days": 2}),
            "arguments[0].took: there is no `days` here, but secs, nanos",
        ),
        ("/took", json!(1), "arguments[0].took: expected an object with secs, nanos, found 1"),
    ];
    for (pointer, value, expected) in cases {
        assert_eq!(wrong(pointer, value), expected, "{pointer}");
    }
}

#[test]
fn a_single_value_has_no_path_at_its_root() {
    let error = json_to_body(&trace::<u8>(), &json!("x"), &mut Vec::new()).expect_err("a text is no number");
    assert_eq!(error.to_string(), r#"expected an unsigned integer of 8 bits, found "x""#);
    let error = json_to_body(&trace::<Order>(), &json!({}), &mut Vec::new()).expect_err("all is missing");
    assert_eq!(
        error.problem,
        Problem::Missing { field: "id".into(), expected: "an unsigned integer of 64 bits".into() }
    );
}

#[test]
fn long_texts_are_cut_in_errors() {
    let sentence = sentence(&trace::<u8>(), json!("ß".repeat(1_000_000)));
    assert!(sentence.len() < 300, "{} bytes", sentence.len());
}

#[test]
fn wrong_references_bytes_and_keys_are_named() {
    let shape = Shape::Reference("Bank".into());
    assert_eq!(
        sentence(&shape, json!("3")),
        r#"arguments[0]: expected a reference to a Bank, as "@0", found "3""#
    );
    let bytes = "bytes, as a text of hexadecimal digits or an array of numbers";
    assert_eq!(
        sentence(&trace::<Bytes>(), json!("0f0")),
        format!("arguments[0]: expected {bytes}, found \"0f0\"")
    );
    let key = sentence(&trace::<BTreeMap<u8, u8>>(), json!({ "300": 1 }));
    assert_eq!(key, r#"arguments[0]["300"]: expected an unsigned integer of 8 bits, found 300"#);
}

#[test]
fn what_is_not_known_is_said_to_be_so() {
    let sentence = sentence(&trace::<(Value, u8)>(), json!([1, 2]));
    assert_eq!(sentence, "arguments[0][0]: nothing is known about a `Value` here");
}

#[test]
fn json_deeper_than_bodies_go_is_refused() {
    let shape = trace::<Expr>();
    let deep = |levels| (0..levels).fold(json!("Nothing"), |inner, _| json!({ "Add": ["Nothing", inner] }));
    let mut out = Vec::new();
    json_to_body(&shape, &deep(63), &mut out).expect("64 enums are within each other");
    let error = json_to_body(&shape, &deep(64), &mut out).expect_err("65 enums are within each other");
    assert!(matches!(error, Misfit { problem: Problem::Body(body::BodyError::TooDeep), .. }), "{error}");
}

// ---- hostile shapes ----------------------------------------------------------------------------------------------

fn hostile(shape: &Shape, mut bytes: &[u8]) -> String {
    body_to_json(shape, &mut bytes).expect_err("the shape is hostile").to_string()
}

#[test]
fn a_shape_cannot_make_more_of_a_body_than_it_holds() {
    let unit = || Box::new(Shape::Plain(Plain::Unit));
    let repeats = "the shape repeats more than the body can hold";
    assert_eq!(hostile(&Shape::Array(unit(), u32::MAX), &[]), repeats);
    let squared = Shape::Array(Box::new(Shape::Array(unit(), 65_536)), 65_536);
    assert_eq!(hostile(&squared, &[]), repeats);
    // Each tuple holds itself twice: 2^64 of them, and no bytes.
    let doubling = Shape::Tuple(vec![Shape::Again(1), Shape::Again(1)]);
    let deep = "a value has more than 64 containers within each other";
    assert_eq!(hostile(&doubling, &[]), deep);
    let optional = Shape::Struct("S".into(), vec![Field { name: "a".into(), shape: Shape::Again(9) }]);
    assert_eq!(hostile(&optional, &[]), "the shape refers to a container that is not there");
    let error = json_to_body(&optional, &json!({"a": 1}), &mut Vec::new()).expect_err("the shape is hostile");
    assert_eq!(error.to_string(), "a: the shape refers to a container 9 further out, where there is none");
}

#[test]
fn bodies_that_have_not_the_shape_are_errors() {
    let variant = Variant { name: "One".into(), content: Content::Unit };
    let one = Shape::Enum("E".into(), vec![variant]);
    assert_eq!(hostile(&one, &[3]), "variant 3 of an enum that has 1");
    assert_eq!(hostile(&trace::<String>(), &[9]), "the body ends 9 bytes too early");
    assert_eq!(hostile(&trace::<Value>(), &[9]), "nothing is known about a `Value` here");
}
