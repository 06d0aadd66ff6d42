//! What is said on connections, in words: methods by the names that the connection itself has given them.

use std::collections::HashMap;

use pb_core::message::{CallOptions, ExportId, Message, MethodName, Reject, Rejection, Words, line_in};
use pb_core::wire::frame::Decoded;
use pb_server::inspect::recording::Entry;
use serde::Serialize;

/// One line of what is decoded. All have the same fields; what makes no sense is `null`.
#[derive(Serialize, Default, Debug)]
pub(crate) struct Row {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    pub(crate) time_us: Option<u64>,
    #[serde(skip)]
    pub(crate) at_us: Option<u64>,
    pub(crate) connection: Option<u64>,
    /// `peer` or `server`.
    pub(crate) from: Option<&'static str>,
    /// Of the whole frame.
    pub(crate) bytes: Option<u64>,
    /// The message, or what the recorder says.
    pub(crate) kind: &'static str,
    /// The call's result, or the export that it is about.
    pub(crate) id: Option<i64>,
    pub(crate) target: Option<i64>,
    pub(crate) method: Option<String>,
    pub(crate) body_bytes: Option<u64>,
    /// In hexadecimal digits.
    pub(crate) body: Option<String>,
    /// Whether something was left out.
    pub(crate) cut: bool,
    pub(crate) line: String,
}

/// What is known of all connections up to now.
#[derive(Default)]
pub(crate) struct Spoken {
    /// What the peer says, and what the server says.
    of: HashMap<u64, [Side; 2]>,
}

/// What one side has said of its methods.
#[derive(Default)]
struct Side {
    names: HashMap<u32, String>,
    /// The number of the last one; nothing where some may be missing.
    last: Option<u32>,
    /// Those of calls that are not answered.
    calls: HashMap<i64, String>,
}

impl Side {
    fn named(before: Vec<(u32, String)>) -> Side {
        let last = before.iter().map(|(number, _)| *number).max().unwrap_or(0);
        Side { names: before.into_iter().collect(), last: Some(last), calls: HashMap::new() }
    }

    /// The name of a method that this side calls, if it is known.
    fn method(&mut self, method: &MethodName) -> Option<String> {
        match method {
            MethodName::Known(number) => self.names.get(number).cloned(),
            MethodName::Once(text) => Some(text.name.to_string()),
            MethodName::Defined(text) => {
                if let Some(last) = &mut self.last {
                    *last = last.saturating_add(1);
                    self.names.insert(*last, text.name.to_string());
                }
                Some(text.name.to_string())
            }
        }
    }
}

impl Spoken {
    fn sides(&mut self, connection: u64) -> &mut [Side; 2] {
        self.of.entry(connection).or_insert_with(|| [Side::named(Vec::new()), Side::named(Vec::new())])
    }

    /// A frame, of which a body of so many bytes was left out.
    pub(crate) fn frame(&mut self, connection: u64, sent: bool, frame: &Decoded, cut: Option<u64>) -> Row {
        let row = match frame {
            Decoded::Message(message) => self.message(connection, sent, message, cut),
            Decoded::Unknown { message_type, caps } => {
                let line =
                    format!("a message of the unknown type {message_type} with {} capabilities", caps.len());
                Row { kind: "unknown", line, ..Row::default() }
            }
        };
        Row { connection: Some(connection), cut: cut.is_some(), ..row }
    }

    fn message(&mut self, connection: u64, sent: bool, message: &Message, cut: Option<u64>) -> Row {
        let sides = self.sides(connection);
        let [own, others] = if sent { [1, 0] } else { [0, 1] };
        let mut row = Row { kind: kind(message), ..Row::default() };
        match message {
            Message::Call(call) => {
                (row.target, row.id) = (Some(call.target.0), Some(call.result.0));
                row.method = sides[own].method(&call.method);
                if let Some(name) = &row.method {
                    sides[own].calls.insert(call.result.0, name.clone());
                }
            }
            Message::Cast(cast) => {
                row.target = Some(cast.target.0);
                row.method = sides[own].method(&cast.method);
            }
            Message::Resolve(resolve) => {
                row.id = Some(resolve.export.0);
                row.method = sides[others].calls.remove(&resolve.export.0);
            }
            Message::Reject(reject) => {
                row.id = Some(reject.export.0);
                row.method = sides[others].calls.remove(&reject.export.0);
            }
            Message::Cancel(cancel) => row.id = Some(cancel.result.0),
            _ => {}
        }
        if let Some(body) = message.body() {
            row.body_bytes = Some(cut.unwrap_or(body.len() as u64));
            row.body = cut.is_none().then(|| hex(body, usize::MAX));
        }
        let words = Told { method: row.method.as_deref(), cut: cut.map(|_| row.body_bytes) };
        row.line = line_in(message, &words) + &more(message);
        row
    }

