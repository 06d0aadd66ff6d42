//! Values to bodies: the shape says how each is written.

use std::cell::RefCell;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeTuple, SerializeTupleVariant, Serializer,
};

use super::Value;
use super::words::{expected, found};
use crate::wire::body;
use crate::wire::shape::{Content, Field, Misfit, Plain, Problem, Scope, Shape, Step, Variant, Way, listed};

/// Appends to `out` the body of `value`, as a type of that shape would encode it. References are those of the message that is being encoded.
///
/// # Errors
/// [`Misfit`] names the place in `value`; `out` is as it was before.
pub(super) fn write(shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let failed = RefCell::new(None);
    let place = Place { shape, value, way: Way::from(""), scope: None, failed: &failed };
    let encoded = body::encode(&place, out);
    let (Err(error), failed) = (encoded, failed.into_inner()) else { return Ok(()) };
    Err(failed.unwrap_or_else(|| Misfit { path: String::new(), problem: error.into() }))
}

/// A value at its place in a shape.
#[derive(Clone, Copy)]
struct Place<'a> {
    shape: &'a Shape,
    value: &'a Value,
    way: Way<'a>,
    scope: Option<&'a Scope<'a>>,
    /// Where the error goes, which serde's cannot carry.
    failed: &'a RefCell<Option<Misfit>>,
}

