//! Messages in the words of `docs/protocol.md`, section 15, for people.

use super::{
    CallOptions, Cap, Cause, Disembargo, ExportId, Failure, Message, MethodName, Payload, Rejection, Reply,
};

/// What is known beside a message, and how what is not the protocol's is written.
pub trait Words {
    /// A method: its number, or its name between quotes.
    fn method(&self, method: &MethodName) -> String {
        match method {
            MethodName::Known(number) => format!("{number}"),
            MethodName::Defined(text) | MethodName::Once(text) => format!("\"{}\"", text.name),
        }
    }

    /// What stands behind the id of a call that is answered: nothing.
    fn answered(&self, export: ExportId) -> String {
        let _ = export;
        String::new()
    }

    /// A body: as a text, or its length.
    fn body(&self, body: &[u8]) -> String {
        if body.len() > 60 {
            format!("{} bytes", body.len())
        } else {
            String::from_utf8_lossy(body).into_owned()
        }
    }
}

/// What the message itself says, and nothing else.
#[derive(Clone, Copy, Default, Debug)]
pub struct Plainly;

impl Words for Plainly {}

/// A message as `docs/protocol.md` writes it in section 15, without its sender. What a peer has said stands in it as it is: who shows it on a terminal
/// escapes it.
///
/// ```
/// use pb_core::message::{ImportId, Message, Cancel, line};
///
/// let cancel: Message = Message::Cancel(Cancel { result: ImportId(4) });
/// assert_eq!(line(&cancel), "cancel 4");
/// ```
pub fn line<B: AsRef<[u8]>>(message: &Message<B>) -> String {
    line_in(message, &Plainly)
}

/// The same, in somebody's words.
pub fn line_in<B: AsRef<[u8]>>(message: &Message<B>, words: &dyn Words) -> String {
    match message {
        Message::Hello(_) => "hello".to_owned(),
        Message::Call(call) => {
            let reply = match call.reply {
                Reply::Value => "value",
                Reply::Reference => "reference",
            };
            let (method, payload) = (words.method(&call.method), payload(&call.payload, words));
            let within = within(call.options.as_deref());
            format!("call {} → {}, {reply}{within}, {method}{payload}", call.target, call.result)
        }
        Message::Cast(cast) => {
            let within = within(cast.options.as_deref());
            format!(
                "cast {}{within}, {}{}",
                cast.target,
                words.method(&cast.method),
                payload(&cast.payload, words)
            )
        }
        Message::Resolve(resolve) => {
            let (export, of) = (resolve.export, words.answered(resolve.export));
            format!("resolve {export}{of}{}", answer(&resolve.payload, words))
        }
        Message::Reject(reject) => {
            let (export, of) = (reject.export, words.answered(reject.export));
            match &reject.rejection {
                Rejection::App(payload) => {
                    format!("reject {export}{of}, origin 0,{}", answer(payload, words))
                }
                Rejection::Broker(failure) => {
                    format!("reject {export}{of}, origin 1, {}", self::failure(failure, words))
                }
            }
        }
        Message::Release(release) => {
            let mentions: Vec<_> =
                release.mentions.iter().map(|(id, count)| format!("({id}, {count})")).collect();
            format!("release {}", mentions.join(", "))
        }
        Message::Cancel(cancel) => format!("cancel {}", cancel.result),
        Message::Disembargo(Disembargo::Ask { target, number }) => {
            format!("disembargo 0, target {target}, number {number}")
        }
        Message::Disembargo(Disembargo::Echo { number }) => format!("disembargo 1, number {number}"),
        Message::Credit(credit) => format!("credit {}, {}", credit.casts, credit.bytes),
        Message::Unimplemented(unimplemented) => format!("unimplemented {}", unimplemented.message_type),
        Message::Ping(ping) => format!("ping {}", ping.nonce),
        Message::Pong(ping) => format!("pong {}", ping.nonce),
        Message::Goaway(goaway) => format!("goaway {}", goaway.last),
        Message::Abort(abort) => format!("abort, {}", abort.reason),
    }
}

fn within(options: Option<&CallOptions>) -> String {
    let left = options.and_then(|options| options.deadline_ms);
    left.map_or_else(String::new, |left| format!(", within {left} ms"))
}

/// Arguments: always a body, however empty.
fn payload<B: AsRef<[u8]>>(payload: &Payload<B>, words: &dyn Words) -> String {
    let caps = caps(&payload.caps);
    let comma = if caps.is_empty() { "," } else { "" };
    format!("{comma}{caps} ({})", words.body(payload.body.as_ref()))
}

fn answer<B: AsRef<[u8]>>(payload: &Payload<B>, words: &dyn Words) -> String {
    match (payload.caps.is_empty(), payload.body.as_ref()) {
        (false, []) => caps(&payload.caps),
        (_, body) => format!("{} ({})", caps(&payload.caps), words.body(body)),
    }
}

fn caps(caps: &[Cap]) -> String {
    let caps: Vec<_> = caps
        .iter()
        .map(|cap| match cap {
            Cap::Mine(id) => format!("mine {id}"),
            Cap::MyPromise(id) => format!("my promise {id}"),
            Cap::Yours(id) => format!("yours {id}"),
        })
        .collect();
    if caps.is_empty() { String::new() } else { format!(" [{}]", caps.join(", ")) }
}

fn failure(failure: &Failure, words: &dyn Words) -> String {
    let cause = match failure.cause.as_deref() {
        None => String::new(),
        Some(Cause::App(cause)) => format!(", cause 2: ({})", words.body(&cause.body)),
        Some(Cause::Broker(cause)) => format!(", cause 1: {}", self::failure(cause, words)),
    };
    format!("{:?}, ran {:?}{cause}", failure.kind, failure.ran)
}
