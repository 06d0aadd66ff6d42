use std::fmt;
use std::sync::{Arc, OnceLock};

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
    text: OnceLock<Arc<MethodText>>,
}

/// How a method is called.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MethodFlags {
    /// Never answered.
    pub oneway: bool,
    /// Not stopped when its caller cancels.
    pub run_to_end: bool,
    /// Started in a task of its own, in no order with other calls.
    pub spawn: bool,
    /// Bytes of the largest answer that its callers take; 0: as many as calls take that say nothing.
    pub answer_bytes: u64,
}

impl MethodFlags {
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
    /// Of the value.
    pub ok: Shape,
    /// Of the method's own error, where it has one.
    pub err: Option<Shape>,
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
        Method { name, docs, parameters, flags, shape, text: OnceLock::new() }
    }

    /// The same method for callers that send no prints: nothing is compared.
    pub(super) fn without_prints(self) -> Self {
        let text = MethodText { name: self.name.into(), fewest: 0, prints: Box::new([]) };
        let _ = self.text.set(Arc::new(text));
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

    /// Its name with its fingerprint, traced at the first call of the process.
    pub fn text(&self) -> &Arc<MethodText> {
        self.text.get_or_init(|| {
            let shape = self.shape();
            let print = shape::print(self.name, &shape.arguments, &shape.ok, shape.err.as_ref());
            Arc::new(MethodText {
                name: self.name.into(),
                fewest: shape.arguments.len() as u32,
                prints: Box::new([print]),
            })
        })
    }

    /// How many arguments a caller who names this method by `theirs` has sent of ours: the longest signature that both know.
    ///
    /// # Errors
    /// `Incompatible`, naming our signature, where none is known to both.
    pub fn agree(&self, theirs: &MethodText) -> Result<usize, Failure> {
        let ours = self.text();
        if theirs.prints.is_empty() {
            return Ok(ours.fewest as usize + ours.prints.len() - 1);
        }
        let common = (0..ours.prints.len()).rev().find_map(|at| {
            let count = ours.fewest as usize + at;
            let their_print = theirs.prints.get(count.checked_sub(theirs.fewest as usize)?)?;
            (*their_print == ours.prints[at]).then_some(count)
        });
        common.ok_or_else(|| {
            let message = format!(
                "the caller's signature of {} is another than the callee's, which is {}; build both from one trait",
                self.name,
                self.signature()
            );
            Failure::new(FailureKind::Incompatible, Ran::No, message)
        })
    }

    /// Name, parameters and shapes, for people.
    pub fn signature(&self) -> String {
        let shape = self.shape();
        let parameters: Vec<String> = (self.parameters.iter().zip(&shape.arguments))
            .map(|(name, shape)| format!("{name}: {shape}"))
            .collect();
        let err = shape.err.map(|err| format!(" or error {err}")).unwrap_or_default();
        format!("{}({}) -> {}{err}", self.name, parameters.join(", "), shape.ok)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).finish()
    }
}
