//! JSON in and out of bodies, by shape: for people and tools that have a server's shapes and none of its types.
//!
//! The JSON is what `serde_json` makes of the types, but where a type writes itself differently for people and for
//! machines: only the latter is known here. Bytes are hexadecimal digits (hyphens are skipped, so that the text of a
//! UUID is one), references are `"@0"`, `"@1"`, the index in the table of capabilities, maps whose keys are not texts,
//! numbers or bools are arrays of pairs, and so are floats that JSON lacks the texts `NaN`, `inf`, `-inf`.

use serde_json::Value;

use super::{Misfit, Problem, Shape};
use crate::wire::body::BodyError;

mod read;
mod words;
mod write;

/// Appends to `out` the body of `value`, as the type of that shape would encode it.
///
/// # Errors
/// [`Misfit`] names the place in `value`; `out` is as it was before.
pub fn json_to_body(shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    write::write(shape, value, "", out)
}

/// Appends to `out` the body of a call: its arguments one behind the other.
///
/// # Errors
/// [`Misfit`], in the words of the arguments: `arguments[0].cents: …`; `out` is as it was before.
pub fn arguments_to_body(shapes: &[Shape], values: &[Value], out: &mut Vec<u8>) -> Result<(), Misfit> {
    if shapes.len() != values.len() {
        let (expected, found) = (shapes.len().to_string(), values.len().to_string());
        return Err(Misfit { path: "arguments".into(), problem: Problem::Unexpected { expected, found } });
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
