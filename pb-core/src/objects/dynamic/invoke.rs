//! `stub.remote().invoke(&method, (value,))`: calls by description.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::by_name::{check_name, refused};
use super::{AnyRef, Given, MethodDescription, Value};
use crate::defer::Deferred;
use crate::message::{Failure, FailureKind, MethodText, Ran, Reply};
use crate::objects::called::Named;
use crate::objects::encoded::{EncodedCall, Payload};
use crate::objects::signature::{AnswerCodec, AsReference, Codec, ErrorCodec};
use crate::objects::slot::{Origin, Slot};
use crate::objects::{App, CallError, Called, MethodFlags, MethodShape, Remote, Stub, scope};
use crate::wire::body::BodyError;
use crate::wire::shape::{self, Shape};

impl<S: Stub> Remote<'_, S> {
    /// Calls a method that the object's [description](Remote::describe) tells of, with values in the place of types. The call is on its way when this returns.
    ///
    /// The arguments are compared with the description first, and the description with the object as in any call: where the object has another
    /// method of this name by now, the call fails `Incompatible`. A method that gives a reference can be called on at once: [`Invoked::promised`].
    ///
    /// Its answer may take as many bytes as the description says, which is the peer's word and so counts for 1 MiB at the most. Who wants more, or less, says
    /// so: [`with_answer_bytes`](Remote::with_answer_bytes).
    ///
    /// # Errors
    /// What this returns fails as a call does; nothing was sent where an argument does not fit (`Failed`, with the words of
    /// [`ArgumentError`](crate::ArgumentError)). An answer that is not of the shape which the description says is `Incompatible`.
    ///
    /// ```
    /// # use pb_core::{AnyRef, Referenceable, Value, remote_interface};
    /// # #[remote_interface]
    /// # trait Bank { async fn open(&self, owner: String) -> AccountRef; }
    /// # #[remote_interface]
    /// # trait Account { async fn deposit(&self, cents: u64) -> u64; }
    /// # #[derive(Referenceable)] struct MyBank;
    /// # impl Bank for MyBank { async fn open(&self, _: String) -> AccountRef { AccountRef::new(MyAccount) } }
    /// # #[derive(Referenceable)] struct MyAccount;
    /// # impl Account for MyAccount { async fn deposit(&self, cents: u64) -> u64 { cents } }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let bank: AnyRef = BankRef::new(MyBank).remote().cast();
    /// let of_bank = bank.remote().describe().await?;
    /// let account = bank.remote().invoke(of_bank.method("open")?, ("ada",)).promised().expect("open gives one");
    /// let of_account = account.remote().describe().await?;
    /// let deposit = of_account.method("deposit")?;
    /// assert_eq!(account.remote().invoke(deposit, [("cents", 100)]).await, Ok(Value::Int(100)));
    /// let wrong = account.remote().invoke(deposit, ("much",)).await.unwrap_err();
    /// assert_eq!(wrong.to_string(), "argument 1 of Account/deposit, `cents`: expected u64, found the text \"much\"");
    /// # Ok::<(), pb_core::Failure>(())
    /// # }).unwrap();
    /// ```
    pub fn invoke(self, method: &MethodDescription, arguments: impl Into<Given>) -> Invoked {
        let access = self.access();
        let shape = Arc::new(method.shape());
        let named = Called::Named(Arc::new(Named {
            name: method.name.as_str().into(),
            shape: Some(Arc::clone(&shape)),
        }));
        let reply = if matches!(method.ok, Shape::Reference(_)) { Reply::Reference } else { Reply::Value };
        let call = access.terms().and_then(|terms| {
            check_name(&method.name)?;
            let encoded = method.encode(&arguments.into());
            let (arguments, count) = encoded.map_err(|error| refused(error.to_string()))?;
            let MethodFlags { idempotent, .. } = method.flags;
            let described = || method.flags.answer_bytes.min(MOST_ANSWER_BYTES);
            let answer_bytes = access.answer_bytes().unwrap_or_else(described);
            let method = text(&method.name, &shape, count);
            Ok(EncodedCall { method, idempotent, answer_bytes, arguments, reply, terms })
        });
        let err = ErrorCodec::<App<Raw>> { codec: Some(RAW) };
        let answer = match reply {
            Reply::Reference => {
                let reference = Some(AsReference { from: Some(AnyRef::from_reference), to: no_reference });
                let codec = AnswerCodec { codec: super::by_name::decoder(), reference };
                let slot = Slot::new(named, codec, err, access.options(), Origin::Nowhere);
                EncodedCall::begin(call, access.reference(), &slot);
                Answer::Reference(Deferred::waiting_for(slot))
            }
            Reply::Value => {
                let slot = Slot::new(
                    named,
                    AnswerCodec { codec: RAW, reference: None },
                    err,
                    access.options(),
                    Origin::Nowhere,
                );
                EncodedCall::begin(call, access.reference(), &slot);
                Answer::Value(Deferred::waiting_for(slot))
            }
        };
        Invoked { answer, shape }
    }
}

