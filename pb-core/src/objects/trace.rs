//! Traces of calls: `tracing` spans on both sides, and the W3C's `traceparent`, which goes with a call from process to process.
//!
//! **Without `tracing`** a program sets the trace of what it does with [`scope`] (or of one stub's calls by
//! [`with_traceparent`](crate::Remote::with_traceparent)); every call made in it carries it, however many processes it goes through, methods read it by
//! [`CallContext::traceparent`](crate::CallContext::traceparent) or [`current`], and the calls that they make carry it on.
//!
//! ```
//! use pb_core::trace::{self, TraceParent};
//! # use pb_core::{CallContext, Referenceable, remote_interface};
//! # #[remote_interface]
//! # trait Account { async fn trace(&self) -> Option<String>; }
//! # #[derive(Referenceable)] struct MyAccount;
//! # impl Account for MyAccount {
//! #     async fn trace(&self) -> Option<String> { trace::current().map(|parent| parent.to_string()) }
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let account = AccountRef::new(MyAccount);
//! // As a web server got it in a header, say.
//! let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
//! let seen = trace::scope(parent, async { account.trace().await }).await;
//! assert_eq!(seen, Ok(Some(parent.to_string())));
//! # });
//! ```
//!
//! **With `tracing`**, where somebody subscribes to the level `DEBUG` of the target `pb::call`, each call has a span `call` on its caller's side, from when it is made until it is
//! answered, below the span that it is made in; and of `pb::serve` a span `serve` on the other side, in which its method runs. Their fields: `interface`, `method`, `id` (the
//! call's on its connection, of which both sides have the same; local calls have none), `peer` (`serve` only), `trace_id`, `span_id`, `outcome`: `ok`, `error` (the method's own), the kind of a
//! failure, `dropped` (nobody waited any more), `sent` or `done` of a call without an answer, `unanswered` of a method that was stopped or panicked. A local call has `call` alone, and its method runs in it.
//! Middlemen have none for what they pass on. Such a call begins a trace where it belongs to none, which is sampled unless [`sample_by`] says otherwise, and a span of its own in it, which its `serve` shares; one whose 16 entries of metadata are used up
//! goes without.
//!
//! That is not built only where it is asked for, since the check is all that it costs: one comparison with the level that `tracing` has for the whole program, on each side.
//!
//! **With OpenTelemetry**, or another system that has ids of its own, a [`Propagator`] tells the ids of spans to the broker, and the other way round.

mod parent;

use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tracing::field::{Empty, display};
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Level, Span, debug_span};

use super::WireAnswer;
use super::terms::{Metadata, Terms, put};
use crate::message::{Failure, MAX_METADATA};

pub use parent::{BadTraceParent, TraceParent};

/// What gives the broker's spans their ids, where another system than the broker does. With `tracing-opentelemetry`, `inject` reads
/// `span.context().span().span_context()`, and `extract` calls `span.set_parent(…)`.
///
/// Both are called on the path of each call that has a span, under no lock, and must not wait. A panic in them is the caller's, or fails the call that is served.
pub trait Propagator: Send + Sync {
    /// The ids of `span`, a `call`: they go with the call. Without any, what was inherited does.
    fn inject(&self, span: &Span) -> Option<TraceParent>;
    /// The trace that `span`, a `serve`, belongs to.
    fn extract(&self, span: &Span, parent: TraceParent);
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();

/// Lets spans have the ids that `propagator` gives them, in the whole process. Only the first one counts: says whether it was this.
pub fn propagate_by(propagator: impl Propagator + 'static) -> bool {
    PROPAGATOR.set(Box::new(propagator)).is_ok()
}

type Sampler = Box<dyn Fn(&Span) -> bool + Send + Sync>;

static SAMPLER: OnceLock<Sampler> = OnceLock::new();

/// Lets `sampled` decide, in the whole process, which of the traces that begin here say that they are sampled (the flag of that name in the W3C's Trace
/// Context, level 1, section 3.2.2.3.1): it is given the `call` that a trace begins with. Only the first one counts: says whether it was this.
///
/// Without it all do: a trace begins here only with a call whose span a subscriber records, and the flag says that the caller records. Whoever records a part
/// of the traces says here which. A trace that was set ([`scope`], [`with_traceparent`](crate::Remote::with_traceparent)) or came with a call keeps its flag, whatever is recorded here; with a
/// [`Propagator`] the flag is its affair.
///
/// It is called on the path of the call, under no lock, and must not wait; a panic in it is the caller's.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// // One in a hundred.
/// static BEGUN: AtomicU32 = AtomicU32::new(0);
/// pb_core::trace::sample_by(|_| BEGUN.fetch_add(1, Ordering::Relaxed).is_multiple_of(100));
/// ```
pub fn sample_by(sampled: impl Fn(&Span) -> bool + Send + Sync + 'static) -> bool {
    SAMPLER.set(Box::new(sampled)).is_ok()
}

/// The trace of what is done here: of the call whose method is polled on this thread, or of the [`scope`]. Not in tasks that are spawned from there.
pub fn current() -> Option<TraceParent> {
    Terms::served().traceparent()
}

/// Runs `future`: the calls that it makes where it is polled belong to the trace, as those of a method do to its call's. All else that they inherit stays, but where there are 16
/// entries of metadata already, and no trace among them, there is no room for one.
///
/// # Cancel safety
/// That of `future`, which goes with it.
pub async fn scope<T>(parent: TraceParent, future: impl Future<Output = T>) -> T {
    let mut terms = Terms::served();
    terms.set_traceparent(parent);
    terms.serve(future).await
}

impl Terms {
    pub(super) fn traceparent(&self) -> Option<TraceParent> {
        let entries = self.metadata.as_deref()?;
        let (_, value) = entries.iter().find(|(key, _)| **key == *TraceParent::KEY)?;
        TraceParent::parse(value).ok()
    }