impl<'a> Place<'a> {
    /// What stands in this container.
    fn inner<'b>(
        &'b self,
        shape: &'b Shape,
        value: &'b Value,
        step: Step<'b>,
        scope: &'b Scope<'b>,
    ) -> Place<'b> {
        Place { shape, value, way: self.way.step(step), scope: Some(scope), failed: self.failed }
    }

    fn within(&self) -> Scope<'a> {
        Scope { shape: self.shape, around: self.scope }
    }

    #[cold]
    fn fail<T, E: Error>(&self, problem: Problem) -> Result<T, E> {
        let error = E::custom(&problem);
        self.failed.borrow_mut().get_or_insert_with(|| Misfit { path: self.way.path(), problem });
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
            (Shape::Newtype(_, inner), _) => {
                let inner = Place { shape: inner, way: self.way.step(Step::Same), ..*self };
                to.serialize_newtype_struct("", &inner)
            }
            (Shape::Option(_), Value::Option(None)) => to.serialize_none(),
            (Shape::Option(inner), Value::Option(Some(value))) => {
                to.serialize_some(&self.inner(inner, value, Step::Same, &scope))
            }
            (Shape::Option(inner), value) => to.serialize_some(&self.inner(inner, value, Step::Same, &scope)),
            // The bodies are alike.
            (Shape::Seq(element), Value::Bytes(bytes)) if is_byte(element) => to.serialize_bytes(bytes),
            (Shape::Seq(element), Value::List(values)) => {
                let mut seq = to.serialize_seq(Some(values.len()))?;
                for (at, value) in values.iter().enumerate() {
                    seq.serialize_element(&self.inner(element, value, Step::Index(at), &scope))?;
                }
                seq.end()
            }
            (Shape::Map(keys, values), Value::Map(entries)) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let step = match key {
                        Value::Text(key) => Step::Key(key),
                        _ => Step::Index(at),
                    };
                    map.serialize_key(&self.inner(keys, key, step, &scope))?;
                    map.serialize_value(&self.inner(values, value, step, &scope))?;
                }
                map.end()
            }
            (Shape::Array(element, len), Value::Tuple(values) | Value::List(values))
                if values.len() == *len as usize =>
            {
                self.tuple(values.iter().map(|value| (&**element, value)), to)
            }
            (Shape::Tuple(shapes), Value::Tuple(values) | Value::List(values))
                if values.len() == shapes.len() =>
            {
                self.tuple(shapes.iter().zip(values), to)
            }
            (Shape::Struct(_, fields), Value::Record(values)) => {
                let values = self.by_name(fields, values)?;
                let mut tuple = to.serialize_tuple(fields.len())?;
                for (field, value) in fields.iter().zip(values) {
                    let step = Step::Name(&field.name);
                    tuple.serialize_element(&self.inner(&field.shape, value, step, &scope))?;
                }
                tuple.end()
            }
            (Shape::Enum(_, variants), Value::Variant(name, content)) => {
                self.variant(variants, name, content, to)
            }
            (Shape::Reference(_), Value::Reference(reference)) => reference.serialize(to),
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
        // Integers that do not fit, and values of another kind, are none all the same.
        macro_rules! integer {
            ($serialize:ident) => {
                match self.value {
                    Value::Int(number) => match (*number).try_into() {
                        Ok(number) => to.$serialize(number),
                        Err(_) => self.unexpected(),
                    },
                    _ => self.unexpected(),
                }
            };
        }
        match (plain, self.value) {
            (Plain::Unit, Value::Unit) => to.serialize_unit(),
            (Plain::Bool, Value::Bool(bool)) => to.serialize_bool(*bool),
            (Plain::I8, _) => integer!(serialize_i8),
            (Plain::I16, _) => integer!(serialize_i16),
            (Plain::I32, _) => integer!(serialize_i32),
            (Plain::I64, _) => integer!(serialize_i64),
            (Plain::I128, _) => integer!(serialize_i128),
            (Plain::U8, _) => integer!(serialize_u8),
            (Plain::U16, _) => integer!(serialize_u16),
            (Plain::U32, _) => integer!(serialize_u32),
            (Plain::U64, _) => integer!(serialize_u64),
            (Plain::U128, Value::Large(number)) => to.serialize_u128(*number),
            (Plain::U128, _) => integer!(serialize_u128),
            (Plain::F32, Value::Float(float)) => to.serialize_f32(*float as f32),
            (Plain::F64, Value::Float(float)) => to.serialize_f64(*float),
            (Plain::Char, Value::Char(char)) => to.serialize_char(*char),
            (Plain::Text, Value::Text(text)) => to.serialize_str(text),
            (Plain::Bytes, Value::Bytes(bytes)) => to.serialize_bytes(bytes),
            _ => self.unexpected(),
        }
    }

    fn tuple<'b, S: Serializer>(
        &'b self,
        parts: impl ExactSizeIterator<Item = (&'b Shape, &'b Value)>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let scope = self.within();
        let mut tuple = to.serialize_tuple(parts.len())?;
        for (at, (shape, value)) in parts.enumerate() {
            tuple.serialize_element(&self.inner(shape, value, Step::Index(at), &scope))?;
        }
        tuple.end()
    }

    /// The values of fields in the body's order.
    fn by_name<'b, E: Error>(
        &self,
        fields: &[Field],
        values: &'b [(std::sync::Arc<str>, Value)],
    ) -> Result<Vec<&'b Value>, E> {
        let known = |name: &str| fields.iter().any(|field| field.name == name);
        if let Some((name, _)) = values.iter().find(|(name, _)| !known(name)) {
            let known = listed(fields.iter().map(|field| field.name.as_str()));
            return self.fail(Problem::Unknown { name: name.as_ref().into(), known });
        }
        let one = |field: &Field| {
            let value = values.iter().find(|(name, _)| **name == *field.name).map(|(_, value)| value);
            match (value, &field.shape) {
                (Some(value), _) => Ok(value),
                (None, Shape::Option(_)) => Ok(&NONE),
                (None, shape) => {
                    self.fail(Problem::Missing { field: field.name.clone(), expected: expected(shape) })
                }
            }
        };
        fields.iter().map(one).collect()
    }

    fn variant<S: Serializer>(
        &self,
        variants: &[Variant],
        name: &str,
        value: &Value,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let Some(number) = variants.iter().position(|variant| variant.name == *name) else {
            let known = listed(variants.iter().map(|variant| variant.name.as_str()));
            return self.fail(Problem::Unknown { name: name.into(), known });
        };
        let (scope, content) = (self.within(), &variants[number].content);
        let number = number as u32;
        // The same place, one name further in.
        let here = Place { value, way: self.way.step(Step::Name(name)), ..*self };
        let other = |expected: String| Problem::Unexpected { expected, found: found(value) };
        match (content, value) {
            (Content::Unit, Value::Unit) => to.serialize_unit_variant("", number, ""),
            (Content::Newtype(shape), _) => {
                let inner = here.inner(shape, value, Step::Same, &scope);
                to.serialize_newtype_variant("", number, "", &inner)
            }
            (Content::Tuple(shapes), Value::Tuple(values) | Value::List(values))
                if shapes.len() == values.len() =>
            {
                let mut tuple = to.serialize_tuple_variant("", number, "", shapes.len())?;
                for (at, (shape, value)) in shapes.iter().zip(values).enumerate() {
                    tuple.serialize_field(&here.inner(shape, value, Step::Index(at), &scope))?;
                }
                tuple.end()
            }
            (Content::Struct(fields), Value::Record(values)) => {
                let values = here.by_name(fields, values)?;
                let mut tuple = to.serialize_tuple_variant("", number, "", fields.len())?;
                for (field, value) in fields.iter().zip(values) {
                    let step = Step::Name(&field.name);
                    tuple.serialize_field(&here.inner(&field.shape, value, step, &scope))?;
                }
                tuple.end()
            }
            (Content::Unit, _) => here.fail(other("nothing in it, which is ()".into())),
            (Content::Tuple(shapes), _) => here.fail(other(format!("a tuple of {}", shapes.len()))),
            (Content::Struct(fields), _) => {
                let names = listed(fields.iter().map(|field| field.name.as_str()));
                here.fail(other(format!("a record of {names}")))
            }
        }
    }
}

fn is_byte(shape: &Shape) -> bool {
    match shape {
        Shape::Newtype(_, inner) => is_byte(inner),
        shape => *shape == Shape::Plain(Plain::U8),
    }
}

static NONE: Value = Value::Option(None);
