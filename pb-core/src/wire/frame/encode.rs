//! The fields of each message, in the order of `docs/protocol.md`, "Messages".

use super::codes::{self, caps, flags, grants, types};
use super::number::zigzag;
use super::sink::{Count, Head, Sink};
use crate::message::{
    Abort, Call, CallOptions, Cap, Cast, Cause, Disembargo, Failure, Goaway, Hello, MAX_CAUSES,
    MAX_FAILURE_BYTES, Message, MethodName, Parts, Payload, Reject, Rejection, Release, Reply, Resolve,
};

/// Details of one failure, at the most; further ones are dropped when sent.
pub(super) const MAX_DETAILS: usize = 16;

/// Everything behind the frame's length.
pub(super) fn message<B: Parts>(message: &Message<B>, to: &mut impl Sink) {
    match message {
        Message::Hello(message) => hello(message, to),
        Message::Call(message) => call(message, to),
        Message::Cast(message) => cast(message, to),
        Message::Resolve(message) => resolve(message, to),
        Message::Reject(message) => reject(message, to),
        Message::Release(message) => release(message, to),
        Message::Cancel(message) => bare(types::CANCEL, to).int(message.result.0),
        Message::Disembargo(message) => disembargo(*message, to),
        Message::Credit(message) => uints(types::CREDIT, &[message.casts, message.bytes], to),
        Message::Unimplemented(message) => bare(types::UNIMPLEMENTED, to).byte(message.message_type),
        Message::Ping(message) => uints(types::PING, &[message.nonce], to),
        Message::Pong(message) => uints(types::PONG, &[message.nonce], to),
        Message::Goaway(message) => goaway(message, to),
        Message::Abort(message) => abort(message, to),
    }
}

fn hello(hello: &Hello, to: &mut impl Sink) {
    let given = [
        (grants::FRAME_BYTES, hello.grants.frame_bytes),
        (grants::CALLS, hello.grants.calls),
        (grants::CALL_BYTES, hello.grants.call_bytes),
        (grants::IMPORTS, hello.grants.imports),
        (grants::NAMES, hello.grants.names),
        (grants::EXPORTS, hello.grants.exports),
    ];
    let (lowest, highest) = hello.versions;
    uints(types::HELLO, &[lowest.into(), highest.into(), hello.features, given.len() as u64], to);
    for (key, value) in given {
        to.uint(key);
        to.uint(value);
    }
}

fn call<B: Parts>(call: &Call<B>, to: &mut impl Sink) {
    call_head(call, to);
    body(&call.payload, to);
}

/// A message whose fields need few bytes, as those of nearly all are: its fields written to `head`, and its body.
#[inline]
pub(super) fn small<'a, B: Parts>(message: &'a Message<B>, head: &mut Head) -> Option<(&'a [u8], &'a [u8])> {
    match message {
        Message::Call(call)
            if call.payload.caps.is_empty()
                && call.options.is_none()
                && matches!(call.method, MethodName::Known(_)) =>
        {
            call_head(call, head);
            Some(call.payload.body.parts())
        }
        Message::Resolve(resolve) if resolve.payload.caps.is_empty() => {
            resolve_head(resolve, head);
            Some(resolve.payload.body.parts())
        }
        _ => None,
    }
}

#[inline]
fn call_head<B>(call: &Call<B>, to: &mut impl Sink) {
    head(types::CALL, &call.payload.caps, to);
    let reply = match call.reply {
        Reply::Value => 0,
        Reply::Reference => flags::REFERENCE,
    };
    to.byte(reply | name_flag(&call.method) | option_flags(call.options.as_deref()));
    to.int(call.target.0);
    // A call's result is positive, so it is sent without its sign.
    to.uint(call.result.0 as u64);
    method(&call.method, to);
    options(call.options.as_deref(), to);
}

fn cast<B: Parts>(cast: &Cast<B>, to: &mut impl Sink) {
    head(types::CAST, &cast.payload.caps, to);
    to.byte(name_flag(&cast.method) | option_flags(cast.options.as_deref()));
    to.int(cast.target.0);
    method(&cast.method, to);
    options(cast.options.as_deref(), to);
    body(&cast.payload, to);
}

fn resolve<B: Parts>(resolve: &Resolve<B>, to: &mut impl Sink) {
    resolve_head(resolve, to);
    body(&resolve.payload, to);
}

#[inline]
fn resolve_head<B>(resolve: &Resolve<B>, to: &mut impl Sink) {
    head(types::RESOLVE, &resolve.payload.caps, to);
    to.int(resolve.export.0);
}

fn reject<B: Parts>(reject: &Reject<B>, to: &mut impl Sink) {
    match &reject.rejection {
        Rejection::App(payload) => {
            head(types::REJECT, &payload.caps, to);
            to.int(reject.export.0);
            to.byte(codes::ORIGIN_APP);
            body(payload, to);
        }
        Rejection::Broker(reason) => {
            head(types::REJECT, &[], to);
            to.int(reject.export.0);
            to.byte(codes::ORIGIN_BROKER);
            // Most have neither cause nor details, and are not looked at twice.
            let long = reason.size() > MAX_FAILURE_BYTES && {
                let mut count = Count::default();
                failure(reason, &mut count);
                count.bytes > MAX_FAILURE_BYTES
            };
            match long {
                true => failure(&reason.bare(), to),
                false => failure(reason, to),
            }
        }
    }
}

