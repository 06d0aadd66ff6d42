use std::time::Duration;

use crate::objects::{Access, Interface, Remote};

/// A reference to an object of any interface: for programs that learn at run time what they call.
///
/// It has no methods of its own. [`remote().call`](Remote::call) calls one by name, [`remote().cast`](Remote::cast) makes a typed stub of it, and
/// of any stub an `AnyRef`; both are free. As an argument or a result it is a reference like any other; where a signature has one its print says
/// that any interface may come there (`docs/protocol.md`, section 10.1).
pub struct AnyRef(Access);

impl AnyRef {
    /// What a reference can do.
    pub fn remote(&self) -> Remote<'_, Self> {
        Remote::new(self)
    }

    /// The same reference, whose calls must be answered within `time` from when each is made, as those of its clones and promises: they fail
    /// `DeadlineExceeded` otherwise. More than some 50 days count as that.
    #[must_use = "the calls of the reference that this returns have the deadline"]
    pub fn within(&self, time: Duration) -> Self {
        AnyRef(self.0.within(time))
    }

    fn __pb_interface() -> &'static Interface {
        static ANY: Interface = Interface::new("", "", || &[]);
        &ANY
    }
}

crate::__pb_stub! { AnyRef, "" }
