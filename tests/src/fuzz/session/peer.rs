use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use pb_core::message::*;
use pb_core::wire::frame::Decoded;

use super::{InInput, METHODS, failure, reply};

/// What a peer knows of its own numbers, so that most of what it sends is right, and wrong in one thing when it is wrong.
#[derive(Default)]
pub(super) struct Peer {
    greeted: bool,
    /// The result of its last call, and the object that it exported last.
    last_result: i64,
    last_object: i64,
    names: u32,
}

impl Peer {
    /// A message, right more often than not.
    pub(super) fn message(&mut self, input: &mut Unstructured<'_>) -> Result<Message> {
        if !self.greeted && !input.ratio(1, 32)? {
            return hello(input);
        }
        Ok(match u8::arbitrary_in(input)? % 32 {
            0..9 => self.call(input)?,
            9..12 => self.cast(input)?,
            12..16 => {
                let export = ExportId(self.asked(input)?);
                let value = input.ratio(1, 2)?;
                let payload = if value { self.payload(input)? } else { self.one_reference(input)? };
                Message::Resolve(Resolve { export, payload })
            }
            16..19 => {
                let export = ExportId(self.asked(input)?);
                let rejection = match input.ratio(1, 2)? {
                    true => Rejection::App(self.payload(input)?),
                    false => Rejection::Broker(self.failure(input)?),
                };
                Message::Reject(Reject { export, rejection })
            }
            19..22 => {
                let count = input.int_in_range(1..=3)?;
                let mention = |input: &mut Unstructured<'_>| {
                    let id = ImportId(self.id(input)?);
                    let once = input.ratio(3, 4)?;
                    let count = if once { 1 } else { input.int_in_range(0..=u64::MAX)? };
                    Ok((id, count))
                };
                let mentions = (0..count).map(|_| mention(input)).collect::<Result<_>>()?;
                Message::Release(Release { mentions })
            }
            22..24 => Message::Cancel(Cancel { result: ImportId(self.id(input)?) }),
            24 => {
                let target = ImportId(self.id(input)?);
                Message::Disembargo(Disembargo::Ask { target, number: number(input)? })
            }
            25 | 26 => Message::Disembargo(Disembargo::Echo { number: number(input)? }),
            27 => Message::Ping(Ping { nonce: number(input)? }),
            28 => Message::Pong(Ping { nonce: number(input)? }),
            29 => hello(input)?,
            30 => Message::Unimplemented(Unimplemented { message_type: u8::arbitrary_in(input)? }),
            _ => self.rare(input)?,
        })
    }

    /// The other side has taken this in.
    pub(super) fn sent(&mut self, decoded: &Decoded) {
        let (caps, defined): (&[Cap], bool) = match decoded {
            Decoded::Unknown { caps, .. } => (caps, false),
            Decoded::Message(Message::Hello(_)) => {
                self.greeted = true;
                (&[], false)
            }
            Decoded::Message(Message::Call(call)) => {
                self.last_result = call.result.0;
                (&call.payload.caps, matches!(call.method, MethodName::Defined(_)))
            }
            Decoded::Message(Message::Cast(cast)) => {
                (&cast.payload.caps, matches!(cast.method, MethodName::Defined(_)))
            }
            Decoded::Message(Message::Resolve(resolve)) => (&resolve.payload.caps, false),
            Decoded::Message(Message::Reject(Reject { rejection: Rejection::App(payload), .. })) => {
                (&payload.caps, false)
            }
            Decoded::Message(_) => (&[], false),
        };
        self.names += u32::from(defined);
        for cap in caps {
            if let Cap::Mine(id) = cap {
                self.last_object = self.last_object.min(id.0);
            }
        }
    }

    fn call(&mut self, input: &mut Unstructured<'_>) -> Result<Message> {
        let next = self.last_result + 1;
        let result = if input.ratio(63, 64)? { next } else { self.id(input)? };
        Ok(Message::Call(Call {
            target: ImportId(self.id(input)?),
            result: ImportId(result),
            reply: reply(input)?,
            method: self.method(input)?,
            options: options(input)?,
            payload: self.payload(input)?,
        }))
    }

    fn cast(&mut self, input: &mut Unstructured<'_>) -> Result<Message> {
        Ok(Message::Cast(Cast {
            target: ImportId(self.id(input)?),
            method: self.method(input)?,
            options: options(input)?,
            payload: self.payload(input)?,
        }))
    }

    fn method(&mut self, input: &mut Unstructured<'_>) -> Result<MethodName> {
        let name = *input.choose(&METHODS)?;
        let text = Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::default() });
        Ok(match u8::arbitrary_in(input)? % 16 {
            0..6 if self.names > 0 => MethodName::Known(input.int_in_range(1..=self.names)?),
            6 => MethodName::Known(input.int_in_range(1..=self.names + 1)?),
            7 | 8 => MethodName::Defined(text),
            _ => MethodName::Once(text),
        })
    }

    /// Something of the other side's, by an id that may be anything.
    fn id(&self, input: &mut Unstructured<'_>) -> Result<i64> {
        Ok(match u8::arbitrary_in(input)? % 16 {
            0..4 => 0,
            4..9 => input.int_in_range(1..=self.last_result.max(1))?,
            9..14 => input.int_in_range(-8..=-1)?,
            14 => input.int_in_range(-70_000..=70_000)?,
            _ => input.int_in_range(-(1 << 60)..=1 << 60)?,
        })
    }

    /// A call of the other side's, or an object of this one's.
    fn asked(&self, input: &mut Unstructured<'_>) -> Result<i64> {
        match u8::arbitrary_in(input)? % 16 {
            0 => input.int_in_range(self.last_object..=0),
            1 => self.id(input),
            _ => input.int_in_range(1..=24),
        }
    }

    fn one_reference(&self, input: &mut Unstructured<'_>) -> Result<Payload> {
        let mut last = self.last_object;
        Ok(Payload { caps: vec![self.cap(&mut last, input)?], body: Bytes::new() })
    }

    fn payload(&self, input: &mut Unstructured<'_>) -> Result<Payload> {
        let count = [0, 0, 0, 1, 1, 2, 3, 20][input.choose_index(8)?];
        let mut last = self.last_object;
        let caps = (0..count).map(|_| self.cap(&mut last, input)).collect::<Result<_>>()?;
        let length = [0, 1, 1, 7, 3000][input.choose_index(5)?];
        Ok(Payload { caps, body: Bytes::from_static(&BODY[..length]) })
    }

    fn cap(&self, last: &mut i64, input: &mut Unstructured<'_>) -> Result<Cap> {
        Ok(match u8::arbitrary_in(input)? % 32 {
            0..8 => {
                *last -= 1;
                Cap::Mine(ExportId(*last))
            }
            8..16 if *last < 0 => Cap::Mine(ExportId(input.int_in_range(*last..=-1)?)),
            16 => Cap::Mine(ExportId(self.id(input)?)),
            17 => Cap::MyPromise(ExportId(self.id(input)?)),
            _ => Cap::Yours(ImportId(self.id(input)?)),
        })
    }

    fn failure(&self, input: &mut Unstructured<'_>) -> Result<Failure> {
        let mut failure = failure();
        for _ in 0..input.int_in_range(0..=9)? {
            failure = self::failure().caused_by(Cause::Broker(failure));
        }
        Ok(failure)
    }

    fn rare(&self, input: &mut Unstructured<'_>) -> Result<Message> {
        Ok(match u8::arbitrary_in(input)? % 4 {
            0 => Message::Credit(Credit { casts: number(input)?, bytes: number(input)? }),
            1 | 2 => {
                let last = ExportId(self.asked(input)?);
                Message::Goaway(Goaway { last, drain_ms: number(input)?, reason: "".into() })
            }
            _ => Message::Abort(Abort { code: AbortCode::Closing, reason: "enough".into() }),
        })
    }
}

