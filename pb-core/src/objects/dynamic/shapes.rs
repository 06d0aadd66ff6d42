//! The shapes of the types in calls by name, which no static method keeps. Each is traced once a process.

use std::any::TypeId;
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use super::Arguments;
use crate::objects::{Errors, MethodShape, scope};
use crate::wire::shape::{self, Content, Field, Shape};

/// By type: as many as the program has in calls by name.
type Traced<T> = LazyLock<RwLock<HashMap<TypeId, T>>>;

static TYPES: Traced<Shape> = LazyLock::new(Default::default);
static CALLS: Traced<Arc<MethodShape>> = LazyLock::new(Default::default);

/// The shape of a type. Runs its `Deserialize`, under no lock, the first time.
pub(in crate::objects) fn shape_of<T: DeserializeOwned + 'static>() -> Shape {
    once(&TYPES, TypeId::of::<T>(), || scope::trace_with(shape::trace::<T>))
}

/// The shapes of a call with such arguments, that expects such an answer.
pub(super) fn shape_of_call<A: Arguments, R: DeserializeOwned + 'static, K: Errors>(
    err: impl FnOnce() -> Option<Shape>,
) -> Arc<MethodShape> {
    once(&CALLS, TypeId::of::<(A, R, K)>(), || {
        Arc::new(MethodShape { arguments: A::shapes(), optional: 0, ok: shape_of::<R>(), err: err() })
    })
}

fn once<T: Clone>(traced: &Traced<T>, id: TypeId, trace: impl FnOnce() -> T) -> T {
    if let Some(known) = traced.read().get(&id) {
        return known.clone();
    }
    let found = trace();
    traced.write().entry(id).or_insert(found).clone()
}

impl MethodShape {
    /// Whether a reference to an object of any interface is among them: a callee that names one has another print.
    pub(super) fn is_loose(&self) -> bool {
        self.arguments.iter().chain([&self.ok]).chain(&self.err).any(is_loose)
    }
}

fn is_loose(shape: &Shape) -> bool {
    let any = |fields: &[Field]| fields.iter().any(|field| is_loose(&field.shape));
    match shape {
        Shape::Plain(_) | Shape::Again(_) | Shape::Opaque(_) => false,
        Shape::Reference(interface) => interface.is_empty(),
        Shape::Option(inner) | Shape::Seq(inner) | Shape::Array(inner, _) | Shape::Newtype(_, inner) => {
            is_loose(inner)
        }
        Shape::Map(key, value) => is_loose(key) || is_loose(value),
        Shape::Tuple(elements) => elements.iter().any(is_loose),
        Shape::Struct(_, fields) => any(fields),
        Shape::Enum(_, variants) => variants.iter().any(|variant| match &variant.content {
            Content::Unit => false,
            Content::Newtype(shape) => is_loose(shape),
            Content::Tuple(shapes) => shapes.iter().any(is_loose),
            Content::Struct(fields) => any(fields),
        }),
    }
}
