//! What a call fails with when the broker, not the method, is the reason.

use std::error::Error;
use std::fmt;

use bytes::Bytes;

use super::Parts;

/// Causes within causes, at the most; deeper ones are dropped when sent and refused when received.
pub const MAX_CAUSES: usize = 8;

/// Bytes of a method's error that is kept as a cause of other failures: a peer may leave as many of them as it may leave results.
pub const MAX_CAUSE_BYTES: usize = 4096;

/// Bytes of a failure with its causes and details on the wire, at the most: of a larger one only kind, `ran` and message are sent.
pub const MAX_FAILURE_BYTES: usize = 24 << 10;

/// Bytes of a cause's message that are repeated in the message of what it broke: as many as middlemen pass on.
const REASON_BYTES: usize = 160;

/// Why a call has no result, other than the method's own error. The kind says what the caller may do, `ran` whether
/// it may repeat the call.
///
/// Twisted: `Failure` (python/failure.py). Wire: docs/protocol.md, section 11.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What the caller may do.
    pub kind: FailureKind,
    /// Whether the method has run.
    pub ran: Ran,
    /// A sentence for people. Never a panic's text, a path or a backtrace of the other side.
    pub message: Box<str>,
    /// What brought it about, for example the failure of the promise that the call was made on.
    pub cause: Option<Box<Cause>>,
    /// Further facts for programs, at most 16.
    pub details: Vec<(Box<str>, Box<str>)>,
}

/// What brought a failure about.
///
/// Wire: docs/protocol.md, section 11.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A method's own error.
    App(AppCause),
    /// A failure of the broker.
    Broker(Failure),
}

/// A method's own error as a cause: still encoded, because only its caller knows the type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppCause {
    /// As the body codec made it, without capabilities.
    pub body: Bytes,
}

/// What the caller of a failed call may do.
///
/// Wire: docs/protocol.md, section 11.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// The call failed for a reason of its own: bad arguments, an answer that could not be encoded. Mend the call.
    Failed,
    /// The object has no such method, or the other side does not know how. Ask for something else.
    Unimplemented,
    /// The two sides' signatures differ. Build both from one trait.
    Incompatible,
    /// A limit is reached. Wait for running calls to end, then repeat.
    Overloaded,
    /// The connection has ended. Connect again.
    Disconnected,
    /// The call was cancelled by its caller.
    Cancelled,
    /// The deadline passed.
    DeadlineExceeded,
    /// The other side does not want this caller to do this.
    Refused,
    /// The reference that was called is broken; the message says why, and the cause to programs. Get another one.
    Broken,
    /// The other side broke the protocol. The connection has ended.
    Protocol,
    /// The method panicked or was dropped half-way. A bug of the other side's.
    Internal,
}

impl FailureKind {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [FailureKind; 11] = [
        FailureKind::Failed,
        FailureKind::Unimplemented,
        FailureKind::Incompatible,
        FailureKind::Overloaded,
        FailureKind::Disconnected,
        FailureKind::Cancelled,
        FailureKind::DeadlineExceeded,
        FailureKind::Refused,
        FailureKind::Broken,
        FailureKind::Protocol,
        FailureKind::Internal,
    ];

    /// Its name, as it stands here: `Cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Failed => "Failed",
            FailureKind::Unimplemented => "Unimplemented",
            FailureKind::Incompatible => "Incompatible",
            FailureKind::Overloaded => "Overloaded",
            FailureKind::Disconnected => "Disconnected",
            FailureKind::Cancelled => "Cancelled",
            FailureKind::DeadlineExceeded => "DeadlineExceeded",
            FailureKind::Refused => "Refused",
            FailureKind::Broken => "Broken",
            FailureKind::Protocol => "Protocol",
            FailureKind::Internal => "Internal",
        }
    }
}

/// Whether a failed call's method has run.
///
/// Wire: docs/protocol.md, section 11.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ran {
    /// It has not: repeating is safe.
    No,
    /// Nobody knows.
    Maybe,
    /// It has, at least in part.
    Yes,
}

impl Failure {
    /// A failure without cause or details.
    pub fn new(kind: FailureKind, ran: Ran, message: impl Into<Box<str>>) -> Self {
        Failure { kind, ran, message: message.into(), cause: None, details: Vec::new() }
    }

    /// It, and what the broker says of what brought it about, from the outermost on. A method's own error in it ends this.
    ///
    /// ```
    /// use pb_core::{Cause, Failure, FailureKind, Ran};
    ///
    /// let lost = Failure::new(FailureKind::Disconnected, Ran::Maybe, "the peer closed the connection");
    /// let broken = Failure::new(FailureKind::Broken, Ran::No, "the reference is broken").caused_by(Cause::Broker(lost));
    /// assert!(broken.chain().any(|failure| failure.kind == FailureKind::Disconnected));
    /// ```
    pub fn chain(&self) -> impl Iterator<Item = &Failure> {
        std::iter::successors(Some(self), |failure| match failure.cause.as_deref() {
            Some(Cause::Broker(cause)) => Some(cause),
            Some(Cause::App(_)) | None => None,
        })
    }

    /// The same failure, brought about by `cause`.
    #[must_use]
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }
}

