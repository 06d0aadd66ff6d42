//! Values without parts, out of bodies.

use serde::de::{Deserializer, Visitor};

use super::Plain;

impl Plain {
    /// Lets the decoder give `visitor` such a value.
    pub(crate) fn read<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        match self {
            Plain::Unit => from.deserialize_unit(visitor),
            Plain::Bool => from.deserialize_bool(visitor),
            Plain::I8 => from.deserialize_i8(visitor),
            Plain::I16 => from.deserialize_i16(visitor),
            Plain::I32 => from.deserialize_i32(visitor),
            Plain::I64 => from.deserialize_i64(visitor),
            Plain::I128 => from.deserialize_i128(visitor),
            Plain::U8 => from.deserialize_u8(visitor),
            Plain::U16 => from.deserialize_u16(visitor),
            Plain::U32 => from.deserialize_u32(visitor),
            Plain::U64 => from.deserialize_u64(visitor),
            Plain::U128 => from.deserialize_u128(visitor),
            Plain::F32 => from.deserialize_f32(visitor),
            Plain::F64 => from.deserialize_f64(visitor),
            Plain::Char => from.deserialize_char(visitor),
            Plain::Text => from.deserialize_str(visitor),
            Plain::Bytes => from.deserialize_bytes(visitor),
        }
    }
}
