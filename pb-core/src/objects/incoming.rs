use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::encoded::{Here, Payload};
use super::executor::BoxTask;
use super::local::{Caller, LocalArguments};
use super::{
    Agreed, AnswerCodec, CallContext, Codecs, ErrorCodec, Errors, MethodFlags, Reference, Signature, Terms,
    Values, Waiter, scope,
};
use crate::message::{Body, ExportId, Failure, FailureKind, Ran, Reply};
use crate::wire::body::{BodyError, Draft, Received};

/// A method found in an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Which of the object's interfaces.
    pub offer: usize,
    /// Which of the interface's methods.
    pub method: usize,
    /// How many of its arguments the caller sends.
    pub agreed: Agreed,
    /// How it is called.
    pub flags: MethodFlags,
}

impl Bound {
    /// `$describe`, which every object has.
    pub(super) const DESCRIBE: Bound =
        Bound { offer: usize::MAX, method: 0, agreed: ALL, flags: MethodFlags::NONE };
}

/// A call that has reached its object: arguments, and where the answer goes.
pub struct Incoming {
    arguments: Arguments,
    context: CallContext,
    agreed: Agreed,
}

enum Arguments {
    /// A [`LocalArguments`], and who called.
    Local(Box<dyn Any + Send>, Weak<dyn Caller>),
    Wire {
        references: Vec<Reference>,
        body: Bytes,
        responder: Responder,
    },
}

/// What became of a call that was dispatched.
pub enum Started {
    /// Its method, not polled yet.
    Task(BoxTask),
    /// It ended without running.
    Done,
}

/// A connection, as running methods see it.
pub trait Answerer: Send + Sync {
    /// Sends an answer. Late ones change nothing.
    fn answer(&self, id: ExportId, answer: WireAnswer<'_>);
    /// The peer's address.
    fn peer(&self) -> &str;
}

/// What a method ended with, encoded.
pub enum WireAnswer<'a> {
    /// A value and the references in it.
    Value(&'a [Reference], Body<'a>),
    /// The one reference that was asked for.
    Reference(Reference),
    /// The method's own error and the references in it.
    App(&'a [Reference], Body<'a>),
    /// A failure of the broker.
    Failed(Failure),
}

/// Answers one call of a peer's, once; dropped without an answer, it says so.
pub struct Responder {
    line: Arc<dyn Answerer>,
    /// `None` once answered, and for casts.
    to: Option<(ExportId, Reply)>,
}

impl Responder {
    /// Answers to `to` on `line`; a cast has nobody to answer.
    pub fn new(line: Arc<dyn Answerer>, to: Option<(ExportId, Reply)>) -> Self {
        Responder { line, to }
    }

    /// Sends the answer.
    pub fn answer(mut self, answer: WireAnswer<'_>) {
        if let Some((id, _)) = self.to.take() {
            self.line.answer(id, answer);
        }
    }

    /// Somebody else answers.
    pub fn disarm(mut self) {
        self.to = None;
    }

    pub(super) fn fail(self, kind: FailureKind, ran: Ran, message: String) {
        self.answer(WireAnswer::Failed(Failure::new(kind, ran, message)));
    }

    /// Encodes what a method returned. Runs the user's `Serialize`, under no lock.
    fn finish<R, K: Errors>(self, result: Result<R, K::Method>, ok: AnswerCodec<R>, err: ErrorCodec<K>) {
        if self.to.is_none() {
            return;
        }
        match result {
            // Whoever asked for the other kind is told so.
            Ok(value) => match ok.reference {
                Some(reference) => {
                    let reference = (reference.to)(&value).followed();
                    self.answer(WireAnswer::Reference(reference));
                }
                None => self.encode(
                    "result",
                    value,
                    |value, out| (ok.codec.encode)(value, out),
                    |references, body| WireAnswer::Value(references, body),
                ),
            },
            Err(error) => match err.codec {
                Some(codec) => self.encode(
                    "error",
                    error,
                    |error, out| (codec.encode)(error, out),
                    |references, body| WireAnswer::App(references, body),
                ),
                None => self.fail(FailureKind::Internal, Ran::Yes, "the method has no errors".to_owned()),
            },
        }
    }

    fn encode<T>(
        self,
        what: &str,
        value: T,
        encode: impl FnOnce(&T, &mut Draft) -> Result<(), BodyError>,
        answer: impl for<'a> FnOnce(&'a [Reference], Body<'a>) -> WireAnswer<'a>,
    ) {
        super::scratch::with_scratch(|out| {
            let (encoded, references) = scope::encode_with(|| encode(&value, out));
            match encoded {
                Ok(()) => match out.take_large() {
                    Some(own) => {
                        // What is large need not be there twice while it waits for the peer.
                        super::executor::drop_quietly(value);
                        self.answer(answer(&references, Body::Own(&own)));
                    }
                    None => self.answer(answer(&references, out.body())),
                },
                Err(error) => {
                    let message = format!("the method's {what} cannot be sent: {error}");
                    self.fail(FailureKind::Failed, Ran::Yes, message);
                }
            }
        });
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some((id, _)) = self.to.take() {
            self.line.answer(id, WireAnswer::Failed(Failure::unanswered()));
        }
    }
}

impl Incoming {
    pub(super) fn local(
        arguments: Box<dyn Any + Send>,
        caller: Weak<dyn Caller>,
        context: CallContext,
        agreed: Agreed,
    ) -> Self {
        Incoming { arguments: Arguments::Local(arguments, caller), context, agreed }
    }

