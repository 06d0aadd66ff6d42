//! The vocabulary that all floors share: messages, ids, payloads and failures. No bytes, no tables.
//!
//! Wire: `docs/protocol.md`, "Messages". Ids are named from the *sender's* side of a message; a receiver
//! turns them around with [`ImportId::turned`] and [`ExportId::turned`] before it looks them up.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

mod dialogue;
mod failure;
mod hello;

pub use dialogue::{Plainly, Words, line, line_in};
pub use failure::{
    AppCause, Cause, Failure, FailureKind, MAX_CAUSE_BYTES, MAX_CAUSES, MAX_FAILURE_BYTES, Ran,
};
pub use hello::{Grants, Hello, MAX_FRAME_BYTES, features};

/// One of the sender's exports: something the sender owns or answers, and the receiver may call.
///
/// 0 is the root, negative ids were chosen by the owner, positive ones by the caller whose call the export answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExportId(pub i64);

/// One of the sender's imports: something the receiver owns or answers. The signs are those of [`ExportId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ImportId(pub i64);

impl ExportId {
    /// The root object of a side, known to both from the start.
    pub const ROOT: ExportId = ExportId(0);
    /// The same entry as the other side names it.
    pub const fn turned(self) -> ImportId {
        ImportId(self.0)
    }
    /// Whether the caller of a call chose this id: then it is the call's result.
    pub const fn is_result(self) -> bool {
        self.0 > 0
    }
}

impl ImportId {
    /// The root object of the other side.
    pub const ROOT: ImportId = ImportId(0);
    /// The same entry as the other side names it.
    pub const fn turned(self) -> ExportId {
        ExportId(self.0)
    }
    /// Whether we chose this id for a call of ours: then it is the call's result.
    pub const fn is_result(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ImportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of a payload's capability table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cap {
    /// An object of the sender's. The id is negative; each mention adds one to what the receiver must release.
    Mine(ExportId),
    /// A promise of the sender's, which a later `resolve` or `reject` settles. Negative and counted like `Mine`.
    MyPromise(ExportId),
    /// Something of the receiver's: its root (0), an object it owns (negative), or the result of a call that the
    /// sender made (positive), which may not be known yet.
    Yours(ImportId),
}

/// What a message carries: the capabilities that its body names by index, and the body itself.
///
/// `B` is the body's form: [`Bytes`] where it was received, [`Body`] where it is about to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Payload<B = Bytes> {
    /// What its body names by index: at most [`MAX_CAPS`] capabilities.
    pub caps: Vec<Cap>,
    /// Opaque here; the body codec of the dialect made it.
    pub body: B,
}

/// An encoded body on its way out: bytes that their owner uses again, which who keeps them copies, and behind them maybe a buffer of its own, which
/// can be kept as it is.
// No enum: it is moved right after it is made, and a tag of one byte in front would cost more than the rest.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    front: &'a [u8],
    end: Option<&'a Bytes>,
}

/// What a message can have as its body: bytes in one piece, or in two.
pub trait Parts {
    /// All bytes: those that are copied where they are kept, and behind them a buffer that need not be.
    fn parts(&self) -> (&[u8], &[u8]);
}

impl<B: AsRef<[u8]> + ?Sized> Parts for B {
    #[inline]
    fn parts(&self) -> (&[u8], &[u8]) {
        (self.as_ref(), &[])
    }
}

impl Parts for Body<'_> {
    #[inline]
    fn parts(&self) -> (&[u8], &[u8]) {
        (self.front, self.end.map_or(&[], |end| end))
    }
}

impl<'a> Body<'a> {
    /// Bytes that their owner uses again: who keeps them copies them.
    #[inline]
    pub const fn lent(bytes: &'a [u8]) -> Self {
        Body { front: bytes, end: None }
    }

    /// A buffer of its own, which can be kept as it is.
    #[inline]
    pub const fn own(bytes: &'a Bytes) -> Self {
        Body { front: &[], end: Some(bytes) }
    }

    /// Such a buffer, and in front of it bytes that are lent.
    #[inline]
    pub const fn ended(front: &'a [u8], end: &'a Bytes) -> Self {
        Body { front, end: Some(end) }
    }

    /// The buffer of its own that it is, or ends with.
    #[inline]
    pub const fn end(&self) -> Option<&'a Bytes> {
        self.end
    }

    /// Bytes that are to be kept as they are where that is worth it.
    pub fn of(bytes: &'a Bytes) -> Self {
        if bytes.len() >= Body::LARGE_BYTES { Body::own(bytes) } else { Body::lent(bytes) }
    }

    /// A body that was received, to be passed on: as it is where its buffer has nothing else.
    pub fn received(bytes: &'a Bytes) -> Self {
        if bytes.len() >= Body::OWN_BUFFER_BYTES { Body::own(bytes) } else { Body::lent(bytes) }
    }
}

