//! A peer that says whatever a flood wants, and keeps no more of what it hears than the flood needs.

use crate::flood::{Flood, Greeting};
use bytes::BytesMut;
use parking_lot::Mutex;
use pb_core::message::{
    Abort, AbortCode, Call, CallOptions, Cap, Cast, ExportId, Grants, Hello, ImportId, Message, MethodName,
    MethodText, Payload, Reply,
};
use pb_core::wire::frame::{self, Decoded, MAGIC};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// One connection of a hostile peer.
pub struct Peer {
    /// What the server granted; the protocol's minima before its hello.
    pub grants: Grants,
    /// How often the flood was asked for more.
    pub round: u64,
    /// Frames made on this connection.
    pub frames: u64,
    /// Bytes that the socket took.
    pub bytes: u64,
    out: Vec<u8>,
    last_call: i64,
    last_export: i64,
    defined: HashMap<&'static str, u32>,
    names: u32,
    write: OwnedWriteHalf,
    seen: Arc<Seen>,
}

/// What was heard.
#[derive(Default)]
pub struct Seen {
    /// `resolve` and `reject` messages.
    pub answers: AtomicU64,
    /// Bytes of any kind.
    pub bytes: AtomicU64,
    abort: Mutex<Option<Abort>>,
    replies: Mutex<Vec<u8>>,
    over: AtomicBool,
    stop: Notify,
    wake: Notify,
}

impl Seen {
    /// Whether the server has ended the connection.
    fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// The connection takes nothing more.
pub struct Gone;

impl Peer {
    /// Connects, greets as the flood wants, and reads on in a task of its own if the flood does.
    pub async fn connect(host: &str, flood: &Flood) -> std::io::Result<Peer> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.into_split();
        let seen = Arc::new(Seen::default());
        let mut grants = Grants::MINIMUM;
        let mut ear = Ear { buffer: BytesMut::new(), greeted: false, reply: flood.reply };
        if flood.greeting == Greeting::Polite {
            let mut hello = MAGIC.to_vec();
            frame::encode(&hello_message(), &mut hello);
            write.write_all(&hello).await?;
            grants = ear.hello(&mut read).await?;
        }
        tokio::spawn(listen(read, ear, Arc::clone(&seen), flood.reads));
        Ok(Peer {
            grants,
            round: 0,
            frames: 0,
            bytes: 0,
            out: Vec::new(),
            last_call: 0,
            last_export: 0,
            defined: HashMap::new(),
            names: 0,
            write,
            seen,
        })
    }

