//! Values without types: they make the bytes that types make, and take what types take; and what hostile shapes and bytes do to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::thread;

use pb_core::wire::body::{self, BodyError, Bytes, SPARE_ELEMENTS};
use pb_core::wire::shape::{Content, Field, Opaque, Variant, Why, body_to_json, json_to_body, trace};
use pb_core::{AnyRef, Misfit, Plain, Problem, Shape, Value};
use pb_tests::live::{MyNode, NodeRef};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
struct Order {
    id: u64,
    customer: Customer,
    lines: Vec<Line>,
    note: Option<String>,
    rates: BTreeMap<String, f64>,
    blob: Bytes,
    raw: Vec<u8>,
    unit: (),
    wide: (u128, i128),
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
struct Customer(String);

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
struct Line {
    cents: i32,
    size: (u8, char),
    state: State,
    history: [State; 2],
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
enum State {
    Open,
    Paid(i64),
    Moved(String, bool),
    Split { parts: Vec<State>, by: f32 },
}

/// The value has the bytes of the type, and is got from them, and from the type.
fn agree<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(typed: &T) -> Value {
    let shape = trace::<T>();
    let mut expected = Vec::new();
    body::encode(typed, &mut expected).expect("it is encodable");
    let value = Value::of(typed).expect("it has a shape");
    let mut found = Vec::new();
    value.to_body(&shape, &mut found).expect("it has that shape");
    assert_eq!(found, expected, "{shape}: {value:?}");
    let mut rest = found.as_slice();
    assert_eq!(Value::from_body(&shape, &mut rest).as_ref(), Ok(&value));
    assert_eq!(body::finish(rest), Ok(()));
    assert_eq!(value.to::<T>().as_ref(), Ok(typed));
    value
}

fn order() -> Order {
    let states = [State::Open, State::Split { parts: vec![State::Paid(-7), State::Open], by: 0.5 }];
    let line =
        Line { cents: -5, size: (255, 'ß'), state: State::Moved("there".into(), true), history: states };
    Order {
        id: u64::MAX,
        customer: Customer("Ada".into()),
        lines: vec![line.clone(), line],
        note: None,
        rates: [("a".to_owned(), 1.5), ("b".to_owned(), -0.25)].into(),
        blob: Bytes::from_static(b"\x00\xff"),
        raw: vec![1, 2, 3],
        unit: (),
        wide: (u128::MAX, i128::MIN),
    }
}

#[test]
fn a_rich_struct_agrees_with_its_type() {
    let value = agree(&order());
    assert_eq!(value.field("id"), Some(&Value::Int(u64::MAX.into())));
    assert_eq!(value.field("raw"), Some(&Value::Bytes(vec![1, 2, 3])));
    assert_eq!(value.field("wide"), Some(&Value::Tuple(vec![u128::MAX.into(), i128::MIN.into()])));
    let Some(Value::List(lines)) = value.field("lines") else { panic!("{value:?}") };
    let moved = Value::variant("Moved", Value::Tuple(vec!["there".into(), true.into()]));
    assert_eq!(lines[0].field("state"), Some(&moved));
    assert_eq!(value.field("nothing"), None);
    assert_eq!(Value::Unit.field("id"), None);
}

#[test]
fn what_has_names_may_stand_in_any_order_and_options_may_be_missing() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Point {
        x: i8,
        y: Option<i8>,
        z: Option<Option<i8>>,
    }
    let short = Value::record([("x", 1.into())]);
    assert_eq!(short.to(), Ok(Point { x: 1, y: None, z: None }));
    let plain = Value::record([("z", 3.into()), ("y", 2.into()), ("x", 1.into())]);
    assert_eq!(plain.to(), Ok(Point { x: 1, y: Some(2), z: Some(Some(3)) }));
    let some_none = Value::Option(Some(Box::new(Value::Option(None))));
    let deep = Value::record([("x", 1.into()), ("z", some_none)]);
    assert_eq!(deep.to(), Ok(Point { x: 1, y: None, z: Some(None) }));
    assert_eq!(Value::List(vec![1.into(), 2.into()]).to::<(i8, i8)>(), Ok((1, 2)));
    assert_eq!(Value::Tuple(vec![1.into(), 2.into()]).to::<[i8; 2]>(), Ok([1, 2]));
    assert_eq!(Value::List(vec![1.into(), 2.into()]).to::<Vec<u8>>(), Ok(vec![1, 2]));
}

#[test]
fn what_does_not_fit_is_told_with_its_place_and_what_was_expected() {
    let mut lines = agree(&order());
    let Value::Record(fields) = &mut lines else { panic!("it is one") };
    let Value::List(list) = &mut fields[2].1 else { panic!("it is one") };
    let Value::Record(line) = &mut list[1] else { panic!("it is one") };
    line[3].1 = Value::Tuple(vec![
        Value::variant("Open", ()),
        Value::variant(
            "Split",
            Value::record([("parts", Value::List(vec![Value::variant("Paid", "x")])), ("by", 1.5.into())]),
        ),
    ]);
    let misfit = lines.to::<Order>().expect_err("a text for a number");
    let words = "lines[1].history[1].Split.parts[0].Paid: expected i64, found the text \"x\"";
    assert_eq!(misfit.to_string(), words);

    fn told<T: DeserializeOwned + 'static>(value: impl Into<Value>) -> String {
        let misfit: Misfit = value.into().to::<T>().map(drop).expect_err("it does not fit");
        misfit.to_string()
    }
    assert_eq!(told::<u8>(256), "expected u8, found 256");
    assert_eq!(told::<u64>(-1), "expected u64, found -1");
    assert_eq!(told::<i128>(u128::MAX), format!("expected i128, found {}", u128::MAX));
    assert_eq!(told::<f64>(1), "expected f64, found 1");
    assert_eq!(told::<u8>(1.5), "expected u8, found the float 1.5");
    assert_eq!(told::<char>("a"), "expected char, found the text \"a\"");
    assert_eq!(told::<()>(true), "expected (), found true");
    assert_eq!(told::<Bytes>("a"), "expected bytes, found the text \"a\"");
    assert_eq!(told::<(u8, bool)>(vec![Value::Unit]), "expected (u8,bool), found a list of 1");
    assert_eq!(told::<[u8; 3]>(vec![Value::Unit]), "expected (u8*3), found a list of 1");
    assert_eq!(
        told::<Vec<bool>>(vec![true.into(), 'c'.into()]),
        "[1]: expected bool, found the character 'c'"
    );
    assert_eq!(told::<Option<u8>>("a"), "expected u8, found the text \"a\"");
    assert_eq!(told::<Customer>(Value::Bytes(vec![0; 9])), "expected str, found 9 bytes");
    let map = Value::Map(vec![("a".into(), Value::Option(None))]);
    assert_eq!(told::<BTreeMap<String, u8>>(map.clone()), "[\"a\"]: expected u8, found none");
    assert_eq!(told::<Vec<u8>>(map), "expected bytes, found a map of 1");
    let line = "Line{cents:i32,size:(u8,char),state:State<Open|Paid:i64|Moved(str,bool)|Split{parts:[^2],by:f32}>,history:(State<Open|Paid:i64|Moved(str,bool)|Split{parts:[^2],";
    assert_eq!(told::<Line>(Value::Unit), format!("expected {line}…, found ()"));
    assert_eq!(
        told::<Line>(Value::record([("x", 1.into())])),
        "there is no `x` here, but cents, size, state, history"
    );
    let missing = "the field `size` is missing: expected (u8,char)";
    assert_eq!(told::<Line>(Value::record([("cents", 1.into())])), missing);
    assert_eq!(
        told::<State>(Value::variant("Lost", ())),
        "there is no `Lost` here, but Open, Paid, Moved, Split"
    );
    assert_eq!(
        told::<State>(Value::variant("Open", 1)),
        "Open: expected nothing in it, which is (), found 1"
    );
    assert_eq!(told::<State>(Value::variant("Moved", 1)), "Moved: expected a tuple of 2, found 1");
    assert_eq!(told::<State>(Value::variant("Split", 1)), "Split: expected a record of parts, by, found 1");
    assert_eq!(told::<AnyRef>(1), "expected a reference to any object, found 1");
    let long = "x".repeat(100);
    assert_eq!(told::<u8>(&*long), format!("expected u8, found the text \"{}\"…", &long[..60]));
    let mut out = b"before".to_vec();
    assert!(Value::List(vec![1.into(), true.into()]).to_body(&trace::<Vec<u16>>(), &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn what_cannot_be_described_or_is_outside_of_a_message_is_refused_with_why() {
    let opaque = Shape::Opaque(Opaque { type_name: "Thing".into(), why: Why::Varies });
    let refused =
        |shape: &Shape, value: Value| value.to_body(shape, &mut Vec::new()).expect_err("refused").problem;
    assert_eq!(
        refused(&opaque, Value::Unit),
        Problem::Opaque { type_name: "Thing".into(), why: Why::Varies }
    );
    assert_eq!(refused(&Shape::Again(1), Value::Unit), Problem::Nowhere { up: 1 });
    assert_eq!(refused(&Shape::Option(Box::new(Shape::Again(9))), Value::Unit), Problem::Nowhere { up: 9 });
    for shape in [opaque, Shape::Again(1), Shape::Again(0), Shape::Reference("A".into())] {
        assert!(Value::from_body(&shape, &mut &[0u8; 9][..]).is_err(), "{shape}");
    }
    // A type that asks what comes next has no shape; one that only its own checks refuse has.
    assert!(Value::of(&serde_json::Value::Null).is_err());
    assert!(Value::from("no number").to::<NoEmail>().expect_err("no @").to_string().contains("no @"));
}

#[derive(Debug)]
struct NoEmail;

impl<'de> Deserialize<'de> for NoEmail {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('@') { Ok(NoEmail) } else { Err(serde::de::Error::custom("no @")) }
    }
}

#[test]
fn values_are_shown_to_people_without_what_a_terminal_obeys() {
    let shown = [
        (
            Value::of(&order().lines[0]).expect("it has a shape"),
            r#"{cents: -5, size: (255, 'ß'), state: Moved(("there", true)), history: (Open, Split({parts: [Paid(-7), Open], by: 0.5}))}"#,
        ),
        (Value::Map(vec![("a\u{1b}".into(), Value::Bytes(b"a\x1b".to_vec()))]), r#"{"a\u{1b}": b"a\x1b"}"#),
        (Value::record([("\u{1b}", Value::variant("\u{1b}", ()))]), r"{\u{1b}: \u{1b}}"),
        (Value::variant("\u{7}", Some(2.5)), r"\u{7}(Some(2.5))"),
        (Value::Tuple(vec![Value::Unit, u128::MAX.into()]), "((), 340282366920938463463374607431768211455)"),
    ];
    for (value, text) in shown {
        assert_eq!(value.to_string(), text);
    }
}

#[test]
fn a_value_takes_32_bytes() {
    assert_eq!(size_of::<Value>(), 32);
}

/// How many values there are in one.
fn count(value: &Value) -> u64 {
    1 + match value {
        Value::Option(Some(value)) | Value::Variant(_, value) => count(value),
        Value::List(values) | Value::Tuple(values) => values.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| count(key) + count(value)).sum(),
        Value::Record(fields) => fields.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}

fn field(name: &str, shape: Shape) -> Field {
    Field { name: name.into(), shape }
}

#[test]
fn a_hostile_shape_makes_no_more_than_its_bytes_are_worth() {
    // Bytes for nothing: a struct of units again and again, an array of them, and one that holds itself.
    let unit = || Shape::Plain(Plain::Unit);
    let units = Shape::Struct("S".into(), (0..1000).map(|n| field(&n.to_string(), unit())).collect());
    let array = Shape::Array(Box::new(unit()), u32::MAX);
    let twice = Shape::Tuple(vec![Shape::Again(1), Shape::Again(1)]);
    for shape in [Shape::Seq(Box::new(units)), array, twice] {
        let error = Value::from_body(&shape, &mut &[250, 250][..]).expect_err("it is worth nothing");
        assert!(matches!(error, BodyError::Value { .. } | BodyError::TooDeep), "{error}");
    }
    // A long name costs once, however often it comes.
    let name: Arc<str> = "n".repeat(50_000).into();
    let record = Shape::Struct("S".into(), vec![field(&name, Shape::Plain(Plain::Bool))]);
    let body = [&[250u8][..], &[1; 250]].concat();
    let list = Value::from_body(&Shape::Seq(Box::new(record)), &mut &body[..]).expect("it is one");
    let Value::List(records) = list else { panic!("a sequence") };
    let names: BTreeSet<_> = records
        .iter()
        .map(|record| match record {
            Value::Record(fields) => fields[0].0.as_ptr() as usize,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((records.len(), names.len()), (250, 1));
}

#[test]
fn the_deepest_values_stand_on_a_small_stack() {
    let run = || {
        let own = Shape::Option(Box::new(Shape::Again(1)));
        let body = [[1u8; 63].as_slice(), &[0]].concat();
        let mut value = Value::from_body(&own, &mut &body[..]).expect("64 options");
        let mut back = Vec::new();
        value.to_body(&own, &mut back).expect("they are written");
        assert_eq!(back, body);
        value = Value::Option(Some(Box::new(value)));
        let misfit = value.to_body(&own, &mut back).expect_err("one too many");
        assert_eq!(misfit.problem, Problem::Body(BodyError::TooDeep));
        assert_eq!(Value::from_body(&own, &mut &[1u8; 100][..]), Err(BodyError::TooDeep));
        // A plain value is as many options as the shape wants: too many here.
        let misfit = Value::Unit.to_body(&own, &mut back).expect_err("for ever");
        assert_eq!(misfit.problem, Problem::Body(BodyError::TooDeep));
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread starts");
    thread.join().expect("the stack is enough");
}

fn plains() -> impl Strategy<Value = Plain> {
    prop::sample::select(vec![
        Plain::Unit,
        Plain::Bool,
        Plain::I8,
        Plain::I16,
        Plain::I32,
        Plain::I64,
        Plain::I128,
        Plain::U8,
        Plain::U16,
        Plain::U32,
        Plain::U64,
        Plain::U128,
        Plain::F32,
        Plain::F64,
        Plain::Char,
        Plain::Text,
        Plain::Bytes,
    ])
}

fn fields(shape: impl Strategy<Value = Shape>) -> impl Strategy<Value = Vec<Field>> {
    vec(shape, 0..4).prop_map(|shapes| {
        shapes.into_iter().enumerate().map(|(at, shape)| field(&format!("f{at}"), shape)).collect()
    })
}

/// Shapes without references, and without those that lead out again, which have no values of their own.
fn shapes() -> impl Strategy<Value = Shape> {
    plains().prop_map(Shape::Plain).prop_recursive(4, 32, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let content = prop_oneof![
            Just(Content::Unit),
            inner.clone().prop_map(Content::Newtype),
            vec(inner.clone(), 0..4).prop_map(Content::Tuple),
            fields(inner.clone()).prop_map(Content::Struct),
        ];
        let variant = |(at, content)| Variant { name: format!("V{at}"), content };
        prop_oneof![
            boxed().prop_map(Shape::Option),
            boxed().prop_map(Shape::Seq),
            (boxed(), boxed()).prop_map(|(key, value)| Shape::Map(key, value)),
            (boxed(), 2..5u32).prop_map(|(element, len)| Shape::Array(element, len)),
            vec(inner.clone(), 0..4).prop_map(Shape::Tuple),
            boxed().prop_map(|inner| Shape::Newtype("N".into(), inner)),
            fields(inner.clone()).prop_map(|fields| Shape::Struct("S".into(), fields)),
            vec(content, 1..4).prop_map(move |contents| {
                Shape::Enum("E".into(), contents.into_iter().enumerate().map(variant).collect())
            }),
        ]
    })
}

/// A value of a shape, out of numbers that are used one after the other.
struct Making<'a>(std::iter::Cycle<std::slice::Iter<'a, u64>>);

impl Making<'_> {
    fn number(&mut self) -> u64 {
        *self.0.next().expect("it goes round")
    }

    fn many(&mut self, shape: &Shape) -> Vec<Value> {
        (0..self.number() % 4).map(|_| self.value(shape)).collect()
    }

    fn all(&mut self, shapes: &[Shape]) -> Value {
        Value::Tuple(shapes.iter().map(|shape| self.value(shape)).collect())
    }

    fn record(&mut self, fields: &[Field]) -> Value {
        Value::record(fields.iter().map(|field| (field.name.as_str(), self.value(&field.shape))))
    }

    fn value(&mut self, shape: &Shape) -> Value {
        let n = self.number();
        match shape {
            Shape::Plain(plain) => match plain {
                Plain::Unit => Value::Unit,
                Plain::Bool => n.is_multiple_of(2).into(),
                Plain::I8 => (n as i8).into(),
                Plain::I16 => (n as i16).into(),
                Plain::I32 => (n as i32).into(),
                Plain::I64 => (n as i64).into(),
                Plain::I128 => (i128::from(n as i64) << (n % 64)).into(),
                Plain::U8 => (n as u8).into(),
                Plain::U16 => (n as u16).into(),
                Plain::U32 => (n as u32).into(),
                Plain::U64 => n.into(),
                Plain::U128 => (u128::from(n) << (n % 65)).into(),
                Plain::F32 => (n as f32 / 3.0).into(),
                Plain::F64 => (n as f64 / 3.0).into(),
                Plain::Char => char::from_u32(n as u32 % 0x11_0000).unwrap_or('x').into(),
                Plain::Text => n.to_string().into(),
                Plain::Bytes => n.to_le_bytes()[..].into(),
                other => unreachable!("{other:?} is new"),
            },
            Shape::Option(_) if n.is_multiple_of(2) => Value::Option(None),
            Shape::Option(inner) => Value::Option(Some(Box::new(self.value(inner)))),
            Shape::Seq(element) if **element == Shape::Plain(Plain::U8) => n.to_le_bytes()[..].into(),
            Shape::Seq(element) => self.many(element).into(),
            Shape::Array(element, len) => Value::Tuple((0..*len).map(|_| self.value(element)).collect()),
            Shape::Map(key, value) => {
                // One entry: JSON sorts keys its own way.
                Value::Map((0..n % 2).map(|_| (self.value(key), self.value(value))).collect())
            }
            Shape::Tuple(shapes) => self.all(shapes),
            Shape::Newtype(_, inner) => self.value(inner),
            Shape::Struct(_, fields) => self.record(fields),
            Shape::Enum(_, variants) => {
                let Variant { name, content } = &variants[n as usize % variants.len()];
                let content = match content {
                    Content::Unit => Value::Unit,
                    Content::Newtype(shape) => self.value(shape),
                    Content::Tuple(shapes) => self.all(shapes),
                    Content::Struct(fields) => self.record(fields),
                    other => unreachable!("{other:?} is new"),
                };
                Value::variant(name.as_str(), content)
            }
            other => unreachable!("{other} is not made"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn values_of_any_shape_come_back_and_have_the_bytes_that_json_has(
        shape in shapes(),
        numbers in vec(any::<u64>(), 1..16),
    ) {
        let value = Making(numbers.iter().cycle()).value(&shape);
        let mut bytes = Vec::new();
        value.to_body(&shape, &mut bytes).expect("it has that shape");
        let mut rest = bytes.as_slice();
        prop_assert_eq!(Value::from_body(&shape, &mut rest), Ok(value));
        prop_assert!(rest.is_empty());
        // An independent way there and back.
        let json = body_to_json(&shape, &mut bytes.as_slice()).expect("the body has the shape");
        if !loses_in_json(&shape) {
            let mut by_json = Vec::new();
            json_to_body(&shape, &json, &mut by_json).expect("the JSON has the shape");
            prop_assert_eq!(by_json, bytes);
        }
    }

    #[test]
    fn values_of_types_have_the_bytes_of_the_types(
        numbers in any::<(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128)>(),
        texts in any::<(String, char, Option<bool>, Vec<(String, u32)>, Result<u8, String>)>(),
        map in any::<BTreeMap<String, Vec<i64>>>(),
        floats in (-1e9f64..1e9, -1e3f32..1e3),
        sets in any::<(BTreeSet<(u8, bool)>, [u16; 3], Vec<u8>, Option<Option<()>>)>(),
        states in vec(states(), 0..4),
    ) {
        agree(&(numbers, texts, map, floats, sets, states));
    }

    #[test]
    fn no_bytes_and_no_shape_make_it_panic_or_grow(
        shape in hostile_shapes(),
        bytes in vec(prop_oneof![0..4u8, any::<u8>()], 0..200),
    ) {
        let mut rest = bytes.as_slice();
        if let Ok(value) = Value::from_body(&shape, &mut rest) {
            prop_assert!(count(&value) <= 8 * (bytes.len() as u64 + SPARE_ELEMENTS));
            let mut back = Vec::new();
            let _ = value.to_body(&shape, &mut back);
        }
        let _ = Value::Unit.to_body(&shape, &mut Vec::new());
    }
}

/// JSON has no options within options, and no numbers but its own.
fn loses_in_json(shape: &Shape) -> bool {
    let text = shape.to_string();
    ["??", "?()", "f32", "f64"].iter().any(|lost| text.contains(lost))
}

fn states() -> impl Strategy<Value = State> {
    let leaf = prop_oneof![
        Just(State::Open),
        any::<i64>().prop_map(State::Paid),
        any::<(String, bool)>().prop_map(|(text, bool)| State::Moved(text, bool)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        (vec(inner, 0..4), -10f32..10.0).prop_map(|(parts, by)| State::Split { parts, by })
    })
}

/// The same with shapes that lead anywhere, claim any length and say nothing.
fn hostile_shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        shapes(),
        (0..6u32).prop_map(Shape::Again),
        Just(Shape::Reference("A".into())),
        Just(Shape::Opaque(Opaque { type_name: String::new(), why: Why::TooLarge })),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Shape::Option),
            boxed().prop_map(Shape::Seq),
            (boxed(), boxed()).prop_map(|(key, value)| Shape::Map(key, value)),
            (boxed(), any::<u32>()).prop_map(|(element, len)| Shape::Array(element, len)),
            vec(inner.clone(), 0..4).prop_map(Shape::Tuple),
            boxed().prop_map(|inner| Shape::Newtype("N".into(), inner)),
            fields(inner.clone()).prop_map(|fields| Shape::Struct("S".into(), fields)),
            vec(inner.clone(), 0..3).prop_map(|shapes| {
                let variant = |shape| Variant { name: "V".into(), content: Content::Newtype(shape) };
                Shape::Enum("E".into(), shapes.into_iter().map(variant).collect())
            }),
        ]
    })
}

#[tokio::test]
async fn references_in_a_value_are_replaced_wherever_they_stand_and_nothing_else() {
    let [one, other] = ["one", "other"]
        .map(|name| NodeRef::new(MyNode::new(name, &Arc::default())).remote().cast::<AnyRef>());
    let of = |reference: &AnyRef| Value::Reference(reference.clone());
    let nested = |reference: &AnyRef| {
        let fields = Value::record([
            ("first", of(reference)),
            ("second", Value::Option(Some(Box::new(of(reference))))),
        ]);
        Value::Tuple(vec![
            Value::Int(7),
            Value::List(vec![of(reference), Value::Text("ada".into())]),
            Value::Map(vec![(Value::Text("key".into()), of(reference)), (of(reference), Value::Unit)]),
            Value::variant("Some", fields),
        ])
    };
    let mut asked = 0;
    let replaced = nested(&one).map_references(&mut |reference| {
        asked += 1;
        assert!(reference.remote().same(&one));
        other.clone()
    });
    assert_eq!((replaced, asked), (nested(&other), 5));
}

#[test]
fn the_brief_form_of_a_value_is_made_no_further_than_it_is_long() {
    assert_eq!(Value::Text("ada".into()).brief(80), "\"ada\"");
    let long = Value::List(vec![Value::Text("é".repeat(1000)); 100_000]);
    let brief = long.brief(100);
    assert!(brief.starts_with("[\"éé") && brief.ends_with("é…") && brief.len() <= 103, "{brief}");
    assert_eq!(long.brief(0), "…");
}
