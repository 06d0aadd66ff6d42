use std::ops::Deref;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::{Lost, Protocol, Transport, Written};

/// What one connection does with lines. [`LineReceiver`] makes a [`Protocol`] of it.
///
/// ```
/// use pb_core::reactor::{LineProtocol, LineReceiver, Lines, Reactor, for_protocol};
///
/// struct Shout;
///
/// impl LineProtocol for Shout {
///     fn line_received(&mut self, lines: &mut Lines<'_>, line: &[u8]) {
///         match line {
///             b"quit" => lines.lose_connection(),
///             line => drop(lines.send_line(&line.to_ascii_uppercase())),
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let reactor = Reactor::new();
/// reactor.listen("mem://shout", for_protocol(|| LineReceiver::new(Shout).any_newline().max_length(512))).await?;
/// # Ok::<(), pb_core::reactor::ListenError>(())
/// # }).unwrap();
/// ```
///
/// Twisted: `LineReceiver` (protocols/basic.py).
pub trait LineProtocol: Send + 'static {
    /// The connection is there.
    fn connection_made(&mut self, lines: &mut Lines<'_>) {
        let _ = lines;
    }

    /// A line has come, without its delimiter; it may be empty.
    fn line_received(&mut self, lines: &mut Lines<'_>, line: &[u8]);

    /// Some bytes have come in raw mode, at least one. Unless this is overridden, the connection ends with [`NotRaw`].
    fn raw_data_received(&mut self, lines: &mut Lines<'_>, data: &[u8]) {
        let _ = data;
        lines.fail(NotRaw);
    }

    /// A line is longer than `max_length` bytes. Unless this is overridden, the connection closes with [`LineTooLong`]; where it stays open,
    /// the rest of the line is skipped, and the next one is read.
    ///
    /// Twisted hands over what it has of the line, and what came behind it (`lineLengthExceeded`).
    fn line_length_exceeded(&mut self, lines: &mut Lines<'_>, max_length: usize) {
        lines.fail(LineTooLong { max_length });
    }

    /// As [`Protocol::read_connection_lost`]. What has come of a line without an end is in [`Lines::clear_line_buffer`].
    fn read_connection_lost(&mut self, lines: &mut Lines<'_>) {
        lines.lose_connection();
    }

    /// As [`Protocol::pause_producing`].
    fn pause_producing(&mut self, lines: &mut Lines<'_>) {
        let _ = lines;
    }

    /// As [`Protocol::resume_producing`].
    fn resume_producing(&mut self, lines: &mut Lines<'_>) {
        let _ = lines;
    }

    /// As [`Protocol::connection_lost`].
    fn connection_lost(&mut self, reason: &Lost) {
        let _ = reason;
    }
}

/// Cuts what comes into lines. It keeps no more than a line of the longest length, and what came with it in one read; none of that is
/// allocated before it has come.
///
/// Lines end with `\r\n` and have at most 16,384 bytes unless it is told otherwise. While [`Transport::pause`] holds and once the connection
/// closes, no line is delivered, also of those that have come already.
pub struct LineReceiver<P> {
    protocol: P,
    cut: Cut,
}

/// The connection, as a [`LineProtocol`] sees it: a [`Transport`] that knows lines.
pub struct Lines<'a> {
    transport: &'a Transport,
    cut: &'a mut Cut,
}

/// A line was longer than it may be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a line has more than {max_length} bytes")]
pub struct LineTooLong {
    /// How long it may be.
    pub max_length: usize,
}

/// Bytes have come in raw mode, and the protocol has no use for them.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("bytes have come in raw mode, for which this protocol has no raw_data_received")]
pub struct NotRaw;

/// What has come and was not delivered, and where it is to be cut.
struct Cut {
    buffer: BytesMut,
    delimiter: Bytes,
    max_length: usize,
    /// A carriage return before the delimiter belongs to it.
    any_newline: bool,
    raw: bool,
    /// Where no delimiter begins: what was looked at is not looked at again.
    seen: usize,
    /// In the middle of a line that was too long.
    skipping: bool,
}

enum Next {
    Line(BytesMut),
    TooLong,
    Raw(BytesMut),
    Nothing,
}

impl<P: LineProtocol> LineReceiver<P> {
    /// Lines for `protocol`.
    pub fn new(protocol: P) -> Self {
        let cut = Cut {
            buffer: BytesMut::new(),
            delimiter: Bytes::from_static(b"\r\n"),
            max_length: MAX_LENGTH,
            any_newline: false,
            raw: false,
            seen: 0,
            skipping: false,
        };
        LineReceiver { protocol, cut }
    }

    /// Lines end with `delimiter` instead, in both directions. An empty one is taken for the default.
    pub fn delimiter(mut self, delimiter: impl Into<Bytes>) -> Self {
        let delimiter = delimiter.into();
        self.cut.delimiter = if delimiter.is_empty() { Bytes::from_static(b"\r\n") } else { delimiter };
        self.cut.any_newline = false;
        self
    }

