//! The words of errors: what was expected and what stands there. Shapes and names may be a peer's, and long.

use std::fmt::{self, Write};

use super::Value;
use crate::wire::shape::{Shape, listed, quoted};

/// The shape's text, cut where it is long.
pub(in crate::objects::dynamic) fn expected(shape: &Shape) -> String {
    cut(SHOWN_BYTES, format_args!("{shape:#}"))
}

/// The beginning of a text, which is made no further than that.
pub(super) fn cut(most: usize, text: fmt::Arguments<'_>) -> String {
    let mut cut = Cut { text: String::new(), most };
    match cut.write_fmt(text) {
        Ok(()) => cut.text,
        Err(_) => cut.text + "…",
    }
}

pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Unit => "()".into(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Large(int) => int.to_string(),
        Value::Float(float) => format!("the float {float}"),
        Value::Char(char) => format!("the character {char:?}"),
        Value::Text(text) => format!("the text {}", quoted(text)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Option(None) => "none".into(),
        Value::Option(Some(value)) => found(value),
        Value::List(values) => format!("a list of {}", values.len()),
        Value::Tuple(values) => format!("a tuple of {}", values.len()),
        Value::Map(entries) => format!("a map of {}", entries.len()),
        Value::Record(fields) => format!("a record of {}", listed(fields.iter().map(|(name, _)| &**name))),
        Value::Variant(name, _) => format!("the variant {}", quoted(name)),
        Value::Reference(_) => "a reference".into(),
    }
}

/// A text that takes no more than so much.
struct Cut {
    text: String,
    most: usize,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.most - self.text.len();
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

const SHOWN_BYTES: usize = 160;
