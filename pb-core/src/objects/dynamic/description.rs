//! What an object says of itself: the answer of `$describe` (docs/protocol.md, section 10.2).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;

use crate::message::{Failure, FailureKind, MAX_NAME_BYTES, Ran};
use crate::objects::{Interface, Method, MethodFlags, MethodShape, Stub};
use crate::wire::shape::Shape;

/// The interfaces of an object: enough to call its methods without having their traits.
///
/// [`Remote::describe`](crate::Remote::describe) asks an object for it, [`Description::of`] makes that of a trait.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Description {
    /// The one that the object was handed out as comes first.
    pub interfaces: Vec<InterfaceDescription>,
    details: Details,
}

/// An interface, as whoever has not its trait knows it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct InterfaceDescription {
    /// As it stands in the names of its methods.
    pub name: String,
    /// The trait's doc comment.
    pub docs: String,
    /// In the order of the trait.
    pub methods: Vec<MethodDescription>,
    details: Details,
}

/// A method of an [`InterfaceDescription`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MethodDescription {
    /// `Interface/method`: at most 256 bytes.
    pub name: String,
    /// Its doc comment.
    pub docs: String,
    /// In their order, without the receiver and the context; at most [`MethodDescription::MAX_ARGUMENTS`].
    pub arguments: Vec<ArgumentDescription>,
    /// So many of them, at the end, may be missing, because they have defaults.
    pub optional: u32,
    /// Of what it gives.
    pub ok: Shape,
    /// Of its own error, where it has one.
    pub err: Option<Shape>,
    /// How it is called.
    #[serde(serialize_with = "write_flags", deserialize_with = "read_flags")]
    pub flags: MethodFlags,
    details: Details,
    /// The first argument that was put behind one that may be missing, and may not itself. Not told: no such description is handed out.
    #[serde(skip)]
    misplaced: Option<Box<str>>,
}

/// An argument of a [`MethodDescription`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ArgumentDescription {
    /// The parameter's name.
    pub name: String,
    /// What it looks like.
    pub shape: Shape,
}

/// Room for what later versions say of it: keys that are not known are ignored, and this version sends none.
type Details = Vec<(String, Vec<u8>)>;

/// Bytes of a description on the wire, at the most: some two thousand methods.
pub(super) const DESCRIPTION_BYTES: u64 = 256 << 10;

impl Description {
    /// The broker's method that objects describe themselves by.
    pub const METHOD: &str = "$describe";

    /// An object of these interfaces.
    pub fn new(interfaces: impl IntoIterator<Item = InterfaceDescription>) -> Self {
        Description { interfaces: interfaces.into_iter().collect(), details: Vec::new() }
    }

    /// That of the interface of a stub alone.
    pub fn of<S: Stub>() -> Self {
        Description::new([InterfaceDescription::of::<S>()])
    }

    /// The method that a name means: `Interface/method`, or `method` where no two interfaces have it.
    ///
    /// # Errors
    /// `Unimplemented`, with what there is, and `Failed` where it is ambiguous; `ran` is no.
    pub fn method(&self, name: &str) -> Result<&MethodDescription, Failure> {
        self.position(name).map(|(interface, method)| &self.interfaces[interface].methods[method])
    }

    /// The same as the places of the interface and of the method in it.
    pub(super) fn position(&self, name: &str) -> Result<(usize, usize), Failure> {
        let means = |method: &MethodDescription| match name.contains('/') {
            true => method.name == name,
            false => method.short_name() == name,
        };
        let all = self.interfaces.iter().enumerate().flat_map(|(at, interface)| {
            interface.methods.iter().enumerate().map(move |(place, method)| ((at, place), method))
        });
        let mut found = all.filter(|(_, method)| means(method));
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (Some((_, first)), Some((_, second))) => {
                let message = format!("{name} is ambiguous: {} and {} are meant", first.name, second.name);
                Err(Failure::new(FailureKind::Failed, Ran::No, message))
            }
            (None, _) => {
                let offers: Vec<_> =
                    self.interfaces.iter().map(|interface| interface.name.as_str()).collect();
                let message = format!("the object has no method {name}; it offers {}", offers.join(", "));
                Err(Failure::new(FailureKind::Unimplemented, Ran::No, message))
            }
        }
    }

    /// Whether it holds together.
    ///
    /// # Errors
    /// What is wrong with it, as part of a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut known = HashSet::new();
        for interface in &self.interfaces {
            if !known.insert(interface.name.as_str()) {
                return Err(format!("the interface {:?} stands in it twice", interface.name));
            }
            interface.check()?;
        }
        Ok(())
    }
}

impl InterfaceDescription {
    /// An interface of these methods, whose names begin with `name` and `/`.
    pub fn new(
        name: impl Into<String>,
        docs: impl Into<String>,
        methods: impl IntoIterator<Item = MethodDescription>,
    ) -> Self {
        let methods = methods.into_iter().collect();
        InterfaceDescription { name: name.into(), docs: docs.into(), methods, details: Vec::new() }
    }

    /// That of a stub's trait. Traces the types of its methods: some tens of microseconds for each.
    pub fn of<S: Stub>() -> Self {
        Self::of_interface(S::interface())
    }

    pub(in crate::objects) fn of_interface(interface: &Interface) -> Self {
        let methods = interface.methods().iter().map(MethodDescription::of_method);
        InterfaceDescription::new(interface.name(), interface.docs(), methods)
    }

    fn check(&self) -> Result<(), String> {
        let odd = |c: char| c == '/' || c.is_control();
        if self.name.is_empty() || self.name.starts_with('$') || self.name.contains(odd) {
            return Err(format!("{:?} cannot be the name of an interface", self.name));
        }
        let mut known = HashSet::new();
        for method in &self.methods {
            method.check(&self.name)?;
            if !known.insert(method.name.as_str()) {
                return Err(format!("the method {:?} stands in it twice", method.name));
            }
        }
        Ok(())
    }
}

