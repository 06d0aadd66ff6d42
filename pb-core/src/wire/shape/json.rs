//! JSON in and out of bodies, by shape: for people and tools that have a server's shapes and none of its types.
//!
//! The JSON is what `serde_json` makes of the types, but where a type writes itself differently for people and for
//! machines: only the latter is known here. Bytes are hexadecimal digits (hyphens are skipped, so that the text of a
//! UUID is one), references are `"@0"`, `"@1"`, the index in the table of capabilities, maps whose keys are not texts,
//! numbers or bools are arrays of pairs, and so are floats that JSON lacks the texts `NaN`, `inf`, `-inf`.

use serde_json::Value;

use super::{Shape, Why};
use crate::wire::body::BodyError;

mod read;
mod words;
mod write;

/// Appends to `out` the body of `value`, as the type of that shape would encode it.
///
/// # Errors
/// [`JsonError`] names the place in `value`; `out` is as it was before.
pub fn json_to_body(shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
    write::write(shape, value, "", out)
}

/// Appends to `out` the body of a call: its arguments one behind the other.
///
/// # Errors
/// [`JsonError`], in the words of the arguments: `arguments[0].cents: …`; `out` is as it was before.
pub fn arguments_to_body(shapes: &[Shape], values: &[Value], out: &mut Vec<u8>) -> Result<(), JsonError> {
    if shapes.len() != values.len() {
        let (expected, found) = (shapes.len().to_string(), values.len().to_string());
        return Err(JsonError { path: "arguments".into(), problem: Problem::Unexpected { expected, found } });
    }
    let before = out.len();
    for (place, (shape, value)) in shapes.iter().zip(values).enumerate() {
        let written = write::write(shape, value, &format!("arguments[{place}]"), out);
        if written.is_err() {
            out.truncate(before);
            return written;
        }
    }
    Ok(())
}

/// Takes one value of that shape off the front of `input`. What is built is bounded by the bytes of the body, whatever
/// the shape claims.
///
/// # Errors
/// [`BodyError`] where the bytes are not such a value, or the shape is opaque there; `input` is as it was before.
pub fn body_to_json(shape: &Shape, input: &mut &[u8]) -> Result<Value, BodyError> {
    read::read(shape, input)
}

/// Where a JSON value does not fit a shape, and how.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}{}{problem}", if path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// The way from the root: `arguments[0].lines[3].cents`. Empty at the root of a single value.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// How a JSON value does not fit.
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
    #[error("the field `{field}` is missing: expected {expected}")]
    Missing {
        /// Its name.
        field: String,
        /// In words.
        expected: String,
    },
    /// No field or variant has that name.
    #[error("there is no `{name}` here, but {known}")]
    Unknown {
        /// The name found.
        name: String,
        /// The names that there are, with commas.
        known: String,
    },
    /// The shape itself does not say what stands here.
    #[error("nothing is known about a `{type_name}` here")]
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
struct Scope<'a> {
    shape: &'a Shape,
    around: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// The container so many further out, and what is around it.
    fn up(scope: Option<&'a Scope<'a>>, up: u32) -> Option<Scope<'a>> {
        let mut scope = scope?;
        for _ in 1..up {
            scope = scope.around?;
        }
        Some(*scope)
    }
}
