use pb_core::message::{
    CallOptions, Cap, Cause, Disembargo, Failure, Message, MethodName, Payload, Rejection, Reply,
};

/// A message as `docs/protocol.md` writes it in section 15, without its sender.
pub fn line<B: AsRef<[u8]>>(message: &Message<B>) -> String {
    match message {
        Message::Hello(_) => "hello".to_owned(),
        Message::Call(call) => {
            let reply = match call.reply {
                Reply::Value => "value",
                Reply::Reference => "reference",
            };
            let (method, payload) = (method(&call.method), payload(&call.payload));
            let within = within(call.options.as_deref());
            format!("call {} → {}, {reply}{within}, {method}{payload}", call.target, call.result)
        }
        Message::Cast(cast) => {
            let within = within(cast.options.as_deref());
            format!("cast {}{within}, {}{}", cast.target, method(&cast.method), payload(&cast.payload))
        }
        Message::Resolve(resolve) => format!("resolve {}{}", resolve.export, answer(&resolve.payload)),
        Message::Reject(reject) => match &reject.rejection {
            Rejection::App(payload) => format!("reject {}, origin 0,{}", reject.export, answer(payload)),
            Rejection::Broker(failure) => {
                format!("reject {}, origin 1, {}", reject.export, self::failure(failure))
            }
        },
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

fn method(method: &MethodName) -> String {
    match method {
        MethodName::Known(number) => format!("{number}"),
        MethodName::Defined(text) | MethodName::Once(text) => format!("\"{}\"", text.name),
    }
}

/// Arguments: always a body, however empty.
fn payload<B: AsRef<[u8]>>(payload: &Payload<B>) -> String {
    let caps = caps(&payload.caps);
    let comma = if caps.is_empty() { "," } else { "" };
    format!("{comma}{caps} ({})", text(payload.body.as_ref()))
}

fn answer<B: AsRef<[u8]>>(payload: &Payload<B>) -> String {
    match (payload.caps.is_empty(), payload.body.as_ref()) {
        (false, []) => caps(&payload.caps),
        (_, body) => format!("{} ({})", caps(&payload.caps), text(body)),
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

fn failure(failure: &Failure) -> String {
    let cause = match failure.cause.as_deref() {
        None => String::new(),
        Some(Cause::App(cause)) => format!(", cause 2: ({})", text(&cause.body)),
        Some(Cause::Broker(cause)) => format!(", cause 1: {}", self::failure(cause)),
    };
    format!("{:?}, ran {:?}{cause}", failure.kind, failure.ran)
}

fn text(body: &[u8]) -> String {
    if body.len() > 60 { format!("{} bytes", body.len()) } else { String::from_utf8_lossy(body).into_owned() }
}
