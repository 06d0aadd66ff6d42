use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::terms::{StubOptions, Terms};
use super::{Errors, Method, NoError, Reference, Signature, Values};
use crate::defer::Deferred;
use crate::message::Failure;

/// What a stub holds: a reference, and how calls through it are made. The options belong to this holder: they don't travel with the reference.
#[derive(Clone)]
pub struct Access {
    reference: Reference,
    options: Option<Arc<StubOptions>>,
}

impl Access {
    /// A reference whose calls have no options.
    pub fn new(reference: Reference) -> Self {
        Access { reference, options: None }
    }

    pub(super) fn with_options(reference: Reference, options: Option<Arc<StubOptions>>) -> Self {
        Access { reference, options }
    }

    /// The reference alone.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// How its calls are made.
    pub(super) fn options(&self) -> Option<Arc<StubOptions>> {
        self.options.clone()
    }

    /// The terms of a call that is made now.
    ///
    /// # Errors
    /// As [`Terms::of_call`].
    pub(super) fn terms(&self) -> Result<Terms, Failure> {
        Terms::of_call(self.options.as_deref())
    }

    /// The same reference, whose calls must have ended in that time.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        self.change(|options| options.within(time))
    }

    /// The same reference, whose calls carry this entry.
    pub(super) fn with_metadata(&self, key: Box<str>, value: Bytes) -> Self {
        self.change(|options| options.with_metadata(key, value))
    }

    /// The same reference, whose calls by name and by description take answers of so many bytes.
    pub(super) fn with_answer_bytes(&self, bytes: u64) -> Self {
        self.change(|options| options.with_answer_bytes(bytes))
    }

    /// What [`Access::with_answer_bytes`] said.
    pub(super) fn answer_bytes(&self) -> Option<u64> {
        self.options.as_deref().and_then(|options| options.answer_bytes)
    }

    fn change(&self, change: impl FnOnce(StubOptions) -> StubOptions) -> Self {
        let options = self.options.as_deref().cloned().unwrap_or_default();
        Access { reference: self.reference.clone(), options: Some(Arc::new(change(options))) }
    }

    /// Calls a method. The call is on its way when this returns; where it cannot be sent, the Deferred fails.
    pub fn call<A: Values, R: Send + 'static, K: Errors>(
        &self,
        method: &'static Method,
        signature: Signature<A, R, K>,
        arguments: A,
    ) -> Deferred<R, K::Caller> {
        let terms = Terms::of_call(self.options.as_deref());
        self.reference.call(method, signature, arguments, terms, self.options.clone())
    }

    /// Calls a method that is never answered; what goes wrong is lost, but for a line in the log.
    pub fn cast<A: Values>(
        &self,
        method: &'static Method,
        signature: Signature<A, (), NoError>,
        arguments: A,
    ) {
        match Terms::of_call(self.options.as_deref()) {
            Ok(terms) => self.reference.cast(method, signature, arguments, terms),
            Err(failure) => tracing::debug!(method = method.name(), %failure, "cast not sent"),
        }
    }

    /// Debug text of a stub.
    #[doc(hidden)]
    pub fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.describe(name, f)
    }
}
