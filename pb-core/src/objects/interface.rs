use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use super::signature::EncodedDefault;
use crate::message::{CallOptions, Failure, FailureKind, MethodText, Ran};
use crate::wire::shape::{self, Shape};

/// A trait as the broker knows it: what `#[remote_interface]` makes of it.
#[derive(Debug)]
pub struct Interface {
    name: &'static str,
    docs: &'static str,
    methods: fn() -> &'static [Method],
}

/// One method of an [`Interface`].
pub struct Method {
    name: &'static str,
    docs: &'static str,
    parameters: &'static [&'static str],
    flags: MethodFlags,
    shape: fn() -> MethodShape,
    /// By how many of the arguments that may be missing the callee must know.
    texts: OnceLock<Box<[Arc<MethodText>]>>,
    defaults: OnceLock<Box<[EncodedDefault]>>,
}

/// How a method is called.
///
/// Wire: docs/protocol.md, section 7.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MethodFlags {
    /// Never answered.
    pub oneway: bool,
    /// Not stopped when its caller cancels.
    pub run_to_end: bool,
    /// Started in a task of its own, in no order with other calls.
    pub spawn: bool,
    /// Run twice it does what it does run once: a call that may have run may be made again.
    pub idempotent: bool,
    /// Bytes of the largest answer that its callers take; 0: as many as calls take that say nothing.
    pub answer_bytes: u64,
}

impl MethodFlags {
    /// What a method has that says nothing.
    #[doc(hidden)]
    pub const NONE: Self =
        MethodFlags { oneway: false, run_to_end: false, spawn: false, idempotent: false, answer_bytes: 0 };

    /// What a call says of its answer; nothing where the method has the default.
    pub(super) fn answer_options(self) -> Option<Box<CallOptions>> {
        (self.answer_bytes > 0).then(|| {
            Box::new(CallOptions { answer_bytes: Some(self.answer_bytes), ..CallOptions::default() })
        })
    }
}

/// What goes in and comes out of a method, as it is encoded.
#[derive(Clone, PartialEq, Debug)]
pub struct MethodShape {
    /// Of each argument.
    pub arguments: Vec<Shape>,
    /// How many arguments at the end may be missing, because they have defaults.
    pub optional: usize,
    /// Of the value.
    pub ok: Shape,
    /// Of the method's own error, where it has one.
    pub err: Option<Shape>,
}

/// What a caller and a callee of one method have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// So many of the callee's arguments are read from the body; the others have their defaults.
    pub arguments: usize,
    /// Whether the caller sends further ones behind them, which the callee does not know.
    pub more: bool,
}

impl Interface {
    #[doc(hidden)]
    pub const fn new(name: &'static str, docs: &'static str, methods: fn() -> &'static [Method]) -> Self {
        Interface { name, docs, methods }
    }

    /// The trait's name, as it stands in method names on the wire.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The trait's doc comment.
    pub fn docs(&self) -> &'static str {
        self.docs
    }

    /// Its methods, in the order of the trait.
    pub fn methods(&self) -> &'static [Method] {
        (self.methods)()
    }

    /// The index of the method that a call names, as `Interface/method` or `method`.
    pub fn find(&self, name: &str) -> Option<usize> {
        let (interface, method) = name.rsplit_once('/').map_or((None, name), |(i, m)| (Some(i), m));
        if interface.is_some_and(|interface| interface != self.name) {
            return None;
        }
        self.methods().iter().position(|known| known.short_name() == method)
    }
}

