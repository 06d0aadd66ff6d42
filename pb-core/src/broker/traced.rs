//! A call of a peer's that somebody looks on at: its span, and how it is told its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{Instrument, Span};

use super::forward::Request;
use super::line::Line;
use crate::message::ExportId;
use crate::objects::trace::{self, How};
use crate::objects::{Answerer, BoxTask, WireAnswer};

impl Request {
    /// Whatever the peer calls a trace, and is none, is none.
    pub(super) fn forget_bad_trace(&mut self) {
        if let Some(options) = &mut self.options
            && trace::forget_bad(&mut options.metadata)
        {
            self.line.bad_traceparents.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its span, where somebody looks on.
    pub(super) fn span(&self) -> Option<Span> {
        let id = self.answer.map(|(id, _)| id.0);
        let metadata = self.options.as_deref().map(|options| &options.metadata);
        trace::serve(&self.known.text.name, id, self.line.peer_address(), metadata)
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
