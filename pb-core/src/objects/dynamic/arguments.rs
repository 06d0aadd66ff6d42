use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::body::{BodyError, Draft};
use crate::wire::shape::Shape;

/// The arguments of a call by name, which has no trait to take their types from: a tuple of up to twelve owned values that serde knows, such
/// as `(account, 100u64)`, `(name,)` or `()`. Numbers need their exact types, as in `100u64`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tuple of arguments",
    label = "write a tuple of owned values, such as `(name, 100u64)`, `(name,)` or `()`",
    note = "each implements `serde::Serialize` and `serde::de::DeserializeOwned`, so take `String` for `&str`"
)]
pub trait Arguments: sealed::Sealed + 'static {
    /// Appends all, one behind the other.
    #[doc(hidden)]
    fn encode(&self, out: &mut Draft) -> Result<(), BodyError>;
    /// Of each.
    #[doc(hidden)]
    fn shapes() -> Vec<Shape>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name),*> sealed::Sealed for ($($name,)*) {}
        impl<$($name: Serialize + DeserializeOwned + 'static),*> Arguments for ($($name,)*) {
            #[allow(unused_variables, reason = "the empty tuple uses none")]
            fn encode(&self, out: &mut Draft) -> Result<(), BodyError> {
                $(out.write(&self.$index)?;)*
                Ok(())
            }
            fn shapes() -> Vec<Shape> {
                vec![$(super::shape_of::<$name>()),*]
            }
        }
    )*};
}

all_tuples!(tuples);
