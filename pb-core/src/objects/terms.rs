//! What a call has beside its arguments: until when it must have ended, and what it is marked with. A method's own calls inherit both.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::executor;
use crate::message::{CallOptions, Failure, FailureKind, MAX_METADATA, MAX_METADATA_BYTES, Ran};
use crate::proto::{LONGEST_TIME, exceeded};

/// Free entries of a call, such as `traceparent`. No key comes twice.
pub type Metadata = Vec<(Box<str>, Bytes)>;

/// The terms of one call.
#[derive(Clone, Default)]
pub struct Terms {
    pub(super) deadline: Option<Instant>,
    /// Not empty.
    pub(super) metadata: Option<Arc<Metadata>>,
}

/// How a stub's calls are made; most stubs have none.
#[derive(Clone, Default)]
pub(super) struct StubOptions {
    within: Option<Duration>,
    metadata: Metadata,
    /// Of calls that have no trait to say it: bytes of the largest answer.
    pub(super) answer_bytes: Option<u64>,
}

impl StubOptions {
    pub(super) fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    pub(super) fn with_metadata(mut self, key: Box<str>, value: Bytes) -> Self {
        put(&mut self.metadata, key, value);
        self
    }

    pub(super) fn with_answer_bytes(mut self, bytes: u64) -> Self {
        self.answer_bytes = Some(bytes);
        self
    }
}

thread_local! {
    /// Whether [`SERVED`] has terms: mostly it has none, and is not looked at.
    static SERVING: Cell<bool> = const { Cell::new(false) };
    /// The terms of the call whose method is polled on this thread.
    static SERVED: RefCell<Terms> = const { RefCell::new(Terms::NONE) };
}

impl Terms {
    const NONE: Terms = Terms { deadline: None, metadata: None };

    /// Those of a call that was received.
    pub fn received(deadline: Option<Instant>, options: Option<Box<CallOptions>>) -> Terms {
        let metadata = options.map(|options| options.metadata).filter(|metadata| !metadata.is_empty());
        Terms { deadline, metadata: metadata.map(Arc::new) }
    }

    /// Those of a call that is made now, on this thread, through a stub with `options`.
    ///
    /// # Errors
    /// `DeadlineExceeded` where no time is left, `Failed` for metadata over its bounds.
    pub(super) fn of_call(options: Option<&StubOptions>) -> Result<Terms, Failure> {
        let mut terms = Terms::served();
        if let Some(options) = options {
            terms.join(options)?;
        }
        let over = |deadline| executor::now().is_some_and(|now| deadline <= now);
        if terms.deadline.is_some_and(over) { Err(exceeded(Ran::No)) } else { Ok(terms) }
    }

    /// What a call that is made on this thread inherits.
    pub(super) fn served() -> Terms {
        if SERVING.get() { SERVED.with_borrow(Clone::clone) } else { Terms::NONE }
    }

    /// The earlier deadline counts, and the stub's own entries.
    fn join(&mut self, options: &StubOptions) -> Result<(), Failure> {
        if let (Some(time), Some(now)) = (options.within, executor::now()) {
            let own = now + time.min(LONGEST_TIME);
            self.deadline = Some(self.deadline.map_or(own, |inherited| inherited.min(own)));
        }
        if options.metadata.is_empty() {
            return Ok(());
        }
        let mut all = self.metadata.take().map_or_else(Metadata::new, Arc::unwrap_or_clone);
        for (key, value) in &options.metadata {
            check(key, value)?;
            put(&mut all, key.clone(), value.clone());
        }
        if all.len() > MAX_METADATA {
            return Err(refused(format!(
                "the call has {} entries of metadata, those that it inherits included; {MAX_METADATA} are allowed",
                all.len()
            )));
        }
        self.metadata = Some(Arc::new(all));
        Ok(())
    }

    /// Runs a method: the calls that it makes where it is polled inherit these terms, and none of somebody else's.
    pub(super) async fn serve<T>(self, method: impl Future<Output = T>) -> T {
        let mut method = pin!(method);
        poll_fn(|cx| self.poll(method.as_mut(), cx)).await
    }

    /// Polls a method: the calls that it makes there inherit these terms, and none of somebody else's.
    #[inline]
    pub(super) fn poll<F: Future>(&self, method: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.is_none() && !SERVING.get() {
            return method.poll(cx);
        }
        let _served = Served::enter(self.clone());
        method.poll(cx)
    }

    fn is_none(&self) -> bool {
        self.deadline.is_none() && self.metadata.is_none()
    }
}

/// The terms that were served on this thread before; they are again when this is dropped, after a panic too.
struct Served(Terms);

impl Served {
    fn enter(terms: Terms) -> Served {
        SERVING.set(!terms.is_none());
        Served(SERVED.replace(terms))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        SERVING.set(!before.is_none());
        SERVED.set(before);
    }
}

pub(super) fn put(metadata: &mut Metadata, key: Box<str>, value: Bytes) {
    match metadata.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => metadata.push((key, value)),
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), Failure> {
    let message = match (key.len(), value.len()) {
        (0, _) => "a key of metadata has at least one byte".to_owned(),
        (bytes, _) if bytes > MAX_METADATA_BYTES => {
            format!("a key of metadata has {bytes} bytes; {MAX_METADATA_BYTES} are allowed")
        }
        (_, bytes) if bytes > MAX_METADATA_BYTES => {
            format!("the metadata `{key}` has {bytes} bytes; {MAX_METADATA_BYTES} are allowed")
        }
        _ => return Ok(()),
    };
    Err(refused(message))
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Failed, Ran::No, message)
}