/// Those that more than one place tells.
impl Failure {
    /// The failure of a call on a reference that is broken by `cause`, and of the reference itself. However long a chain of such calls is, and
    /// however many middlemen tell it on, the first one is the cause.
    pub(crate) fn broken_by(cause: Cause) -> Self {
        match cause {
            Cause::Broker(first) if first.kind == FailureKind::Broken && first.cause.is_some() => {
                Failure { ran: Ran::No, ..first }
            }
            cause => {
                let message = format!("the reference that was called is broken: {}", Reason(&cause));
                Failure::new(FailureKind::Broken, Ran::No, message).caused_by(cause)
            }
        }
    }

    /// Why a call has no result whose caller asks for a reference where the method gives a value, or the reverse.
    pub(crate) const OTHER_REPLY: &str =
        "the caller and the method disagree on whether the result is a reference";

    /// A promise that was resolved to itself, directly or by way of others.
    pub(crate) fn circular() -> Self {
        Failure::new(FailureKind::Broken, Ran::No, "the reference was resolved to itself")
    }

    /// A call that is cancelled before it is started.
    pub(crate) fn cancelled_early() -> Self {
        Failure::new(FailureKind::Cancelled, Ran::No, "cancelled before it started")
    }

    /// A method that was dropped, in the middle or by its panic.
    pub(crate) fn unanswered() -> Self {
        let message = "the method ended without an answer: it panicked, or was stopped";
        Failure::new(FailureKind::Internal, Ran::Maybe, message)
    }

    /// Nobody drives the connection any more.
    #[cfg(feature = "net")]
    pub(crate) fn runtime_ended() -> Self {
        let message = "the connection's tasks have ended with their runtime";
        Failure::new(FailureKind::Disconnected, Ran::Maybe, message)
    }
}

/// A cause as part of a sentence. Its text stays as it was sent; who shows the whole escapes it.
struct Reason<'a>(&'a Cause);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cause::App(_) => f.write_str("the method that was to give it failed with an error of its own"),
            Cause::Broker(first) if first.message.is_empty() => first.fmt(f),
            Cause::Broker(first) => {
                f.write_str(&first.message[..first.message.floor_char_boundary(REASON_BYTES)])
            }
        }
    }
}

impl Cause {
    /// A method's own error as the cause of another failure. A cause is kept longer than the message that brought it, and without its
    /// references, so a sentence stands for one that is large or holds some.
    pub(crate) fn of_error(body: &(impl Parts + ?Sized), holds_references: bool) -> Self {
        let (front, end) = body.parts();
        if !holds_references && front.len() + end.len() <= MAX_CAUSE_BYTES {
            return Cause::App(AppCause { body: [front, end].concat().into() });
        }
        let message = "the method failed with an error that is too large, or holds references, to be a cause";
        Cause::Broker(Failure::new(FailureKind::Failed, Ran::Yes, message))
    }
}

impl Failure {
    /// Bytes that it takes on the wire, at the most.
    pub(crate) fn size(&self) -> usize {
        let mut bytes = 0;
        let mut at = Some(self);
        while let Some(failure) = at {
            let details = failure.details.iter().map(|(key, value)| key.len() + value.len() + 8);
            bytes += failure.message.len() + 16 + details.sum::<usize>();
            at = match failure.cause.as_deref() {
                Some(Cause::Broker(cause)) => Some(cause),
                Some(Cause::App(cause)) => {
                    bytes += cause.body.len() + 8;
                    None
                }
                None => None,
            };
        }
        bytes
    }

    /// The same without details, each text of it and its causes cut to `bytes`.
    pub(crate) fn brief(&self, bytes: usize) -> Failure {
        let mut chain = Vec::new();
        let mut next = Some(self);
        let mut cause = None;
        while let Some(failure) = next.take().filter(|_| chain.len() < MAX_CAUSES) {
            let message = &failure.message[..failure.message.floor_char_boundary(bytes)];
            chain.push(Failure::new(failure.kind, failure.ran, message));
            match failure.cause.as_deref() {
                Some(Cause::Broker(inner)) => next = Some(inner),
                Some(Cause::App(app)) => cause = Some(Cause::App(app.clone())),
                None => {}
            }
        }
        let whole = chain.into_iter().rev().fold(cause, |cause, mut failure| {
            failure.cause = cause.map(Box::new);
            Some(Cause::Broker(failure))
        });
        match whole {
            Some(Cause::Broker(failure)) => failure,
            _ => self.bare(),
        }
    }

    /// The same without cause and details, the message cut to what every peer takes.
    pub(crate) fn bare(&self) -> Failure {
        let message = &self.message[..self.message.floor_char_boundary(super::MAX_TEXT_BYTES)];
        Failure::new(self.kind, self.ran, message)
    }
}

/// The message in one line. The other side may have written it, and people read it in terminals and logs: control characters are escaped.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A side that does not read, or has used up its budget, is told no more.
        if self.message.is_empty() {
            return write!(f, "{:?}; the other side said no more", self.kind);
        }
        let mut shown = 0;
        for (at, control) in self.message.char_indices().filter(|(_, c)| c.is_control()) {
            f.write_str(&self.message[shown..at])?;
            write!(f, "{}", control.escape_default())?;
            shown = at + control.len_utf8();
        }
        f.write_str(&self.message[shown..])
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.cause.as_deref() {
            Some(Cause::Broker(failure)) => Some(failure),
            Some(Cause::App(_)) | None => None,
        }
    }
}
