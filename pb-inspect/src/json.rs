//! JSON into the values of calls and back, by the shapes that an object tells.

use std::cell::Cell;

use pb_client::{AnyRef, Plain, Shape, Value};
use pb_core::wire::shape::{Content, Field, Variant};
use serde_json::{Map, Number, Value as Json};

/// The numbers of the objects that a JSON text names, as `"@12"`.
pub(crate) fn named(json: &Json, found: &mut Vec<u64>) {
    match json {
        Json::String(text) => found.extend(object(text)),
        Json::Array(values) => values.iter().for_each(|value| named(value, found)),
        Json::Object(fields) => fields.values().for_each(|value| named(value, found)),
        _ => {}
    }
}

/// The number in `@12`.
pub(crate) fn object(text: &str) -> Option<u64> {
    text.strip_prefix('@')?.parse().ok()
}

/// Makes values by shapes. What does not fit becomes the value that it looks like: the call says then what was expected in its place.
pub(crate) struct Reader<'a> {
    /// What the names of objects stand for.
    objects: &'a dyn Fn(u64) -> Option<AnyRef>,
    /// Shapes that are being read, one within the other.
    depth: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(objects: &'a dyn Fn(u64) -> Option<AnyRef>) -> Self {
        Reader { objects, depth: Cell::new(0) }
    }

    pub(crate) fn value(&self, shape: &Shape, json: &Json) -> Value {
        self.within(shape, json, &mut Vec::new())
    }

    /// A shape may come back to itself without taking anything of the JSON, as an option of itself does; values are not so deep.
    fn within<'s>(&self, shape: &'s Shape, json: &Json, around: &mut Vec<&'s Shape>) -> Value {
        if self.depth.get() == MOST_DEPTH {
            return natural(json);
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.shaped(shape, json, around);
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn shaped<'s>(&self, shape: &'s Shape, json: &Json, around: &mut Vec<&'s Shape>) -> Value {
        match shape {
            Shape::Newtype(_, inner) => return self.within(inner, json, around),
            Shape::Again(up) => {
                let Some(at) = around.len().checked_sub(*up as usize) else { return natural(json) };
                let Some(shape) = around.get(at).copied() else { return natural(json) };
                let mut outer = around[..at].to_vec();
                return self.within(shape, json, &mut outer);
            }
            _ => {}
        }
        around.push(shape);
        let value = self.contained(shape, json, around);
        around.pop();
        value.unwrap_or_else(|| natural(json))
    }

    fn contained<'s>(&self, shape: &'s Shape, json: &Json, around: &mut Vec<&'s Shape>) -> Option<Value> {
        match (shape, json) {
            (Shape::Plain(plain), _) => plainly(*plain, json),
            (Shape::Option(_), Json::Null) => Some(Value::Option(None)),
            (Shape::Option(inner), _) => {
                Some(Value::Option(Some(Box::new(self.within(inner, json, around)))))
            }
            (Shape::Reference(_), Json::String(text)) => {
                object(text).and_then(|id| (self.objects)(id)).map(Value::Reference)
            }
            (Shape::Seq(inner), Json::String(text)) if matches!(**inner, Shape::Plain(Plain::U8)) => {
                hex(text).map(Value::Bytes)
            }
            (Shape::Seq(inner), Json::Array(values)) => {
                Some(Value::List(values.iter().map(|value| self.within(inner, value, around)).collect()))
            }
            (Shape::Array(inner, _), Json::Array(values)) => {
                Some(Value::Tuple(values.iter().map(|value| self.within(inner, value, around)).collect()))
            }
            (Shape::Tuple(shapes), Json::Array(values)) => {
                Some(Value::Tuple(self.row(shapes, values, around)))
            }
            (Shape::Map(key, value), Json::Object(fields)) => {
                let entry =
                    |(name, json): (&String, &Json)| (key_of(key, name), self.within(value, json, around));
                Some(Value::Map(fields.iter().map(entry).collect()))
            }
            (Shape::Map(key, value), Json::Array(pairs)) => {
                let mut entries = Vec::new();
                for pair in pairs {
                    let [name, json] = pair.as_array()?.as_slice() else { return None };
                    entries.push((self.within(key, name, around), self.within(value, json, around)));
                }
                Some(Value::Map(entries))
            }
            (Shape::Struct(_, fields), Json::Object(values)) => Some(self.record(fields, values, around)),
            (Shape::Enum(..), Json::String(name)) => Some(Value::variant(name.as_str(), Value::Unit)),
            (Shape::Enum(_, variants), Json::Object(entry)) if entry.len() == 1 => {
                let (name, json) = entry.iter().next()?;
                let variant = variants.iter().find(|variant| variant.name == *name);
                let content =
                    variant.map_or_else(|| natural(json), |variant| self.carried(variant, json, around));
                Some(Value::variant(name.as_str(), content))
            }
            _ => None,
        }
    }

    fn row<'s>(&self, shapes: &'s [Shape], values: &[Json], around: &mut Vec<&'s Shape>) -> Vec<Value> {
        let value = |(at, json): (usize, &Json)| {
            shapes.get(at).map_or_else(|| natural(json), |shape| self.within(shape, json, around))
        };
        values.iter().enumerate().map(value).collect()
    }

    fn record<'s>(
        &self,
        fields: &'s [Field],
        values: &Map<String, Json>,
        around: &mut Vec<&'s Shape>,
    ) -> Value {
        let mut record = Vec::new();
        for (name, json) in values {
            let field = fields.iter().find(|field| field.name == *name);
            let value = field.map_or_else(|| natural(json), |field| self.within(&field.shape, json, around));
            record.push((name.as_str(), value));
        }
        Value::record(record)
    }

    fn carried<'s>(&self, variant: &'s Variant, json: &Json, around: &mut Vec<&'s Shape>) -> Value {
        match (&variant.content, json) {
            (Content::Unit, Json::Null) => Value::Unit,
            (Content::Newtype(shape), _) => self.within(shape, json, around),
            (Content::Tuple(shapes), Json::Array(values)) => Value::Tuple(self.row(shapes, values, around)),
            (Content::Struct(fields), Json::Object(values)) => self.record(fields, values, around),
            _ => natural(json),
        }
    }
}

