//! The fields of each message, in the order of `docs/protocol.md`, "Messages", each checked as it is read.

use std::mem;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::codes::{self, caps, flags, grants, types};
use super::encode::MAX_DETAILS;
use super::reader::{self, Reader};
use super::{Decoded, MAX_FRAME_BYTES, MAX_RELEASES, Malformed};
use crate::message::{
    Abort, AppCause, Call, CallOptions, Cancel, Cap, Cast, Cause, Credit, Disembargo, ExportId, Failure,
    Goaway, Grants, Hello, ImportId, MAX_CAPS, MAX_CAUSES, MAX_FAILURE_BYTES, MAX_METADATA,
    MAX_METADATA_BYTES, MAX_NAME_BYTES, MAX_PRINTS, Message, MethodName, MethodText, Payload, Ping, Reject,
    Rejection, Release, Reply, Resolve, Unimplemented,
};

/// Reads a frame, as [`split`](super::split) gives it.
///
/// The body is a part of `frame`, not a copy. Without capabilities, texts or lists nothing is
/// allocated; with them at most a small multiple of the frame's length.
///
/// # Errors
/// [`Malformed`] for everything that sections 2 to 4 of `docs/protocol.md` do not allow.
#[inline]
pub fn decode(mut frame: Bytes) -> Result<Decoded, Malformed> {
    let message_type = Reader::new(&frame, 0).byte()?;
    match message_type {
        types::CALL => call(&mut frame),
        types::CAST => cast(&mut frame),
        types::RESOLVE => resolve(&mut frame),
        types::REJECT => reject(&mut frame),
        1..=14 => without_body(message_type, &frame),
        32..=127 => unknown(message_type, &frame),
        _ => Err(Malformed::UnknownType { message_type }),
    }
}

fn unknown(message_type: u8, frame: &Bytes) -> Result<Decoded, Malformed> {
    let caps = capabilities(&mut Reader::new(frame, TYPE_BYTES))?;
    Ok(Decoded::Unknown { message_type, caps })
}

fn without_body(message_type: u8, frame: &Bytes) -> Result<Decoded, Malformed> {
    let mut from = Reader::new(frame, TYPE_BYTES);
    no_capabilities(message_type, &mut from)?;
    let message = match message_type {
        types::HELLO => hello(&mut from)?,
        types::RELEASE => release(&mut from)?,
        types::CANCEL => Message::Cancel(Cancel { result: from.result()? }),
        types::DISEMBARGO => disembargo(&mut from)?,
        types::CREDIT => Message::Credit(Credit { casts: from.uint()?, bytes: from.uint()? }),
        types::UNIMPLEMENTED => Message::Unimplemented(Unimplemented { message_type: from.byte()? }),
        types::PING => Message::Ping(Ping { nonce: from.uint()? }),
        types::PONG => Message::Pong(Ping { nonce: from.uint()? }),
        types::GOAWAY => goaway(&mut from)?,
        types::ABORT => abort(&mut from)?,
        _ => return Err(Malformed::UnknownType { message_type }),
    };
    from.end(message_type)?;
    Ok(Decoded::Message(message))
}

#[inline]
fn call(frame: &mut Bytes) -> Result<Decoded, Malformed> {
    let mut from = Reader::new(frame, TYPE_BYTES);
    let caps = capabilities(&mut from)?;
    let flags = flags_of(types::CALL, flags::REFERENCE | flags::ONCE | OPTIONS, &mut from)?;
    Ok(Decoded::Message(Message::Call(Call {
        target: from.import()?,
        result: from.new_result()?,
        reply: if flags & flags::REFERENCE == 0 { Reply::Value } else { Reply::Reference },
        method: method(flags, &mut from)?,
        options: options(flags, &mut from)?,
        payload: Payload { caps, body: behind(from.at(), frame) },
    })))
}

fn cast(frame: &mut Bytes) -> Result<Decoded, Malformed> {
    let mut from = Reader::new(frame, TYPE_BYTES);
    let caps = capabilities(&mut from)?;
    let flags = flags_of(types::CAST, flags::ONCE | OPTIONS, &mut from)?;
    Ok(Decoded::Message(Message::Cast(Cast {
        target: from.import()?,
        method: method(flags, &mut from)?,
        options: options(flags, &mut from)?,
        payload: Payload { caps, body: behind(from.at(), frame) },
    })))
}

#[inline]
fn resolve(frame: &mut Bytes) -> Result<Decoded, Malformed> {
    let mut from = Reader::new(frame, TYPE_BYTES);
    let caps = capabilities(&mut from)?;
    let export = from.export()?;
    let payload = Payload { caps, body: behind(from.at(), frame) };
    Ok(Decoded::Message(Message::Resolve(Resolve { export, payload })))
}