    /// Lines that come end with `\n`, or with `\r\n`, as people's programs have it; those that are sent end with `\r\n`.
    pub fn any_newline(mut self) -> Self {
        self.cut.any_newline = true;
        self
    }

    /// Lines have at most `bytes` bytes, their delimiter not counted.
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.cut.max_length = bytes;
        self
    }

    fn deliver(&mut self, transport: &Transport) {
        while !transport.is_closing() && !transport.is_paused() {
            let next = self.cut.next();
            let lines = &mut Lines { transport, cut: &mut self.cut };
            match next {
                Next::Line(line) => self.protocol.line_received(lines, &line),
                Next::TooLong => {
                    let max_length = lines.cut.max_length;
                    self.protocol.line_length_exceeded(lines, max_length);
                }
                Next::Raw(data) => self.protocol.raw_data_received(lines, &data),
                Next::Nothing => break,
            }
        }
        let empty = self.cut.buffer.is_empty() && self.cut.buffer.capacity() > KEPT_BYTES;
        if empty || transport.is_closing() {
            self.cut.buffer = BytesMut::new();
        }
    }
}

impl<P: LineProtocol> Protocol for LineReceiver<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(&mut Lines { transport, cut: &mut self.cut });
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.cut.buffer.extend_from_slice(data);
        self.deliver(transport);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.protocol.read_connection_lost(&mut Lines { transport, cut: &mut self.cut });
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        self.deliver(transport);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        self.protocol.pause_producing(&mut Lines { transport, cut: &mut self.cut });
    }

    fn resume_producing(&mut self, transport: &Transport) {
        self.protocol.resume_producing(&mut Lines { transport, cut: &mut self.cut });
    }

    fn connection_lost(&mut self, reason: &Lost) {
        self.protocol.connection_lost(reason);
    }
}

impl Lines<'_> {
    /// Sends a line, with the delimiter behind it, as one piece.
    pub fn send_line(&self, line: &[u8]) -> Written {
        self.transport.write_sequence(&[line, &self.cut.delimiter])
    }

    /// From now on bytes are delivered as they come, what has come and was not delivered first.
    pub fn set_raw_mode(&mut self) {
        self.cut.raw = true;
    }

    /// From now on lines are delivered again; `extra` is what of the raw data was not used, and is looked at first.
    pub fn set_line_mode(&mut self, extra: &[u8]) {
        self.cut.raw = false;
        self.cut.seen = 0;
        if !extra.is_empty() {
            let rest = self.cut.buffer.split();
            self.cut.buffer.extend_from_slice(extra);
            self.cut.buffer.extend_from_slice(&rest);
        }
    }

    /// Takes away what has come and was not delivered.
    pub fn clear_line_buffer(&mut self) -> Bytes {
        self.cut.seen = 0;
        self.cut.buffer.split().freeze()
    }
}

impl Deref for Lines<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport
    }
}

impl Cut {
    fn next(&mut self) -> Next {
        if self.raw {
            self.seen = 0;
            return if self.buffer.is_empty() { Next::Nothing } else { Next::Raw(self.buffer.split()) };
        }
        loop {
            let Some(line) = self.cut_line() else { break };
            match (std::mem::take(&mut self.skipping), line.len() > self.max_length) {
                (true, _) => {}
                (false, true) => return Next::TooLong,
                (false, false) => return Next::Line(line),
            }
        }
        if self.skipping {
            self.buffer.advance(std::mem::take(&mut self.seen));
        } else if self.buffer.len() >= self.max_length.saturating_add(self.end_bytes()) {
            self.skipping = true;
            self.buffer.advance(std::mem::take(&mut self.seen));
            return Next::TooLong;
        }
        Next::Nothing
    }

    fn end(&self) -> &[u8] {
        if self.any_newline { b"\n" } else { &self.delimiter }
    }

    /// The most that an end of a line takes.
    fn end_bytes(&self) -> usize {
        if self.any_newline { 2 } else { self.delimiter.len() }
    }

    /// Takes the first line, if it is whole; else remembers how far it has looked.
    fn cut_line(&mut self) -> Option<BytesMut> {
        let end = self.end();
        let end_len = end.len();
        let found = self.buffer[self.seen..].windows(end_len).position(|window| window == end);
        let Some(at) = found.map(|at| self.seen + at) else {
            self.seen = self.seen.max((self.buffer.len() + 1).saturating_sub(end_len));
            return None;
        };
        let mut line = self.buffer.split_to(at);
        self.buffer.advance(end_len);
        self.seen = 0;
        if self.any_newline && line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Some(line)
    }
}

/// The longest line, unless a receiver is told otherwise. Twisted: `LineReceiver.MAX_LENGTH`.
const MAX_LENGTH: usize = 16_384;
/// Bytes that a connection keeps for what comes while there is nothing.
const KEPT_BYTES: usize = 4 << 10;
