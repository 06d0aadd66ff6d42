use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AnyRef, shape_of};
use crate::objects::encoded::Payload;
use crate::objects::{Stub, drop_quietly, scope};
use crate::wire::body::{self, BodyError};
use crate::wire::shape::{Misfit, Problem, Shape};

mod from;
mod read;
mod words;
mod write;

pub(super) use words::expected;

/// A value whose type this program does not have: what calls by [description](crate::Description) take and give.
///
/// Values are made and read by [`Shape`]s, and a value does not know its own: `Int` stands for all integers, `Text` for all strings. 32 bytes
/// each.
///
/// Where a shape wants an option, what is no [`Option`](Value::Option) counts as there; newtypes don't show. A float that a shape has with 32 bits is
/// rounded to them; integers are never cut.
#[derive(Clone)]
#[non_exhaustive]
pub enum Value {
    /// Nothing at all: `()`, unit structs, what a variant without fields carries.
    Unit,
    /// `bool`.
    Bool(bool),
    /// All integers but [`Large`](Value::Large) ones.
    Int(i128),
    /// A `u128` from 2^127 on.
    Large(u128),
    /// `f32` and `f64`.
    Float(f64),
    /// `char`.
    Char(char),
    /// `String` and what is read from one.
    Text(String),
    /// Byte strings, and sequences of `u8`.
    Bytes(Vec<u8>),
    /// `Option`.
    Option(Option<Box<Value>>),
    /// Sequences and sets.
    List(Vec<Value>),
    /// Tuples, tuple structs and arrays.
    Tuple(Vec<Value>),
    /// Keys and values, in any order.
    Map(Vec<(Value, Value)>),
    /// A struct: its fields by name, in any order. A field that is an `Option` may be missing.
    Record(Vec<(Arc<str>, Value)>),
    /// A variant of an enum by its name, and what it carries: [`Unit`](Value::Unit), one value, a [`Tuple`](Value::Tuple) or a
    /// [`Record`](Value::Record).
    Variant(Arc<str>, Box<Value>),
    /// A reference to an object.
    Reference(AnyRef),
}

impl Value {
    /// A struct of these fields.
    pub fn record<N: Into<Arc<str>>>(fields: impl IntoIterator<Item = (N, Value)>) -> Self {
        Value::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A variant that carries `content`; [`Value::Unit`] is nothing.
    pub fn variant(name: impl Into<Arc<str>>, content: impl Into<Value>) -> Self {
        Value::Variant(name.into(), Box::new(content.into()))
    }

    /// What a field of a [`Record`](Value::Record) holds; `None` of anything else.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Record(fields) => {
                fields.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The stub of the reference that this is; `None` of anything else.
    pub fn reference<S: Stub>(&self) -> Option<S> {
        match self {
            Value::Reference(reference) => Some(reference.remote().cast()),
            _ => None,
        }
    }

    /// The same value with each reference in it replaced by what `with` makes of it, in the order of the value: what a proxy does that hands out
    /// forms of its own.
    ///
    /// ```
    /// # use pb_core::{AnyRef, Value};
    /// # fn lend(reference: AnyRef) -> AnyRef { reference.remote().revocable().0 }
    /// # fn pass_on(answer: Value) -> Value {
    /// answer.map_references(&mut |reference| lend(reference))
    /// # }
    /// ```
    #[must_use]
    pub fn map_references(self, with: &mut impl FnMut(AnyRef) -> AnyRef) -> Self {
        let mut each =
            |values: Vec<Value>| values.into_iter().map(|value| value.map_references(with)).collect();
        match self {
            Value::Reference(reference) => Value::Reference(with(reference)),
            Value::Option(Some(value)) => Value::Option(Some(Box::new(value.map_references(with)))),
            Value::List(values) => Value::List(each(values)),
            Value::Tuple(values) => Value::Tuple(each(values)),
            Value::Map(entries) => {
                let entry =
                    |(key, value): (Value, Value)| (key.map_references(with), value.map_references(with));
                Value::Map(entries.into_iter().map(entry).collect())
            }
            Value::Record(fields) => Value::Record(
                fields.into_iter().map(|(name, value)| (name, value.map_references(with))).collect(),
            ),
            Value::Variant(name, content) => Value::Variant(name, Box::new(content.map_references(with))),
            plain => plain,
        }
    }

    /// The beginning of what `Debug` writes, at most `bytes` and `…`: for logs of values that may be long. No more than that is made.
    pub fn brief(&self, bytes: usize) -> String {
        words::cut(bytes, format_args!("{self:?}"))
    }

    /// A value of a type that this program has. Traces the type, once a process, and encodes the value.
    ///
    /// # Errors
    /// [`Misfit`] where the value cannot be encoded, or the type is one that cannot be described (`docs/shapes.md`).
    pub fn of<T: Serialize + DeserializeOwned + 'static>(value: &T) -> Result<Self, Misfit> {
        let payload = Payload::encode(|out| out.write(value)).map_err(misfit)?;
        payload.read(&shape_of::<T>()).map_err(misfit)
    }

