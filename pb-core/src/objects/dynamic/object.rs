use std::any::{Any, TypeId};
use std::future::Future;
use std::sync::Arc;

use thiserror::Error;

use super::described::Described;
use super::{Description, MethodDescription, Value};
use crate::message::{Body, Failure, FailureKind, MethodText, Ran};
use crate::objects::encoded::Payload;
use crate::objects::{
    Bound, CallContext, CallError, Incoming, Object, Reference, Responder, Shown, Started, WireAnswer,
};
use crate::proto::Key;
use crate::wire::shape::Shape;

/// An object without a trait: it says which methods it has, and gets each call as a method and [`Value`]s. A proxy, a bridge to another system, a
/// script's object are such.
///
/// [`AnyRef::dynamic`](crate::AnyRef::dynamic) hands it out. Callers see no difference: stubs whose trait it describes, calls by name and by description
/// reach it, signatures are compared as ever, and promises, deadlines and cancelling are those of all calls. Names that begin with `$` are the broker's, and
/// never come.
///
/// ```
/// use std::sync::Arc;
///
/// use pb_core::{AnyRef, CallError, Description, DynamicCall, DynamicObject, Value, remote_interface};
///
/// #[remote_interface]
/// trait Greeter {
///     async fn greet(&self, name: String) -> String;
/// }
///
/// struct Scripted;
///
/// impl DynamicObject for Scripted {
///     fn describe(&self) -> Arc<Description> {
///         Arc::new(Description::of::<GreeterRef>())
///     }
///     async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
///         Ok(Value::Text(format!("{}: {:?}", call.method().name, call.arguments)))
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let greeter: GreeterRef = AnyRef::dynamic(Arc::new(Scripted)).expect("it is sound").remote().cast();
/// assert_eq!(greeter.greet("ada".into()).await.as_deref(), Ok("Greeter/greet: [\"ada\"]"));
/// # });
/// ```
pub trait DynamicObject: Send + Sync + 'static {
    /// Its interfaces. Asked once, as it is handed out. Who has many such objects lets them share one: what is made of it is made once then, and it is checked once.
    fn describe(&self) -> Arc<Description>;

    /// Runs a method: the value that it gives, its own error ([`CallError::App`]), or a failure, such as that of a call that it has made itself. A value that is
    /// not of the shape which the description says fails the call, `Failed`.
    ///
    /// It is polled, and dropped where its caller loses interest, as a trait's method is: see [`remote_interface`](crate::remote_interface).
    ///
    /// # Errors
    /// What the caller is told.
    ///
    /// # Cancel safety
    /// The method's own affair.
    fn call(&self, call: DynamicCall) -> impl Future<Output = Result<Value, CallError<Value>>> + Send;
}

/// A call that a [`DynamicObject`] gets.
#[derive(Debug)]
pub struct DynamicCall {
    /// In the order of the parameters, and of their shapes. Those that the caller leaves out, at the end, are not there.
    pub arguments: Vec<Value>,
    description: Arc<Description>,
    at: (usize, usize),
    context: CallContext,
}

impl DynamicCall {
    /// The method, as the object has described it.
    pub fn method(&self) -> &MethodDescription {
        &self.description.interfaces[self.at.0].methods[self.at.1]
    }

    /// The caller's address, deadline and metadata, and a reference to the object itself.
    pub fn context(&self) -> &CallContext {
        &self.context
    }
}

/// A [`DynamicObject`] describes itself in a way that no caller would take.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the object's description does not hold together: {problem}")]
pub struct DescriptionError {
    problem: String,
}

/// Hands the object out.
///
/// # Errors
/// [`DescriptionError`]; it is not.
pub(crate) fn dynamic_reference<T: DynamicObject>(object: Arc<T>) -> Result<Reference, DescriptionError> {
    let described = Described::of(object.describe()).map_err(|problem| DescriptionError { problem })?;
    Ok(Reference::local(Arc::new(Dynamic { object, described })))
}

struct Dynamic<T> {
    object: Arc<T>,
    described: Arc<Described>,
}

/// The facet of all objects of this kind: an object is handed out in one way.
const FACET: usize = 1;

impl<T: DynamicObject> Object for Dynamic<T> {
    fn find(&self, name: &MethodText) -> Result<Bound, Failure> {
        self.described.find(name)
    }

    fn dispatch(&self, bound: Bound, call: &mut Incoming<'_>) -> Started {
        if bound == Bound::DESCRIBE {
            return call.describe(|| self.described.encoded());
        }
        let Some((payload, responder, context)) = call.take_encoded() else { return Started::Done };
        let (description, at) = (Arc::clone(&self.described.description), (bound.offer, bound.method));
        let method = &description.interfaces[at.0].methods[at.1];
        let shapes = method.arguments.iter().take(bound.agreed.arguments).map(|argument| &argument.shape);
        let arguments = match payload.read_all(shapes, bound.agreed.more) {
            Ok(arguments) => arguments,
            Err(error) => {
                let message = format!("the arguments cannot be read: {error}");
                responder.fail(FailureKind::Failed, Ran::No, message);
                return Started::Done;
            }
        };
        let terms = context.terms.clone();
        let answers = Arc::clone(&description);
        let call = DynamicCall { arguments, description, at, context };
        let object = Arc::clone(&self.object);
        Started::Task(Box::pin(async move {
            let result = terms.serve(object.call(call)).await;
            let method = &answers.interfaces[at.0].methods[at.1];
            finish(responder, result, &method.ok, method.err.as_ref());
        }))
    }

    fn key(&self) -> Key {
        Key { object: Arc::as_ptr(&self.object).cast::<u8>() as usize, facet: FACET }
    }

    fn class(&self) -> (TypeId, usize) {
        (TypeId::of::<Dynamic<T>>(), self.described.class)
    }

    fn object(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.object) as Arc<dyn Any + Send + Sync>
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn interfaces(&self) -> Vec<String> {
        self.described.description.interfaces.iter().map(|interface| interface.name.clone()).collect()
    }

    fn inspect(&self, _: &mut Shown) {}

    fn takes_bytes(&self) -> bool {
        true
    }
}

/// Answers with what a method ended with.
fn finish(responder: Responder, result: Result<Value, CallError<Value>>, ok: &Shape, err: Option<&Shape>) {
    let (what, encoded, is_ok) = match (result, err) {
        (Ok(Value::Reference(reference)), _) if matches!(ok, Shape::Reference(_)) => {
            let reference = reference.remote().access().reference().followed();
            return responder.answer(WireAnswer::Reference(reference));
        }
        (Ok(value), _) => ("result", Payload::write(ok, &value), true),
        (Err(CallError::App(value)), Some(shape)) => ("error", Payload::write(shape, &value), false),
        (Err(CallError::App(_)), None) => {
            let message = "the method failed with an error of its own, and its description has none";
            return responder.fail(FailureKind::Failed, Ran::Yes, message.to_owned());
        }
        (Err(CallError::Broker(failure)), _) => {
            return responder.answer(WireAnswer::Failed(Box::new(failure)));
        }
    };
    match encoded {
        Ok(Payload { references, body }) if is_ok => {
            responder.answer(WireAnswer::Value(&references, Body::of(&body)));
        }
        Ok(Payload { references, body }) => responder.answer(WireAnswer::App(&references, Body::of(&body))),
        Err(misfit) => {
            let message = format!("the method's {what} cannot be sent: {misfit}");
            responder.fail(FailureKind::Failed, Ran::Yes, message);
        }
    }
}