    /// A call of this process's own, whose arguments are encoded.
    pub(super) fn encoded(
        arguments: Payload,
        reply: Reply,
        waiter: Weak<dyn Waiter>,
        context: CallContext,
        agreed: Agreed,
    ) -> Self {
        // No table has the call: its id says nothing.
        let responder = Responder::new(Here::new(waiter, reply), Some((ExportId(0), reply)));
        let Payload { references, body } = arguments;
        Incoming { arguments: Arguments::Wire { references, body, responder }, context, agreed }
    }

    /// A call of a peer's, of which `agreed` says how many arguments are read.
    #[inline]
    pub fn wire(
        object: Arc<dyn super::Object>,
        references: Vec<Reference>,
        body: Bytes,
        line: Arc<dyn Answerer>,
        to: Option<(ExportId, Reply)>,
        terms: Terms,
        agreed: Agreed,
    ) -> Self {
        let responder = Responder::new(Arc::clone(&line), to);
        let context = CallContext { this: object, line: Some(line), terms };
        Incoming { arguments: Arguments::Wire { references, body, responder }, context, agreed }
    }

    /// Decodes the arguments and makes the method ready to run.
    pub fn run<A, R, K, F, Fut>(self, signature: Signature<A, R, K>, method: F) -> Started
    where
        A: Values,
        R: Send + 'static,
        K: Errors,
        F: FnOnce(A, CallContext) -> Fut,
        Fut: Future<Output = Result<R, K::Method>> + Send + 'static,
    {
        let terms = self.context.terms.clone();
        match self.arguments {
            Arguments::Local(arguments, caller) => match arguments.downcast::<LocalArguments<A, R, K>>() {
                Ok(arguments) => {
                    let LocalArguments { values, answer } = *arguments;
                    let running = method(values, self.context);
                    Started::Task(Box::pin(async move {
                        answer.finish(terms.serve(running).await);
                    }))
                }
                Err(arguments) => {
                    refuse(arguments, &caller);
                    Started::Done
                }
            },
            Arguments::Wire { references, body, responder } => {
                let values = match decode::<A>(&signature.arguments, references, &body, self.agreed) {
                    Ok(values) => values,
                    Err(message) => {
                        responder.fail(FailureKind::Failed, Ran::No, message);
                        return Started::Done;
                    }
                };
                let running = method(values, self.context);
                let (ok, err) = (signature.ok, signature.err);
                Started::Task(Box::pin(async move {
                    let mut running = pin!(running);
                    let result = poll_fn(|cx| terms.poll(running.as_mut(), cx)).await;
                    responder.finish(result, ok, err);
                }))
            }
        }
    }

    /// Answers with what `find` finds for the one text that is the argument. A call of this process's own ends without an answer.
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "names are served to connections"))]
    pub(super) fn look_up(self, find: impl FnOnce(&str) -> Result<Reference, Failure>) -> Started {
        let Arguments::Wire { references, body, responder } = self.arguments else { return Started::Done };
        let codecs = (super::Argument::<String>::NEW.argument().crosses(),);
        match decode::<(String,)>(&codecs, references, &body, self.agreed) {
            Ok((name,)) => responder.answer(match find(&name) {
                Ok(reference) => WireAnswer::Reference(reference.followed()),
                Err(failure) => WireAnswer::Failed(failure),
            }),
            Err(message) => responder.fail(FailureKind::Failed, Ran::No, message),
        }
        Started::Done
    }

    /// What an object gets that has no types. A call whose arguments are typed values is refused: it was not meant for such a one.
    pub(super) fn into_encoded(self) -> Option<(Payload, Responder, CallContext)> {
        match self.arguments {
            Arguments::Wire { references, body, responder } => {
                Some((Payload { references, body }, responder, self.context))
            }
            Arguments::Local(arguments, caller) => {
                refuse(arguments, &caller);
                None
            }
        }
    }

    /// Answers `$describe` with what `describe` gives, encoded.
    pub(super) fn describe(self, describe: impl FnOnce() -> Result<Bytes, Failure>) -> Started {
        let Arguments::Wire { references, body, responder } = self.arguments else { return Started::Done };
        match decode::<()>(&(), references, &body, self.agreed).map(|()| describe()) {
            Ok(Ok(description)) => responder.answer(WireAnswer::Value(&[], Body::of(&description))),
            Ok(Err(failure)) => responder.answer(WireAnswer::Failed(failure)),
            Err(message) => responder.fail(FailureKind::Failed, Ran::No, message),
        }
        Started::Done
    }

    /// There is no such method.
    pub fn unimplemented(self) -> Started {
        if let Arguments::Wire { responder, .. } = self.arguments {
            let message = "the object has no such method".to_owned();
            responder.fail(FailureKind::Unimplemented, Ran::No, message);
        }
        Started::Done
    }
}

fn refuse(arguments: Box<dyn Any + Send>, caller: &Weak<dyn Caller>) {
    if let Some(caller) = caller.upgrade() {
        caller.refused(Failure::new(FailureKind::Incompatible, Ran::No, OTHER_TYPES));
    }
    super::executor::drop_quietly(arguments);
}

const OTHER_TYPES: &str = "stub and object are in one process and come of two traits of one name, whose types are not the same ones";

/// As long as nobody says otherwise: every argument that there is.
const ALL: Agreed = Agreed { arguments: usize::MAX, more: false };

fn decode<A: Values>(
    codecs: &A::Codecs,
    references: Vec<Reference>,
    body: &Bytes,
    agreed: Agreed,
) -> Result<A, String> {
    let mut received = Received::new(body);
    let values = scope::decode_with(references, || codecs.decode(&mut received, agreed.arguments))
        .map_err(|error| format!("the arguments cannot be read: {error}"))?;
    let left = received.rest().len();
    if left > 0 && !agreed.more {
        super::executor::drop_quietly(values);
        return Err(format!("{left} bytes are left over behind the arguments"));
    }
    Ok(values)
}
