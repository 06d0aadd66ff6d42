//! JSON to body: a JSON value that serialises itself as its shape says, through the one encoder of bodies.

use std::cell::RefCell;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeTuple, SerializeTupleVariant, Serializer,
};
use serde_json::Value;

use super::super::misfit::{Scope, Step, Way, listed};
use super::super::{Content, Field, Plain, Shape, Variant};
use super::words::{expected, fields_expected, found};
use super::{Misfit, Problem};
use crate::wire::body;

pub(super) fn write(shape: &Shape, value: &Value, root: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let failed = RefCell::new(None);
    let place = Place { shape, value, way: Way::from(root), scope: None, failed: &failed };
    let encoded = body::encode(&place, out);
    let (Err(error), failed) = (encoded, failed.into_inner()) else { return Ok(()) };
    Err(failed.unwrap_or_else(|| Misfit { path: root.into(), problem: error.into() }))
}

/// A JSON value at its place in a shape.
#[derive(Clone, Copy)]
struct Place<'a> {
    shape: &'a Shape,
    value: &'a Value,
    /// For the path in errors.
    way: Way<'a>,
    scope: Option<&'a Scope<'a>>,
    /// Where the error goes, which serde's cannot carry.
    failed: &'a RefCell<Option<Misfit>>,
}

static NULL: Value = Value::Null;

impl<'a> Place<'a> {
    fn inner<'b>(
        &'b self,
        shape: &'b Shape,
        value: &'b Value,
        step: Step<'b>,
        scope: Option<&'b Scope<'b>>,
    ) -> Place<'b> {
        Place { shape, value, way: self.way.step(step), scope, failed: self.failed }
    }

    /// The scope of what stands in this container.
    fn within(&self) -> Scope<'a> {
        Scope { shape: self.shape, around: self.scope }
    }

    #[cold]
    fn fail<T, E: Error>(&self, problem: Problem) -> Result<T, E> {
        let path = self.way.path();
        let error = E::custom(&problem);
        self.failed.borrow_mut().get_or_insert(Misfit { path, problem });
        Err(error)
    }

    fn unexpected<T, E: Error>(&self) -> Result<T, E> {
        self.fail(Problem::Unexpected { expected: expected(self.shape), found: found(self.value) })
    }
}

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let scope = self.within();
        match (self.shape, self.value) {
            (Shape::Plain(plain), _) => self.plain(*plain, to),
            (Shape::Option(_), Value::Null) => to.serialize_none(),
            (Shape::Option(inner), value) => {
                to.serialize_some(&self.inner(inner, value, Step::Same, Some(&scope)))
            }
            (Shape::Newtype(_, inner), value) => {
                to.serialize_newtype_struct("", &self.inner(inner, value, Step::Same, self.scope))
            }
            (Shape::Seq(element), Value::Array(values)) => {
                let mut seq = to.serialize_seq(Some(values.len()))?;
                for (place, value) in values.iter().enumerate() {
                    seq.serialize_element(&self.inner(element, value, Step::Index(place), Some(&scope)))?;
                }
                seq.end()
            }
            (Shape::Map(key, value), _) => self.map(key, value, to),
            (Shape::Array(element, len), Value::Array(values)) if values.len() == *len as usize => {
                let mut tuple = to.serialize_tuple(values.len())?;
                for (place, value) in values.iter().enumerate() {
                    tuple.serialize_element(&self.inner(element, value, Step::Index(place), Some(&scope)))?;
                }
                tuple.end()
            }
            (Shape::Tuple(shapes), Value::Array(values)) if values.len() == shapes.len() => {
                let mut tuple = to.serialize_tuple(values.len())?;
                for (place, (shape, value)) in shapes.iter().zip(values).enumerate() {
                    tuple.serialize_element(&self.inner(shape, value, Step::Index(place), Some(&scope)))?;
                }
                tuple.end()
            }
            (Shape::Struct(_, fields), value) => {
                let values = self.by_name(fields, value)?;
                let mut tuple = to.serialize_tuple(fields.len())?;
                for (field, value) in fields.iter().zip(values) {
                    let step = Step::Name(&field.name);
                    tuple.serialize_element(&self.inner(&field.shape, value, step, Some(&scope)))?;
                }
                tuple.end()
            }
            (Shape::Enum(_, variants), _) => self.variant(variants, to),
            (Shape::Reference(_), Value::String(text)) => match index(text) {
                Some(index) => to.serialize_newtype_struct("pb::Ref", &index),
                None => self.unexpected(),
            },
            (Shape::Again(up), _) => match Scope::up(self.scope, *up) {
                Some(Scope { shape, around }) => Place { shape, scope: around, ..*self }.serialize(to),
                None => self.fail(Problem::Nowhere { up: *up }),
            },
            (Shape::Opaque(opaque), _) => {
                self.fail(Problem::Opaque { type_name: opaque.type_name.clone(), why: opaque.why })
            }
            _ => self.unexpected(),
        }
    }
}