fn reject(frame: &mut Bytes) -> Result<Decoded, Malformed> {
    let mut from = Reader::new(frame, TYPE_BYTES);
    let caps = capabilities(&mut from)?;
    let export = from.export()?;
    let rejection = match from.byte()? {
        codes::ORIGIN_APP => Rejection::App(Payload { caps, body: behind(from.at(), frame) }),
        codes::ORIGIN_BROKER if caps.is_empty() => {
            from.at_most("failure", MAX_FAILURE_BYTES)?;
            let failure = failure(MAX_CAUSES, &mut from)?;
            from.end(types::REJECT)?;
            Rejection::Broker(failure)
        }
        codes::ORIGIN_BROKER => {
            return Err(Malformed::UnexpectedCaps { message_type: types::REJECT, count: caps.len() as u64 });
        }
        code => return Err(Malformed::UnknownCode { field: "origin", code }),
    };
    Ok(Decoded::Message(Message::Reject(Reject { export, rejection })))
}

/// The body: all of `frame` from `at` on, without a copy. Nothing is left of the frame.
#[inline(always)]
fn behind(at: usize, frame: &mut Bytes) -> Bytes {
    let mut body = mem::take(frame);
    body.advance(at);
    body
}

fn hello(from: &mut Reader) -> Result<Message, Malformed> {
    let versions = (from.uint32("lowest version")?, from.uint32("highest version")?);
    let features = from.uint()?;
    let count = from.count("number of grants", 0, MAX_GRANTS, 2)?;
    let mut grants = Grants::MINIMUM;
    let mut seen = [0; MAX_GRANTS];
    for index in 0..count {
        let (key, value) = (from.uint()?, from.uint()?);
        if seen[..index].contains(&key) {
            return Err(Malformed::RepeatedGrant { key });
        }
        seen[index] = key;
        match key {
            grants::FRAME_BYTES => grants.frame_bytes = value,
            grants::CALLS => grants.calls = value,
            grants::CALL_BYTES => grants.call_bytes = value,
            grants::IMPORTS => grants.imports = value,
            grants::NAMES => grants.names = value,
            grants::EXPORTS => grants.exports = value,
            _ => {} // A newer peer grants more than we know to use.
        }
    }
    Ok(Message::Hello(Hello { versions, features, grants }))
}

fn release(from: &mut Reader) -> Result<Message, Malformed> {
    let count = from.count("number of releases", 1, MAX_RELEASES, 2)?;
    let mut mentions = Vec::with_capacity(count);
    for _ in 0..count {
        let import = from.import()?;
        match from.uint()? {
            0 => return Err(Malformed::ReleasedNothing { id: import.0 }),
            count => mentions.push((import, count)),
        }
    }
    Ok(Message::Release(Release { mentions }))
}

fn disembargo(from: &mut Reader) -> Result<Message, Malformed> {
    Ok(Message::Disembargo(match from.byte()? {
        codes::ASK => Disembargo::Ask { target: from.import()?, number: from.uint()? },
        codes::ECHO => Disembargo::Echo { number: from.uint()? },
        code => return Err(Malformed::UnknownCode { field: "form of disembargo", code }),
    }))
}

fn goaway(from: &mut Reader) -> Result<Message, Malformed> {
    let last = match from.id()? {
        id if id < 0 => return Err(Malformed::Sign { field: "last result", id }),
        id => ExportId(id),
    };
    Ok(Message::Goaway(Goaway { last, drain_ms: from.uint()?, reason: from.short_text("reason")? }))
}

fn abort(from: &mut Reader) -> Result<Message, Malformed> {
    let code = codes::abort(from.uint32("code of an abort")?);
    Ok(Message::Abort(Abort { code, reason: from.short_text("reason")? }))
}

/// Most messages have none.
#[inline]
fn capabilities(from: &mut Reader) -> Result<Vec<Cap>, Malformed> {
    if from.zero() { Ok(Vec::new()) } else { some_capabilities(from) }
}

fn some_capabilities(from: &mut Reader) -> Result<Vec<Cap>, Malformed> {
    let count = from.count("number of capabilities", 0, MAX_CAPS, 1)?;
    let mut capabilities = Vec::with_capacity(count);
    for _ in 0..count {
        capabilities.push(capability(from.uint()?)?);
    }
    Ok(capabilities)
}

fn no_capabilities(message_type: u8, from: &mut Reader) -> Result<(), Malformed> {
    match from.uint()? {
        0 => Ok(()),
        count => Err(Malformed::UnexpectedCaps { message_type, count }),
    }
}

fn capability(packed: u64) -> Result<Cap, Malformed> {
    let id = reader::id(packed >> 2)?;
    let mine = |field| if id < 0 { Ok(ExportId(id)) } else { Err(Malformed::Sign { field, id }) };
    match packed & 3 {
        caps::MINE => mine("capability of the sender's").map(Cap::Mine),
        caps::MY_PROMISE => mine("promise of the sender's").map(Cap::MyPromise),
        caps::YOURS => Ok(Cap::Yours(ImportId(id))),
        code => Err(Malformed::UnknownCode { field: "kind of capability", code: code as u8 }),
    }
}

