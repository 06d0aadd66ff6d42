//! Values of plain types.

use super::{AnyRef, Value};

macro_rules! from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

from! {
    () => |_value| Value::Unit;
    bool => |value| Value::Bool(value);
    i8 => |value| Value::Int(value.into());
    i16 => |value| Value::Int(value.into());
    i32 => |value| Value::Int(value.into());
    i64 => |value| Value::Int(value.into());
    i128 => |value| Value::Int(value);
    u8 => |value| Value::Int(value.into());
    u16 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    u64 => |value| Value::Int(value.into());
    u128 => |value| i128::try_from(value).map_or(Value::Large(value), Value::Int);
    f32 => |value| Value::Float(value.into());
    f64 => |value| Value::Float(value);
    char => |value| Value::Char(value);
    &str => |value| Value::Text(value.to_owned());
    String => |value| Value::Text(value);
    &[u8] => |value| Value::Bytes(value.to_vec());
    Vec<Value> => |value| Value::List(value);
    AnyRef => |value| Value::Reference(value);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        Value::Option(value.map(|value| Box::new(value.into())))
    }
}