    fn set_traceparent(&mut self, parent: TraceParent) {
        let mut entries = self.metadata.take().map_or_else(Metadata::new, Arc::unwrap_or_clone);
        if entries.len() < MAX_METADATA || entries.iter().any(|(key, _)| **key == *TraceParent::KEY) {
            put(&mut entries, TraceParent::KEY.into(), Bytes::from(parent.to_string()));
        }
        self.metadata = Some(Arc::new(entries));
    }
}

/// Takes a `traceparent` out of what a peer has sent that is none, and the `tracestate` that goes with it. Says whether there was one.
#[doc(hidden)]
pub fn forget_bad(metadata: &mut Metadata) -> bool {
    let is_bad =
        |(key, value): &(Box<str>, Bytes)| **key == *TraceParent::KEY && TraceParent::parse(value).is_err();
    let bad = metadata.iter().any(is_bad);
    if bad {
        metadata.retain(|(key, _)| **key != *TraceParent::KEY && &**key != "tracestate");
    }
    bad
}

/// Whether anybody may want spans: all that a call costs where nobody does.
#[doc(hidden)]
#[inline]
pub fn enabled() -> bool {
    Level::DEBUG <= STATIC_MAX_LEVEL && Level::DEBUG <= LevelFilter::current()
}

/// The span of a call that is made, and the trace that it goes with.
#[cold]
pub(super) fn call(method: &str, terms: Option<&mut Terms>) -> Option<Arc<Span>> {
    let (interface, name) = halves(method);
    let span = debug_span!(
        target: "pb::call", "call", interface, method = name, id = Empty, trace_id = Empty, span_id = Empty, outcome = Empty
    );
    if span.is_disabled() {
        return None;
    }
    if let Some(terms) = terms {
        let inherited = terms.traceparent();
        let own = match PROPAGATOR.get() {
            Some(propagator) => propagator.inject(&span),
            None => {
                let begun = || TraceParent::random(SAMPLER.get().is_none_or(|sampled| sampled(&span)));
                Some(inherited.map_or_else(begun, TraceParent::child))
            }
        };
        if let Some(own) = own {
            terms.set_traceparent(own);
        }
        if let Some(parent) = own.or(inherited) {
            record_ids(&span, parent);
        }
    }
    Some(Arc::new(span))
}

/// The span of a call that is served.
#[cold]
#[doc(hidden)]
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "peers' calls come over connections"))]
pub fn serve(method: &str, id: Option<i64>, peer: &str, metadata: Option<&Metadata>) -> Option<Span> {
    let (interface, name) = halves(method);
    let span = debug_span!(
        target: "pb::serve", parent: None, "serve", interface, method = name, id, peer, trace_id = Empty, span_id = Empty, outcome = Empty
    );
    if span.is_disabled() {
        return None;
    }
    let entry = metadata.and_then(|entries| entries.iter().find(|(key, _)| **key == *TraceParent::KEY));
    if let Some(parent) = entry.and_then(|(_, value)| TraceParent::parse(value).ok()) {
        if let Some(propagator) = PROPAGATOR.get() {
            propagator.extract(&span, parent);
        }
        record_ids(&span, parent);
    }
    Some(span)
}

/// How a call ended, as its span says it.
#[doc(hidden)]
pub struct How(&'static str);

impl How {
    /// The method returned a value, or a reference.
    pub const OK: How = How("ok");
    /// It returned an error of its own.
    pub const ERROR: How = How("error");
    /// Nobody wanted the answer any more.
    pub const DROPPED: How = How("dropped");
    /// A call that is not answered was sent.
    pub const SENT: How = How("sent");
    /// The same has run.
    pub const DONE: How = How("done");

    /// The broker's failure.
    pub fn failed(failure: &Failure) -> How {
        How(failure.kind.name())
    }

    /// What a method is answered with.
    pub fn answered(answer: &WireAnswer<'_>) -> How {
        match answer {
            WireAnswer::Value(..) | WireAnswer::Reference(_) => How::OK,
            WireAnswer::App(..) => How::ERROR,
            WireAnswer::Failed(failure) if **failure == Failure::unanswered() => How("unanswered"),
            WireAnswer::Failed(failure) => How::failed(failure),
        }
    }

    /// Says so.
    pub fn record(self, span: &Span) {
        span.record("outcome", self.0);
    }
}

fn record_ids(span: &Span, parent: TraceParent) {
    span.record("trace_id", display(format_args!("{:032x}", parent.trace_id())));
    span.record("span_id", display(format_args!("{:016x}", parent.parent_id())));
}

fn halves(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}