fn release(release: &Release, to: &mut impl Sink) {
    uints(types::RELEASE, &[release.mentions.len() as u64], to);
    for &(import, count) in &release.mentions {
        to.int(import.0);
        to.uint(count);
    }
}

fn disembargo(disembargo: Disembargo, to: &mut impl Sink) {
    let to = bare(types::DISEMBARGO, to);
    match disembargo {
        Disembargo::Ask { target, number } => {
            to.byte(codes::ASK);
            to.int(target.0);
            to.uint(number);
        }
        Disembargo::Echo { number } => {
            to.byte(codes::ECHO);
            to.uint(number);
        }
    }
}

fn goaway(goaway: &Goaway, to: &mut impl Sink) {
    let to = bare(types::GOAWAY, to);
    to.int(goaway.last.0);
    to.uint(goaway.drain_ms);
    to.text(&goaway.reason);
}

fn abort(abort: &Abort, to: &mut impl Sink) {
    uints(types::ABORT, &[codes::abort_code(abort.code).into()], to);
    to.text(&abort.reason);
}

/// Type and capabilities.
fn head(message_type: u8, caps: &[Cap], to: &mut impl Sink) {
    to.byte(message_type);
    to.uint(caps.len() as u64);
    for &cap in caps {
        let (id, kind) = match cap {
            Cap::Mine(export) => (export.0, caps::MINE),
            Cap::MyPromise(export) => (export.0, caps::MY_PROMISE),
            Cap::Yours(import) => (import.0, caps::YOURS),
        };
        to.uint(zigzag(id) << 2 | kind);
    }
}

/// The head of a message without capabilities; its fields follow.
fn bare<S: Sink>(message_type: u8, to: &mut S) -> &mut S {
    head(message_type, &[], to);
    to
}

/// A message, or the front of one, whose fields are all numbers.
fn uints(message_type: u8, fields: &[u64], to: &mut impl Sink) {
    head(message_type, &[], to);
    for &field in fields {
        to.uint(field);
    }
}

fn body<B: Parts>(payload: &Payload<B>, to: &mut impl Sink) {
    let (front, end) = payload.body.parts();
    to.body(front, end);
}

fn method(method: &MethodName, to: &mut impl Sink) {
    match method {
        MethodName::Known(number) => to.uint((*number).into()),
        MethodName::Defined(text) | MethodName::Once(text) => {
            to.uint(0);
            to.bytes(text.name.as_bytes());
            to.uint(text.fewest.into());
            to.uint(text.prints.len() as u64);
            for print in &text.prints {
                to.raw(&print.to_le_bytes());
            }
        }
    }
}

fn name_flag(method: &MethodName) -> u8 {
    if matches!(method, MethodName::Once(_)) { flags::ONCE } else { 0 }
}

fn option_flags(options: Option<&CallOptions>) -> u8 {
    let Some(options) = options else { return 0 };
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(options.answer_bytes.is_some(), flags::ANSWER_LIMIT)
        | flag(options.deadline_ms.is_some(), flags::DEADLINE)
        | flag(options.hops > 0, flags::HOPS)
        | flag(!options.metadata.is_empty(), flags::METADATA)
}

fn options(options: Option<&CallOptions>, to: &mut impl Sink) {
    let Some(options) = options else { return };
    if let Some(limit) = options.answer_bytes {
        to.uint(limit);
    }
    if let Some(left) = options.deadline_ms {
        to.uint(left);
    }
    if options.hops > 0 {
        to.uint(options.hops.into());
    }
    if !options.metadata.is_empty() {
        to.uint(options.metadata.len() as u64);
    }
    for (key, value) in &options.metadata {
        to.bytes(key.as_bytes());
        to.bytes(value);
    }
}

fn failure(outermost: &Failure, to: &mut impl Sink) {
    let mut failure = outermost;
    let mut causes_left = MAX_CAUSES;
    loop {
        to.byte(codes::kind_code(failure.kind));
        to.byte(codes::ran_code(failure.ran));
        to.text(&failure.message);
        let details = &failure.details[..failure.details.len().min(MAX_DETAILS)];
        to.uint(details.len() as u64);
        for (key, value) in details {
            to.text(key);
            to.text(value);
        }
        match failure.cause.as_deref() {
            Some(Cause::Broker(next)) if causes_left > 0 => {
                to.byte(codes::CAUSE_BROKER);
                failure = next;
                causes_left -= 1;
            }
            Some(Cause::App(cause)) if causes_left > 0 => {
                to.byte(codes::CAUSE_APP);
                return to.bytes(&cause.body);
            }
            Some(_) | None => return to.byte(codes::CAUSE_NONE),
        }
    }
}
