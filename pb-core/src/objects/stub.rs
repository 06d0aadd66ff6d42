use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use super::scope::{self, Looked};
use super::{Access, Interface, Reference};

/// A typed reference: what `#[remote_interface]` makes beside the trait (`BankRef` for `Bank`).
///
/// It can be cloned, sent to other threads, and put anywhere into arguments and results. It serialises inside a message only.
///
/// Twisted: `RemoteReference` (spread/pb.py). Wire: docs/protocol.md, section 8.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no reference",
    label = "write the stub: of an object with the interface `Bank` it is `BankRef::new(object)`"
)]
pub trait Stub: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// The interface that its methods belong to.
    fn interface() -> &'static Interface;
    /// The same reference with this type, and the options of its calls.
    #[doc(hidden)]
    fn from_access(access: Access) -> Self;
    /// The reference in it, and the options of its calls.
    #[doc(hidden)]
    fn as_access(&self) -> &Access;

    /// The same reference with this type; a wrong one fails at its calls, with `Unimplemented`.
    fn from_reference(reference: Reference) -> Self {
        Self::from_access(Access::new(reference))
    }

    /// The reference in it.
    fn as_reference(&self) -> &Reference {
        self.as_access().reference()
    }
}

/// Writes a reference as its index in the message. `name` is `pb::Ref<Interface>`, by which shapes know it.
#[doc(hidden)]
pub fn serialize<S: Serializer>(
    name: &'static str,
    reference: &Reference,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return Err(S::Error::custom(OUTSIDE));
    }
    match scope::index_of(reference) {
        Some(index) => serializer.serialize_newtype_struct(name, &index),
        None => Err(S::Error::custom(OUTSIDE)),
    }
}

/// Reads a reference by its index in the message.
#[doc(hidden)]
pub fn deserialize<'de, D: Deserializer<'de>>(
    name: &'static str,
    deserializer: D,
) -> Result<Reference, D::Error> {
    struct Index;
    impl<'de> Visitor<'de> for Index {
        type Value = Reference;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the index of a reference in the message")
        }
        fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Reference, D::Error> {
            let index = <u32 as serde::Deserialize>::deserialize(deserializer)?;
            match scope::look_up(index) {
                Looked::Found(reference) => Ok(reference),
                Looked::OutOfRange { count } => Err(D::Error::custom(format_args!(
                    "the body names reference {index}; the message carries {count}"
                ))),
                Looked::Outside => Err(D::Error::custom(OUTSIDE)),
            }
        }
    }
    deserializer.deserialize_newtype_struct(name, Index)
}

const OUTSIDE: &str =
    "a reference can only be serialised inside a message of the broker: pass it as an argument or a result";

/// The impls that every stub has; see `docs` of [`Stub`].
#[doc(hidden)]
#[macro_export]
macro_rules! __pb_stub {
    ($stub:ident, $name:literal) => {
        impl $crate::__private::Clone for $stub {
            fn clone(&self) -> Self {
                $stub($crate::__private::Clone::clone(&self.0))
            }
        }
        impl $crate::__private::Debug for $stub {
            fn fmt(&self, f: &mut $crate::__private::Formatter<'_>) -> $crate::__private::FmtResult {
                $crate::__private::Access::describe(&self.0, $crate::__private::concat!($name, "Ref"), f)
            }
        }
        impl $crate::__private::serde::Serialize for $stub {
            fn serialize<S: $crate::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> $crate::__private::Result<S::Ok, S::Error> {
                $crate::__private::serialize_stub(
                    $crate::__private::concat!("pb::Ref<", $name, ">"),
                    $crate::__private::Access::reference(&self.0),
                    serializer,
                )
            }
        }
        impl<'de> $crate::__private::serde::Deserialize<'de> for $stub {
            fn deserialize<D: $crate::__private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> $crate::__private::Result<Self, D::Error> {
                $crate::__private::Result::map(
                    $crate::__private::deserialize_stub(
                        $crate::__private::concat!("pb::Ref<", $name, ">"),
                        deserializer,
                    ),
                    |reference| $stub($crate::__private::Access::new(reference)),
                )
            }
        }
        impl $crate::__private::Stub for $stub {
            fn interface() -> &'static $crate::__private::Interface {
                $stub::__pb_interface()
            }
            fn from_access(access: $crate::__private::Access) -> Self {
                $stub(access)
            }
            fn as_access(&self) -> &$crate::__private::Access {
                &self.0
            }
        }
    };
}
