//! What values are told that do not fit a shape, in the words of whoever wrote them.

use std::fmt::Write as _;

use super::{Shape, Shown, Why};
use crate::wire::body::BodyError;

/// Where a value without a type does not fit a shape, and how.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{}{problem}", Shown(path), if path.is_empty() { "" } else { ": " })]
pub struct Misfit {
    /// The way from the root: `arguments[0].lines[3].cents`. Empty at the root of a single value.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// How a value does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Another kind of value, or out of range.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// In words.
        expected: String,
        /// The value, shortened.
        found: String,
    },
    /// A struct lacks a field that is not an `Option`.
    #[error("the field `{}` is missing: expected {expected}", Shown(field))]
    Missing {
        /// Its name.
        field: String,
        /// In words.
        expected: String,
    },
    /// No field or variant has that name.
    #[error("there is no `{}` here, but {}", Shown(name), Shown(known))]
    Unknown {
        /// The name found.
        name: String,
        /// The names that there are, with commas.
        known: String,
    },
    /// The shape itself does not say what stands here.
    #[error("nothing is known about a `{}` here", Shown(type_name))]
    Opaque {
        /// The Rust type.
        type_name: String,
        /// Why.
        why: Why,
    },
    /// The shape refers to a container that is not there.
    #[error("the shape refers to a container {up} further out, where there is none")]
    Nowhere {
        /// How far out.
        up: u32,
    },
    /// The body codec refused.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// The containers around a place, newtypes left out: what [`Shape::Again`] counts.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) around: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// The container so many further out, and what is around it.
    pub(crate) fn up(scope: Option<&'a Scope<'a>>, up: u32) -> Option<Scope<'a>> {
        let mut scope = scope?;
        for _ in 1..up {
            scope = scope.around?;
        }
        Some(*scope)
    }
}

/// Where a value stands in the one that is encoded.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    step: Step<'a>,
    outer: Option<&'a Way<'a>>,
}

/// One step of a way.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    /// The first one.
    Root(&'a str),
    /// An `Option` or newtype, which the value does not show.
    Same,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> From<&'a str> for Way<'a> {
    fn from(root: &'a str) -> Self {
        Way { step: Step::Root(root), outer: None }
    }
}

impl<'a> Way<'a> {
    pub(crate) fn step<'b>(&'b self, step: Step<'b>) -> Way<'b> {
        Way { step, outer: Some(self) }
    }

    /// As `lines[3].cents`.
    pub(crate) fn path(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let Some(outer) = self.outer {
            outer.write(out);
        }
        // A text takes whatever is written to it.
        let _ = match self.step {
            Step::Root(root) => out.write_str(root),
            Step::Same => Ok(()),
            Step::Name(name) if out.is_empty() => out.write_str(name),
            Step::Name(name) => write!(out, ".{name}"),
            Step::Index(place) => write!(out, "[{place}]"),
            Step::Key(key) => write!(out, "[{}]", quoted(key)),
        };
    }
}

/// A text in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A list with commas, cut where it is long.
pub(crate) fn listed<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let all = names.len();
    let mut list: Vec<&str> = names.take(SHOWN_NAMES).collect();
    match all {
        0 => return "nothing".into(),
        _ if all > SHOWN_NAMES => list.push("…"),
        _ => {}
    }
    list.join(", ")
}

const SHOWN_CHARS: usize = 60;
const SHOWN_NAMES: usize = 12;
