//! The ward before encoding: stands between a type's `Serialize` and bincode, and refuses what the other side's
//! guard would refuse, or worse, would misread.

use std::cell::Cell;

use serde::Serialize;
use serde::ser::{
    Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::MAX_DEPTH;
use super::error::Refusal;

/// Why a value was refused.
pub(super) struct State {
    refusal: Cell<Option<Refusal>>,
}

impl State {
    #[inline]
    pub(super) fn new() -> Self {
        State { refusal: Cell::new(None) }
    }

    #[inline]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    #[cold]
    fn refuse<E: Error>(&self, refusal: Refusal) -> E {
        if self.refusal.get().is_none() {
            self.refusal.set(Some(refusal));
        }
        E::custom(super::BodyError::from(refusal))
    }
}

/// Where encoding begins.
pub(super) struct Root<'w, T: ?Sized>(Ward<'w, &'w T>);

impl<'w, T: ?Sized> Root<'w, T> {
    #[inline]
    pub(super) fn new(value: &'w T, state: &'w State) -> Self {
        Root(Ward { inner: value, depth: 0, state })
    }
}

impl<T: Serialize + ?Sized> Serialize for Root<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(inner)
    }
}

/// Whatever is warded, `depth` containers deep: values, serializers and containers alike.
struct Ward<'w, I> {
    inner: I,
    depth: u32,
    state: &'w State,
}

impl<'w, I> Ward<'w, I> {
    #[inline]
    fn around<J>(&self, inner: J) -> Ward<'w, J> {
        Ward { inner, depth: self.depth, state: self.state }
    }

    /// The ward of what is one container deeper.
    #[inline]
    fn enter<E: Error>(&self) -> Result<Ward<'w, ()>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.state.refuse(Refusal::TooDeep));
        }
        Ok(Ward { inner: (), depth: self.depth + 1, state: self.state })
    }

    /// The length that a body must say first.
    #[inline]
    fn known<E: Error>(&self, len: Option<usize>, what: &'static str) -> Result<usize, E> {
        len.ok_or_else(|| self.state.refuse(Refusal::LengthUnknown { what }))
    }
}

impl<T: Serialize + ?Sized> Serialize for Ward<'_, &T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(self.around(inner))
    }
}

macro_rules! pass_on {
    ($($method:ident: $type:ty)*) => { $(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )* };
}

impl<'w, S: Serializer> Serializer for Ward<'w, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Ward<'w, S::SerializeSeq>;
    type SerializeTuple = Ward<'w, S::SerializeTuple>;
    type SerializeTupleStruct = Ward<'w, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Ward<'w, S::SerializeTupleVariant>;
    type SerializeMap = Ward<'w, S::SerializeMap>;
    type SerializeStruct = Ward<'w, Named<S::SerializeStruct>>;
    type SerializeStructVariant = Ward<'w, Named<S::SerializeStructVariant>>;

    pass_on! {
        serialize_bool: bool serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64 serialize_i128: i128
        serialize_u8: u8 serialize_u16: u16 serialize_u32: u32 serialize_u64: u64 serialize_u128: u128
        serialize_f32: f32 serialize_f64: f64 serialize_char: char serialize_str: &str serialize_bytes: &[u8]
        serialize_unit_struct: &'static str
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }
    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        // Counted as the other side counts it: an `Option` is a container before one knows whether it is empty.
        self.enter()?;
        self.inner.serialize_none()
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.enter()?.around(value);
        self.inner.serialize_some(&value)
    }
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.enter()?.around(value);
        self.inner.serialize_newtype_struct(name, &value)
    }
    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.enter()?;
        self.inner.serialize_unit_variant(name, index, variant)
    }
    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.enter()?.around(value);
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }
    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let len = self.known(len, "sequence")?;
        Ok(self.enter()?.around(self.inner.serialize_seq(Some(len))?))
    }
    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let len = self.known(len, "map")?;
        Ok(self.enter()?.around(self.inner.serialize_map(Some(len))?))
    }
    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(self.enter()?.around(self.inner.serialize_tuple(len)?))
    }
    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(self.enter()?.around(self.inner.serialize_tuple_struct(name, len)?))
    }
    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Ok(self.enter()?.around(self.inner.serialize_tuple_variant(name, index, variant, len)?))
    }
    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(self.enter()?.around(Named { name, fields: self.inner.serialize_struct(name, len)? }))
    }
    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let entered = self.enter()?;
        let fields = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(entered.around(Named { name, fields }))
    }
    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A struct's fields, with the struct's name for the error about a field left out.
struct Named<I> {
    name: &'static str,
    fields: I,
}

macro_rules! elements {
    ($($trait:ident: $($method:ident)*;)*) => { $(
        impl<I: $trait> $trait for Ward<'_, I> {
            type Ok = I::Ok;
            type Error = I::Error;
            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), I::Error> {
                    let value = self.around(value);
                    self.inner.$method(&value)
                }
            )*
            #[inline]
            fn end(self) -> Result<I::Ok, I::Error> {
                self.inner.end()
            }
        }
    )* };
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
    SerializeMap: serialize_key serialize_value;
}

macro_rules! fields {
    ($($trait:ident)*) => { $(
        impl<I: $trait> $trait for Ward<'_, Named<I>> {
            type Ok = I::Ok;
            type Error = I::Error;
            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), I::Error> {
                let value = self.around(value);
                self.inner.fields.serialize_field(name, &value)
            }
            // Always refused, in release builds too: the reader counts fields, so nothing good can come of it.
            fn skip_field(&mut self, field: &'static str) -> Result<(), I::Error> {
                Err(self.state.refuse(Refusal::FieldLeftOut { type_name: self.inner.name, field }))
            }
            #[inline]
            fn end(self) -> Result<I::Ok, I::Error> {
                self.inner.fields.end()
            }
        }
    )* };
}

fields! { SerializeStruct SerializeStructVariant }
