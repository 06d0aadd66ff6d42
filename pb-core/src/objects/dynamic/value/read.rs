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
use crate::wire::shape::{Content, Field, Plain, Scope, Shape, Shown, Variant};

/// Memory that the bytes of a body may still be made into. A struct within a struct takes no bytes of its own, and an honest value may be one byte:
/// a field of it takes 48 bytes here, and what is an enum 32 more. A hostile shape, or a hostile body of an honest one, would take as much as it likes.
const MEMORY_A_BYTE: u64 = 96;
/// A value where its holder has it: in a list, behind an option, in a variant.
const VALUE: u64 = size_of::<Value>() as u64;
/// The same with a name.
const FIELD: u64 = size_of::<(Arc<str>, Value)>() as u64;
/// What a name takes beside its text, with its place among the others.
const NAME: u64 = 48;

/// What all values of one body share.
pub(super) struct Making {
    /// Bytes of memory that may still be taken.
    room: Cell<u64>,
    /// Names of fields and variants, by where the shape has them: each is made once, however often its value comes.
    names: RefCell<HashMap<usize, Arc<str>>>,
}

impl Making {
    /// For a body of so many bytes, however many values it has.
    pub(super) fn of_body(bytes: usize) -> Self {
        let room = (bytes as u64).saturating_add(SPARE_ELEMENTS).saturating_mul(MEMORY_A_BYTE);
        Making { room: Cell::new(room), names: RefCell::default() }
    }

    /// Takes one value of that shape off the front of `input`. References are those of the message that is being decoded. `shape` lives as long as this.
    ///
    /// What is built is bounded by the bytes of the body, whatever the shape claims: [`MEMORY_A_BYTE`] for each of them and for 1,024 more.
    ///
    /// # Errors
    /// [`BodyError`] where the bytes are not such a value, or the shape is opaque there; `input` is as it was before.
    pub(super) fn read(&self, shape: &Shape, input: &mut &[u8]) -> Result<Value, BodyError> {
        self.charge::<serde::de::value::Error>(VALUE)
            .map_err(|error| BodyError::Value { message: error.to_string() })?;
        body::decode_by(Place { shape, scope: None, making: self }, input)
    }

    fn name<E: Error>(&self, name: &String) -> Result<Arc<str>, E> {
        let at = std::ptr::from_ref(name) as usize;
        if let Some(known) = self.names.borrow().get(&at) {
            return Ok(Arc::clone(known));
        }
        self.charge(NAME + name.len() as u64)?;
        let made: Arc<str> = name.as_str().into();
        self.names.borrow_mut().insert(at, Arc::clone(&made));
        Ok(made)
    }

    /// Memory is about to be taken.
    fn charge<E: Error>(&self, bytes: u64) -> Result<(), E> {
        match self.room.get().checked_sub(bytes) {
            Some(room) => self.room.set(room),
            None => return Err(E::custom(TOO_LARGE)),
        }
        Ok(())
    }

    /// Room for `count` elements, paid for, as far as the memory goes.
    fn room_for<T>(&self, count: Option<usize>) -> Vec<T> {
        let each = size_of::<T>().max(1) as u64;
        let count = (count.unwrap_or(0) as u64).min(self.room.get() / each);
        self.room.set(self.room.get() - count * each);
        Vec::with_capacity(count as usize)
    }

    /// One more element, which may be beyond what there is room for: then the vector grows by more than it needs.
    fn push<T, E: Error>(&self, all: &mut Vec<T>, one: T) -> Result<(), E> {
        if all.len() == all.capacity() {
            self.charge(((all.len() + 4) * size_of::<T>()) as u64)?;
        }
        all.push(one);
        Ok(())
    }
}

const TOO_LARGE: &str =
    "the value takes more memory than its bytes can be made into: 96 bytes for each, and for 1,024 more";

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
        match self.shape {
            Shape::Plain(plain) => plain.read(from, Leaf(self.making)),
            Shape::Option(_) => from.deserialize_option(self),
            Shape::Seq(element) if **element == Shape::Plain(Plain::U8) => {
                from.deserialize_bytes(Leaf(self.making))
            }
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
            Shape::Opaque(opaque) => Err(D::Error::custom(format_args!(
                "nothing is known about a `{}` here",
                Shown(&opaque.type_name)
            ))),
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
        self.making.charge(VALUE)?;
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
                let mut values = self.making.room_for(from.size_hint());
                while let Some(value) = from.next_element_seed(self.inner(element, &scope))? {
                    self.making.push(&mut values, value)?;
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
        let mut entries = self.making.room_for(from.size_hint());
        while let Some(key) = from.next_key_seed(self.inner(key, &scope))? {
            let value = from.next_value_seed(self.inner(value, &scope))?;
            self.making.push(&mut entries, (key, value))?;
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
        self.making.charge(VALUE)?;
        let name = self.making.name(name)?;
        let scope = self.within();
        let inside = Inside { place: self, content, scope: &scope };
        let value = match content {
            Content::Unit => from.unit_variant().map(|()| Value::Unit)?,
            Content::Newtype(shape) => from.newtype_variant_seed(self.inner(shape, &scope))?,
            Content::Tuple(shapes) => from.tuple_variant(shapes.len(), inside)?,
            Content::Struct(fields) => from.tuple_variant(fields.len(), inside)?,
        };
        Ok(Value::Variant(name, Box::new(value)))
    }
}

impl Place<'_> {
    fn by_name<'de, A: SeqAccess<'de>>(
        &self,
        fields: &[Field],
        scope: &Scope<'_>,
        mut from: A,
    ) -> Result<Value, A::Error> {
        self.making.charge(FIELD * fields.len() as u64)?;
        let mut values = Vec::with_capacity(fields.len());
        for Field { name, shape } in fields {
            let value = from.next_element_seed(self.inner(shape, scope))?.ok_or_else(|| self.other())?;
            values.push((self.making.name(name)?, value));
        }
        Ok(Value::Record(values))
    }

    fn by_place<'de, A: SeqAccess<'de>>(
        &self,
        shapes: &[Shape],
        scope: &Scope<'_>,
        mut from: A,
    ) -> Result<Value, A::Error> {
        self.making.charge(VALUE * shapes.len() as u64)?;
        let mut values = Vec::with_capacity(shapes.len());
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
struct Leaf<'a>(&'a Making);

macro_rules! leaves {
    ($($visit:ident: $type:ty),*) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<Value, E> {
            Ok(value.into())
        }
    )*};
}

impl Visitor<'_> for Leaf<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without parts")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Unit)
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.charge(value.len() as u64)?;
        Ok(value.into())
    }
    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        self.0.charge(value.len() as u64)?;
        Ok(value.into())
    }
    leaves! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f32: f32,
        visit_f64: f64, visit_char: char
    }
}
