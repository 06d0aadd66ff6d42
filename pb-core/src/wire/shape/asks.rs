//! The deserializer that the tracer hands to types: it learns from each question and answers it with a sample.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::nodes::{At, Choice, Choices, Fields, Kind, Part};
use super::tracer::{Met, State};
use super::{Plain, REFERENCE_PREFIX, Why, samples};

/// A type's no, or ours. Only the name of a field that came twice is of interest; who is to blame stands in [`State`].
#[derive(Debug)]
pub(super) struct Refused {
    twice: Option<&'static str>,
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
    state: &'t RefCell<State>,
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

    fn turn(&self) -> u32 {
        self.shift + self.state.borrow().nodes.at(self.at).turns
    }

    /// Ends this pass without putting it down to a sample.
    fn stop<T>(&self) -> Result<T, Refused> {
        self.state.borrow_mut().blamed = true;
        Err(Refused { twice: None })
    }

    /// Gives a place up. The first reason stays.
    fn opaque<T>(&self, why: Why) -> Result<T, Refused> {
        let already = matches!(self.state.borrow().nodes.at(self.at).kind, Kind::Opaque(_));
        if !already {
            self.state.borrow_mut().learn(self.at, Kind::Opaque(why));
        }
        self.stop()
    }

    /// Makes what stands at a place below, and puts its refusal down to it.
    fn child<'de, S: DeserializeSeed<'de>>(&self, at: At, seed: S) -> Result<S::Value, Refused> {
        self.state.borrow_mut().nodes.at_mut(at).type_name = type_name::<S::Value>();
        let made = seed.deserialize(self.to(at));
        if made.is_err() {
            self.state.borrow_mut().blame(at);
        }
        made
    }

    fn known(&self, at: At) -> bool {
        self.state.borrow_mut().nodes.known(at)
    }

    /// Whether this pass should look into a place rather than go around it.
    fn curious(&self, at: At) -> bool {
        !self.state.borrow().modest() && !self.known(at)
    }