    /// What the recorder itself says.
    pub(crate) fn other(&mut self, entry: Entry) -> Row {
        let (connection, at_us, kind, line) = match entry {
            Entry::Connection { connection, at_us, peer, listener, whole, received, sent } => {
                self.of.insert(connection, [Side::named(received), Side::named(sent)]);
                let from = if whole { "" } else { ", which was there before" };
                let line = format!("connection from {peer} at {listener}{from}");
                (Some(connection), Some(at_us), "connection", line)
            }
            Entry::Ended { connection, at_us, reason } => {
                self.of.remove(&connection);
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                (Some(connection), Some(at_us), "ended", format!("ended{reason}"))
            }
            Entry::Lost { at_us, entries, bytes } => {
                // Among them may have been some that number methods.
                self.of.values_mut().flatten().for_each(|side| side.last = None);
                let line = format!("{entries} entries of {bytes} bytes are missing: they came too fast");
                (None, Some(at_us), "lost", line)
            }
            Entry::Unknown { kind } => {
                (None, None, "unknown", format!("an entry of the unknown kind {kind}"))
            }
            Entry::Frame { .. } => (None, None, "unknown", String::new()),
        };
        Row { connection, at_us, kind, line, ..Row::default() }
    }
}

/// What is known beside a message.
struct Told<'a> {
    method: Option<&'a str>,
    /// Something was left out: of the body so many bytes, where it has one.
    cut: Option<Option<u64>>,
}

impl Words for Told<'_> {
    fn method(&self, method: &MethodName) -> String {
        match (self.method, method) {
            (Some(name), _) => format!("\"{name}\""),
            (None, MethodName::Known(number)) => format!("method {number}"),
            (None, MethodName::Defined(text) | MethodName::Once(text)) => format!("\"{}\"", text.name),
        }
    }

    fn answered(&self, _: ExportId) -> String {
        self.method.map_or(String::new(), |name| format!(" of \"{name}\""))
    }

    fn body(&self, body: &[u8]) -> String {
        match self.cut {
            Some(Some(bytes)) => format!("{bytes} bytes"),
            Some(None) if body.is_empty() => "left out".to_owned(),
            _ if body.is_empty() => String::new(),
            _ => format!("{} bytes: {}", body.len(), hex(body, SHOWN_BYTES)),
        }
    }
}

/// What a line has no room for in a dialogue, and an operator wants to know.
fn more(message: &Message) -> String {
    let metadata = |options: Option<&CallOptions>| {
        let keys: Vec<&str> =
            options.into_iter().flat_map(|options| &options.metadata).map(|(key, _)| &**key).collect();
        if keys.is_empty() { String::new() } else { format!(", metadata {}", keys.join(" ")) }
    };
    match message {
        Message::Hello(hello) => {
            let ((lowest, highest), grants) = (hello.versions, hello.grants);
            format!(
                ", versions {lowest} to {highest}, features {}, frames of {} bytes, {} calls of {} bytes, {} imports, {} names, {} exports",
                hello.features,
                grants.frame_bytes,
                grants.calls,
                grants.call_bytes,
                grants.imports,
                grants.names,
                grants.exports
            )
        }
        Message::Call(call) => metadata(call.options.as_deref()),
        Message::Cast(cast) => metadata(cast.options.as_deref()),
        Message::Reject(Reject { rejection: Rejection::Broker(failure), .. }) => format!(": {failure}"),
        Message::Goaway(goaway) => format!(", {} ms, {}", goaway.drain_ms, goaway.reason),
        _ => String::new(),
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "hello",
        Message::Call(_) => "call",
        Message::Cast(_) => "cast",
        Message::Resolve(_) => "resolve",
        Message::Reject(_) => "reject",
        Message::Release(_) => "release",
        Message::Cancel(_) => "cancel",
        Message::Disembargo(_) => "disembargo",
        Message::Credit(_) => "credit",
        Message::Unimplemented(_) => "unimplemented",
        Message::Ping(_) => "ping",
        Message::Pong(_) => "pong",
        Message::Goaway(_) => "goaway",
        Message::Abort(_) => "abort",
    }
}

fn hex(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(most) {
        text.push_str(&format!("{byte:02x}"));
    }
    if bytes.len() > most {
        text.push('…');
    }
    text
}

/// Bytes of a body that are shown to people.
const SHOWN_BYTES: usize = 32;
