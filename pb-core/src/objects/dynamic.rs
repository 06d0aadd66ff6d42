//! Calls without a trait: by name, with types of the caller's choice, and what objects tell of themselves.

mod any_ref;
mod arguments;
mod by_name;
mod describe;
mod described;
mod description;
mod given;
mod invoke;
mod object;
mod shapes;
mod value;

pub use any_ref::AnyRef;
pub use arguments::Arguments;
pub(super) use describe::of_class;
pub use description::{ArgumentDescription, Description, InterfaceDescription, MethodDescription};
pub use given::{ArgumentError, Given};
pub use invoke::Invoked;
pub(crate) use object::dynamic_reference;
pub use object::{DescriptionError, DynamicCall, DynamicObject};
use shapes::{shape_of, shape_of_call};
pub use value::Value;
