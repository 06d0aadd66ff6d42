use std::fmt;
use std::sync::Arc;

use super::{Answerer, Object, Reference, Stub};

/// Where a call comes from, for methods that ask: `async fn whoami(&self, cx: &CallContext)`.
pub struct CallContext {
    pub(super) this: Arc<dyn Object>,
    pub(super) line: Option<Arc<dyn Answerer>>,
}

impl CallContext {
    /// A reference to the object that is called: for whoever holds one already, it is the same object.
    pub fn this<S: Stub>(&self) -> S {
        S::from_reference(Reference::local(Arc::clone(&self.this)))
    }

    /// The caller's address, such as `tcp://127.0.0.1:41234`; `None` for a call from this process.
    pub fn peer(&self) -> Option<&str> {
        self.line.as_deref().map(Answerer::peer)
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext").field("peer", &self.peer()).finish_non_exhaustive()
    }
}
