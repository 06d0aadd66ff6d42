//! `$describe`, on both sides.

use std::any::TypeId;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;

use super::description::DESCRIPTION_BYTES;
use super::{Description, InterfaceDescription};
use crate::defer::Deferred;
use crate::message::{Failure, FailureKind, MethodText, Ran, Reply};
use crate::objects::called::Named;
use crate::objects::encoded::{EncodedCall, Payload};
use crate::objects::signature::{AnswerCodec, Codec};
use crate::objects::slot::{Origin, Slot};
use crate::objects::{Called, Interface, Remote, Stub, no_errors};
use crate::wire::body::{self, BodyError};

impl<S: Stub> Remote<'_, S> {
    /// Asks the object which interfaces it offers, and their methods: names, documentation, arguments, results, options. One call, of an answer of
    /// at most 256 KiB; every object answers it, of whatever process, to whoever holds a reference to it.
    ///
    /// [`invoke`](Remote::invoke) calls the methods that it tells of.
    ///
    /// # Errors
    /// The Deferred fails as a call does; `Unimplemented` where the other side is of a version that did not know of this.
    pub fn describe(self) -> Deferred<Description> {
        let named = Named { name: Description::METHOD.into(), shape: None };
        let access = self.access();
        let ok = AnswerCodec { codec: CODEC, reference: None };
        let slot =
            Slot::new(Called::Named(Arc::new(named)), ok, no_errors(), access.options(), Origin::Nowhere);
        let call = access.terms().map(|terms| EncodedCall {
            method: Arc::clone(&METHOD),
            idempotent: true,
            answer_bytes: DESCRIPTION_BYTES,
            arguments: Payload { references: Vec::new(), body: Bytes::new() },
            reply: Reply::Value,
            terms,
        });
        EncodedCall::begin(call, access.reference(), &slot);
        Deferred::waiting_for(slot)
    }
}

static METHOD: LazyLock<Arc<MethodText>> = LazyLock::new(|| {
    Arc::new(MethodText { name: Description::METHOD.into(), fewest: 0, prints: Box::new([]) })
});

const CODEC: Codec<Description> = Codec {
    encode: |description, out| out.write(description),
    decode: |input| {
        let description: Description = input.read()?;
        let wrong = |problem| BodyError::Value { message: format!("of the object's description: {problem}") };
        description.check().map_err(wrong)?;
        Ok(description)
    },
    shape: super::shape_of::<Description>,
    default: None,
};

/// What objects of one class describe themselves by, encoded: a peer may ask as often as it likes, and types are traced once.
static CLASSES: LazyLock<RwLock<HashMap<(TypeId, usize), Bytes>>> = LazyLock::new(Default::default);

/// The description of an object of static interfaces, of which one may be among them twice.
pub(in crate::objects) fn of_class(
    class: (TypeId, usize),
    interfaces: impl Iterator<Item = &'static Interface>,
) -> Result<Bytes, Failure> {
    if let Some(known) = CLASSES.read().get(&class) {
        return Ok(known.clone());
    }
    let mut all: Vec<InterfaceDescription> = Vec::new();
    for interface in interfaces {
        if all.iter().all(|known| known.name != interface.name()) {
            all.push(InterfaceDescription::of_interface(interface));
        }
    }
    let encoded = encode(&Description::new(all))?;
    Ok(CLASSES.write().entry(class).or_insert(encoded).clone())
}

/// # Errors
/// `Failed`: it cannot be told.
pub(super) fn encode(description: &Description) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    match body::encode(description, &mut out) {
        Ok(()) => Ok(out.into()),
        Err(error) => {
            let message = format!("the object's description cannot be sent: {error}");
            Err(Failure::new(FailureKind::Failed, Ran::Yes, message))
        }
    }
}