#[allow(clippy::needless_update, reason = "what is granted beside these is none of this target's business")]
fn hello(input: &mut Unstructured<'_>) -> Result<Message> {
    let features = if input.ratio(7, 8)? { 0 } else { u64::from(u8::arbitrary_in(input)?) };
    let versions = if input.ratio(31, 32)? { (1, 1) } else { (number(input)? as u32, number(input)? as u32) };
    let mut grants =
        Grants { frame_bytes: 1 << 16, calls: 64, call_bytes: 1 << 16, imports: 64, names: 64, exports: 64 };
    if input.ratio(1, 4)? {
        let frame_bytes = number(input)?;
        // Too little ends the session with its first message.
        let too_little = frame_bytes % 8 == 7;
        grants = Grants {
            frame_bytes: if too_little { frame_bytes } else { frame_bytes.max(Grants::MINIMUM.frame_bytes) },
            calls: number(input)?,
            call_bytes: number(input)?,
            imports: number(input)?,
            names: number(input)?,
            exports: number(input)?,
        };
    }
    Ok(Message::Hello(Hello { versions, features, grants }))
}

fn options(input: &mut Unstructured<'_>) -> Result<Option<Box<CallOptions>>> {
    if input.ratio(3, 4)? {
        return Ok(None);
    }
    let options = CallOptions {
        answer_bytes: if input.ratio(1, 2)? { Some(number(input)?) } else { None },
        deadline_ms: if input.ratio(1, 2)? { Some(number(input)?) } else { None },
        hops: input.int_in_range(0..=16)?,
        ..CallOptions::default()
    };
    Ok(options.boxed())
}

/// Small, or of any size.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    match u8::arbitrary_in(input)? % 4 {
        0 => input.int_in_range(0..=u64::MAX),
        1 => input.int_in_range(0..=70_000),
        _ => input.int_in_range(0..=4),
    }
}

static BODY: [u8; 3000] = [b'b'; 3000];
