//! Those who look at a connection as it goes on: for `pb-server`, which decides who may. While there are none, nothing is made for them.

use std::sync::Arc;

use bytes::Bytes;

use super::Broker;
use super::line::Line;
use super::outgoing::Outgoing;
use super::wiring::Wiring;
use crate::message::{
    AppCause, Body, Call, CallOptions, Cast, Cause, Failure, Message, Parts, Payload, Reject, Rejection,
};
use crate::objects::Reference;
use crate::proto::Connection;
pub use crate::proto::{End, Happening, Numbered};
use crate::wire::frame;

/// Is told what a peer does, as it does it.
pub trait Witness: Send + Sync {
    /// It has done something. The connection's lock is held: this must be short, and neither wait, nor wake anybody, nor run anybody's code; and it must not keep, and
    /// so perhaps drop, an object.
    fn saw(&self, happening: &Happening<'_, Reference>);
}

/// Is told of each frame that passes.
pub trait Recorder: Send + Sync {
    /// It looks at a connection that was there before, and on which these methods were numbered. What holds for [`Witness::saw`] holds here, too.
    fn joined(&self, numbered: &Numbered);
    /// A frame has passed; the same holds.
    fn passed(&self, frame: &Passed<'_>);
}

/// Somebody who looks at a connection.
#[derive(Clone)]
pub enum Onlooker {
    /// At what happens.
    Witness(Arc<dyn Witness>),
    /// At the frames.
    Recorder(Arc<dyn Recorder>),
}

/// A frame that has been read and understood, or is about to be written.
pub struct Passed<'a> {
    passing: Passing<'a>,
    bytes: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Passing<'a> {
    Received(&'a Message<Bytes>),
    Unknown(u8),
    Sent(&'a Message<Body<'a>>),
    Hello(&'a Message<&'static [u8]>),
}

/// A frame without its length, and what was left out of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Type, capabilities, fields, and the body if it is wanted.
    pub bytes: Vec<u8>,
    /// Bytes of the body, there or left out.
    pub body_bytes: usize,
    /// Whether something was left out: the body, values of metadata, a method's error that is a failure's cause; or, of a type that this version does not know, all.
    pub cut: bool,
}

impl Passed<'_> {
    /// Whether this side sends it.
    pub fn is_sent(&self) -> bool {
        matches!(self.passing, Passing::Sent(_) | Passing::Hello(_))
    }

    /// The bytes of the whole frame, its length included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in it. Without `bodies` nothing that programs say to each other is: no arguments, results and errors, and no values of metadata; but names of methods, and the
    /// broker's failures. What is left is a frame all the same.
    pub fn content(&self, bodies: bool) -> Content {
        match self.passing {
            Passing::Received(message) => content(message, bodies),
            Passing::Sent(message) => content(message, bodies),
            Passing::Hello(message) => content(message, bodies),
            Passing::Unknown(message_type) => {
                Content { bytes: vec![message_type, 0], body_bytes: 0, cut: true }
            }
        }
    }
}

fn content<B: Parts>(message: &Message<B>, bodies: bool) -> Content {
    let body_bytes = message.body().map_or(0, |body| body.parts().0.len() + body.parts().1.len());
    let mut bytes = Vec::new();
    let bare = if bodies { None } else { bare(message) };
    let cut = !bodies && (bare.is_some() || body_bytes > 0);
    match &bare {
        Some(bare) => frame::encode(bare, &mut bytes),
        None if bodies => frame::encode(message, &mut bytes),
        None => frame::encode_fields(message, |_| &mut bytes),
    }
    let length = bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    bytes.drain(..length.min(bytes.len()));
    Content { bytes, body_bytes, cut }
}

