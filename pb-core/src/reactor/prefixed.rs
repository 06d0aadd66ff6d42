use std::ops::Deref;

use bytes::{Buf, BytesMut};
use thiserror::Error;

use super::{Lost, Protocol, Transport, Written};

/// What one connection does with messages that are sent with their length in front. [`LengthPrefixedReceiver`] makes a [`Protocol`] of it.
///
/// ```
/// use pb_core::reactor::{LengthPrefixedReceiver, MessageProtocol, Messages, Prefix, Reactor, for_protocol};
///
/// struct Reverse;
///
/// impl MessageProtocol for Reverse {
///     fn message_received(&mut self, messages: &mut Messages<'_>, message: &[u8]) {
///         let reversed: Vec<u8> = message.iter().rev().copied().collect();
///         messages.send_message(&reversed).expect("it is no longer than what came");
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let reactor = Reactor::new();
/// reactor.listen("mem://reverse", for_protocol(|| LengthPrefixedReceiver::new(Prefix::U16, Reverse))).await?;
/// # Ok::<(), pb_core::reactor::ListenError>(())
/// # }).unwrap();
/// ```
///
/// Twisted: `IntNStringReceiver` with `Int8-`, `Int16-` and `Int32StringReceiver` (protocols/basic.py).
pub trait MessageProtocol: Send + 'static {
    /// The connection is there.
    fn connection_made(&mut self, messages: &mut Messages<'_>) {
        let _ = messages;
    }

    /// A message has come, without its prefix; it may be empty.
    fn message_received(&mut self, messages: &mut Messages<'_>, message: &[u8]);

    /// A prefix says `length`, which is more than a message may have; nothing was allocated for it. Unless this is overridden, the connection
    /// closes with [`MessageTooLong`]; where it stays open, so many bytes are skipped.
    fn length_limit_exceeded(&mut self, messages: &mut Messages<'_>, length: u64) {
        let max_length = messages.max_length();
        messages.fail(MessageTooLong { length, max_length });
    }

    /// As [`Protocol::read_connection_lost`].
    fn read_connection_lost(&mut self, messages: &mut Messages<'_>) {
        messages.lose_connection();
    }

    /// As [`Protocol::pause_producing`].
    fn pause_producing(&mut self, messages: &mut Messages<'_>) {
        let _ = messages;
    }

    /// As [`Protocol::resume_producing`].
    fn resume_producing(&mut self, messages: &mut Messages<'_>) {
        let _ = messages;
    }

    /// As [`Protocol::connection_lost`].
    fn connection_lost(&mut self, reason: &Lost) {
        let _ = reason;
    }
}

/// How a length is written: big-endian, in so many bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prefix {
    /// One byte. Twisted: `Int8StringReceiver`.
    U8,
    /// Two bytes. Twisted: `Int16StringReceiver`.
    U16,
    /// Four bytes. Twisted: `Int32StringReceiver`.
    U32,
    /// Eight bytes.
    U64,
}

/// Cuts what comes into messages, each behind its length. It keeps no more than a message of the longest length, and what came with it in one
/// read; none of that is allocated before it has come.
///
/// Messages have at most 99,999 bytes unless it is told otherwise. While [`Transport::pause`] holds and once the connection closes, no
/// message is delivered, also of those that have come already.
pub struct LengthPrefixedReceiver<P> {
    protocol: P,
    cut: Cut,
}

/// The connection, as a [`MessageProtocol`] sees it: a [`Transport`] that knows messages.
pub struct Messages<'a> {
    transport: &'a Transport,
    cut: &'a mut Cut,
}

/// A message is longer than it may be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a message has {length} bytes, and may have {max_length}")]
pub struct MessageTooLong {
    /// How long it is, or claims to be.
    pub length: u64,
    /// How long it may be.
    pub max_length: u64,
}

/// What has come and was not delivered, and how it is to be cut.
struct Cut {
    buffer: BytesMut,
    prefix: Prefix,
    max_length: usize,
    /// Bytes that are still to come of a message that was too long.
    skip: u64,
}

enum Next {
    Message(BytesMut),
    TooLong(u64),
    Nothing,
}