    /// Whether a place can be made at all as far as one knows.
    fn endless(&self, at: At) -> bool {
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

    fn varies<T>(&self) -> Result<T, Refused> {
        self.opaque(Why::Varies)
    }

    /// Goes into a container: learns what it is if that is new. One that stands within itself is made as the outer
    /// one was made before, so that what stands behind it can be seen.
    fn container<V, T>(
        &self,
        newtype: bool,
        fresh: impl FnOnce(&mut State) -> Option<Kind>,
        inside: impl FnOnce(&Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let visitor = type_name::<V>();
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
                Met::New => fresh(&mut state).unwrap_or(Kind::Opaque(Why::TooLarge)),
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
        let repeats = u32::from(place.at != self.at);
        state.repeats += repeats;
        state.enter(visitor, place.at, newtype);
        drop(state);
        let made = inside(&place);
        let mut state = self.state.borrow_mut();
        state.leave();
        state.repeats -= repeats;
        made
    }

    /// What is written down at this place, as far as `wanted` wants it.
    fn written<T>(&self, wanted: impl FnOnce(&Kind) -> Option<T>) -> Result<T, Refused> {
        let found = wanted(&self.state.borrow().nodes.at(self.at).kind);
        match found {
            Some(found) => Ok(found),
            None => self.varies(),
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut Kind)) {
        let mut state = self.state.borrow_mut();
        edit(&mut state.nodes.at_mut(self.at).kind);
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
        let fresh = |state: &mut State| Some(Kind::Option(state.nodes.add()));
        self.container::<V, _>(false, fresh, |place| {
            let inner =
                place.written(|kind| if let Kind::Option(inner) = kind { Some(*inner) } else { None })?;
            let some = place.curious(inner) || (samples::bool(place.turn()) && !place.endless(inner));
            if some { visitor.visit_some(place.to(inner)) } else { visitor.visit_none() }
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if let Some(interface) = name.strip_prefix(REFERENCE_PREFIX).and_then(|rest| rest.strip_suffix('>')) {
            let mut state = self.state.borrow_mut();
            if matches!(state.nodes.at(self.at).kind, Kind::Unasked) && state.repeats == 0 {
                state.learn(self.at, Kind::Reference(interface));
            }
            drop(state);
            let index: U32Deserializer<Refused> = 0u32.into_deserializer();
            return visitor.visit_newtype_struct(index);
        }
        let fresh = |state: &mut State| Some(Kind::Newtype(name, state.nodes.add()));
        self.container::<V, _>(true, fresh, |place| {
            let inner =
                place.written(|kind| if let Kind::Newtype(_, inner) = kind { Some(*inner) } else { None })?;
            visitor.visit_newtype_struct(place.to(inner))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let fresh = |state: &mut State| Some(Kind::Seq(state.nodes.add()));
        self.container::<V, _>(false, fresh, |place| {
            let element =
                place.written(|kind| if let Kind::Seq(inner) = kind { Some(*inner) } else { None })?;
            let left = place.length(element, element);
            visitor.visit_seq(Elements { tracer: place, element, left })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let fresh = |state: &mut State| {
            let (key, value) = (state.nodes.add(), state.nodes.add());
            Some(Kind::Map(key, value))
        };
        self.container::<V, _>(false, fresh, |place| {
            let (key, value) = self
                .written(|kind| if let Kind::Map(key, value) = kind { Some((*key, *value)) } else { None })?;
            let left = place.length(key, value);
            visitor.visit_map(Entries { tracer: place, key, value, left })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        let fresh = |state: &mut State| state.nodes.add_all(len).map(Kind::Tuple);
        self.container::<V, _>(false, fresh, |place| {
            let nodes = place
                .written(|kind| if let Kind::Tuple(nodes) = kind { Some(nodes.clone()) } else { None })?;
            let (made, read) = place.in_order(&nodes, visitor);
            if made.is_ok() {
                place.edit(|kind| {
                    if let Kind::Tuple(nodes) = kind {
                        nodes.truncate(read);
                    }
                });
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
        let fresh = |state: &mut State| Some(Kind::Struct(name, state.nodes.add_fields(names)?));
        self.container::<V, _>(false, fresh, |place| {
            let mut fields = place.written(|kind| {
                if let Kind::Struct(_, fields) = kind { Some(fields.clone()) } else { None }
            })?;
            let made = place.fields(&mut fields, visitor);
            place.edit(|kind| {
                if let Kind::Struct(_, before) = kind {
                    *before = fields;
                }
            });
            made
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let fresh = |_: &mut State| {
            let unseen = || Choice { content: Part::Unasked, visits: 0, built: false };
            Some(Kind::Enum(name, Choices { names, variants: names.iter().map(|_| unseen()).collect() }))
        };
        self.container::<V, _>(false, fresh, |place| {
            let Some(number) = place.choose()? else { return place.stop() };
            let made = visitor.visit_enum(Chosen { tracer: place, number });
            if made.is_ok() {
                place.choice(number, |choice| choice.built = true);
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

impl Tracer<'_> {
    /// How many elements to give: one to look into, else as many as the turn says.
    fn length(&self, key: At, value: At) -> u32 {
        if self.curious(key) || self.curious(value) {
            1
        } else if self.endless(key) || self.endless(value) {
            0
        } else {
            samples::length(self.turn())
        }
    }

    /// Gives values by place, and says how many were taken.
    fn in_order<'de, V: Visitor<'de>>(&self, nodes: &[At], visitor: V) -> (Result<V::Value, Refused>, usize) {
        let mut read = 0;
        let made = visitor.visit_seq(Places { tracer: self, nodes, read: &mut read });
        (made, read)
    }

    /// Gives fields, by name if the type takes them so.
    fn fields<'de, V: Visitor<'de>>(&self, fields: &mut Fields, visitor: V) -> Result<V::Value, Refused> {
        if fields.in_order {
            let (made, read) = self.in_order(&fields.nodes, visitor);
            if made.is_ok() {
                fields.nodes.truncate(read);
                fields.settled = true;
            }
            return made;
        }
        let mut order: Vec<usize> = fields.real().collect();
        if !self.state.borrow().modest() {
            order.sort_by_key(|place| {
                let known = self.known(fields.nodes[*place]);
                (!fields.first[*place], known, if known { 0 } else { fields.visits[*place] })
            });
        }
        let (mut asked, mut ended) = (false, false);
        let mut given = Vec::new();
        let made = visitor.visit_map(Named {
            tracer: self,
            fields,
            order: order.into_iter(),
            asked: &mut asked,
            ended: &mut ended,
            given: &mut given,
        });
        for place in &given {
            fields.visits[*place] += 1;
        }
        // All names were taken, none of them twice.
        fields.settled |= ended;
        made.map_err(|refused| {
            self.reconsider(fields, refused.twice, asked, &given);
            // What it says about this struct's fields means nothing to the struct around.
            Refused { twice: None }
        })
    }

    /// Learns from a struct that was refused: that it takes no names, or an alias.
    fn reconsider(&self, fields: &mut Fields, twice: Option<&'static str>, asked: bool, given: &[usize]) {
        let mut state = self.state.borrow_mut();
        if !asked && !fields.names.is_empty() {
            if let Some(nodes) = state.nodes.add_all(fields.nodes.len()) {
                *fields = Fields { nodes, in_order: true, ..fields.clone() };
                state.progress = true;
                state.blamed = true;
            }
            return;
        }
        let (Some(name), Some(last)) = (twice, given.last().copied()) else { return };
        let Some(real) = fields.names.iter().position(|known| *known == name) else { return };
        state.blamed = true;
        // Named last, it may have come as an alias before; so it goes first from now on, until the alias shows.
        let what = if last == real { &mut fields.first[real] } else { &mut fields.aliases[last] };
        state.progress |= !*what;
        *what = true;
    }

    /// The variant to take: the least visited of those not known, else one that can be made.
    fn choose(&self) -> Result<Option<u32>, Refused> {
        let turn = self.turn() as usize;
        let contents: Vec<(Part, u32, bool)> = self.written(|kind| match kind {
            Kind::Enum(_, choices) => Some(
                choices.variants.iter().map(|one| (one.content.clone(), one.visits, one.built)).collect(),
            ),
            _ => None,
        })?;
        let mut state = self.state.borrow_mut();
        let unknown = |number: &usize| !state.nodes.part_known(&contents[*number].0);
        let unknown: Vec<usize> = (0..contents.len()).filter(unknown).collect();
        let built: Vec<usize> = (0..contents.len()).filter(|number| contents[*number].2).collect();
        let chosen = if unknown.is_empty() || (state.modest() && !built.is_empty()) {
            let among = if built.is_empty() { (0..contents.len()).collect() } else { built };
            (!among.is_empty()).then(|| among[turn % among.len()])
        } else {
            unknown.into_iter().min_by_key(|number| contents[*number].1)
        };
        drop(state);
        if let Some(number) = chosen {
            self.choice(number as u32, |choice| choice.visits += 1);
        }
        Ok(chosen.map(|number| number as u32))
    }

    fn choice(&self, number: u32, edit: impl FnOnce(&mut Choice)) {
        self.edit(|kind| {
            if let Kind::Enum(_, Choices { variants, .. }) = kind
                && let Some(choice) = variants.get_mut(number as usize)
            {
                edit(choice);
            }
        });
    }
}

/// How often a container may be made within itself just to get past it: a list of lists needs two.
const MOST_REPEATS: u32 = 3;

/// Elements of one shape.
struct Elements<'a, 't> {
    tracer: &'a Tracer<'t>,
    element: At,
    left: u32,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Refused;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.tracer.child(self.element, seed).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// Keys and values of one shape each.
struct Entries<'a, 't> {
    tracer: &'a Tracer<'t>,
    key: At,
    value: At,
    left: u32,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Refused;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.tracer.child(self.key, seed).map(Some)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        self.tracer.child(self.value, seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// Values by place.
struct Places<'a, 't> {
    tracer: &'a Tracer<'t>,
    nodes: &'a [At],
    read: &'a mut usize,
}

impl<'de> SeqAccess<'de> for Places<'_, '_> {
    type Error = Refused;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some(at) = self.nodes.get(*self.read) else { return Ok(None) };
        *self.read += 1;
        self.tracer.child(*at, seed).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - *self.read)
    }
}

/// Fields by name.
struct Named<'a, 't> {
    tracer: &'a Tracer<'t>,
    fields: &'a Fields,
    order: std::vec::IntoIter<usize>,
    asked: &'a mut bool,
    ended: &'a mut bool,
    given: &'a mut Vec<usize>,
}

impl<'de> MapAccess<'de> for Named<'_, '_> {
    type Error = Refused;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        *self.asked = true;
        let Some(place) = self.order.next() else {
            *self.ended = true;
            return Ok(None);
        };
        self.given.push(place);
        let name = serde::de::value::BorrowedStrDeserializer::new(self.fields.names[place]);
        seed.deserialize(name).map(Some)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        match self.given.last() {
            Some(place) => self.tracer.child(self.fields.nodes[*place], seed),
            None => self.tracer.stop(),
        }
    }
}

/// An enum with its variant chosen.
struct Chosen<'a, 't> {
    tracer: &'a Tracer<'t>,
    number: u32,
}

impl<'de, 'a, 't> EnumAccess<'de> for Chosen<'a, 't> {
    type Error = Refused;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let number: U32Deserializer<Refused> = self.number.into_deserializer();
        match seed.deserialize(number) {
            Ok(variant) => Ok((variant, self)),
            Err(_) => {
                // Aliases make the list of names longer than that of variants.
                self.tracer.edit(|kind| {
                    if let Kind::Enum(_, choices) = kind {
                        choices.variants.truncate(self.number as usize);
                    }
                });
                self.tracer.state.borrow_mut().progress = true;
                self.tracer.stop()
            }
        }
    }
}

impl Chosen<'_, '_> {
    /// The variant's content, learnt if it is new.
    fn part(&self, fresh: impl FnOnce(&mut State) -> Option<Part>) -> Result<Part, Refused> {
        let before = self.tracer.written(|kind| match kind {
            Kind::Enum(_, choices) => {
                choices.variants.get(self.number as usize).map(|one| one.content.clone())
            }
            _ => None,
        })?;
        if !matches!(before, Part::Unasked) {
            return Ok(before);
        }
        if self.tracer.state.borrow().repeats > 0 {
            return self.tracer.stop();
        }
        let fresh = fresh(&mut self.tracer.state.borrow_mut());
        let Some(part) = fresh else { return self.tracer.opaque(Why::TooLarge) };
        self.tracer.state.borrow_mut().progress = true;
        self.tracer.choice(self.number, |choice| choice.content = part.clone());
        Ok(part)
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_, '_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        match self.part(|_| Some(Part::Unit))? {
            Part::Unit => Ok(()),
            _ => self.tracer.varies(),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        match self.part(|state| Some(Part::Newtype(state.nodes.add())))? {
            Part::Newtype(inner) => self.tracer.child(inner, seed),
            _ => self.tracer.varies(),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        match self.part(|state| state.nodes.add_all(len).map(Part::Tuple))? {
            Part::Tuple(nodes) => self.tracer.in_order(&nodes, visitor).0,
            _ => self.tracer.varies(),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.part(|state| state.nodes.add_fields(names).map(Part::Struct))? {
            Part::Struct(mut fields) => {
                let made = self.tracer.fields(&mut fields, visitor);
                self.tracer.choice(self.number, |choice| choice.content = Part::Struct(fields));
                made
            }
            _ => self.tracer.varies(),
        }
    }
}