impl Method {
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        docs: &'static str,
        parameters: &'static [&'static str],
        flags: MethodFlags,
        shape: fn() -> MethodShape,
    ) -> Self {
        Method { name, docs, parameters, flags, shape, texts: OnceLock::new(), defaults: OnceLock::new() }
    }

    /// The same method for callers that send no prints: nothing is compared.
    pub(super) fn without_prints(self) -> Self {
        let text = MethodText { name: self.name.into(), fewest: 0, prints: Box::new([]) };
        let _ = self.texts.set(Box::new([Arc::new(text)]));
        self
    }

    /// `Interface/method`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name without the interface.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit_once('/').map_or(self.name, |(_, method)| method)
    }

    /// The method's doc comment.
    pub fn docs(&self) -> &'static str {
        self.docs
    }

    /// The names of its parameters, without the receiver and the context.
    pub fn parameters(&self) -> &'static [&'static str] {
        self.parameters
    }

    /// How it is called.
    pub fn flags(&self) -> MethodFlags {
        self.flags
    }

    /// What goes in and comes out. Traced anew each time: tens of microseconds.
    pub fn shape(&self) -> MethodShape {
        (self.shape)()
    }

    /// Its name with its fingerprints, traced at the first call of the process: one for all its arguments, and one for each number of them that is
    /// enough.
    pub fn text(&self) -> &Arc<MethodText> {
        self.text_for(0)
    }

    /// The same for a call whose callee must know so many of the arguments that may be missing, because they are not at their defaults.
    pub(super) fn text_for(&self, optional: usize) -> &Arc<MethodText> {
        let texts = self.texts.get_or_init(|| {
            let shape = self.shape();
            let whole = shape.text(self.name);
            let text = |needed: usize| MethodText {
                name: self.name.into(),
                fewest: whole.fewest + needed as u32,
                prints: whole.prints[needed..].into(),
            };
            (0..=shape.optional).map(|needed| Arc::new(text(needed))).collect()
        });
        &texts[optional]
    }

    /// The defaults of its last arguments, as `make` encodes them, once a process.
    pub(super) fn defaults(&self, make: impl FnOnce() -> Box<[EncodedDefault]>) -> &[EncodedDefault] {
        if let Some(made) = self.defaults.get() {
            return made;
        }
        // The user's code runs outside of the cell's own lock: it may call this very method.
        let made = make();
        self.defaults.get_or_init(|| made)
    }

    /// How many arguments a caller who names this method by `theirs` has sent of ours: the longest signature that both know.
    ///
    /// # Errors
    /// `Incompatible`, naming our signature, where none is known to both.
    pub fn agree(&self, theirs: &MethodText) -> Result<Agreed, Failure> {
        agree(self.text(), theirs, || self.signature())
    }

    /// Name, parameters and shapes, for people.
    pub fn signature(&self) -> String {
        self.shape().signature(self.name, Some(&mut self.parameters.iter().copied()))
    }
}

/// The longest signature that both know. See [`Method::agree`].
pub(super) fn agree(
    ours: &MethodText,
    theirs: &MethodText,
    signature: impl FnOnce() -> String,
) -> Result<Agreed, Failure> {
    let all = |text: &MethodText| u64::from(text.fewest) + text.prints.len().saturating_sub(1) as u64;
    if theirs.prints.is_empty() {
        return Ok(Agreed { arguments: all(ours) as usize, more: false });
    }
    let common = (0..ours.prints.len()).rev().find_map(|at| {
        let count = ours.fewest as usize + at;
        let their_print = theirs.prints.get(count.checked_sub(theirs.fewest as usize)?)?;
        (*their_print == ours.prints[at]).then_some(count)
    });
    if let Some(arguments) = common {
        return Ok(Agreed { arguments, more: all(theirs) > arguments as u64 });
    }
    let message = format!("the two sides know different signatures; the callee's is {}", signature());
    Err(Failure::new(FailureKind::Incompatible, Ran::No, message))
}

impl MethodShape {
    /// The method's name with a print for each number of arguments that is enough.
    pub(super) fn text(&self, method: &str) -> MethodText {
        let fixed = self.arguments.len().saturating_sub(self.optional);
        let print = |count| shape::print(method, &self.arguments[..count], &self.ok, self.err.as_ref());
        let prints = (fixed..=self.arguments.len()).map(print).collect();
        MethodText { name: method.into(), fewest: fixed as u32, prints }
    }

    /// Name, parameters and shapes, for people. Without `parameters` the arguments have no names.
    pub(super) fn signature(
        &self,
        method: &str,
        mut parameters: Option<&mut dyn Iterator<Item = &str>>,
    ) -> String {
        let fixed = self.arguments.len().saturating_sub(self.optional);
        let mut text = format!("{method}(");
        for (at, shape) in self.arguments.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            let name = parameters.as_mut().and_then(|names| names.next());
            let (name, colon) = name.map_or(("", ""), |name| (name, ": "));
            let default = if at < fixed { "" } else { " = default" };
            // A text takes whatever is written to it.
            let _ = write!(text, "{separator}{name}{colon}{shape}{default}");
        }
        let _ = write!(text, ") -> {}", self.ok);
        if let Some(err) = &self.err {
            let _ = write!(text, " or error {err}");
        }
        // Names of fields may be a peer's.
        shape::Shown(&text).to_string()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).finish()
    }
}
