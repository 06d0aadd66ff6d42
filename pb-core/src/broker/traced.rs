//! A call of a peer's that somebody looks on at: its span, and how it is told its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{Instrument, Span};

use super::line::Line;
use super::wiring::Wiring;
use crate::message::ExportId;
use crate::objects::trace::{self, How};
use crate::objects::{Answerer, BoxTask, WireAnswer};
use crate::proto;

impl Line {
    /// Whatever the peer calls a trace, and is none, is none.
    pub(super) fn forget_bad_trace(&self, call: &mut proto::Request<Wiring>) {
        if let Some(options) = &mut call.options
            && trace::forget_bad(&mut options.metadata)
        {
            self.bad_traceparents.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The call's span, where somebody looks on.
    pub(super) fn span(&self, call: &proto::Request<Wiring>) -> Option<Span> {
        let id = call.answer.map(|(id, _)| id.0);
        let metadata = call.options.as_deref().map(|options| &options.metadata);
        trace::serve(&call.method.text.name, id, self.peer_address(), metadata)
    }
}

/// A connection that tells a span what is answered.
pub(super) struct TracedLine {
    line: Arc<Line>,
    span: Span,
}

impl TracedLine {
    pub(super) fn between(line: &Arc<Line>, span: &Span) -> Arc<dyn Answerer> {
        Arc::new(TracedLine { line: Arc::clone(line), span: span.clone() })
    }
}

impl Answerer for TracedLine {
    fn answer(&self, id: ExportId, answer: WireAnswer<'_>) {
        How::answered(&answer).record(&self.span);
        self.line.answer(id, answer);
    }

    fn peer(&self) -> &str {
        self.line.peer_address()
    }
}

/// A method that runs in `span`. One that is not answered says itself when it is done.
pub(super) fn traced(task: BoxTask, span: Span, answered: bool) -> BoxTask {
    if answered {
        return Box::pin(task.instrument(span));
    }
    Box::pin(async move {
        task.instrument(span.clone()).await;
        How::DONE.record(&span);
    })
}