impl Place<'_> {
    fn plain<S: Serializer>(&self, plain: Plain, to: S) -> Result<S::Ok, S::Error> {
        // Numbers that do not fit, and values of another kind, are None all the same.
        macro_rules! number {
            ($serialize:ident) => {
                match integer(self.value, plain).and_then(|number| number.try_into().ok()) {
                    Some(number) => to.$serialize(number),
                    None => self.unexpected(),
                }
            };
        }
        match (plain, self.value) {
            (Plain::Unit, Value::Null) => to.serialize_unit(),
            (Plain::Bool, Value::Bool(bool)) => to.serialize_bool(*bool),
            (Plain::I8, _) => number!(serialize_i8),
            (Plain::I16, _) => number!(serialize_i16),
            (Plain::I32, _) => number!(serialize_i32),
            (Plain::I64, _) => number!(serialize_i64),
            (Plain::I128, _) => number!(serialize_i128),
            (Plain::U8, _) => number!(serialize_u8),
            (Plain::U16, _) => number!(serialize_u16),
            (Plain::U32, _) => number!(serialize_u32),
            (Plain::U64, _) => number!(serialize_u64),
            (Plain::U128, Value::String(text)) => match text.parse() {
                Ok(number) => to.serialize_u128(number),
                Err(_) => self.unexpected(),
            },
            (Plain::U128, _) => number!(serialize_u128),
            (Plain::F32, value) => match float(value) {
                Some(number) => to.serialize_f32(number as f32),
                None => self.unexpected(),
            },
            (Plain::F64, value) => match float(value) {
                Some(number) => to.serialize_f64(number),
                None => self.unexpected(),
            },
            (Plain::Char, Value::String(text)) => match text.parse() {
                Ok(char) => to.serialize_char(char),
                Err(_) => self.unexpected(),
            },
            (Plain::Text, Value::String(text)) => to.serialize_str(text),
            (Plain::Bytes, value) => match bytes(value) {
                Some(bytes) => to.serialize_bytes(&bytes),
                None => self.unexpected(),
            },
            _ => self.unexpected(),
        }
    }

    fn map<S: Serializer>(&self, key: &Shape, value: &Shape, to: S) -> Result<S::Ok, S::Error> {
        let scope = self.within();
        match self.value {
            Value::Object(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (name, entry) in entries {
                    let step = Step::Key(name);
                    map.serialize_key(&self.inner(key, &from_key(key, name), step, Some(&scope)))?;
                    map.serialize_value(&self.inner(value, entry, step, Some(&scope)))?;
                }
                map.end()
            }
            Value::Array(pairs) => {
                let mut map = to.serialize_map(Some(pairs.len()))?;
                for (place, pair) in pairs.iter().enumerate() {
                    let Some([first, second]) = pair.as_array().map(Vec::as_slice) else {
                        return self.unexpected();
                    };
                    map.serialize_key(&self.inner(key, first, Step::Index(place), Some(&scope)))?;
                    map.serialize_value(&self.inner(value, second, Step::Index(place), Some(&scope)))?;
                }
                map.end()
            }
            _ => self.unexpected(),
        }
    }

    /// The values of fields in the body's order. A missing `Option` is none, as serde has it.
    fn by_name<'b, E: Error>(&'b self, fields: &[Field], value: &'b Value) -> Result<Vec<&'b Value>, E> {
        let Value::Object(entries) = value else {
            let found = found(value);
            return self.fail(Problem::Unexpected { expected: fields_expected(fields), found });
        };
        if let Some(name) = entries.keys().find(|name| fields.iter().all(|field| field.name != **name)) {
            let known = listed(fields.iter().map(|field| field.name.as_str()));
            return self.fail(Problem::Unknown { name: name.clone(), known });
        }
        let one = |field: &Field| match (entries.get(&field.name), &field.shape) {
            (Some(value), _) => Ok(value),
            (None, Shape::Option(_)) => Ok(&NULL),
            (None, shape) => {
                self.fail(Problem::Missing { field: field.name.clone(), expected: expected(shape) })
            }
        };
        fields.iter().map(one).collect()
    }

    fn variant<S: Serializer>(&self, variants: &[Variant], to: S) -> Result<S::Ok, S::Error> {
        let (name, value) = match self.value {
            Value::String(name) => (name, &NULL),
            Value::Object(entries) => match entries.iter().next() {
                Some(only) if entries.len() == 1 => only,
                _ => return self.unexpected(),
            },
            _ => return self.unexpected(),
        };
        let Some(number) = variants.iter().position(|variant| variant.name == *name) else {
            let known = listed(variants.iter().map(|variant| variant.name.as_str()));
            return self.fail(Problem::Unknown { name: name.clone(), known });
        };
        self.content(number as u32, &variants[number], value, to)
    }

    fn content<S: Serializer>(
        &self,
        number: u32,
        variant: &Variant,
        value: &Value,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let scope = self.within();
        // The same place, one name further in, for what is wrong with the variant's content as a whole.
        let here = self.inner(self.shape, value, Step::Name(&variant.name), self.scope);
        match (&variant.content, value) {
            (Content::Unit, Value::Null) => to.serialize_unit_variant("", number, ""),
            (Content::Newtype(shape), _) => {
                let step = Step::Name(&variant.name);
                to.serialize_newtype_variant("", number, "", &self.inner(shape, value, step, Some(&scope)))
            }
            (Content::Tuple(shapes), Value::Array(values)) if shapes.len() == values.len() => {
                let mut tuple = to.serialize_tuple_variant("", number, "", shapes.len())?;
                for (place, (shape, value)) in shapes.iter().zip(values).enumerate() {
                    tuple.serialize_field(&here.inner(shape, value, Step::Index(place), Some(&scope)))?;
                }
                tuple.end()
            }
            (Content::Struct(fields), value) => {
                let values = here.by_name(fields, value)?;
                let mut tuple = to.serialize_tuple_variant("", number, "", fields.len())?;
                for (field, value) in fields.iter().zip(values) {
                    let step = Step::Name(&field.name);
                    tuple.serialize_field(&here.inner(&field.shape, value, step, Some(&scope)))?;
                }
                tuple.end()
            }
            (Content::Unit, _) => {
                here.fail(Problem::Unexpected { expected: "null".into(), found: found(value) })
            }
            (Content::Tuple(shapes), _) => here.fail(Problem::Unexpected {
                expected: format!("an array of {}", shapes.len()),
                found: found(value),
            }),
        }
    }
}

/// JSON's keys are texts; what the map's type wants may be a number or a bool.
fn from_key(shape: &Shape, name: &str) -> Value {
    match shape {
        Shape::Newtype(_, inner) | Shape::Option(inner) => from_key(inner, name),
        // Of 128 bits they are texts where they are large.
        Shape::Plain(Plain::Text | Plain::Char | Plain::Bytes | Plain::Unit | Plain::I128 | Plain::U128) => {
            name.into()
        }
        Shape::Plain(_) => match serde_json::from_str(name) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => name.into(),
        },
        _ => name.into(),
    }
}

/// Numbers of 128 bits may be texts, because JSON's usually end at 64.
fn integer(value: &Value, plain: Plain) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i128(),
        Value::String(text) if matches!(plain, Plain::I128 | Plain::U128) => text.parse().ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if matches!(text.as_str(), "NaN" | "inf" | "-inf") => text.parse().ok(),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => {
            let digits: Option<Vec<u32>> =
                text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
            Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        Value::Array(numbers) => numbers.iter().map(|number| number.as_u64()?.try_into().ok()).collect(),
        _ => None,
    }
}

fn index(text: &str) -> Option<u32> {
    text.strip_prefix('@')?.parse().ok()
}
