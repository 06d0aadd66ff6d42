use std::sync::Arc;

use super::{Method, MethodShape};

/// The method that a call means, for those who tell people about it.
pub(super) enum Called {
    /// One of a trait.
    Known(&'static Method),
    /// One that is known by its name, and perhaps by the shapes of what the caller gives and expects.
    Named(Arc<Named>),
}

/// A method as a call by name means it.
pub(super) struct Named {
    pub(super) name: Box<str>,
    pub(super) shape: Option<Arc<MethodShape>>,
}

impl Called {
    /// Name, parameters and shapes, for people; `None` where only the name is known.
    pub(super) fn signature(&self) -> Option<String> {
        match self {
            Called::Known(method) => Some(method.signature()),
            Called::Named(named) => named.shape.as_ref().map(|shape| shape.signature(&named.name, None)),
        }
    }
}
