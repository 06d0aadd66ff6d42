//! The deserializer that the tracer hands to types: it learns from each question and answers it with a sample.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, Visitor};

use super::answers::{Chosen, Elements, Entries};
use super::nodes::{At, Choice, Choices, Fields, Kind, Part};
use super::tracer::{Met, State};
use super::{Plain, REFERENCE_PREFIX, Why, samples};

/// A type's no, or ours. Only the name of a field that came twice is of interest; who is to blame stands in [`State`].
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) twice: Option<&'static str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample was refused while a type was traced")
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused { twice: None }
    }
    fn duplicate_field(field: &'static str) -> Self {
        Refused { twice: Some(field) }
    }
}

/// Answers for the place `at`; samples are moved on by `shift`, the turns of all places around it.
pub(super) struct Tracer<'t> {
    pub(super) state: &'t RefCell<State>,
    at: At,
    shift: u32,
}

impl<'t> Tracer<'t> {
    pub(super) fn new(state: &'t RefCell<State>, at: At, shift: u32) -> Self {
        Tracer { state, at, shift }
    }

    /// The same for a place below.
    fn to(&self, at: At) -> Tracer<'t> {
        Tracer { state: self.state, at, shift: self.turn() }
    }

    pub(super) fn turn(&self) -> u32 {
        self.shift + self.state.borrow().nodes.at(self.at).turns
    }

    /// Ends this pass without putting it down to a sample.
    pub(super) fn stop<T>(&self) -> Result<T, Refused> {
        self.state.borrow_mut().blamed = true;
        Err(Refused { twice: None })
    }

    /// Gives a place up. The first reason stays.
    pub(super) fn opaque<T>(&self, why: Why) -> Result<T, Refused> {
        let already = matches!(self.state.borrow().nodes.at(self.at).kind, Kind::Opaque(_));
        if !already {
            self.state.borrow_mut().learn(self.at, Kind::Opaque(why));
        }
        self.stop()
    }

    /// Makes what stands at a place below, and puts its refusal down to it.
    pub(super) fn child<'de, S: DeserializeSeed<'de>>(&self, at: At, seed: S) -> Result<S::Value, Refused> {
        let made = seed.deserialize(self.named(at, type_name::<S::Value>()));
        if made.is_err() {
            self.blame(at);
        }
        made
    }

    fn named(&self, at: At, type_name: &'static str) -> Tracer<'t> {
        self.state.borrow_mut().nodes.at_mut(at).type_name = type_name;
        self.to(at)
    }

    fn blame(&self, at: At) {
        self.state.borrow_mut().blame(at);
    }

    pub(super) fn known(&self, at: At) -> bool {
        self.state.borrow_mut().nodes.known(at)
    }

    /// Whether this pass should look into a place rather than go around it.
    pub(super) fn curious(&self, at: At) -> bool {
        !self.state.borrow().modest() && !self.known(at)
    }

    /// Whether a place can be made at all as far as one knows.
    pub(super) fn endless(&self, at: At) -> bool {
        matches!(self.state.borrow().nodes.at(at).kind, Kind::Again(..))
    }

    fn plain(&self, plain: Plain) -> Result<u32, Refused> {
        let mut state = self.state.borrow_mut();
        if !state.asked(self.at) {
            drop(state);
            return self.stop();
        }
        let turn = self.shift + state.nodes.at(self.at).turns;
        match state.nodes.at(self.at).kind {
            Kind::Plain(before) if before == plain => Ok(turn),
            Kind::Unasked if state.repeats == 0 => {
                state.learn(self.at, Kind::Plain(plain));
                Ok(turn)
            }
            Kind::Unasked => {
                drop(state);
                self.stop()
            }
            _ => {
                drop(state);
                self.varies()
            }
        }
    }

    pub(super) fn varies<T>(&self) -> Result<T, Refused> {
        self.opaque(Why::Varies)
    }

    /// Goes into a container: learns what it is if that is new. One that stands within itself is made as the outer
    /// one was made before, so that what stands behind it can be seen.
    fn container<V, T>(
        &self,
        fresh: Fresh,
        inside: impl FnOnce(&Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let place = self.enter(type_name::<V>(), fresh)?;
        let made = inside(&place);
        self.leave(&place);
        made
    }

    /// The first half of it, which is the same for all types.
    fn enter(&self, visitor: &'static str, fresh: Fresh) -> Result<Self, Refused> {
        let mut state = self.state.borrow_mut();
        let unasked = matches!(state.nodes.at(self.at).kind, Kind::Unasked);
        if !state.asked(self.at) || (unasked && state.repeats > 0) {
            drop(state);
            return self.stop();
        }
        if unasked {
            let kind = match state.meet(visitor) {
                Met::Again(up, outer) => Kind::Again(up, outer),
                Met::TooDeep => Kind::Opaque(Why::TooLarge),
                Met::New => fresh.learn(&mut state).unwrap_or(Kind::Opaque(Why::TooLarge)),
            };
            state.learn(self.at, kind);
        }
        let place = match state.nodes.at(self.at).kind {
            Kind::Again(_, outer) if state.repeats < MOST_REPEATS => Tracer { at: outer, ..*self },
            Kind::Again(..) | Kind::Opaque(_) => {
                drop(state);
                return self.stop();
            }
            _ => Tracer { ..*self },
        };
        state.repeats += u32::from(place.at != self.at);
        state.enter(visitor, place.at, matches!(fresh, Fresh::Newtype(_)));
        Ok(place)
    }

    /// The second.
    fn leave(&self, place: &Self) {
        let mut state = self.state.borrow_mut();
        state.leave();
        state.repeats -= u32::from(place.at != self.at);
    }

    /// What is written down at this place, as far as `wanted` wants it.
    pub(super) fn written<T>(&self, wanted: impl FnOnce(&Kind) -> Option<T>) -> Result<T, Refused> {
        let found = wanted(&self.state.borrow().nodes.at(self.at).kind);
        match found {
            Some(found) => Ok(found),
            None => self.varies(),
        }
    }

    pub(super) fn edit(&self, edit: impl FnOnce(&mut Kind)) {
        let mut state = self.state.borrow_mut();
        edit(&mut state.nodes.at_mut(self.at).kind);
    }

    /// What an option, a newtype or a sequence holds.
    fn inner(&self, asked: Fresh) -> Result<At, Refused> {
        self.written(|kind| match (asked, kind) {
            (Fresh::Option, Kind::Option(inner))
            | (Fresh::Newtype(_), Kind::Newtype(_, inner))
            | (Fresh::Seq, Kind::Seq(inner)) => Some(*inner),
            _ => None,
        })
    }

    fn key_and_value(&self) -> Result<(At, At), Refused> {
        self.written(|kind| if let Kind::Map(key, value) = kind { Some((*key, *value)) } else { None })
    }

    fn tuple(&self) -> Result<Vec<At>, Refused> {
        self.written(|kind| if let Kind::Tuple(nodes) = kind { Some(nodes.clone()) } else { None })
    }

    fn shorten_tuple(&self, read: usize) {
        self.edit(|kind| {
            if let Kind::Tuple(nodes) = kind {
                nodes.truncate(read);
            }
        });
    }

    fn known_fields(&self) -> Result<Fields, Refused> {
        self.written(|kind| if let Kind::Struct(_, fields) = kind { Some(fields.clone()) } else { None })
    }

    fn keep_fields(&self, fields: Fields) {
        self.edit(|kind| {
            if let Kind::Struct(_, before) = kind {
                *before = fields;
            }
        });
    }

    fn built(&self, number: u32) {
        self.choice(number, |choice| choice.built = true);
    }

    /// Whether a newtype of this name is a reference; learns of which interface.
    fn is_reference(&self, name: &'static str) -> bool {
        let interface = name.strip_prefix(REFERENCE_PREFIX).and_then(|rest| rest.strip_suffix('>'));
        let mut state = self.state.borrow_mut();
        if let Some(interface) = interface
            && matches!(state.nodes.at(self.at).kind, Kind::Unasked)
            && state.repeats == 0
        {
            state.learn(self.at, Kind::Reference(interface));
        }
        interface.is_some()
    }
}

/// A container that is asked for the first time.
#[derive(Clone, Copy)]
enum Fresh {
    Option,
    Newtype(&'static str),
    Seq,
    Map,
    Tuple(usize),
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
}

impl Fresh {
    /// What it is; `None` where it has more parts than are looked at.
    fn learn(self, state: &mut State) -> Option<Kind> {
        let nodes = &mut state.nodes;
        Some(match self {
            Fresh::Option => Kind::Option(nodes.add()),
            Fresh::Newtype(name) => Kind::Newtype(name, nodes.add()),
            Fresh::Seq => Kind::Seq(nodes.add()),
            Fresh::Map => Kind::Map(nodes.add(), nodes.add()),
            Fresh::Tuple(len) => Kind::Tuple(nodes.add_all(len)?),
            Fresh::Struct(name, names) => Kind::Struct(name, nodes.add_fields(names)?),
            Fresh::Enum(name, names) => {
                let unseen = |_: &&str| Choice { content: Part::Unasked, visits: 0, built: false };
                Kind::Enum(name, Choices { names, variants: names.iter().map(unseen).collect() })
            }
        })
    }
}

macro_rules! plain {
    ($($ask:ident $plain:ident $visit:ident($value:expr);)*) => { $(
        fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            let turn = self.plain(Plain::$plain)?;
            visitor.$visit(($value)(turn))
        }
    )* };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Refused;

    plain! {
        deserialize_bool Bool visit_bool(samples::bool);
        deserialize_i8 I8 visit_i8(|turn| samples::number(turn) as i8);
        deserialize_i16 I16 visit_i16(|turn| samples::number(turn).into());
        deserialize_i32 I32 visit_i32(|turn| samples::number(turn).into());
        deserialize_i64 I64 visit_i64(|turn| samples::number(turn).into());
        deserialize_i128 I128 visit_i128(|turn| samples::number(turn).into());
        deserialize_u8 U8 visit_u8(samples::number);
        deserialize_u16 U16 visit_u16(|turn| samples::number(turn).into());
        deserialize_u32 U32 visit_u32(|turn| samples::number(turn).into());
        deserialize_u64 U64 visit_u64(|turn| samples::number(turn).into());
        deserialize_u128 U128 visit_u128(|turn| samples::number(turn).into());
        deserialize_f32 F32 visit_f32(|turn| samples::float(turn) as f32);
        deserialize_f64 F64 visit_f64(samples::float);
        deserialize_char Char visit_char(samples::char);
        deserialize_str Text visit_borrowed_str(samples::text);
        deserialize_string Text visit_borrowed_str(samples::text);
        deserialize_bytes Bytes visit_borrowed_bytes(samples::bytes);
        deserialize_byte_buf Bytes visit_borrowed_bytes(samples::bytes);
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.plain(Plain::Unit)?;
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Option, |place| {
            let inner = place.inner(Fresh::Option)?;
            let some = place.curious(inner) || (samples::bool(place.turn()) && !place.endless(inner));
            if some { visitor.visit_some(place.to(inner)) } else { visitor.visit_none() }
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if self.is_reference(name) {
            let index: U32Deserializer<Refused> = 0u32.into_deserializer();
            return visitor.visit_newtype_struct(index);
        }
        self.container::<V, _>(Fresh::Newtype(name), |place| {
            visitor.visit_newtype_struct(place.to(place.inner(Fresh::Newtype(name))?))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Seq, |place| {
            let element = place.inner(Fresh::Seq)?;
            let left = place.length(element, element);
            visitor.visit_seq(Elements { tracer: place, element, left })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Map, |place| {
            let (key, value) = place.key_and_value()?;
            let left = place.length(key, value);
            visitor.visit_map(Entries { tracer: place, key, value, left })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Tuple(len), |place| {
            let nodes = place.tuple()?;
            let (made, read) = place.in_order(&nodes, visitor);
            if made.is_ok() {
                place.shorten_tuple(read);
            }
            made
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Struct(name, names), |place| {
            let mut fields = place.known_fields()?;
            let made = place.fields(&mut fields, visitor);
            place.keep_fields(fields);
            made
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.container::<V, _>(Fresh::Enum(name, names), |place| {
            let Some(number) = place.choose()? else { return place.stop() };
            let made = visitor.visit_enum(Chosen { tracer: place, number });
            if made.is_ok() {
                place.built(number);
            }
            made
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.opaque(Why::SelfDescribing)
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.opaque(Why::SelfDescribing)
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.opaque(Why::SelfDescribing)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// How often a container may be made within itself just to get past it: a list of lists needs two.
const MOST_REPEATS: u32 = 3;
