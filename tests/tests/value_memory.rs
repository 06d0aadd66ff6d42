//! What values that are built by shapes take of memory: as much as their bytes pay for, whatever a shape or a body claims.

use std::sync::Arc;

use allocation_counter::measure;
use pb_core::objects::{CallError, Value};
use pb_core::wire::body::SPARE_ELEMENTS;
use pb_core::{
    AnyRef, Content, Description, DynamicCall, DynamicObject, FailureKind, Field, InterfaceDescription,
    MethodDescription, Plain, Ran, Shape, Variant,
};

const A_BYTE: u64 = 96;

fn record(names: &[&str], shape: &Shape) -> Shape {
    let field = |name: &&str| Field { name: (*name).to_owned(), shape: shape.clone() };
    Shape::Struct("Record".into(), names.iter().map(field).collect())
}

fn list(shape: Shape) -> Shape {
    Shape::Seq(Box::new(shape))
}

fn colour() -> Shape {
    let variant = |name: &str| Variant { name: name.into(), content: Content::Unit };
    Shape::Enum("Colour".into(), vec![variant("Red"), variant("Blue")])
}

/// A list of so many elements of `bytes` bytes each, all 0.
fn body(elements: u32, bytes: usize) -> Vec<u8> {
    let mut body = vec![252];
    body.extend(elements.to_le_bytes());
    body.resize(body.len() + elements as usize * bytes, 0);
    body
}

#[test]
fn a_value_takes_no_more_memory_than_its_bytes_pay_for() {
    let byte = Shape::Plain(Plain::U16);
    let within = |shape: &Shape, levels: usize| {
        (0..levels).fold(shape.clone(), |inner, _| record(&["inside"], &inner))
    };
    let option = |shape: Shape| Shape::Option(Box::new(shape));
    let nothing = Shape::Plain(Plain::Unit);
    let cases = [
        (list(within(&byte, 3)), 1),
        (list(within(&colour(), 2)), 1),
        (list(record(&["a", "b", "c"], &nothing)), 0),
        (list(Shape::Tuple(vec![nothing.clone(), byte.clone(), nothing.clone(), nothing.clone()])), 1),
        (list(Shape::Array(Box::new(nothing), 3)), 0),
        (list(Shape::Map(Box::new(byte.clone()), Box::new(byte.clone()))), 1),
        (list(option(option(byte.clone()))), 1),
        (list(list(byte.clone())), 1),
        (list(colour()), 1),
        (list(byte), 1),
    ];
    for (shape, bytes) in cases {
        for elements in [1_000, 60_000] {
            let body = body(elements, bytes);
            let mut built = None;
            let taken = measure(|| {
                let value = Value::from_body(&shape, &mut &body[..]);
                built = Some(value.is_ok());
            });
            let most = A_BYTE * (body.len() as u64 + SPARE_ELEMENTS) + 8_192;
            assert!(taken.bytes_max <= most, "{shape}: {} of {most}, built: {built:?}", taken.bytes_max);
        }
    }
}

#[test]
fn honest_values_of_the_densest_kinds_are_built() {
    let byte = Shape::Plain(Plain::U16);
    let cases = [
        (list(record(&["a", "b"], &colour())), 2),
        (list(record(&["alone"], &byte)), 1),
        (list(colour()), 1),
        (list(Shape::Option(Box::new(byte.clone()))), 1),
        (list(Shape::Tuple(vec![byte.clone(), byte.clone()])), 2),
        (list(list(byte.clone())), 1),
        (list(byte), 1),
    ];
    for (shape, bytes) in cases {
        let body = body(100_000, bytes);
        let value =
            Value::from_body(&shape, &mut &body[..]).unwrap_or_else(|error| panic!("{shape}: {error}"));
        let mut again = Vec::new();
        value.to_body(&shape, &mut again).expect("it is of that shape");
        assert_eq!(again, body);
    }
}

/// An object with a method whose arguments have no bytes.
struct Greedy;

impl DynamicObject for Greedy {
    fn describe(&self) -> Arc<Description> {
        let nothing = Shape::Array(Box::new(Shape::Plain(Plain::Unit)), 2_000);
        let method = MethodDescription::new("Greedy/take", Shape::Plain(Plain::Unit));
        let method = (0..12).fold(method, |method, at| method.argument(format!("a{at}"), nothing.clone()));
        Arc::new(Description::new([InterfaceDescription::new("Greedy", "", [method])]))
    }

    async fn call(&self, _: DynamicCall) -> Result<Value, CallError<Value>> {
        Ok(Value::Unit)
    }
}

#[tokio::test]
async fn all_arguments_of_a_call_share_what_its_body_pays_for() {
    let greedy = AnyRef::dynamic(Arc::new(Greedy)).expect("it is sound");
    let failure = greedy.remote().call::<()>("take", ()).await.expect_err("24,000 values of no bytes");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
    assert!(failure.message.contains("more memory than its bytes can be made into"), "{failure}");
}