#[inline]
fn flags_of(message_type: u8, known: u8, from: &mut Reader) -> Result<u8, Malformed> {
    let flags = from.byte()?;
    if flags & !known != 0 { Err(Malformed::UnknownFlags { message_type, flags }) } else { Ok(flags) }
}

#[inline]
fn method(flags: u8, from: &mut Reader) -> Result<MethodName, Malformed> {
    let once = flags & flags::ONCE != 0;
    match from.uint32("number of a method")? {
        0 if once => method_text(from).map(|text| MethodName::Once(Arc::new(text))),
        0 => method_text(from).map(|text| MethodName::Defined(Arc::new(text))),
        number if once => Err(Malformed::OutOfBounds {
            field: "number of a method that is named once",
            value: number.into(),
            least: 0,
            most: 0,
        }),
        number => Ok(MethodName::Known(number)),
    }
}

fn method_text(from: &mut Reader) -> Result<MethodText, Malformed> {
    let name = from.text("name of a method", 1, MAX_NAME_BYTES)?;
    if let Some(at) = name.find(char::is_control) {
        return Err(Malformed::ControlCharacter { at });
    }
    let name = name.into();
    let fewest = from.uint32("fewest arguments")?;
    let count = from.count("number of prints", 0, MAX_PRINTS, size_of::<u64>())?;
    let prints = (0..count).map(|_| from.u64le()).collect::<Result<_, _>>()?;
    Ok(MethodText { name, fewest, prints })
}

/// Most calls bring none, and then nothing is moved about.
#[inline]
fn options(flags: u8, from: &mut Reader) -> Result<Option<Box<CallOptions>>, Malformed> {
    if flags & OPTIONS == 0 {
        Ok(None)
    } else {
        given_options(flags, from).map(|given| Some(Box::new(given)))
    }
}

fn given_options(flags: u8, from: &mut Reader) -> Result<CallOptions, Malformed> {
    let mut options = CallOptions::default();
    if flags & flags::ANSWER_LIMIT != 0 {
        options.answer_bytes = Some(from.uint()?);
    }
    if flags & flags::DEADLINE != 0 {
        options.deadline_ms = Some(from.uint()?);
    }
    if flags & flags::HOPS != 0 {
        options.hops = from.bounded("number of hops", 1, MAX_HOPS)? as u32;
    }
    if flags & flags::METADATA != 0 {
        let count = from.count("number of metadata entries", 1, MAX_METADATA, 3)?;
        options.metadata.reserve_exact(count);
        for _ in 0..count {
            let key = from.text("key of metadata", 1, MAX_METADATA_BYTES)?.into();
            let value = from.bytes("value of metadata", MAX_METADATA_BYTES)?;
            // It is kept as long as the call runs, and must not hold the buffer that it was read into.
            options.metadata.push((key, Bytes::copy_from_slice(&value)));
        }
    }
    Ok(options)
}

/// Recurses once for each cause, so at most [`MAX_CAUSES`] times.
fn failure(causes_left: usize, from: &mut Reader) -> Result<Failure, Malformed> {
    let code = from.byte()?;
    let kind = codes::kind(code).ok_or(Malformed::UnknownCode { field: "kind of failure", code })?;
    let code = from.byte()?;
    let ran = codes::ran(code).ok_or(Malformed::UnknownCode { field: "form of ran", code })?;
    let message = from.short_text("message of a failure")?;
    let count = from.count("number of details", 0, MAX_DETAILS, 2)?;
    let mut details = Vec::with_capacity(count);
    for _ in 0..count {
        details.push((from.short_text("key of a detail")?, from.short_text("value of a detail")?));
    }
    let cause = match (from.byte()?, causes_left) {
        (codes::CAUSE_NONE, _) => None,
        (codes::CAUSE_BROKER | codes::CAUSE_APP, 0) => {
            return Err(Malformed::TooManyCauses { most: MAX_CAUSES });
        }
        (codes::CAUSE_BROKER, _) => Some(Cause::Broker(failure(causes_left - 1, from)?)),
        (codes::CAUSE_APP, _) => {
            Some(Cause::App(AppCause { body: from.bytes("error of a method", MAX_FRAME_BYTES as usize)? }))
        }
        (code, _) => return Err(Malformed::UnknownCode { field: "form of a cause", code }),
    };
    Ok(Failure { kind, ran, message, cause: cause.map(Box::new), details })
}

/// Where all that is not the type begins.
const TYPE_BYTES: usize = 1;
/// Grants of one hello, at the most: known and unknown ones.
const MAX_GRANTS: usize = 32;
/// Middlemen that a call may pass.
const MAX_HOPS: u64 = 16;
/// The flags that announce an option.
const OPTIONS: u8 = flags::ANSWER_LIMIT | flags::DEADLINE | flags::HOPS | flags::METADATA;