fn plainly(plain: Plain, json: &Json) -> Option<Value> {
    match (plain, json) {
        (Plain::Unit, Json::Null) => Some(Value::Unit),
        (Plain::F32 | Plain::F64, Json::Number(number)) => number.as_f64().map(Value::Float),
        (Plain::F32 | Plain::F64, Json::String(text)) if matches!(text.as_str(), "NaN" | "inf" | "-inf") => {
            text.parse().ok().map(Value::Float)
        }
        (Plain::I128 | Plain::U128, Json::String(text)) => {
            text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::Large)).ok()
        }
        (Plain::Char, Json::String(text)) => {
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none()).map(Value::Char)
        }
        (Plain::Bytes, Json::String(text)) => hex(text).map(Value::Bytes),
        (Plain::Bytes, Json::Array(values)) => {
            let byte = |value: &Json| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            values.iter().map(byte).collect::<Option<_>>().map(Value::Bytes)
        }
        _ => None,
    }
}

/// What a JSON value looks like, where nothing says what it is to be.
fn natural(json: &Json) -> Value {
    match json {
        Json::Null => Value::Unit,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int.into()),
            (_, Some(int)) => Value::Int(int.into()),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(values) => Value::List(values.iter().map(natural).collect()),
        Json::Object(fields) => Value::record(
            fields.iter().map(|(name, value)| (name.as_str(), natural(value))).collect::<Vec<_>>(),
        ),
    }
}

