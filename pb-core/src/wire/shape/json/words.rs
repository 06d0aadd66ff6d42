//! The words of errors: what was expected and what stands there.

use serde_json::Value;

use super::super::misfit::{listed, quoted};
use super::super::{Field, Plain, Shape};

pub(super) fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Plain(plain) => match plain {
            Plain::Unit => "null".into(),
            Plain::Bool => "true or false".into(),
            Plain::I8 => "a signed integer of 8 bits".into(),
            Plain::I16 => "a signed integer of 16 bits".into(),
            Plain::I32 => "a signed integer of 32 bits".into(),
            Plain::I64 => "a signed integer of 64 bits".into(),
            Plain::I128 => "a signed integer of 128 bits, as a text where it is large".into(),
            Plain::U8 => "an unsigned integer of 8 bits".into(),
            Plain::U16 => "an unsigned integer of 16 bits".into(),
            Plain::U32 => "an unsigned integer of 32 bits".into(),
            Plain::U64 => "an unsigned integer of 64 bits".into(),
            Plain::U128 => "an unsigned integer of 128 bits, as a text where it is large".into(),
            Plain::F32 | Plain::F64 => "a number, or \"NaN\", \"inf\", \"-inf\"".into(),
            Plain::Char => "a text of one character".into(),
            Plain::Text => "a text".into(),
            Plain::Bytes => "bytes, as a text of hexadecimal digits or an array of numbers".into(),
        },
        Shape::Option(inner) => format!("null, or {}", expected(inner)),
        Shape::Seq(_) => "an array".into(),
        Shape::Map(..) => "an object, or an array of pairs".into(),
        Shape::Array(_, len) => format!("an array of {len}"),
        Shape::Tuple(elements) => format!("an array of {}", elements.len()),
        Shape::Newtype(_, inner) => expected(inner),
        Shape::Struct(_, fields) => fields_expected(fields),
        Shape::Enum(_, variants) => {
            let names = listed(variants.iter().map(|variant| variant.name.as_str()));
            format!("a variant, as its name or an object of one entry, of {names}")
        }
        Shape::Reference(interface) if interface.is_empty() => "a reference to any object, as \"@0\"".into(),
        Shape::Reference(interface) => format!("a reference to a {interface}, as \"@0\""),
        Shape::Again(_) => "another of the same".into(),
        Shape::Opaque(opaque) => format!("a {}", opaque.type_name),
    }
}

pub(super) fn fields_expected(fields: &[Field]) -> String {
    format!("an object with {}", listed(fields.iter().map(|field| field.name.as_str())))
}

pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(elements) => format!("an array of {}", elements.len()),
        Value::Object(entries) => format!(
            "an object with {}",
            listed(entries.keys().map(String::as_str).collect::<Vec<_>>().into_iter())
        ),
    }
}