/// The most that an answer may take by the word of the method's description alone.
const MOST_ANSWER_BYTES: u64 = 1 << 20;

/// The name with the print of what the call has.
fn text(name: &str, shape: &MethodShape, count: usize) -> Arc<MethodText> {
    let print = shape::print(name, &shape.arguments[..count], &shape.ok, shape.err.as_ref());
    Arc::new(MethodText { name: name.into(), fewest: count as u32, prints: Box::new([print]) })
}

fn no_reference<R>(_: &R) -> crate::objects::Reference {
    unreachable!("a result that came encoded is a reference already")
}

/// The answer to come of a call by [description](Remote::invoke): resolves to the method's value, to its own error ([`CallError::App`]), or to why there is
/// neither. It is read on the thread that awaits it.
///
/// Dropping it, and what [`promised`](Invoked::promised) gave, cancels the call. It is no [`Deferred`], whose type says whether it stands for a reference: here the description
/// does, at run time. It can be made one: `Deferred::from(invoked)`.
#[must_use = "a dropped call is cancelled: await it, or let it run with `.detach()`"]
pub struct Invoked {
    answer: Answer,
    shape: Arc<MethodShape>,
}

enum Answer {
    Value(Deferred<Raw, CallError<Raw>>),
    Reference(Deferred<AnyRef, CallError<Raw>>),
}

impl Invoked {
    /// The reference that the method gives, before it has come: calls on it go out at once. `None` where the method gives a value.
    ///
    /// As long as it lives, dropping this does not cancel the call.
    pub fn promised(&self) -> Option<AnyRef> {
        match &self.answer {
            Answer::Value(_) => None,
            Answer::Reference(deferred) => Some(deferred.promised()),
        }
    }

    /// Lets the call run to its end though nobody waits for it.
    pub fn detach(self) {
        match self.answer {
            Answer::Value(deferred) => deferred.detach(),
            Answer::Reference(deferred) => deferred.detach(),
        }
    }
}

/// The same as a Deferred, for callbacks, [`gather`](crate::defer::gather), timeouts, and to be cancelled. What it gives is a [`Value`], a reference too, so that calls
/// on it before it has come are made on [`Invoked::promised`], which is taken first.
impl From<Invoked> for Deferred<Value, CallError<Value>> {
    fn from(invoked: Invoked) -> Self {
        Deferred::from_future(invoked)
    }
}

impl Future for Invoked {
    type Output = Result<Value, CallError<Value>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.answer {
            Answer::Value(deferred) => match Pin::new(deferred).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(raw)) => Ok(Ok(raw)),
                Poll::Ready(Err(error)) => Err(error),
            },
            Answer::Reference(deferred) => match Pin::new(deferred).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(reference)) => Ok(Err(reference)),
                Poll::Ready(Err(error)) => Err(error),
            },
        };
        Poll::Ready(match (outcome, &self.shape.err) {
            (Ok(Ok(raw)), _) => raw.read(&self.shape.ok).map_err(CallError::Broker),
            (Ok(Err(reference)), _) => Ok(Value::Reference(reference)),
            (Err(CallError::App(raw)), Some(shape)) => {
                Err(raw.read(shape).map_or_else(CallError::Broker, CallError::App))
            }
            (Err(CallError::App(_)), None) => Err(CallError::Broker(unreadable(
                "the method failed with an error of its own, which its description does not tell of",
            ))),
            (Err(CallError::Broker(failure)), _) => Err(CallError::Broker(failure)),
        })
    }
}

/// An answer that is not decoded yet.
struct Raw(Payload);

impl Raw {
    fn read(self, shape: &Shape) -> Result<Value, Failure> {
        self.0.read(shape).map_err(|error| unreadable(&error.to_string()))
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::new(FailureKind::Incompatible, Ran::Yes, format!("the answer cannot be read: {why}"))
}

/// Takes all that there is.
const RAW: Codec<Raw> = Codec {
    encode: |_, _| Err(BodyError::Value { message: "only received".into() }),
    decode: |input| Ok(Raw(Payload { references: scope::references(), body: input.take_rest() })),
    shape: || Shape::Tuple(Vec::new()),
    default: None,
};
