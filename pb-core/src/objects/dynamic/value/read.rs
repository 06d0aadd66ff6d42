//! Bodies to values: the shape drives the guarded decoder in the place of a type.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize as _;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::Value;
use crate::objects::dynamic::AnyRef;
use crate::wire::body::{self, BodyError, SPARE_ELEMENTS};
use crate::wire::shape::{Content, Field, Plain, Scope, Shape, Variant};

/// Takes one value of that shape off the front of `input`. References are those of the message that is being decoded.
///
/// What is built is bounded by the bytes of the body, whatever the shape claims: four values, of 32 bytes and a name, for each of them.
///
/// # Errors
/// [`BodyError`] where the bytes are not such a value, or the shape is opaque there; `input` is as it was before.
pub(super) fn read(shape: &Shape, input: &mut &[u8]) -> Result<Value, BodyError> {
    let room = (input.len() as u64).saturating_add(SPARE_ELEMENTS).saturating_mul(VALUES_A_BYTE);
    let making = Making { room: Cell::new(room), names: RefCell::default() };
    body::decode_by(Place { shape, scope: None, making: &making }, input)
}

/// A struct within a struct takes no bytes of its own, so an honest body has more values than bytes. A hostile shape has as many as it likes.
const VALUES_A_BYTE: u64 = 4;

/// What all places of one value share.
struct Making {
    /// Values that may still be made.
    room: Cell<u64>,
    /// Names of fields and variants, by where the shape has them: each is made once, however often its value comes.
    names: RefCell<HashMap<usize, Arc<str>>>,
}

impl Making {
    fn name(&self, name: &String) -> Arc<str> {
        let at = std::ptr::from_ref(name) as usize;
        Arc::clone(self.names.borrow_mut().entry(at).or_insert_with(|| name.as_str().into()))
    }
}

/// A shape at its place among others.
#[derive(Clone, Copy)]
struct Place<'a> {
    shape: &'a Shape,
    scope: Option<&'a Scope<'a>>,
    making: &'a Making,
}

impl<'a> Place<'a> {
    fn inner<'b>(&'b self, shape: &'b Shape, scope: &'b Scope<'b>) -> Place<'b> {
        Place { shape, scope: Some(scope), making: self.making }
    }

