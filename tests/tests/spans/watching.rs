//! What `tracing` is told, kept for a test to look at.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A span of the broker's, or of a test's.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// `call`, `serve`, or what a test calls its own.
    pub name: &'static str,
    /// The index of the span that it is in.
    pub parent: Option<usize>,
    /// Its fields as text.
    pub fields: BTreeMap<&'static str, String>,
    /// How often something was done in it.
    pub entered: usize,
    /// It is over.
    pub closed: bool,
    id: u64,
}

impl Seen {
    /// A field; empty where it was not set.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// All spans of one thread, in the order in which they began.
#[derive(Clone, Default)]
pub struct Spans(Arc<Mutex<Vec<Seen>>>);

impl Spans {
    /// Those of the thread that calls, of `most` and more important ones, until the guard is dropped.
    pub fn watch(most: Level) -> (Spans, DefaultGuard) {
        let spans = Spans::default();
        let layer = Watching { spans: spans.clone(), most };
        (spans, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
    }

    /// A copy.
    pub fn all(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    /// Those of this name, in their order.
    pub fn named(&self, name: &str) -> Vec<Seen> {
        self.all().into_iter().filter(|span| span.name == name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        // Ids are used again, so the last one is meant.
        if let Some(span) = self.lock().iter_mut().rev().find(|span| span.id == id.into_u64()) {
            change(span);
        }
    }
}

struct Watching {
    spans: Spans,
    most: Level,
}

struct Text<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Watching {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.most.into())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.id().into_u64());
        let mut spans = self.spans.lock();
        let parent = parent.and_then(|parent| spans.iter().rposition(|span| span.id == parent));
        let name = attributes.metadata().name();
        let mut seen = Seen { name, parent, id: id.into_u64(), ..Seen::default() };
        attributes.record(&mut Text(&mut seen.fields));
        spans.push(seen);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        self.spans.change(id, |span| record.record(&mut Text(&mut span.fields)));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.spans.change(id, |span| span.entered += 1);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.spans.change(&id, |span| span.closed = true);
    }
}
