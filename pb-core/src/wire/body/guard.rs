//! The guard before decoding: stands between a type's `Deserialize` and bincode, counts depth, charges claimed
//! lengths, and reads owned strings and buffers through the borrowed path, whose length is checked against the body.
//!
//! Depth goes down by value and needs no undoing; the budget is one cell for the whole value.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::Refusal;
use super::{MAX_DEPTH, SPARE_ELEMENTS, SelfDescribing};

/// What one value may still claim, and why it was refused.
pub(super) struct State {
    body_bytes: usize,
    room: Cell<u64>,
    refusal: Cell<Option<Refusal>>,
}

impl State {
    #[inline]
    pub(super) fn new(body_bytes: usize) -> Self {
        let room = (body_bytes as u64).saturating_add(SPARE_ELEMENTS);
        State { body_bytes, room: Cell::new(room), refusal: Cell::new(None) }
    }

    #[inline]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// Charged once, when the length is read: every honest element has a byte, and elements without bytes stop
    /// here before the first is made.
    #[inline]
    fn charge<E: Error>(&self, claimed: Option<usize>) -> Result<(), E> {
        let claimed = claimed.unwrap_or(0) as u64;
        let room = self.room.get();
        match room.checked_sub(claimed) {
            Some(left) => {
                self.room.set(left);
                Ok(())
            }
            None => Err(self.refuse(Refusal::TooLong { claimed, room })),
        }
    }

    /// How many elements a collection may make room for at once: elements that have bytes, not the spare ones.
    #[inline]
    fn worth(&self, claimed: Option<usize>) -> Option<usize> {
        claimed.map(|claimed| claimed.min(self.body_bytes))
    }

    #[cold]
    fn refuse<E: Error>(&self, refusal: Refusal) -> E {
        // The first one is the reason; a type that goes on after it only meets its consequences.
        if self.refusal.get().is_none() {
            self.refusal.set(Some(refusal));
        }
        E::custom(super::BodyError::from(refusal))
    }
}

/// Where decoding begins.
pub(super) struct Root<'g, S>(Guard<'g, S>);

impl<'g, S> Root<'g, S> {
    #[inline]
    pub(super) fn new(seed: S, state: &'g State) -> Self {
        Root(Guard { inner: seed, depth: 0, state, making: type_name::<S> })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Root<'_, S> {
    type Value = S::Value;
    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(inner)
    }
}

/// Whatever is guarded, `depth` containers deep: deserializers, visitors, seeds and accesses alike.
struct Guard<'g, I> {
    inner: I,
    depth: u32,
    state: &'g State,
    /// The type that is being made, for errors. Visitors and deserializers would name what serde's derive puts in
    /// between; and a pointer costs less than looking at every result on its way out.
    making: fn() -> &'static str,
}

impl<'g, I> Guard<'g, I> {
    /// The same, around something else on the same level.
    #[inline]
    fn around<J>(&self, inner: J) -> Guard<'g, J> {
        Guard { inner, depth: self.depth, state: self.state, making: self.making }
    }

    /// The guard of a visitor one container deeper.
    #[inline]
    fn enter<V, E: Error>(&self, visitor: V) -> Result<Guard<'g, V>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.state.refuse(Refusal::TooDeep));
        }
        Ok(Guard { inner: visitor, depth: self.depth + 1, state: self.state, making: self.making })
    }

    #[cold]
    fn self_describing<E: Error>(&self, asked: SelfDescribing) -> E {
        self.state.refuse(Refusal::SelfDescribing { type_name: (self.making)(), asked })
    }
}

/// A visitor of something whose length the body claims, in contrast to one whose type knows it.
struct Claimed<V>(V);

macro_rules! pass_on {
    ($($method:ident)*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_bytes deserialize_unit
    }

    // The owned paths of bincode allocate the claimed length before they look whether the body has it.
    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(visitor)
    }
    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_option(visitor)
    }
    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_newtype_struct(name, visitor)
    }
    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.enter(Claimed(visitor))?;
        self.inner.deserialize_seq(visitor)
    }
    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.enter(Claimed(visitor))?;
        self.inner.deserialize_map(visitor)
    }
    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_tuple(len, visitor)
    }
    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }
    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_struct(name, fields, visitor)
    }
    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.enter(visitor)?;
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(self.self_describing(SelfDescribing::Any))
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(self.self_describing(SelfDescribing::FieldName))
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(self.self_describing(SelfDescribing::Skip))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Only what bincode calls for the containers above.
impl<'de, V: Visitor<'de>> Visitor<'de> for Guard<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }
    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }
    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.around(inner);
        self.inner.visit_some(inner)
    }
    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.around(inner);
        self.inner.visit_newtype_struct(inner)
    }
    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.around(access);
        self.inner.visit_seq(access)
    }
    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.around(access);
        self.inner.visit_enum(access)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guard<'_, Claimed<V>> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.0.expecting(f)
    }
    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.state.charge(access.size_hint())?;
        let access = self.around(access);
        self.inner.0.visit_seq(access)
    }
    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.state.charge(access.size_hint())?;
        let access = self.around(access);
        self.inner.0.visit_map(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guard<'_, S> {
    type Value = S::Value;
    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let inner = Guard { inner, depth: self.depth, state: self.state, making: type_name::<S::Value> };
        self.inner.deserialize(inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guard<'_, A> {
    type Error = A::Error;
    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_element_seed(seed)
    }
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.state.worth(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guard<'_, A> {
    type Error = A::Error;
    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_key_seed(seed)
    }
    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.next_value_seed(seed)
    }
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.state.worth(self.inner.size_hint())
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'g, A> {
    type Error = A::Error;
    type Variant = Guard<'g, A::Variant>;
    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        // The seed gets the variant's number and nothing of the body, so it needs no guard.
        let Guard { inner, depth, state, making } = self;
        let (value, inner) = inner.variant_seed(seed)?;
        Ok((value, Guard { inner, depth, state, making }))
    }
}

/// A variant's fields stand on the level of their enum, which has been counted.
impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;
    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }
    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed)
    }
    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor)
    }
    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
