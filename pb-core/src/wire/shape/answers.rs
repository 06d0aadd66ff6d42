//! What the tracer answers where a type asks for parts: elements, entries, fields and variants, as [`super::asks`]
//! hands them out. Which part comes first is decided here.

use serde::de::value::{BorrowedStrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::asks::{Refused, Tracer};
use super::nodes::{At, Choice, Choices, Fields, Kind, Part};
use super::tracer::State;
use super::{Why, samples};

impl Tracer<'_> {
    /// How many elements to give: one to look into, else as many as the turn says.
    pub(super) fn length(&self, key: At, value: At) -> u32 {
        if self.curious(key) || self.curious(value) {
            1
        } else if self.endless(key) || self.endless(value) {
            0
        } else {
            samples::length(self.turn())
        }
    }

    /// Gives values by place, and says how many were taken.
    pub(super) fn in_order<'de, V: Visitor<'de>>(
        &self,
        nodes: &[At],
        visitor: V,
    ) -> (Result<V::Value, Refused>, usize) {
        let mut read = 0;
        let made = visitor.visit_seq(Places { tracer: self, nodes, read: &mut read });
        (made, read)
    }

    /// Gives fields, by name if the type takes them so.
    pub(super) fn fields<'de, V: Visitor<'de>>(
        &self,
        fields: &mut Fields,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if fields.in_order {
            let (made, read) = self.in_order(&fields.nodes, visitor);
            if made.is_ok() {
                fields.nodes.truncate(read);
                fields.settled = true;
            }
            return made;
        }
        let order = self.order(fields);
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
        fields.visit(&given, ended);
        match made {
            Ok(made) => Ok(made),
            Err(refused) => {
                self.reconsider(fields, refused.twice, asked, &given);
                // What it says about this struct's fields means nothing to the struct around.
                Err(Refused { twice: None })
            }
        }
    }

    /// In which order fields are given: what is not known goes first.
    fn order(&self, fields: &Fields) -> Vec<usize> {
        let mut order: Vec<usize> = fields.real().collect();
        if !self.state.borrow().modest() {
            order.sort_by_key(|place| {
                let known = self.known(fields.nodes[*place]);
                (!fields.first[*place], known, if known { 0 } else { fields.visits[*place] })
            });
        }
        order
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
    pub(super) fn choose(&self) -> Result<Option<u32>, Refused> {
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

    pub(super) fn choice(&self, number: u32, edit: impl FnOnce(&mut Choice)) {
        self.edit(|kind| {
            if let Kind::Enum(_, Choices { variants, .. }) = kind
                && let Some(choice) = variants.get_mut(number as usize)
            {
                edit(choice);
            }
        });
    }
}

/// Elements of one shape.
pub(super) struct Elements<'a, 't> {
    pub(super) tracer: &'a Tracer<'t>,
    pub(super) element: At,
    pub(super) left: u32,
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
pub(super) struct Entries<'a, 't> {
    pub(super) tracer: &'a Tracer<'t>,
    pub(super) key: At,
    pub(super) value: At,
    pub(super) left: u32,
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

impl Named<'_, '_> {
    fn next_name(&mut self) -> Option<&'static str> {
        *self.asked = true;
        let Some(place) = self.order.next() else {
            *self.ended = true;
            return None;
        };
        self.given.push(place);
        Some(self.fields.names[place])
    }
}

impl<'de> MapAccess<'de> for Named<'_, '_> {
    type Error = Refused;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some(name) = self.next_name() else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        match self.given.last() {
            Some(place) => self.tracer.child(self.fields.nodes[*place], seed),
            None => self.tracer.stop(),
        }
    }
}

/// An enum with its variant chosen.
pub(super) struct Chosen<'a, 't> {
    pub(super) tracer: &'a Tracer<'t>,
    pub(super) number: u32,
}

impl<'de, 'a, 't> EnumAccess<'de> for Chosen<'a, 't> {
    type Error = Refused;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let number: U32Deserializer<Refused> = self.number.into_deserializer();
        match seed.deserialize(number) {
            Ok(variant) => Ok((variant, self)),
            Err(_) => {
                self.is_none();
                self.tracer.stop()
            }
        }
    }
}

impl Fields {
    /// Takes in which were given, and whether that was all: then all names were taken, none of them twice.
    fn visit(&mut self, given: &[usize], ended: bool) {
        for place in given {
            self.visits[*place] += 1;
        }
        self.settled |= ended;
    }
}

impl Chosen<'_, '_> {
    /// Aliases make the list of names longer than that of variants.
    fn is_none(&self) {
        self.tracer.edit(|kind| {
            if let Kind::Enum(_, choices) = kind {
                choices.variants.truncate(self.number as usize);
            }
        });
        self.tracer.state.borrow_mut().progress = true;
    }

    fn keep(&self, part: Part) {
        self.tracer.choice(self.number, |choice| choice.content = part);
    }

    /// The variant's content, learnt if it is new.
    fn part(&self, fresh: &dyn Fn(&mut State) -> Option<Part>) -> Result<Part, Refused> {
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
        match self.part(&|_| Some(Part::Unit))? {
            Part::Unit => Ok(()),
            _ => self.tracer.varies(),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        match self.part(&|state| Some(Part::Newtype(state.nodes.add())))? {
            Part::Newtype(inner) => self.tracer.child(inner, seed),
            _ => self.tracer.varies(),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        match self.part(&|state| state.nodes.add_all(len).map(Part::Tuple))? {
            Part::Tuple(nodes) => self.tracer.in_order(&nodes, visitor).0,
            _ => self.tracer.varies(),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.part(&|state| state.nodes.add_fields(names).map(Part::Struct))? {
            Part::Struct(mut fields) => {
                let made = self.tracer.fields(&mut fields, visitor);
                self.keep(Part::Struct(fields));
                made
            }
            _ => self.tracer.varies(),
        }
    }
}
