use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::trace::TraceParent;
use super::{Answerer, Object, Reference, Stub, Terms};

/// Where a call comes from, for methods that ask: `async fn whoami(&self, cx: &CallContext)`.
///
/// Wire: docs/protocol.md, section 7.1.
pub struct CallContext {
    pub(super) this: Arc<dyn Object>,
    pub(super) line: Option<Arc<dyn Answerer>>,
    pub(super) terms: Terms,
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

    /// When the caller stops waiting, if it ever does: then the method is stopped, unless it has `run_to_end`. The calls that the method makes
    /// where it is polled inherit it; those of tasks that it spawns don't.
    ///
    /// It is a time of tokio's clock: `tokio::time::Instant::from_std(deadline)`.
    pub fn deadline(&self) -> Option<Instant> {
        self.terms.deadline
    }

    /// An entry of the call's metadata, of at most 256 bytes: what the caller has put there by
    /// [`Remote::with_metadata`](super::Remote::with_metadata), or has inherited of a call that it served. Not to be trusted more than an argument.
    pub fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.entries().find(|(known, _)| **known == *key).map(|(_, value)| &value[..])
    }

    /// The trace that the call belongs to, and the caller's span in it. A caller may say anything; what is no `traceparent` is taken for none, and counted
    /// ([`Counters::bad_traceparents`](crate::Counters::bad_traceparents)).
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.terms.traceparent()
    }

    /// The keys of the call's metadata, at most 16.
    pub fn metadata_keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(key, _)| &**key)
    }

    fn entries(&self) -> impl Iterator<Item = &(Box<str>, Bytes)> {
        self.terms.metadata.iter().flat_map(|metadata| metadata.iter())
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext").field("peer", &self.peer()).finish_non_exhaustive()
    }
}
