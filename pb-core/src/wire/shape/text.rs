//! The canonical text of a shape. It is hashed, so every change here changes the wire: `docs/protocol.md`, 10.1.

use std::fmt::{self, Display, Formatter, Write};

use super::{Content, Field, Plain, Shape, Variant};

/// The canonical text; with `{:#}` what people read: also the names of structs, enums and newtypes, and what a terminal would obey escaped.
impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Plain(plain) => f.write_str(plain.name()),
            Shape::Option(inner) => around(f, "?", inner, ""),
            // A vector of `u8` has the body of a byte string; only the way there differs.
            Shape::Seq(element) if element.is_u8() => f.write_str(Plain::Bytes.name()),
            Shape::Seq(element) => around(f, "[", element, "]"),
            Shape::Map(key, value) => {
                around(f, "[", key, ":")?;
                around(f, "", value, "]")
            }
            Shape::Array(element, len) => {
                around(f, "(", element, "*")?;
                write!(f, "{len})")
            }
            Shape::Tuple(elements) => tuple(f, elements),
            Shape::Newtype(name, inner) if f.alternate() && !name.is_empty() => {
                escaped(f, name)?;
                around(f, "(", inner, ")")
            }
            Shape::Newtype(_, inner) => inner.fmt(f),
            Shape::Struct(name, fields) => {
                type_name(f, name)?;
                structure(f, fields)
            }
            Shape::Enum(name, variants) => {
                type_name(f, name)?;
                f.write_char('<')?;
                listed(f, variants, '|', variant)?;
                f.write_char('>')
            }
            Shape::Reference(interface) if interface.is_empty() && f.alternate() => {
                f.write_str("a reference to any object")
            }
            Shape::Reference(interface) => {
                f.write_char('@')?;
                quoted(f, interface)
            }
            Shape::Again(up) => write!(f, "^{up}"),
            Shape::Opaque(opaque) => {
                f.write_char('_')?;
                if opaque.type_name.is_empty() { Ok(()) } else { quoted(f, &opaque.type_name) }
            }
        }
    }
}

impl Shape {
    fn is_u8(&self) -> bool {
        match self {
            Shape::Plain(plain) => *plain == Plain::U8,
            Shape::Newtype(_, inner) => inner.is_u8(),
            _ => false,
        }
    }
}

fn around(f: &mut Formatter<'_>, before: &str, shape: &Shape, behind: &str) -> fmt::Result {
    f.write_str(before)?;
    shape.fmt(f)?;
    f.write_str(behind)
}

fn type_name(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    if f.alternate() { escaped(f, name) } else { Ok(()) }
}

fn escaped(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    Shown(name).fmt(f)
}

/// A text of somebody else's as people may see it: what a terminal would obey is escaped.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_debug()),
            false => f.write_char(c),
        })
    }
}

fn variant(variant: &Variant, f: &mut Formatter<'_>) -> fmt::Result {
    quoted(f, &variant.name)?;
    match &variant.content {
        Content::Unit => Ok(()),
        Content::Newtype(shape) => around(f, ":", shape, ""),
        Content::Tuple(elements) => tuple(f, elements),
        Content::Struct(fields) => structure(f, fields),
    }
}

fn tuple(f: &mut Formatter<'_>, elements: &[Shape]) -> fmt::Result {
    f.write_char('(')?;
    listed(f, elements, ',', Shape::fmt)?;
    f.write_char(')')
}

fn structure(f: &mut Formatter<'_>, fields: &[Field]) -> fmt::Result {
    f.write_char('{')?;
    listed(f, fields, ',', |field, f| {
        quoted(f, &field.name)?;
        around(f, ":", &field.shape, "")
    })?;
    f.write_char('}')
}

fn listed<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    between: char,
    one: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_char(between)?;
        }
        one(item, f)?;
    }
    Ok(())
}

/// A name as it is if letters, digits and `_` make it up, else in quotes, so that no name can look like a shape.
fn quoted(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(simple) {
        return f.write_str(name);
    }
    f.write_char('"')?;
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        // The canonical text has each name as it is.
        if c.is_control() && f.alternate() {
            write!(f, "{}", c.escape_debug())?;
        } else {
            f.write_char(c)?;
        }
    }
    f.write_char('"')
}