    /// Appends any bytes, as one frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.frames += 1;
    }

    /// Appends a message.
    pub fn message<B: AsRef<[u8]>>(&mut self, message: &Message<B>) {
        frame::encode(message, &mut self.out);
        self.frames += 1;
    }

    /// Appends a call on the root whose answer is a value.
    pub fn call(&mut self, method: &'static str, body: &[u8]) -> ImportId {
        self.full_call(ImportId::ROOT, Reply::Value, method, Vec::new(), body, None)
    }

    /// Appends a call on the root with objects of this side's.
    pub fn call_with(&mut self, method: &'static str, caps: Vec<Cap>, body: &[u8]) -> ImportId {
        self.full_call(ImportId::ROOT, Reply::Value, method, caps, body, None)
    }

    /// Appends a call on the root whose answer is a reference.
    pub fn reference(&mut self, method: &'static str, caps: Vec<Cap>, body: &[u8]) -> ImportId {
        self.full_call(ImportId::ROOT, Reply::Reference, method, caps, body, None)
    }

    /// Appends any call.
    pub fn full_call(
        &mut self,
        target: ImportId,
        reply: Reply,
        method: &'static str,
        caps: Vec<Cap>,
        body: &[u8],
        options: Option<Box<CallOptions>>,
    ) -> ImportId {
        let method = self.method(method);
        self.named_call(target, reply, method, caps, body, options)
    }

    /// Appends a call of a method that is named in any way.
    pub fn named_call(
        &mut self,
        target: ImportId,
        reply: Reply,
        method: MethodName,
        caps: Vec<Cap>,
        body: &[u8],
        options: Option<Box<CallOptions>>,
    ) -> ImportId {
        self.last_call += 1;
        let result = ImportId(self.last_call);
        if let MethodName::Defined(_) = method {
            self.names += 1;
        }
        let payload = Payload { caps, body };
        self.message(&Message::Call(Call { target, result, reply, method, options, payload }));
        result
    }

    /// Appends a cast on `target`.
    pub fn cast(&mut self, target: ImportId, method: &'static str, body: &[u8]) {
        let method = self.method(method);
        if let MethodName::Defined(_) = method {
            self.names += 1;
        }
        let payload = Payload { caps: Vec::new(), body };
        self.message(&Message::Cast(Cast { target, method, options: None, payload }));
    }

    /// Calls of one round: a part of what the server grants.
    pub fn batch(&self) -> usize {
        (self.grants.calls / 4).clamp(1, 64) as usize
    }

    /// Whether a round has appended nothing.
    pub fn is_idle(&self) -> bool {
        self.out.is_empty()
    }

    /// A new object of this side's, for a capability table.
    pub fn object(&mut self) -> Cap {
        self.last_export -= 1;
        Cap::Mine(ExportId(self.last_export))
    }

    /// Calls that were made and whose answers were not read.
    pub fn in_flight(&self) -> u64 {
        self.last_call.unsigned_abs().saturating_sub(self.seen.answers.load(Ordering::Acquire))
    }

    /// Waits until fewer than `most` calls are in flight, replying to what the server asks meanwhile.
    pub async fn room(&mut self, most: u64, until: Instant) -> Result<(), Gone> {
        let seen = Arc::clone(&self.seen);
        loop {
            let woken = seen.wake.notified();
            if seen.over() {
                return Err(Gone);
            }
            if self.in_flight() < most {
                return Ok(());
            }
            let waiting = !seen.replies.lock().is_empty();
            if waiting {
                self.flush(until).await?;
            }
            timeout_at(until, woken).await.map_err(|_| Gone)?;
        }
    }

    /// Writes what was appended, with what the replies to the server's calls are.
    pub async fn flush(&mut self, until: Instant) -> Result<(), Gone> {
        {
            let mut replies = self.seen.replies.lock();
            self.out.extend_from_slice(&replies);
            replies.clear();
        }
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let woken = self.seen.wake.notified();
            if self.seen.over() {
                return Err(Gone);
            }
            tokio::select! {
                written = timeout_at(until, self.write.write(rest)) => match written {
                    Ok(Ok(count)) if count > 0 => {
                        self.bytes += count as u64;
                        rest = &rest[count..];
                    }
                    _ => return Err(Gone),
                },
                () = woken => {}
            }
        }
        self.out.clear();
        self.out.shrink_to(1 << 20);
        Ok(())
    }

    /// Waits, replying to what the server asks meanwhile.
    pub async fn rest(&mut self, time: Duration, until: Instant) -> Result<(), Gone> {
        let until = until.min(Instant::now() + time);
        let seen = Arc::clone(&self.seen);
        loop {
            let woken = seen.wake.notified();
            if seen.over() {
                return Err(Gone);
            }
            let waiting = !seen.replies.lock().is_empty();
            if waiting {
                self.flush(until).await?;
            }
            if timeout_at(until, woken).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Closes, and says how the connection ended. Whoever did not read does now, in case there is an abort.
    pub async fn end(self) -> (String, Arc<Seen>) {
        self.seen.stop.notify_one();
        let mut heard = u64::MAX;
        while !self.seen.over() && heard != self.seen.bytes.load(Ordering::Relaxed) {
            heard = self.seen.bytes.load(Ordering::Relaxed);
            let woken = self.seen.wake.notified();
            let _ = timeout(SILENCE, woken).await;
        }
        let end = match (&*self.seen.abort.lock(), self.seen.over()) {
            (Some(abort), _) => format!("abort {}: {}", code(abort.code), abort.reason),
            (None, true) => "closed".to_owned(),
            (None, false) => "alive".to_owned(),
        };
        (end, self.seen)
    }

    fn method(&mut self, name: &'static str) -> MethodName {
        if let Some(number) = self.defined.get(name) {
            return MethodName::Known(*number);
        }
        self.defined.insert(name, self.names + 1);
        MethodName::Defined(Arc::new(MethodText { name: name.into(), fewest: 0, prints: Box::default() }))
    }
}

/// What a connection's reading task knows.
struct Ear {
    buffer: BytesMut,
    greeted: bool,
    reply: Option<fn(&Call) -> Message>,
}

impl Ear {
    /// Reads up to the server's hello.
    async fn hello(&mut self, read: &mut OwnedReadHalf) -> std::io::Result<Grants> {
        loop {
            if let Some(Message::Hello(hello)) = self.next() {
                return Ok(hello.grants);
            }
            if read.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next message that has come whole and that this version knows.
    fn next(&mut self) -> Option<Message> {
        if !self.greeted {
            if self.buffer.len() < MAGIC.len() {
                return None;
            }
            let _ = self.buffer.split_to(MAGIC.len());
            self.greeted = true;
        }
        loop {
            let content = frame::split(&mut self.buffer, u64::MAX).ok().flatten()?;
            if let Ok(Decoded::Message(message)) = frame::decode(content) {
                return Some(message);
            }
        }
    }

    /// Counts a message, and replies to it where it asks for something.
    fn hear(&self, message: Message, seen: &Seen) {
        match message {
            Message::Resolve(_) | Message::Reject(_) => {
                seen.answers.fetch_add(1, Ordering::Release);
            }
            Message::Abort(abort) => *seen.abort.lock() = Some(abort),
            Message::Call(call) => {
                if let Some(reply) = self.reply {
                    frame::encode(&reply(&call), &mut seen.replies.lock());
                }
            }
            _ => {}
        }
    }
}

/// Reads to the end of the stream; without `at_once` only from when the peer stops.
async fn listen(mut read: OwnedReadHalf, mut ear: Ear, seen: Arc<Seen>, at_once: bool) {
    if !at_once {
        seen.stop.notified().await;
    }
    loop {
        while let Some(message) = ear.next() {
            ear.hear(message, &seen);
        }
        seen.wake.notify_waiters();
        ear.buffer.reserve(READ_BYTES);
        match read.read_buf(&mut ear.buffer).await {
            Ok(count) if count > 0 => seen.bytes.fetch_add(count as u64, Ordering::Relaxed),
            _ => break,
        };
    }
    seen.over.store(true, Ordering::Release);
    seen.wake.notify_waiters();
}

/// A hello that grants everything: what the server sends must be bounded by the server.
fn hello_message() -> Message<&'static [u8]> {
    let grants = Grants {
        frame_bytes: 1 << 26,
        calls: 1 << 20,
        call_bytes: 1 << 30,
        imports: 1 << 40,
        names: 1 << 20,
        exports: 1 << 40,
    };
    Message::Hello(Hello { versions: (1, 1), features: 0, grants })
}

fn code(code: AbortCode) -> u32 {
    match code {
        AbortCode::Closing => 0,
        AbortCode::Version => 1,
        AbortCode::Malformed => 2,
        AbortCode::Violation => 3,
        AbortCode::Limit => 4,
        AbortCode::Timeout => 5,
        AbortCode::Other(code) => code,
    }
}

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// How long a connection must have said nothing to be called alive.
const SILENCE: Duration = Duration::from_millis(300);