    /// Appends the body of the value, as a type of that shape would encode it.
    ///
    /// # Errors
    /// [`Misfit`] names the place in the value; `out` is as it was before. References are encoded only where they are arguments or results.
    pub fn to_body(&self, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Misfit> {
        write::write(shape, self, out)
    }

    /// Takes one value of that shape off the front of `input`.
    ///
    /// What is built is bounded by the bytes, whatever the shape claims: 96 bytes of memory for each of them and for 1,024 more. A byte that is a
    /// variant in a field makes up to that.
    ///
    /// # Errors
    /// [`BodyError`] where the bytes are not such a value, or the shape is opaque there; `input` is as it was before. References are decoded
    /// only where they are arguments or results.
    pub fn from_body(shape: &Shape, input: &mut &[u8]) -> Result<Self, BodyError> {
        read::Making::of_body(input.len()).read(shape, input)
    }

    /// The same value as a type that this program has.
    ///
    /// # Errors
    /// [`Misfit`] says what is there and what the type has in its place.
    pub fn to<T: DeserializeOwned + 'static>(&self) -> Result<T, Misfit> {
        let Payload { references, body } = Payload::write(&shape_of::<T>(), self)?;
        let mut rest = &body[..];
        scope::decode_with(references, || body::decode(&mut rest)).map_err(misfit)
    }
}

impl Payload {
    /// A body of one value of that shape.
    pub(super) fn write(shape: &Shape, value: &Value) -> Result<Self, Misfit> {
        Payload::write_all([(shape, value)]).map_err(|(_, misfit)| misfit)
    }

    /// A body of values one behind the other, each of its shape.
    ///
    /// # Errors
    /// Which of them does not fit, and why.
    pub(super) fn write_all<'a>(
        values: impl IntoIterator<Item = (&'a Shape, &'a Value)>,
    ) -> Result<Self, (usize, Misfit)> {
        let mut failed = None;
        let written = Payload::encode(|out| {
            for (at, (shape, value)) in values.into_iter().enumerate() {
                write::write(shape, value, out.bytes()).map_err(|misfit| {
                    failed = Some((at, misfit));
                    BodyError::Value { message: String::new() }
                })?;
            }
            Ok(())
        });
        written.map_err(|error| failed.unwrap_or_else(|| (0, misfit(error))))
    }

    /// Its one value, of that shape.
    pub(in crate::objects) fn read(self, shape: &Shape) -> Result<Value, BodyError> {
        let mut values = self.read_all([shape], false)?;
        Ok(values.pop().unwrap_or(Value::Unit))
    }

    /// Its values, of these shapes. With `more` others may stand behind them.
    pub(super) fn read_all<'a>(
        self,
        shapes: impl IntoIterator<Item = &'a Shape>,
        more: bool,
    ) -> Result<Vec<Value>, BodyError> {
        let mut rest = &self.body[..];
        // One for all: what one argument has used of the body's worth no other one has.
        let making = read::Making::of_body(rest.len());
        let mut values = Vec::new();
        let outcome = scope::decode_with(self.references, || {
            for shape in shapes {
                values.push(making.read(shape, &mut rest)?);
            }
            if more { Ok(()) } else { body::finish(rest) }
        });
        match outcome {
            Ok(()) => Ok(values),
            Err(error) => {
                drop_quietly(values);
                Err(error)
            }
        }
    }
}

fn misfit(error: BodyError) -> Misfit {
    Misfit { path: String::new(), problem: Problem::Body(error) }
}

/// References are equal where they are the [same](crate::Remote::same) now; a promise may become so later. Fields and entries count in their order.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Unit, Value::Unit) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Int(one), Value::Int(other)) => one == other,
            (Value::Large(one), Value::Large(other)) => one == other,
            (Value::Float(one), Value::Float(other)) => one == other,
            (Value::Char(one), Value::Char(other)) => one == other,
            (Value::Text(one), Value::Text(other)) => one == other,
            (Value::Bytes(one), Value::Bytes(other)) => one == other,
            (Value::Option(one), Value::Option(other)) => one == other,
            (Value::List(one), Value::List(other)) | (Value::Tuple(one), Value::Tuple(other)) => one == other,
            (Value::Map(one), Value::Map(other)) => one == other,
            (Value::Record(one), Value::Record(other)) => one == other,
            (Value::Variant(name, one), Value::Variant(other_name, other)) => {
                name == other_name && one == other
            }
            (Value::Reference(one), Value::Reference(other)) => one.remote().same(other),
            _ => false,
        }
    }
}

/// As `Debug` has it: for people, and for messages about errors that are values. What a terminal would obey is escaped, in names too.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unit => f.write_str("()"),
            Value::Bool(bool) => bool.fmt(f),
            Value::Int(int) => int.fmt(f),
            Value::Large(int) => int.fmt(f),
            Value::Float(float) => float.fmt(f),
            Value::Char(char) => char.fmt(f),
            Value::Text(text) => text.fmt(f),
            Value::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Value::Option(option) => option.fmt(f),
            Value::List(values) => values.fmt(f),
            Value::Tuple(values) => {
                let mut tuple = f.debug_tuple("");
                values.iter().for_each(|value| _ = tuple.field(value));
                tuple.finish()
            }
            Value::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|(key, value)| (key, value))).finish()
            }
            Value::Record(fields) => {
                let mut record = f.debug_map();
                for (name, value) in fields {
                    record.entry(&format_args!("{}", name.escape_debug()), value);
                }
                record.finish()
            }
            Value::Variant(name, content) => match &**content {
                Value::Unit => write!(f, "{}", name.escape_debug()),
                content => f.debug_tuple(&name.escape_debug().to_string()).field(content).finish(),
            },
            Value::Reference(reference) => reference.fmt(f),
        }
    }
}