impl Body<'_> {
    /// A buffer that can be kept: a copy of what is lent.
    pub fn to_bytes(&self) -> Bytes {
        match (self.front, self.end) {
            (front, None) => Bytes::copy_from_slice(front),
            ([], Some(end)) => Bytes::clone(end),
            (front, Some(end)) => [front, &end[..]].concat().into(),
        }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.front.len() + self.end.map_or(0, |end| end.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From so many bytes on a body is worth a buffer of its own, which is sent without being copied.
    pub const LARGE_BYTES: usize = 16 << 10;

    /// From so many bytes on a body that comes has a buffer of its own: those that several messages are read into together are smaller.
    pub const OWN_BUFFER_BYTES: usize = 64 << 10;

    /// No bytes.
    pub const EMPTY: Body<'static> = Body::lent(&[]);
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Body::lent(bytes)
    }
}

/// Capabilities in one message, at the most: more than a sane method takes, and less than a table can be filled with.
pub const MAX_CAPS: usize = 1024;
/// Bytes of a method's name with its interface (`Bank/open`), at the most.
pub const MAX_NAME_BYTES: usize = 256;
/// Bytes of a reason or a failure's message on the wire; longer ones are cut at a character before they are sent.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Hashes in one definition of a method: one for each number of arguments a caller may give.
pub const MAX_PRINTS: usize = 16;
/// Entries of a call's metadata.
pub const MAX_METADATA: usize = 16;
/// Bytes of one key and of one value of a call's metadata.
pub const MAX_METADATA_BYTES: usize = 256;

/// One message, native dialect or not. Codecs make it from bytes and bytes from it; the tables know nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<B = Bytes> {
    /// The first message of each side.
    Hello(Hello),
    /// Calls a method; its result is the export `result` of the callee from now on.
    Call(Call<B>),
    /// Calls a method that is never answered.
    Cast(Cast<B>),
    /// Settles a result (positive id) or a promise (negative) with a value or a capability.
    Resolve(Resolve<B>),
    /// Settles, or breaks, an export with a failure.
    Reject(Reject<B>),
    /// Gives back mentions of the receiver's objects.
    Release(Release),
    /// The caller will never name this result again and does not want it.
    Cancel(Cancel),
    /// Asks for, or is, the echo that proves a promise's old path to be empty.
    Disembargo(Disembargo),
    /// Gives back what casts have used of the receiver's grant.
    Credit(Credit),
    /// The sender did not know a message's type, and has released its capabilities.
    Unimplemented(Unimplemented),
    /// Are you there?
    Ping(Ping),
    /// The answer to a ping, with its nonce.
    Pong(Ping),
    /// The sender will start no calls after the one named.
    Goaway(Goaway),
    /// The last message before the sender closes.
    Abort(Abort),
}

impl<B> Message<B> {
    /// Its body, where it has one.
    #[inline]
    pub fn body(&self) -> Option<&B> {
        match self {
            Message::Call(Call { payload, .. })
            | Message::Cast(Cast { payload, .. })
            | Message::Resolve(Resolve { payload, .. })
            | Message::Reject(Reject { rejection: Rejection::App(payload), .. }) => Some(&payload.body),
            _ => None,
        }
    }

    /// Whether it names the result of a call of the sender's, which calls before it may settle.
    pub fn names_result(&self) -> bool {
        let named = |caps: &[Cap]| caps.iter().any(|cap| matches!(cap, Cap::Yours(id) if id.is_result()));
        match self {
            Message::Call(call) => call.target.is_result() || named(&call.payload.caps),
            Message::Cast(cast) => cast.target.is_result() || named(&cast.payload.caps),
            Message::Resolve(resolve) => named(&resolve.payload.caps),
            _ => false,
        }
    }

    /// Whether it is sent because of what the other side sent, and so is held against that side as long as it does not read it.
    #[inline]
    pub fn is_prompted(&self) -> bool {
        match self {
            // That an object of the sender's breaks is nobody's doing.
            Message::Reject(reject) => reject.export.is_result(),
            Message::Resolve(_)
            | Message::Release(_)
            | Message::Credit(_)
            | Message::Unimplemented(_)
            | Message::Disembargo(Disembargo::Echo { .. })
            | Message::Pong(_) => true,
            Message::Hello(_)
            | Message::Call(_)
            | Message::Cast(_)
            | Message::Cancel(_)
            | Message::Disembargo(Disembargo::Ask { .. })
            | Message::Ping(_)
            | Message::Goaway(_)
            | Message::Abort(_) => false,
        }
    }
}

/// How a call's result may be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// The answer is a value; its id may never be called, and is gone with the answer.
    Value,
    /// The answer is one capability or a rejection; it may be called before it has come.
    Reference,
}

/// The method that a call names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MethodName {
    /// The number that an earlier call's definition took; the first is 1.
    Known(u32),
    /// Takes the next number for this text, for as long as the connection lives.
    Defined(Arc<MethodText>),
    /// Takes no number: where the receiver grants no further names, and for calls that are passed on.
    Once(Arc<MethodText>),
}

/// A method by name, with the fingerprints of the signatures that its caller can use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MethodText {
    /// `Interface/method`, or `method` alone from a caller that does not know the interface.
    pub name: Box<str>,
    /// How many arguments the first of `prints` covers; each further one covers one more.
    pub fewest: u32,
    /// Hashes of signatures; empty where the caller does not know any, and then nothing is compared.
    pub prints: Box<[u64]>,
}

