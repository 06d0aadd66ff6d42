//! A peer that sends whatever a test wants, over TCP, and reads frames.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pb_core::message::{
    Abort, Call, CallOptions, Cap, Grants, Hello, ImportId, Message, MethodName, MethodText, Payload, Reply,
};
use pb_core::wire::frame::{self, Decoded, MAGIC};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A failure bound only: nothing waits this long in a test that passes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of which only the test decides what is sent.
pub struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
    greeted: bool,
}

impl Raw {
    /// Connects and sends nothing. `url` is `tcp://HOST:PORT`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(url: &str) -> Raw {
        let host = url.strip_prefix("tcp://").expect("a tcp address");
        let stream = TcpStream::connect(host).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket without delay");
        Raw { stream, buffer: BytesMut::new(), greeted: false }
    }

    /// Waits for somebody to connect, and sends nothing.
    ///
    /// # Panics
    /// When the listener fails.
    pub async fn accept(listener: &TcpListener) -> Raw {
        let (stream, _) = listener.accept().await.expect("somebody connects");
        stream.set_nodelay(true).expect("a socket without delay");
        Raw { stream, buffer: BytesMut::new(), greeted: false }
    }

    /// Connects and greets as an honest peer does.
    pub async fn greeted(url: &str) -> Raw {
        let mut raw = Raw::connect(url).await;
        raw.send(&MAGIC).await;
        raw.message(&hello()).await;
        raw
    }

    /// Sends bytes; a peer that has closed is none of the test's business here.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads");
    }

    /// Sends one message.
    pub async fn message(&mut self, message: &Message) {
        let mut out = Vec::new();
        frame::encode(message, &mut out);
        self.send(&out).await;
    }

    /// Sends bytes until the peer closes, at most `most`. Says how many it took.
    pub async fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            match timeout(PATIENCE, self.stream.write_all(bytes)).await {
                Ok(Ok(())) => sent += bytes.len(),
                _ => break,
            }
        }
        sent
    }

    /// Reads the next message; `None` when the stream has ended, in whatever way. Where the machine is so slow that the server asks whether
    /// anybody is there, it is told.
    ///
    /// # Panics
    /// When nothing comes, or no message.
    pub async fn read(&mut self) -> Option<Message> {
        loop {
            if !self.greeted && self.buffer.len() >= MAGIC.len() {
                assert_eq!(self.buffer.split_to(MAGIC.len())[..], MAGIC);
                self.greeted = true;
            }
            if self.greeted
                && let Some(content) = frame::split(&mut self.buffer, u64::MAX).expect("a good length")
            {
                match frame::decode(content).expect("a good frame") {
                    Decoded::Message(Message::Ping(ping)) => self.message(&Message::Pong(ping)).await,
                    Decoded::Message(message) => return Some(message),
                    Decoded::Unknown { message_type, .. } => panic!("a message of type {message_type}"),
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        matches!(read.expect("something comes, or the end"), Ok(1..))
    }

    /// Reads the next message that is no hello.
    pub async fn answer(&mut self) -> Option<Message> {
        match self.read().await {
            Some(Message::Hello(_)) => self.read().await,
            other => other,
        }
    }

    /// Reads up to the end of the stream: everything but the hello.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.answer().await {
            messages.push(message);
        }
        messages
    }

    /// Reads up to the end of the stream, which is an abort.
    ///
    /// # Panics
    /// When it is not, or when something follows it.
    pub async fn abort(&mut self) -> Abort {
        match self.rest().await.pop() {
            Some(Message::Abort(abort)) => abort,
            other => panic!("no abort, but {other:?}"),
        }
    }

    /// Ends the connection by a reset, which is what the other side sees of a peer that crashed.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket can be reset");
    }

    /// Says that nothing more comes.
    pub async fn say_no_more(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Says that nothing more comes, and reads to the end.
    pub async fn finish(mut self) -> Vec<Message> {
        self.say_no_more().await;
        self.rest().await
    }

    /// All bytes that come, to the end of the stream.
    pub async fn bytes(mut self) -> Vec<u8> {
        while self.fill().await {}
        self.buffer.to_vec()
    }
}

/// A hello with plenty of everything.
pub fn hello() -> Message {
    let grants = Grants {
        frame_bytes: 1 << 20,
        calls: 1000,
        call_bytes: 1 << 20,
        imports: 1000,
        names: 1000,
        exports: 1000,
    };
    Message::Hello(Hello { versions: (1, 1), features: 0, grants })
}

/// A call of `method` on the root, with `result` and its arguments as the codec has them.
pub fn call(result: i64, method: &str, arguments: &impl Serialize) -> Call {
    let mut body = Vec::new();
    pb_core::wire::body::encode(arguments, &mut body).expect("arguments that can be encoded");
    bytes_call(result, method, body)
}

/// The same with any bytes as its body.
pub fn bytes_call(result: i64, method: &str, body: impl Into<Bytes>) -> Call {
    Call {
        target: ImportId::ROOT,
        result: ImportId(result),
        reply: Reply::Value,
        method: MethodName::Defined(std::sync::Arc::new(MethodText {
            name: method.into(),
            fewest: 0,
            prints: Box::default(),
        })),
        options: None::<Box<CallOptions>>,
        payload: Payload { caps: Vec::new(), body: body.into() },
    }
}

/// The same call with capabilities.
pub fn with_caps(call: Call, caps: impl IntoIterator<Item = Cap>) -> Call {
    Call { payload: Payload { caps: caps.into_iter().collect(), ..call.payload }, ..call }
}
