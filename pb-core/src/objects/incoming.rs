use std::any::Any;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pin_project_lite::pin_project;

use super::encoded::{Here, Payload};
use super::executor::BoxTask;
use super::local::{Caller, LocalArguments};
use super::signature::AnswerWriter;
use super::{
    Agreed, CallContext, Codecs, Errors, MethodFlags, Reference, Signature, Terms, Values, Waiter, scope,
};
use crate::message::{Body, ExportId, Failure, FailureKind, Ran, Reply};
use crate::proto::Answer;
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

/// A call that has reached its object: arguments, and where the answer goes. What is not taken out of it is refused, or left unanswered, as it goes.
pub struct Incoming<'a> {
    arguments: Arguments,
    this: &'a Arc<dyn super::Object>,
    terms: Terms,
    agreed: Agreed,
    /// It is a peer's.
    remote: bool,
}

enum Arguments {
    /// A [`LocalArguments`], and who called.
    Local(Option<Box<dyn Any + Send>>, Weak<dyn Caller>),
    Wire {
        references: Vec<Reference>,
        body: Bytes,
        responder: Option<Responder>,
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
pub type WireAnswer<'a> = Answer<'a, Reference>;

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
    #[inline]
    pub fn answer(mut self, answer: WireAnswer<'_>) {
        self.answer_once(answer);
    }

    #[inline]
    fn answer_once(&mut self, answer: WireAnswer<'_>) {
        if let Some((id, _)) = self.to.take() {
            self.line.answer(id, answer);
        }
    }

    /// Somebody else answers.
    pub fn disarm(mut self) {
        self.to = None;
    }

    pub(super) fn fail(self, kind: FailureKind, ran: Ran, message: String) {
        self.answer(WireAnswer::Failed(Box::new(Failure::new(kind, ran, message))));
    }

    /// Encodes what a method returned. Runs the user's `Serialize`, under no lock.
    fn finish<R, K: Errors>(mut self, result: Result<R, K::Method>, writer: &AnswerWriter<R, K>) {
        if self.to.is_none() {
            return;
        }
        match result {
            // Whoever asked for the other kind is told so.
            Ok(value) => match writer.reference {
                Some(to) => {
                    let reference = to(&value).followed();
                    self.answer(WireAnswer::Reference(reference));
                }
                None => self.encode("result", value, writer.value, |references, body| {
                    WireAnswer::Value(references, body)
                }),
            },
            Err(error) => match writer.error {
                Some(encode) => {
                    self.encode("error", error, encode, |references, body| WireAnswer::App(references, body));
                }
                None => self.fail(FailureKind::Internal, Ran::Yes, "the method has no errors".to_owned()),
            },
        }
    }

    fn encode<T>(
        &mut self,
        what: &str,
        value: T,
        encode: impl FnOnce(&T, &mut Draft) -> Result<(), BodyError>,
        answer: impl for<'a> FnOnce(&'a [Reference], Body<'a>) -> WireAnswer<'a>,
    ) {
        super::scratch::with_scratch(|out| {
            let mut references = Vec::new();
            match scope::encode_into(&mut references, || encode(&value, out).map_err(Box::new)) {
                Ok(()) => match out.take_large() {
                    Some(own) => {
                        // What is large need not be there twice while it waits for the peer.
                        super::executor::drop_quietly(value);
                        self.answer_once(answer(&references, Body::own(&own)));
                    }
                    None => self.answer_once(answer(&references, out.body())),
                },
                Err(error) => {
                    let message = format!("the method's {what} cannot be sent: {error}");
                    let failure = Failure::new(FailureKind::Failed, Ran::Yes, message);
                    self.answer_once(WireAnswer::Failed(Box::new(failure)));
                }
            }
        });
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some((id, _)) = self.to.take() {
            self.line.answer(id, WireAnswer::Failed(Box::new(Failure::unanswered())));
        }
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn local(
        arguments: Box<dyn Any + Send>,
        caller: Weak<dyn Caller>,
        this: &'a Arc<dyn super::Object>,
        terms: Terms,
        agreed: Agreed,
    ) -> Self {
        let arguments = Arguments::Local(Some(arguments), caller);
        Incoming { arguments, this, terms, agreed, remote: false }
    }

    /// A call of this process's own, whose arguments are encoded.
    pub(super) fn encoded(
        arguments: Payload,
        reply: Reply,
        waiter: Weak<dyn Waiter>,
        this: &'a Arc<dyn super::Object>,
        terms: Terms,
        agreed: Agreed,
    ) -> Self {
        // No table has the call: its id says nothing.
        let responder = Some(Responder::new(Here::new(waiter, reply), Some((ExportId(0), reply))));
        let Payload { references, body } = arguments;
        let arguments = Arguments::Wire { references, body, responder };
        Incoming { arguments, this, terms, agreed, remote: false }
    }

    /// A call of a peer's, of which `agreed` says how many arguments are read.
    #[inline]
    pub fn wire(
        this: &'a Arc<dyn super::Object>,
        references: Vec<Reference>,
        body: Bytes,
        responder: Responder,
        terms: Terms,
        agreed: Agreed,
    ) -> Self {
        Incoming {
            arguments: Arguments::Wire { references, body, responder: Some(responder) },
            this,
            terms,
            agreed,
            remote: true,
        }
    }

    /// Where the call comes from. Asked before anything is taken out of it.
    pub(super) fn context(&self) -> CallContext {
        let line = match &self.arguments {
            Arguments::Wire { responder: Some(responder), .. } if self.remote => {
                Some(Arc::clone(&responder.line))
            }
            _ => None,
        };
        CallContext { this: Arc::clone(self.this), line, terms: self.terms.clone() }
    }

    /// Decodes the arguments and makes the method ready to run.
    pub fn run<A, R, K, F, Fut>(&mut self, signature: Signature<A, R, K>, method: F) -> Started
    where
        A: Values,
        R: Send + 'static,
        K: Errors,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<R, K::Method>> + Send + 'static,
    {
        let terms = mem::take(&mut self.terms);
        let (references, body, responder) = match &mut self.arguments {
            Arguments::Local(arguments, caller) => {
                let Some(arguments) = arguments.take() else { return Started::Done };
                return match arguments.downcast::<LocalArguments<A, R, K>>() {
                    Ok(arguments) => {
                        let LocalArguments { values, answer } = *arguments;
                        let running = method(values);
                        Started::Task(Box::pin(async move {
                            answer.finish(terms.serve(running).await);
                        }))
                    }
                    Err(arguments) => {
                        refuse(arguments, caller);
                        Started::Done
                    }
                };
            }
            Arguments::Wire { references, body, responder } => {
                (mem::take(references), body, responder.take())
            }
        };
        let Some(responder) = responder else { return Started::Done };
        match decode::<A>(&signature.arguments, references, body, self.agreed) {
            Ok(values) => Started::Task(Box::pin(Running {
                method: method(values),
                terms,
                responder: Some(responder),
                writer: AnswerWriter::new(signature.ok, signature.err),
            })),
            Err(message) => {
                responder.fail(FailureKind::Failed, Ran::No, message);
                Started::Done
            }
        }
    }

    /// What came from a connection, once; or encoded from here.
    fn take_wire(&mut self) -> Option<(Vec<Reference>, Bytes, Responder)> {
        match &mut self.arguments {
            Arguments::Wire { references, body, responder } => {
                Some((mem::take(references), mem::take(body), responder.take()?))
            }
            Arguments::Local(..) => None,
        }
    }

    /// Answers with what `find` finds for the one text that is the argument. A call of this process's own ends without an answer.
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "names are served to connections"))]
    pub(super) fn look_up(&mut self, find: impl FnOnce(&str) -> Result<Reference, Failure>) -> Started {
        let Some((references, body, responder)) = self.take_wire() else { return Started::Done };
        let codecs = (super::Argument::<String>::NEW.argument().crosses(),);
        match decode::<(String,)>(&codecs, references, &body, self.agreed) {
            Ok((name,)) => responder.answer(match find(&name) {
                Ok(reference) => WireAnswer::Reference(reference.followed()),
                Err(failure) => WireAnswer::Failed(Box::new(failure)),
            }),
            Err(message) => responder.fail(FailureKind::Failed, Ran::No, message),
        }
        Started::Done
    }

    /// What an object gets that has no types. A call whose arguments are typed values is refused: it was not meant for such a one.
    pub(super) fn take_encoded(&mut self) -> Option<(Payload, Responder, CallContext)> {
        if let Arguments::Local(arguments, caller) = &mut self.arguments {
            if let Some(arguments) = arguments.take() {
                refuse(arguments, caller);
            }
            return None;
        }
        let context = self.context();
        let (references, body, responder) = self.take_wire()?;
        Some((Payload { references, body }, responder, context))
    }

    /// Answers `$describe` with what `describe` gives, encoded.
    pub(super) fn describe(&mut self, describe: impl FnOnce() -> Result<Bytes, Failure>) -> Started {
        let Some((references, body, responder)) = self.take_wire() else { return Started::Done };
        match decode::<()>(&(), references, &body, self.agreed).map(|()| describe()) {
            Ok(Ok(description)) => responder.answer(WireAnswer::Value(&[], Body::of(&description))),
            Ok(Err(failure)) => responder.answer(WireAnswer::Failed(Box::new(failure))),
            Err(message) => responder.fail(FailureKind::Failed, Ran::No, message),
        }
        Started::Done
    }

    /// There is no such method.
    pub fn unimplemented(&mut self) -> Started {
        if let Some((_, _, responder)) = self.take_wire() {
            let message = "the object has no such method".to_owned();
            responder.fail(FailureKind::Unimplemented, Ran::No, message);
        }
        Started::Done
    }
}

pin_project! {
    /// A method of a peer's call, and what answers when it has ended. By hand: an async block would hold the method twice, and is moved to the heap.
    struct Running<F, R, K: Errors> {
        #[pin]
        method: F,
        terms: Terms,
        responder: Option<Responder>,
        writer: AnswerWriter<R, K>,
    }
}

impl<R, K: Errors, F: Future<Output = Result<R, K::Method>>> Future for Running<F, R, K> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.project();
        let result = ready!(me.terms.poll(me.method, cx));
        if let Some(responder) = me.responder.take() {
            responder.finish(result, me.writer);
        }
        Poll::Ready(())
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