    fn within(&self) -> Scope<'a> {
        Scope { shape: self.shape, around: self.scope }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.making.room.get().checked_sub(1) {
            Some(room) => self.making.room.set(room),
            None => return Err(D::Error::custom("the shape repeats more than the body can hold")),
        }
        match self.shape {
            Shape::Plain(plain) => plain.read(from, Leaf),
            Shape::Option(_) => from.deserialize_option(self),
            Shape::Seq(element) if **element == Shape::Plain(Plain::U8) => from.deserialize_bytes(Leaf),
            Shape::Seq(_) => from.deserialize_seq(self),
            Shape::Map(..) => from.deserialize_map(self),
            Shape::Array(_, len) => from.deserialize_tuple(*len as usize, self),
            Shape::Tuple(shapes) => from.deserialize_tuple(shapes.len(), self),
            Shape::Newtype(..) => from.deserialize_newtype_struct("", self),
            Shape::Reference(_) => AnyRef::deserialize(from).map(Value::Reference),
            Shape::Struct(_, fields) => from.deserialize_tuple(fields.len(), self),
            Shape::Enum(..) => from.deserialize_enum("", &[], self),
            Shape::Again(up) => match Scope::up(self.scope, *up) {
                Some(Scope { shape, around }) => Place { shape, scope: around, ..self }.deserialize(from),
                None => Err(D::Error::custom("the shape refers to a container that is not there")),
            },
            Shape::Opaque(opaque) => {
                Err(D::Error::custom(format_args!("nothing is known about a `{}` here", opaque.type_name)))
            }
        }
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::words::expected(self.shape))
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let Shape::Option(inner) = self.shape else { return Err(self.other()) };
        let value = self.inner(inner, &self.within()).deserialize(from)?;
        Ok(Value::Option(Some(Box::new(value))))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let Shape::Newtype(_, inner) = self.shape else { return Err(self.other()) };
        Place { shape: inner, ..self }.deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let scope = self.within();
        match self.shape {
            Shape::Struct(_, fields) => self.by_name(fields, &scope, from),
            Shape::Tuple(shapes) => self.by_place(shapes, &scope, from),
            Shape::Seq(element) | Shape::Array(element, _) => {
                let mut values = Vec::new();
                while let Some(value) = from.next_element_seed(self.inner(element, &scope))? {
                    values.push(value);
                }
                let list = matches!(self.shape, Shape::Seq(_));
                Ok(if list { Value::List(values) } else { Value::Tuple(values) })
            }
            _ => Err(self.other()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let Shape::Map(key, value) = self.shape else { return Err(self.other()) };
        let scope = self.within();
        let mut entries = Vec::new();
        while let Some(key) = from.next_key_seed(self.inner(key, &scope))? {
            entries.push((key, from.next_value_seed(self.inner(value, &scope))?));
        }
        Ok(Value::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        let Shape::Enum(_, variants) = self.shape else { return Err(self.other()) };
        let (number, from) = from.variant_seed(PhantomData::<u32>)?;
        let Some(Variant { name, content }) = variants.get(number as usize) else {
            let count = variants.len();
            return Err(A::Error::custom(format_args!("variant {number} of an enum that has {count}")));
        };
        let scope = self.within();
        let inside = Inside { place: self, content, scope: &scope };
        let value = match content {
            Content::Unit => from.unit_variant().map(|()| Value::Unit)?,
            Content::Newtype(shape) => from.newtype_variant_seed(self.inner(shape, &scope))?,
            Content::Tuple(shapes) => from.tuple_variant(shapes.len(), inside)?,
            Content::Struct(fields) => from.tuple_variant(fields.len(), inside)?,
        };
        Ok(Value::Variant(self.making.name(name), Box::new(value)))
    }
}

impl Place<'_> {
    fn by_name<'de, A: SeqAccess<'de>>(
        &self,
        fields: &[Field],
        scope: &Scope<'_>,
        mut from: A,
    ) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        for Field { name, shape } in fields {
            let value = from.next_element_seed(self.inner(shape, scope))?.ok_or_else(|| self.other())?;
            values.push((self.making.name(name), value));
        }
        Ok(Value::Record(values))
    }

    fn by_place<'de, A: SeqAccess<'de>>(
        &self,
        shapes: &[Shape],
        scope: &Scope<'_>,
        mut from: A,
    ) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        for shape in shapes {
            values.push(from.next_element_seed(self.inner(shape, scope))?.ok_or_else(|| self.other())?);
        }
        Ok(Value::Tuple(values))
    }

    /// The decoder came with something else than it was asked for.
    #[cold]
    fn other<E: Error>(&self) -> E {
        E::custom(format_args!("no {} stands here", super::words::expected(self.shape)))
    }
}

/// A variant's fields, without the variant.
struct Inside<'a> {
    place: Place<'a>,
    content: &'a Content,
    scope: &'a Scope<'a>,
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a variant")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        match self.content {
            Content::Tuple(shapes) => self.place.by_place(shapes, self.scope, from),
            Content::Struct(fields) => self.place.by_name(fields, self.scope, from),
            Content::Unit | Content::Newtype(_) => Err(self.place.other()),
        }
    }
}

/// A value without parts.
struct Leaf;

macro_rules! leaves {
    ($($visit:ident: $type:ty),*) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<Value, E> {
            Ok(value.into())
        }
    )*};
}

impl Visitor<'_> for Leaf {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without parts")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Unit)
    }
    leaves! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f32: f32,
        visit_f64: f64, visit_char: char, visit_str: &str, visit_bytes: &[u8]
    }
}