fn key_of(shape: &Shape, text: &str) -> Value {
    match shape {
        Shape::Newtype(_, inner) => key_of(inner, text),
        Shape::Plain(Plain::Text) => Value::Text(text.to_owned()),
        Shape::Plain(Plain::Bool) => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Bool),
        Shape::Enum(..) => Value::variant(text, Value::Unit),
        Shape::Plain(Plain::Char) if text.chars().count() == 1 => {
            Value::Char(text.chars().next().unwrap_or_default())
        }
        _ => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Int),
    }
}

/// Bytes as hexadecimal digits; hyphens are skipped, so that the text of a UUID is one. Behind `text:` they are those of the text.
fn hex(text: &str) -> Option<Vec<u8>> {
    if let Some(text) = text.strip_prefix("text:") {
        return Some(text.as_bytes().to_vec());
    }
    let digits: Vec<u8> = text
        .chars()
        .filter(|char| *char != '-')
        .map(|char| char.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let pairs =
        digits.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None });
    pairs.collect()
}

/// The references in a value, in their order.
pub(crate) fn references(value: &Value, found: &mut Vec<AnyRef>) {
    match value {
        Value::Reference(reference) => found.push(reference.clone()),
        Value::Option(Some(inner)) => references(inner, found),
        Value::Variant(_, inner) => references(inner, found),
        Value::List(values) | Value::Tuple(values) => {
            values.iter().for_each(|value| references(value, found))
        }
        Value::Map(entries) => entries.iter().for_each(|(key, value)| {
            references(key, found);
            references(value, found);
        }),
        Value::Record(fields) => fields.iter().for_each(|(_, value)| references(value, found)),
        _ => {}
    }
}

/// A value as JSON; its references are `names`, in the order of [`references`].
pub(crate) fn to_json(value: &Value, names: &mut impl Iterator<Item = String>) -> Json {
    match value {
        Value::Unit | Value::Option(None) => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(int) => whole(*int),
        Value::Large(int) => Json::String(int.to_string()),
        Value::Float(float) => {
            Number::from_f64(*float).map_or_else(|| Json::String(float.to_string()), Json::Number)
        }
        Value::Char(char) => Json::String(char.to_string()),
        Value::Text(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        Value::Option(Some(inner)) => to_json(inner, names),
        Value::List(values) | Value::Tuple(values) => {
            values.iter().map(|value| to_json(value, names)).collect()
        }
        Value::Map(entries)
            if entries
                .iter()
                .all(|(key, _)| matches!(key, Value::Text(_) | Value::Int(_) | Value::Bool(_))) =>
        {
            let entry = |(key, value): &(Value, Value)| {
                let key = match key {
                    Value::Text(text) => text.clone(),
                    other => other.to_string(),
                };
                (key, to_json(value, names))
            };
            Json::Object(entries.iter().map(entry).collect())
        }
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| Json::Array(vec![to_json(key, names), to_json(value, names)]))
            .collect(),
        Value::Record(fields) => Json::Object(
            fields.iter().map(|(name, value)| (name.to_string(), to_json(value, names))).collect(),
        ),
        Value::Variant(name, content) => match &**content {
            Value::Unit => Json::String(name.to_string()),
            content => Json::Object(Map::from_iter([(name.to_string(), to_json(content, names))])),
        },
        Value::Reference(_) => names.next().map_or(Json::Null, Json::String),
        other => Json::String(other.to_string()),
    }
}

fn whole(int: i128) -> Json {
    match (i64::try_from(int), u64::try_from(int)) {
        (Ok(int), _) => int.into(),
        (_, Ok(int)) => int.into(),
        _ => Json::String(int.to_string()),
    }
}

/// As deep as values may be on the wire, twice: newtypes and what comes back to itself count here, too.
const MOST_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_is_an_option_of_itself_ends() {
        let shape = Shape::Newtype("L".into(), Box::new(Shape::Option(Box::new(Shape::Again(1)))));
        let value = Reader::new(&|_| None).value(&shape, &Json::from(5));
        assert!(matches!(value, Value::Option(Some(_))));
    }
}