/// The message without what programs say outside of its body, where there is such; and then without its body.
fn bare<B>(message: &Message<B>) -> Option<Message<&'static [u8]>> {
    let empty = |payload: &Payload<B>| Payload { caps: payload.caps.clone(), body: &[][..] };
    match message {
        Message::Call(call) => {
            let options = valueless(call.options.as_deref()?)?;
            let (method, payload) = (call.method.clone(), empty(&call.payload));
            let Call { target, result, reply, .. } = *call;
            Some(Message::Call(Call { target, result, reply, method, options, payload }))
        }
        Message::Cast(cast) => {
            let options = valueless(cast.options.as_deref()?)?;
            let (method, payload) = (cast.method.clone(), empty(&cast.payload));
            Some(Message::Cast(Cast { target: cast.target, method, options, payload }))
        }
        Message::Reject(Reject { export, rejection: Rejection::Broker(failure) }) => {
            let speechless = speechless(failure)?;
            Some(Message::Reject(Reject { export: *export, rejection: Rejection::Broker(speechless) }))
        }
        _ => None,
    }
}

/// The options without the metadata's values, where it has any: `Some` of what a message carries.
fn valueless(options: &CallOptions) -> Option<Option<Box<CallOptions>>> {
    if options.metadata.iter().all(|(_, value)| value.is_empty()) {
        return None;
    }
    let metadata = options.metadata.iter().map(|(key, _)| (key.clone(), Bytes::new())).collect();
    Some(CallOptions { metadata, ..options.clone() }.boxed())
}

/// The failure without a method's error as its cause, where it has one.
fn speechless(failure: &Failure) -> Option<Failure> {
    let cause = match failure.cause.as_deref()? {
        Cause::App(app) if app.body.is_empty() => return None,
        Cause::App(_) => Cause::App(AppCause { body: Bytes::new() }),
        Cause::Broker(cause) => Cause::Broker(speechless(cause)?),
    };
    Some(Failure { cause: Some(Box::new(cause)), ..failure.clone() })
}

impl Broker {
    /// Lets `onlooker` see what goes on from now on, until it [looks away](Broker::look_away). To see a connection from its first frame on it must stand
    /// in [`Config::onlookers`](super::Config::onlookers).
    pub fn look_on(&self, onlooker: Onlooker) {
        let mut state = self.link.line().lock();
        let (connection, out) = state.parts();
        if let Onlooker::Recorder(recorder) = &onlooker {
            recorder.joined(&connection.numbered());
        }
        begin(connection, out, onlooker);
    }

    /// It sees no more. What has already begun to be told is told.
    pub fn look_away(&self, onlooker: &Onlooker) {
        let gone = self.link.line().dismiss(onlooker);
        drop(gone);
    }
}

/// Lets somebody look on from here.
pub(super) fn begin(connection: &mut Connection<Wiring>, out: &mut Outgoing, onlooker: Onlooker) {
    match onlooker {
        Onlooker::Witness(witness) => {
            connection.host_mut().witnesses.push(witness);
            connection.set_watched(true);
        }
        Onlooker::Recorder(recorder) => out.recorders.push(recorder),
    }
}

impl Line {
    /// What is dropped under no lock.
    fn dismiss(&self, onlooker: &Onlooker) -> Option<Onlooker> {
        let mut state = self.lock();
        let (connection, out) = state.parts();
        match onlooker {
            Onlooker::Witness(gone) => {
                let witnesses = &mut connection.host_mut().witnesses;
                let at = witnesses.iter().position(|one| Arc::ptr_eq(one, gone))?;
                let gone = witnesses.swap_remove(at);
                let watched = !witnesses.is_empty();
                connection.set_watched(watched);
                Some(Onlooker::Witness(gone))
            }
            Onlooker::Recorder(gone) => {
                let at = out.recorders.iter().position(|one| Arc::ptr_eq(one, gone))?;
                Some(Onlooker::Recorder(out.recorders.swap_remove(at)))
            }
        }
    }
}