/// What a call brings beside method and arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallOptions {
    /// Largest answer in bytes that the caller takes; the default where absent.
    pub answer_bytes: Option<u64>,
    /// Milliseconds that are left when the message is sent.
    pub deadline_ms: Option<u64>,
    /// How many middlemen have passed the call on.
    pub hops: u32,
    /// Free entries such as `traceparent`.
    pub metadata: Vec<(Box<str>, Bytes)>,
}

impl CallOptions {
    /// Bytes of the metadata on the wire, at the most.
    pub fn metadata_bytes(&self) -> usize {
        self.metadata.iter().map(|(key, value)| key.len() + value.len() + 8).sum()
    }

    /// As a call carries them: nothing where nothing is set.
    pub fn boxed(self) -> Option<Box<CallOptions>> {
        (self != CallOptions::default()).then(|| Box::new(self))
    }
}

/// See [`Message::Call`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call<B = Bytes> {
    /// The receiver's object, or the result of an earlier call, that is called.
    pub target: ImportId,
    /// The id that the result will have; positive, one more than the last call's.
    pub result: ImportId,
    /// How the result may be used.
    pub reply: Reply,
    /// The method.
    pub method: MethodName,
    /// Deadline, limits, metadata; most calls have none.
    pub options: Option<Box<CallOptions>>,
    /// The arguments, one behind the other (docs/protocol.md, section 5).
    pub payload: Payload<B>,
}

/// See [`Message::Cast`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cast<B = Bytes> {
    /// The receiver's object, or the result of an earlier call, that is called.
    pub target: ImportId,
    /// The method.
    pub method: MethodName,
    /// Deadline, limits, metadata; most calls have none.
    pub options: Option<Box<CallOptions>>,
    /// The arguments, one behind the other (docs/protocol.md, section 5).
    pub payload: Payload<B>,
}

/// See [`Message::Resolve`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolve<B = Bytes> {
    /// The sender's export that is settled.
    pub export: ExportId,
    /// The value; for a reference exactly one capability and no body.
    pub payload: Payload<B>,
}

/// See [`Message::Reject`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject<B = Bytes> {
    /// The sender's export that is settled or broken.
    pub export: ExportId,
    /// Why: a method's own error, or a failure of the broker.
    pub rejection: Rejection<B>,
}

/// Why a call has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection<B = Bytes> {
    /// The method's own error, encoded like a result.
    App(Payload<B>),
    /// The broker's failure.
    Broker(Failure),
}

impl Rejection {
    /// What it says, taken out of a message that nobody needs any more.
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Rejection::App(Payload::default()))
    }

    /// Bytes of the method's own error; a broker's failure has bounds of its own.
    pub(crate) fn body_len(&self) -> usize {
        match self {
            Rejection::App(payload) => payload.body.len(),
            Rejection::Broker(_) => 0,
        }
    }
}

/// See [`Message::Release`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Each import with the number of mentions given back, at least one.
    pub mentions: Vec<(ImportId, u64)>,
}

/// See [`Message::Cancel`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancel {
    /// A result of a call of the sender's.
    pub result: ImportId,
}

/// See [`Message::Disembargo`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disembargo {
    /// Sent down the old path: echo `number` behind all calls that went before on `target`.
    Ask {
        /// The promise whose old path is asked about.
        target: ImportId,
        /// The sender's number for this question, one more than its last.
        number: u64,
    },
    /// The echo: all calls that had gone down that path have arrived.
    Echo {
        /// The number of the question.
        number: u64,
    },
}

/// See [`Message::Credit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// How many casts of the receiver's have ended since the last `credit`.
    pub casts: u64,
    /// The bytes of their bodies together.
    pub bytes: u64,
}

/// See [`Message::Unimplemented`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unimplemented {
    /// The type that was not known.
    pub message_type: u8,
}

/// See [`Message::Ping`] and [`Message::Pong`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Whatever the sender likes: it comes back unchanged in the `pong`.
    pub nonce: u64,
}

/// See [`Message::Goaway`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goaway {
    /// The last result that the sender will still settle with a run: later calls did not run.
    pub last: ExportId,
    /// Milliseconds until the sender closes.
    pub drain_ms: u64,
    /// A sentence for people, of at most [`MAX_TEXT_BYTES`]; the receiver does not trust it.
    pub reason: Box<str>,
}

/// See [`Message::Abort`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abort {
    /// For programs.
    pub code: AbortCode,
    /// A sentence for people, of at most [`MAX_TEXT_BYTES`]; the receiver does not trust it.
    pub reason: Box<str>,
}

/// Why a connection was ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AbortCode {
    /// The sender closes on purpose, nothing is wrong.
    Closing,
    /// The two speak no common version.
    Version,
    /// A frame that is no message: length, type, number or text out of bounds.
    Malformed,
    /// A message that is not allowed where it stood: an id unknown, used twice, not the sender's.
    Violation,
    /// A limit was passed again and again, or one whose passing cannot be answered.
    Limit,
    /// The handshake took too long, or a write stalled.
    Timeout,
    /// A code that this side does not know.
    Other(u32),
}