impl MethodDescription {
    /// Arguments of a method, at the most.
    pub const MAX_ARGUMENTS: usize = 12;

    /// A method without arguments; `name` is `Interface/method`.
    pub fn new(name: impl Into<String>, ok: Shape) -> Self {
        MethodDescription {
            name: name.into(),
            docs: String::new(),
            arguments: Vec::new(),
            optional: 0,
            ok,
            err: None,
            flags: MethodFlags::NONE,
            details: Vec::new(),
            misplaced: None,
        }
    }

    /// The same method with this argument behind its others. Behind one that may be missing none stands that may not: an object that describes
    /// itself so is not handed out.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, shape: Shape) -> Self {
        let name = name.into();
        if self.optional > 0 {
            self.misplaced.get_or_insert_with(|| name.as_str().into());
        }
        self.arguments.push(ArgumentDescription { name, shape });
        self
    }

    /// The same method with this argument behind its others, which may be missing.
    #[must_use]
    pub fn optional_argument(mut self, name: impl Into<String>, shape: Shape) -> Self {
        self.optional += 1;
        self.arguments.push(ArgumentDescription { name: name.into(), shape });
        self
    }

    /// The same method with this documentation.
    #[must_use]
    pub fn documented(mut self, docs: impl Into<String>) -> Self {
        self.docs = docs.into();
        self
    }

    /// The same method with an error of its own.
    #[must_use]
    pub fn error(mut self, shape: Shape) -> Self {
        self.err = Some(shape);
        self
    }

    /// The name without the interface.
    pub fn short_name(&self) -> &str {
        self.name.rsplit_once('/').map_or(&self.name, |(_, method)| method)
    }

    /// Name, parameters and shapes, for people.
    pub fn signature(&self) -> String {
        self.shape().signature(&self.name, Some(&mut self.arguments.iter().map(|known| known.name.as_str())))
    }

    /// So many arguments may not be missing.
    pub(super) fn fixed(&self) -> usize {
        self.arguments.len().saturating_sub(self.optional as usize)
    }

    pub(super) fn shape(&self) -> MethodShape {
        MethodShape {
            arguments: self.arguments.iter().map(|argument| argument.shape.clone()).collect(),
            optional: self.arguments.len() - self.fixed(),
            ok: self.ok.clone(),
            err: self.err.clone(),
        }
    }

    fn of_method(method: &Method) -> Self {
        let MethodShape { arguments, optional, ok, err } = method.shape();
        let arguments = method
            .parameters()
            .iter()
            .zip(arguments)
            .map(|(name, shape)| ArgumentDescription { name: (*name).to_owned(), shape });
        MethodDescription {
            name: method.name().to_owned(),
            docs: method.docs().to_owned(),
            arguments: arguments.collect(),
            optional: optional as u32,
            ok,
            err,
            flags: method.flags(),
            details: Vec::new(),
            misplaced: None,
        }
    }

    fn check(&self, interface: &str) -> Result<(), String> {
        let name = &self.name;
        let short = name.strip_prefix(interface).and_then(|rest| rest.strip_prefix('/'));
        let sound = short.is_some_and(|short| {
            !short.is_empty() && !short.contains(['/', '$']) && !short.contains(char::is_control)
        });
        if !sound || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(format!("{name:?} cannot be the name of a method of {interface}"));
        }
        if self.arguments.len() > Self::MAX_ARGUMENTS {
            let (count, most) = (self.arguments.len(), Self::MAX_ARGUMENTS);
            return Err(format!("{name} has {count} arguments; {most} are allowed"));
        }
        if let Some(argument) =
            self.arguments.iter().find(|argument| argument.name.contains(char::is_control))
        {
            return Err(format!("an argument of {name} cannot be called {:?}", argument.name));
        }
        let names = self.arguments.iter().map(|argument| argument.name.as_str());
        if let Some((_, twice)) =
            names.clone().enumerate().find(|(at, one)| names.clone().take(*at).any(|known| known == *one))
        {
            return Err(format!("two arguments of {name} are called {twice:?}; give each a name of its own"));
        }
        if let Some(misplaced) = &self.misplaced {
            return Err(format!(
                "the argument {misplaced:?} of {name} may not be missing, and stands behind one that may; put those that may be missing last"
            ));
        }
        if self.optional as usize > self.arguments.len() {
            let (optional, count) = (self.optional, self.arguments.len());
            return Err(format!("of the {count} arguments of {name}, {optional} may be missing"));
        }
        Ok(())
    }
}

/// Bits of the flags on the wire; others are ignored.
const FLAGS: [u32; 4] = [1, 2, 4, 8];

fn write_flags<S: Serializer>(flags: &MethodFlags, serializer: S) -> Result<S::Ok, S::Error> {
    let MethodFlags { oneway, run_to_end, spawn, idempotent, answer_bytes } = *flags;
    let set = [oneway, run_to_end, spawn, idempotent];
    let bits: u32 = FLAGS.iter().zip(set).filter(|(_, set)| *set).map(|(bit, _)| bit).sum();
    (bits, answer_bytes).serialize(serializer)
}

fn read_flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MethodFlags, D::Error> {
    let (bits, answer_bytes) = <(u32, u64)>::deserialize(deserializer)?;
    let [oneway, run_to_end, spawn, idempotent] = FLAGS.map(|bit| bits & bit != 0);
    Ok(MethodFlags { oneway, run_to_end, spawn, idempotent, answer_bytes })
}