impl Prefix {
    fn bytes(self) -> usize {
        match self {
            Prefix::U8 => 1,
            Prefix::U16 => 2,
            Prefix::U32 => 4,
            Prefix::U64 => 8,
        }
    }

    /// The longest length that it can say.
    fn longest(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// Sends a message behind its length on any transport, as one piece: for whoever has one of a connection whose other side reads so.
    ///
    /// # Errors
    /// [`MessageTooLong`]: the prefix cannot say how long it is. Nothing is sent.
    pub fn send_message(self, transport: &Transport, message: &[u8]) -> Result<Written, MessageTooLong> {
        let (length, max_length) = (message.len() as u64, self.longest());
        if length > max_length {
            return Err(MessageTooLong { length, max_length });
        }
        let length = length.to_be_bytes();
        Ok(transport.write_sequence(&[&length[length.len() - self.bytes()..], message]))
    }
}

impl<P: MessageProtocol> LengthPrefixedReceiver<P> {
    /// Messages for `protocol`, in both directions behind this prefix.
    pub fn new(prefix: Prefix, protocol: P) -> Self {
        let cut = Cut { buffer: BytesMut::new(), prefix, max_length: MAX_LENGTH, skip: 0 };
        LengthPrefixedReceiver { protocol, cut }
    }

    /// Messages that come have at most `bytes` bytes.
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.cut.max_length = bytes;
        self
    }

    fn deliver(&mut self, transport: &Transport) {
        while !transport.is_closing() && !transport.is_paused() {
            let next = self.cut.next();
            let messages = &mut Messages { transport, cut: &mut self.cut };
            match next {
                Next::Message(message) => self.protocol.message_received(messages, &message),
                Next::TooLong(length) => self.protocol.length_limit_exceeded(messages, length),
                Next::Nothing => break,
            }
        }
        let empty = self.cut.buffer.is_empty() && self.cut.buffer.capacity() > KEPT_BYTES;
        if empty || transport.is_closing() {
            self.cut.buffer = BytesMut::new();
        }
    }
}

impl<P: MessageProtocol> Protocol for LengthPrefixedReceiver<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(&mut Messages { transport, cut: &mut self.cut });
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.cut.buffer.extend_from_slice(data);
        self.deliver(transport);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.protocol.read_connection_lost(&mut Messages { transport, cut: &mut self.cut });
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        self.deliver(transport);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        self.protocol.pause_producing(&mut Messages { transport, cut: &mut self.cut });
    }

    fn resume_producing(&mut self, transport: &Transport) {
        self.protocol.resume_producing(&mut Messages { transport, cut: &mut self.cut });
    }

    fn connection_lost(&mut self, reason: &Lost) {
        self.protocol.connection_lost(reason);
    }
}

impl Messages<'_> {
    /// Sends a message behind its length, as one piece.
    ///
    /// # Errors
    /// [`MessageTooLong`]: its prefix cannot say how long it is. Nothing is sent.
    pub fn send_message(&self, message: &[u8]) -> Result<Written, MessageTooLong> {
        self.cut.prefix.send_message(self.transport, message)
    }

    /// The longest message that may come.
    pub fn max_length(&self) -> u64 {
        self.cut.max_length as u64
    }
}

impl Deref for Messages<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport
    }
}

impl Cut {
    fn next(&mut self) -> Next {
        let skipped = self.skip.min(self.buffer.len() as u64);
        self.buffer.advance(skipped as usize);
        self.skip -= skipped;
        let prefix_bytes = self.prefix.bytes();
        if self.buffer.len() < prefix_bytes {
            return Next::Nothing;
        }
        let length = self.buffer[..prefix_bytes].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if length > self.max_length as u64 {
            self.buffer.advance(prefix_bytes);
            self.skip = length;
            return Next::TooLong(length);
        }
        let length = length as usize; // At most `max_length`, which is one.
        if self.buffer.len() - prefix_bytes < length {
            return Next::Nothing;
        }
        self.buffer.advance(prefix_bytes);
        Next::Message(self.buffer.split_to(length))
    }
}

/// The longest message, unless a receiver is told otherwise. Twisted: `IntNStringReceiver.MAX_LENGTH`.
const MAX_LENGTH: usize = 99_999;
/// Bytes that a connection keeps for what comes while there is nothing.
const KEPT_BYTES: usize = 4 << 10;
