//! Body to JSON: the shape drives the guarded decoder in the place of a type.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value};

use super::super::misfit::Scope;
use super::super::{Content, Field, Shape, Shown, Variant};
use crate::wire::body::{self, BodyError, MAX_DEPTH, SPARE_ELEMENTS};

pub(super) fn read(shape: &Shape, input: &mut &[u8]) -> Result<Value, BodyError> {
    // A shape from the wire may repeat what takes no bytes as often as it likes; an honest one makes at most
    // `MAX_DEPTH` values of a byte.
    let room = (input.len() as u64).saturating_add(SPARE_ELEMENTS).saturating_mul(MAX_DEPTH.into());
    let room = Cell::new(room);
    body::decode_by(Place { shape, scope: None, room: &room }, input)
}

/// A shape at its place among others.
#[derive(Clone, Copy)]
struct Place<'a> {
    shape: &'a Shape,
    scope: Option<&'a Scope<'a>>,
    /// Values that may still be made.
    room: &'a Cell<u64>,
}

impl<'a> Place<'a> {
    fn inner<'b>(&'b self, shape: &'b Shape, scope: &'b Scope<'b>) -> Place<'b> {
        Place { shape, scope: Some(scope), room: self.room }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.room.get().checked_sub(1) {
            Some(room) => self.room.set(room),
            None => return Err(D::Error::custom("the shape repeats more than the body can hold")),
        }
        match self.shape {
            Shape::Plain(plain) => plain.read(from, Leaf),
            Shape::Option(_) => from.deserialize_option(self),
            Shape::Seq(_) => from.deserialize_seq(self),
            Shape::Map(..) => from.deserialize_map(self),
            Shape::Array(_, len) => from.deserialize_tuple(*len as usize, self),
            Shape::Tuple(shapes) => from.deserialize_tuple(shapes.len(), self),
            Shape::Newtype(..) | Shape::Reference(_) => from.deserialize_newtype_struct("", self),
            Shape::Struct(_, fields) => from.deserialize_tuple(fields.len(), self),
            Shape::Enum(..) => from.deserialize_enum("", &[], self),
            Shape::Again(up) => match Scope::up(self.scope, *up) {
                Some(Scope { shape, around }) => {
                    Place { shape, scope: around, room: self.room }.deserialize(from)
                }
                None => Err(D::Error::custom("the shape refers to a container that is not there")),
            },
            Shape::Opaque(opaque) => {
                let sentence =
                    format_args!("nothing is known about a `{}` here", Shown(&opaque.type_name)).to_string();
                Err(D::Error::custom(sentence))
            }
        }
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of the shape {}", self.shape)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let scope = Scope { shape: self.shape, around: self.scope };
        match self.shape {
            Shape::Option(inner) => self.inner(inner, &scope).deserialize(from),
            _ => Err(D::Error::custom("a value where none was expected")),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Newtype(_, inner) => Place { shape: inner, ..self }.deserialize(from),
            _ => {
                let index: u32 = serde::Deserialize::deserialize(from)?;
                Ok(format!("@{index}").into())
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let scope = Scope { shape: self.shape, around: self.scope };
        match self.shape {
            Shape::Struct(_, fields) => by_name(fields, &scope, self.room, from),
            Shape::Tuple(shapes) => by_place(shapes, &scope, self.room, from),
            Shape::Seq(element) | Shape::Array(element, _) => {
                let mut values = Vec::new();
                while let Some(value) = from.next_element_seed(self.inner(element, &scope))? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }
            _ => Err(A::Error::custom("elements where none were expected")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let Shape::Map(key, value) = self.shape else {
            return Err(A::Error::custom("entries where none were expected"));
        };
        let scope = Scope { shape: self.shape, around: self.scope };
        let mut pairs = Vec::new();
        while let Some(key) = from.next_key_seed(self.inner(key, &scope))? {
            pairs.push((key, from.next_value_seed(self.inner(value, &scope))?));
        }
        Ok(object_or_pairs(pairs))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        let Shape::Enum(_, variants) = self.shape else {
            return Err(A::Error::custom("a variant where none was expected"));
        };
        let (number, from) = from.variant_seed(PhantomData::<u32>)?;
        let Some(Variant { name, content }) = variants.get(number as usize) else {
            let count = variants.len();
            return Err(A::Error::custom(format_args!("variant {number} of an enum that has {count}")));
        };
        let scope = Scope { shape: self.shape, around: self.scope };
        let inside = Inside { content, scope: &scope, room: self.room };
        let value = match content {
            Content::Unit => {
                from.unit_variant()?;
                return Ok(name.as_str().into());
            }
            Content::Newtype(shape) => from.newtype_variant_seed(self.inner(shape, &scope))?,
            Content::Tuple(shapes) => from.tuple_variant(shapes.len(), inside)?,
            Content::Struct(fields) => from.tuple_variant(fields.len(), inside)?,
        };
        Ok(Value::Object(Map::from_iter([(name.clone(), value)])))
    }
}

/// A variant's fields, without the variant.
struct Inside<'a> {
    content: &'a Content,
    scope: &'a Scope<'a>,
    room: &'a Cell<u64>,
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a variant")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        match self.content {
            Content::Tuple(shapes) => by_place(shapes, self.scope, self.room, from),
            Content::Struct(fields) => by_name(fields, self.scope, self.room, from),
            _ => Err(A::Error::custom("fields where none were expected")),
        }
    }
}

fn by_name<'de, A: SeqAccess<'de>>(
    fields: &[Field],
    scope: &Scope<'_>,
    room: &Cell<u64>,
    mut from: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    for Field { name, shape } in fields {
        let value = from.next_element_seed(Place { shape, scope: Some(scope), room })?;
        object.insert(name.clone(), value.unwrap_or_default());
    }
    Ok(Value::Object(object))
}

fn by_place<'de, A: SeqAccess<'de>>(
    shapes: &[Shape],
    scope: &Scope<'_>,
    room: &Cell<u64>,
    mut from: A,
) -> Result<Value, A::Error> {
    let mut values = Vec::new();
    for shape in shapes {
        let value = from.next_element_seed(Place { shape, scope: Some(scope), room })?;
        values.push(value.unwrap_or_default());
    }
    Ok(Value::Array(values))
}

/// An object where every key can be a name in JSON; of two entries with one key the later stays.
fn object_or_pairs(pairs: Vec<(Value, Value)>) -> Value {
    if pairs.iter().all(|(key, _)| matches!(key, Value::String(_) | Value::Number(_) | Value::Bool(_))) {
        let entry = |(key, value)| match key {
            Value::String(name) => (name, value),
            other => (other.to_string(), value),
        };
        return Value::Object(pairs.into_iter().map(entry).collect());
    }
    Value::Array(pairs.into_iter().map(|(key, value)| Value::Array(vec![key, value])).collect())
}

/// A value without parts.
struct Leaf;

impl Visitor<'_> for Leaf {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without parts")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, bool: bool) -> Result<Value, E> {
        Ok(bool.into())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_i128<E: Error>(self, number: i128) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from))
    }
    fn visit_u128<E: Error>(self, number: u128) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let text = || number.to_string().into();
        Ok(serde_json::Number::from_f64(number).map_or_else(text, Value::Number))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }
}
