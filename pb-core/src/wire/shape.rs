//! Shapes: what a type's body looks like, found out from the type itself and usable without it.
//!
//! A shape is traced through serde ([`trace`]), hashed into fingerprints of methods ([`print`](fn@print)), shown
//! to people, and turns JSON into bodies and back (feature `json`). It covers what decides the encoding: kinds,
//! widths, order, names of fields and variants, interfaces of references. Names of types and newtypes are kept for
//! people and count for nothing, because renaming or wrapping a type does not change its body.
//! Wire: `docs/protocol.md`, "Shapes". What can be traced: `docs/shapes.md`.

mod answers;
mod asks;
mod flat;
#[cfg(feature = "json")]
mod json;
mod misfit;
mod nodes;
mod plain;
mod print;
mod samples;
mod text;
mod tracer;

#[cfg(feature = "json")]
pub use json::{arguments_to_body, body_to_json, json_to_body};
pub use misfit::{Misfit, Problem};
pub(crate) use misfit::{Scope, Step, Way, listed, quoted};
pub use print::{Prototype, print};
pub(crate) use text::Shown;
pub use tracer::{trace, tracing};

/// What newtype structs that stand for references are named: `pb::Ref<` and the interface's name and `>`.
pub const REFERENCE_PREFIX: &str = "pb::Ref<";

/// The shape of a type's body.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Shape {
    /// A value without parts.
    Plain(Plain),
    /// A value or none.
    Option(Box<Shape>),
    /// So many values as the body says: vectors, sets, slices.
    Seq(Box<Shape>),
    /// Keys and values, in any order.
    Map(Box<Shape>, Box<Shape>),
    /// So many values of one shape as the type says, two or more: arrays, and tuples that look like them.
    Array(Box<Shape>, u32),
    /// Values one behind the other: tuples and tuple structs.
    Tuple(Vec<Shape>),
    /// A value with a name of its own for people; its body is the inner one's.
    Newtype(String, Box<Shape>),
    /// Fields in the order in which the body has them.
    Struct(String, Vec<Field>),
    /// Variants in the order of their numbers, from 0.
    Enum(String, Vec<Variant>),
    /// A reference to an object, by its interface's name.
    Reference(String),
    /// The same as so many containers further out, newtypes not counted; 1 is the one that this stands in.
    Again(u32),
    /// What could not be found out.
    Opaque(Opaque),
}

/// A value without parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Plain {
    /// Nothing at all.
    Unit,
    /// One byte, 0 or 1.
    Bool,
    /// Eight bits with a sign.
    I8,
    /// 16 bits with a sign.
    I16,
    /// 32 bits with a sign.
    I32,
    /// 64 bits with a sign; `isize` too.
    I64,
    /// 128 bits with a sign.
    I128,
    /// Eight bits.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// 64 bits; `usize` too.
    U64,
    /// 128 bits.
    U128,
    /// A number in IEEE single precision.
    F32,
    /// A number in IEEE double precision.
    F64,
    /// One character.
    Char,
    /// UTF-8.
    Text,
    /// Bytes, copied whole.
    Bytes,
}

/// A field of a struct.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// As serde names it, after `rename`.
    pub name: String,
    /// What stands there.
    pub shape: Shape,
}

/// A variant of an enum. Its number is its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// As serde names it; the number, where aliases hide which name is whose.
    pub name: String,
    /// What follows the number.
    pub content: Content,
}

/// What a variant carries.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Unit,
    /// One value.
    Newtype(Shape),
    /// Values by place.
    Tuple(Vec<Shape>),
    /// Values by name.
    Struct(Vec<Field>),
}

/// A place that the tracer could not describe. It counts by its type's name, without paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opaque {
    /// The Rust type there, its modules left out; empty where not even that was seen.
    pub type_name: String,
    /// Why.
    pub why: Why,
}

/// Why a place could not be described.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Why {
    /// It lies behind a value that none of the tracer's samples could make.
    Unreached,
    /// It asks the body to describe itself, so that it cannot be sent at all.
    SelfDescribing,
    /// What it asks for depends on other values.
    Varies,
    /// The type is nested deeper, or has more parts, than is looked at.
    TooLarge,
}

impl Plain {
    /// The name in canonical texts.
    pub const fn name(self) -> &'static str {
        match self {
            Plain::Unit => "()",
            Plain::Bool => "bool",
            Plain::I8 => "i8",
            Plain::I16 => "i16",
            Plain::I32 => "i32",
            Plain::I64 => "i64",
            Plain::I128 => "i128",
            Plain::U8 => "u8",
            Plain::U16 => "u16",
            Plain::U32 => "u32",
            Plain::U64 => "u64",
            Plain::U128 => "u128",
            Plain::F32 => "f32",
            Plain::F64 => "f64",
            Plain::Char => "char",
            Plain::Text => "str",
            Plain::Bytes => "bytes",
        }
    }
}