/// Tells all that a frame passes.
#[cold]
pub(super) fn record(recorders: &[Arc<dyn Recorder>], passing: Passing<'_>, bytes: usize) {
    let passed = Passed { passing, bytes };
    recorders.iter().for_each(|recorder| recorder.passed(&passed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Cap, ExportId, FailureKind, ImportId, MethodName, MethodText, Ran, Reply, Resolve};
    use crate::wire::frame::{Decoded, decode};

    const SECRET: &[u8] = b"canary";

    fn holds(bytes: &[u8]) -> bool {
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    }

    fn call(metadata: Vec<(Box<str>, Bytes)>) -> Message<Bytes> {
        let text = MethodText { name: "Bank/open".into(), fewest: 0, prints: Box::default() };
        Message::Call(Call {
            target: ImportId(0),
            result: ImportId(1),
            reply: Reply::Value,
            method: MethodName::Defined(Arc::new(text)),
            options: CallOptions { metadata, deadline_ms: Some(9), ..CallOptions::default() }.boxed(),
            payload: Payload { caps: vec![Cap::Yours(ImportId(0))], body: Bytes::from_static(SECRET) },
        })
    }

    /// Everything that a program can say.
    fn all() -> Vec<Message<Bytes>> {
        let app = || Cause::App(AppCause { body: Bytes::from_static(SECRET) });
        let failure = Failure::new(FailureKind::Broken, Ran::No, "it is broken");
        let deeper = failure.clone().caused_by(Cause::Broker(failure.clone().caused_by(app())));
        let payload = || Payload { caps: Vec::new(), body: Bytes::from_static(SECRET) };
        let reject = |rejection| Message::Reject(Reject { export: ExportId(1), rejection });
        vec![
            call(Vec::new()),
            call(vec![("token".into(), Bytes::from_static(SECRET))]),
            Message::Resolve(Resolve { export: ExportId(1), payload: payload() }),
            reject(Rejection::App(payload())),
            reject(Rejection::Broker(failure.caused_by(app()))),
            reject(Rejection::Broker(deeper)),
        ]
    }

    #[test]
    fn without_bodies_nothing_that_programs_say_is_left_and_it_is_a_frame_all_the_same() {
        for message in all() {
            let Content { bytes, cut, .. } = content(&message, false);
            assert!(cut && !holds(&bytes), "{message:?}");
            let Ok(Decoded::Message(bare)) = decode(Bytes::from(bytes)) else {
                panic!("{message:?} is no frame any more")
            };
            assert_eq!(std::mem::discriminant(&bare), std::mem::discriminant(&message));
        }
    }

    #[test]
    fn with_bodies_it_is_the_whole_frame() {
        for message in all() {
            let Content { bytes, cut, body_bytes } = content(&message, true);
            assert!(!cut && holds(&bytes));
            assert_eq!(body_bytes, message.body().map_or(0, Bytes::len));
            assert_eq!(decode(Bytes::from(bytes)), Ok(Decoded::Message(message)));
        }
    }

    #[test]
    fn where_nothing_was_said_nothing_is_cut() {
        let ping: Message<Bytes> = Message::Ping(crate::message::Ping { nonce: 7 });
        assert_eq!(content(&ping, false), Content { bytes: vec![11, 0, 7], body_bytes: 0, cut: false });
    }

    /// A large buffer goes out behind what is copied of its body: neither is shown to who may not see it.
    #[test]
    fn a_body_in_two_pieces_is_shown_whole_or_not_at_all() {
        let end = Bytes::from(vec![7; Body::LARGE_BYTES]);
        let payload = |body| Payload { caps: Vec::new(), body };
        let resolve = |body| Message::Resolve(Resolve { export: ExportId(1), payload: payload(body) });
        let whole = [SECRET, &end].concat();
        let split = content(&resolve(Body::ended(SECRET, &end)), false);
        assert!(!holds(&split.bytes) && split.bytes.len() < 10 && split.cut);
        let (split, lent) =
            (content(&resolve(Body::ended(SECRET, &end)), true), content(&resolve(Body::lent(&whole)), true));
        assert!(split.bytes == lent.bytes && split.body_bytes == whole.len());
    }
}
